"""Quantises the weights of ONNX graphs, and says what it left alone and why.

Owns: which stored tensors are weights of which operator, which of them may be quantised, and the rewriting:
int8 and NVFP4 into standard DequantizeLinear, whose output keeps the weight's name, so that no reader of it changes;
int4 into ONNX Runtime's MatMulNBits, which takes its MatMul's place.
Must not know: policies, releases, files.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from models.quantise import int4
from models.quantise.calibrate import Calibration
from models.quantise.clipping import RATIOS, Clipping, clipping_from_moments
from models.quantise.int4 import int4_from_weight
from models.quantise.int8 import int8_from_weight
from models.quantise.nvfp4 import BLOCK, nvfp4_from_weight
from models.quantise.report import TOOL, TOOL_VERSION, LayerReport, QuantisationReport, weight_error
from models.runtime.inspect import NBITS_DOMAIN, NBITS_OPERATOR

MIN_WEIGHTS = 1024
"""Tensors with fewer weights are left alone: they cost little and are often the touchy ones."""
_OPSET = 23
_IR_VERSION = 11


class Precision(StrEnum):
    """How a release stores its weights."""

    FLOAT32 = "float32"
    INT8 = "int8"
    INT4 = "int4"
    NVFP4 = "nvfp4"


SCHEMES = {
    Precision.FLOAT32: "float32, nothing quantised",
    Precision.INT8: "int8 weights, symmetric, one scale an output channel; activations float32",
    Precision.INT4: (
        f"int4 weights, a float32 scale and a zero point for blocks of {int4.BLOCK} along the reduction axis, "
        "as com.microsoft MatMulNBits; activations float32"
    ),
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
    """The precision, the weights that four bits leave alone, and what is known of what feeds the others."""

    precision: Precision
    heads: frozenset[str]
    calibration: Calibration | None

    def clipping(self, role: str, tensor: onnx.TensorProto, use: "_Use") -> Clipping | None:
        """What to search with; nothing without a calibration set, or where it says nothing of this weight."""
        known = self.calibration.moments if self.calibration else {}
        moments = known.get((role, tensor.name))
        fits = moments is not None and moments.shape == (tensor.dims[use.reduction_axis],)
        return clipping_from_moments(moments) if moments is not None and fits else None


@dataclass(frozen=True, slots=True)
class _Use:
    """How an operator reads a weight: which axis it reduces over, which one counts its outputs."""

    operator: str
    reduction_axis: int
    output_axis: int


def quantise(
    graphs: Mapping[str, onnx.ModelProto],
    precision: Precision,
    heads: frozenset[str] = frozenset(),
    calibration: Calibration | None = None,
) -> Quantised:
    """Quantise copies of float32 `graphs` (by role). Four bits leave the weights called `heads` alone.

    With a `calibration` of these graphs each scale is searched for; without, the largest weight sets it.
    """
    wish = _Wish(precision, heads, None if precision is Precision.FLOAT32 else calibration)
    after: dict[str, onnx.ModelProto] = {}
    layers: list[LayerReport] = []
    for role, model in graphs.items():
        after[role] = onnx.ModelProto()
        after[role].CopyFrom(model)
        if precision is not Precision.FLOAT32:
            after[role] = _raised(after[role])
            layers += _quantise_graph(role, after[role].graph, wish)
            _import_what_is_used(after[role])
    report = QuantisationReport(
        tool=TOOL,
        version=TOOL_VERSION,
        precision=str(precision),
        scheme=SCHEMES[precision],
        layers=tuple(layers),
        bytes_before=sum(model.ByteSize() for model in graphs.values()),
        bytes_after=sum(model.ByteSize() for model in after.values()),
        rounding=_rounding(wish),
        calibration=wish.calibration.used if wish.calibration else None,
    )
    return Quantised(after, report)


def _rounding(wish: _Wish) -> str:
    if wish.precision is Precision.FLOAT32:
        return "none"
    if wish.calibration is None:
        return "to nearest, the largest weight sets the scale; no calibration set"
    return (
        f"to nearest, scales clipped to {min(RATIOS):g} to {max(RATIOS):g} of the largest weight by the error "
        f"weighted with what {wish.calibration.used.observations} observations feed it"
    )


def _raised(model: onnx.ModelProto) -> onnx.ModelProto:
    """At least the opset and IR version that know FLOAT4E2M1."""
    if model.opset_import[0].version < _OPSET:
        model = onnx.version_converter.convert_version(model, _OPSET)
    model.ir_version = max(model.ir_version, _IR_VERSION)
    return model


def _import_what_is_used(model: onnx.ModelProto) -> None:
    if any(node.domain == NBITS_DOMAIN for node in model.graph.node):
        model.opset_import.append(helper.make_opsetid(NBITS_DOMAIN, 1))


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
        clipping = wish.clipping(role, tensor, uses[0])
        made = _MAKERS[wish.precision](tensor, uses[0], clipping)
        tensors += made.tensors
        nodes += made.nodes
        if wish.precision is Precision.INT4:
            _multiply_in_int4(graph, tensor, made.tensors)
        reports.append(_layer(role, tensor, made.dequantised, clipping is not None))
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
    if wish.precision is Precision.INT8:
        return ""
    if tensor.name in wish.heads:
        return "output head: stays in high precision"
    if wish.precision is Precision.INT4:
        others = sorted({use.operator for use in uses if use.operator != "MatMul"})
        return f"read by {', '.join(others)}: int4 is for MatMul" if others else ""
    return _reason_against_fp4(tensor, uses[0])


def _reason_against_fp4(tensor: onnx.TensorProto, use: _Use) -> str:
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


def _int8(tensor: onnx.TensorProto, use: _Use, clipping: Clipping | None) -> _Made:
    name = tensor.name
    weight = int8_from_weight(numpy_helper.to_array(tensor), use.output_axis, use.reduction_axis, clipping)
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


def _int4(tensor: onnx.TensorProto, _: _Use, clipping: Clipping | None) -> _Made:
    name = tensor.name
    weight = int4_from_weight(numpy_helper.to_array(tensor), clipping)
    tensors = [
        numpy_helper.from_array(weight.packed_codes(), f"{name}.codes"),
        numpy_helper.from_array(np.ascontiguousarray(weight.scales.T), f"{name}.scale"),
        numpy_helper.from_array(weight.packed_zero_points(), f"{name}.zero_point"),
    ]
    return _Made(tensors, [], weight.dequantised())


def _multiply_in_int4(
    graph: onnx.GraphProto, tensor: onnx.TensorProto, stored: list[onnx.TensorProto]
) -> None:
    """Every MatMul with `tensor` becomes a MatMulNBits with what is `stored` of it, in place."""
    inputs, outputs = tensor.dims
    for node in graph.node:
        if node.op_type == "MatMul" and node.input[1] == tensor.name:
            made = helper.make_node(
                NBITS_OPERATOR,
                [node.input[0], *(each.name for each in stored)],
                list(node.output),
                node.name,
                domain=NBITS_DOMAIN,
                K=inputs,
                N=outputs,
                bits=int4.BITS,
                block_size=int4.BLOCK,
                accuracy_level=0,  # activations stay float32; 4 would round them to int8
            )
            node.CopyFrom(made)


def _nvfp4(tensor: onnx.TensorProto, use: _Use, clipping: Clipping | None) -> _Made:
    name = tensor.name
    weight = nvfp4_from_weight(numpy_helper.to_array(tensor), use.reduction_axis, clipping)
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


_MAKERS = {Precision.INT8: _int8, Precision.INT4: _int4, Precision.NVFP4: _nvfp4}


def _layer(
    role: str, tensor: onnx.TensorProto, dequantised: NDArray[np.float32], calibrated: bool
) -> LayerReport:
    error = weight_error(numpy_helper.to_array(tensor), dequantised)
    return LayerReport(
        role, tensor.name, tuple(tensor.dims), "", error.maximum, error.rms, error.relative, calibrated
    )
