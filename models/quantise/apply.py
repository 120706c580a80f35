"""Quantises the weights of ONNX graphs, and says what it left alone and why.

Owns: which stored tensors are weights of which operator, which of them may be quantised, and the rewriting
into standard DequantizeLinear. The dequantised tensor keeps the weight's name, so no reader of it changes.
Must not know: policies, releases, files.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from models.quantise.int8 import int8_from_weight
from models.quantise.nvfp4 import BLOCK, nvfp4_from_weight
from models.quantise.report import TOOL, TOOL_VERSION, LayerReport, QuantisationReport, weight_error

MIN_WEIGHTS = 1024
"""Tensors with fewer weights are left alone: they cost little and are often the touchy ones."""
_OPSET = 23
_IR_VERSION = 11


class Precision(StrEnum):
    """How a release stores its weights."""

    FLOAT32 = "float32"
    INT8 = "int8"
    NVFP4 = "nvfp4"


SCHEMES = {
    Precision.FLOAT32: "float32, nothing quantised",
    Precision.INT8: "int8 weights, symmetric, one scale an output channel; activations float32",
    Precision.NVFP4: (
        f"E2M1 weights, E4M3 scales for blocks of {BLOCK} along the reduction axis, float32 scale a tensor; "
        "activations float32"
    ),
}


@dataclass(frozen=True, slots=True)
class Quantised:
    """The graphs after, and the report, whose output difference is still open."""

    graphs: dict[str, onnx.ModelProto]
    report: QuantisationReport


@dataclass(frozen=True, slots=True)
class _Wish:
    """The precision, and the weights that NVFP4 leaves alone."""

    precision: Precision
    heads: frozenset[str]


@dataclass(frozen=True, slots=True)
class _Use:
    """How an operator reads a weight: which axis it reduces over, which one counts its outputs."""

    operator: str
    reduction_axis: int
    output_axis: int


def quantise(
    graphs: Mapping[str, onnx.ModelProto], precision: Precision, heads: frozenset[str] = frozenset()
) -> Quantised:
    """Quantise copies of float32 `graphs` (by role). NVFP4 leaves the weights called `heads` alone."""
    after: dict[str, onnx.ModelProto] = {}
    layers: list[LayerReport] = []
    for role, model in graphs.items():
        after[role] = onnx.ModelProto()
        after[role].CopyFrom(model)
        if precision is not Precision.FLOAT32:
            after[role] = _raised(after[role])
            layers += _quantise_graph(role, after[role].graph, _Wish(precision, heads))
    report = QuantisationReport(
        tool=TOOL,
        version=TOOL_VERSION,
        precision=str(precision),
        scheme=SCHEMES[precision],
        layers=tuple(layers),
        bytes_before=sum(model.ByteSize() for model in graphs.values()),
        bytes_after=sum(model.ByteSize() for model in after.values()),
    )
    return Quantised(after, report)


def _raised(model: onnx.ModelProto) -> onnx.ModelProto:
    """At least the opset and IR version that know FLOAT4E2M1."""
    if model.opset_import[0].version < _OPSET:
        model = onnx.version_converter.convert_version(model, _OPSET)
    model.ir_version = max(model.ir_version, _IR_VERSION)
    return model


def _quantise_graph(role: str, graph: onnx.GraphProto, wish: _Wish) -> list[LayerReport]:
    """Quantise in place; one report for each stored float tensor of two dimensions or more."""
    reports, tensors, nodes = [], [], []
    for tensor in graph.initializer:
        if tensor.data_type != onnx.TensorProto.FLOAT or len(tensor.dims) < 2:
            tensors.append(tensor)
            continue
        uses = _uses(graph, tensor)
        reason = _reason_to_leave(tensor, uses, wish)
        if reason:
            reports.append(LayerReport(role, tensor.name, tuple(tensor.dims), reason))
            tensors.append(tensor)
            continue
        made = _int8(tensor, uses[0]) if wish.precision is Precision.INT8 else _nvfp4(tensor, uses[0])
        tensors += made.tensors
        nodes += made.nodes
        reports.append(_layer(role, tensor, made.dequantised))
    nodes += graph.node
    _replace(graph.initializer, tensors)
    _replace(graph.node, nodes)
    return reports


def _replace(field: object, values: list[onnx.TensorProto] | list[onnx.NodeProto]) -> None:
    """Put copies of `values` in place of what the repeated protobuf `field` holds."""
    copies = [type(value).FromString(value.SerializeToString()) for value in values]
    del field[:]  # type: ignore[attr-defined]
    field.extend(copies)  # type: ignore[attr-defined]


def _uses(graph: onnx.GraphProto, tensor: onnx.TensorProto) -> list[_Use]:
    """Every reading of `tensor`; an operator that has no axes here reads with -1."""
    return [
        _use(node, place, len(tensor.dims))
        for node in graph.node
        for place, name in enumerate(node.input)
        if name == tensor.name
    ]


def _use(node: onnx.NodeProto, place: int, dimensions: int) -> _Use:
    if node.op_type == "MatMul" and place == 1 and dimensions == 2:
        return _Use("MatMul", 0, 1)
    if node.op_type == "Gemm" and place == 1:
        transposed = any(each.name == "transB" and each.i for each in node.attribute)
        return _Use("Gemm", 1, 0) if transposed else _Use("Gemm", 0, 1)
    if node.op_type == "Conv" and place == 1:
        return _Use("Conv", 1, 0)
    return _Use(node.op_type, -1, -1)


def _reason_to_leave(tensor: onnx.TensorProto, uses: list[_Use], wish: _Wish) -> str:
    """Why `tensor` is not quantised; empty where it is."""
    others = sorted({use.operator for use in uses if use.reduction_axis < 0})
    if others or not uses:
        return f"read by {', '.join(others) or 'nothing'}"
    if len({(use.reduction_axis, use.output_axis) for use in uses}) > 1:
        return "shared by operators that read it along different axes"
    if np.prod(tensor.dims) < MIN_WEIGHTS:
        return f"fewer than {MIN_WEIGHTS} weights"
    return _reason_against_fp4(tensor, uses[0], wish) if wish.precision is Precision.NVFP4 else ""


def _reason_against_fp4(tensor: onnx.TensorProto, use: _Use, wish: _Wish) -> str:
    if tensor.name in wish.heads:
        return "output head: stays in high precision"
    if use.operator == "Conv":
        return "convolution: vision stays in high precision"
    if tensor.dims[use.reduction_axis] % BLOCK:
        return f"reduction axis of {tensor.dims[use.reduction_axis]} is no multiple of {BLOCK}"
    return ""


@dataclass(frozen=True, slots=True)
class _Made:
    """What takes a weight's place, and the weights that it stands for."""

    tensors: list[onnx.TensorProto]
    nodes: list[onnx.NodeProto]
    dequantised: NDArray[np.float32]


def _int8(tensor: onnx.TensorProto, use: _Use) -> _Made:
    name = tensor.name
    weight = int8_from_weight(numpy_helper.to_array(tensor), use.output_axis)
    tensors = [
        numpy_helper.from_array(weight.codes, f"{name}.codes"),
        numpy_helper.from_array(weight.scales, f"{name}.scale"),
    ]
    node = helper.make_node(
        "DequantizeLinear",
        [each.name for each in tensors],
        [name],
        f"{name}.dequantise",
        axis=use.output_axis,
    )
    return _Made(tensors, [node], weight.dequantised())


def _nvfp4(tensor: onnx.TensorProto, use: _Use) -> _Made:
    name = tensor.name
    weight = nvfp4_from_weight(numpy_helper.to_array(tensor), use.reduction_axis)
    tensors = [
        numpy_helper.from_array(weight.codes, f"{name}.codes"),
        numpy_helper.from_array(weight.block_scales, f"{name}.block_scale"),
        numpy_helper.from_array(np.asarray(weight.tensor_scale, np.float32), f"{name}.tensor_scale"),
    ]
    scale = helper.make_node(
        "DequantizeLinear", [each.name for each in tensors[1:]], [f"{name}.scale"], f"{name}.dequantise_scale"
    )
    node = helper.make_node(
        "DequantizeLinear",
        [tensors[0].name, f"{name}.scale"],
        [name],
        f"{name}.dequantise",
        axis=use.reduction_axis,
        block_size=BLOCK,
    )
    return _Made(tensors, [scale, node], weight.dequantised())


def _layer(role: str, tensor: onnx.TensorProto, dequantised: NDArray[np.float32]) -> LayerReport:
    error = weight_error(numpy_helper.to_array(tensor), dequantised)
    return LayerReport(role, tensor.name, tuple(tensor.dims), "", error.maximum, error.rms, error.relative)
