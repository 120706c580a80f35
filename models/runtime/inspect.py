"""Looks at a graph before any runtime does, and refuses what the contract does not allow.

Owns: the bounds, the allow-lists of operators and element types, and one sentence for each refusal.
Nothing is executed: the bytes are parsed, walked, and given to ONNX's own checker and shape inference.
One operator is not standard ONNX: ONNX Runtime's MatMulNBits, in four bits, over stored tensors of the shapes that
its attributes say. For ONNX's own checks a MatMul of the same shapes takes its place.
Must not know: runtimes, files, releases.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import onnx

from models.contract import PolicyContract
from models.errors import ModelNotAllowedError
from models.runtime.signature import Axis, Comparison, GraphRole, signature_of

MAX_MODEL_BYTES = (1 << 31) - 1
"""Protobuf's own limit; larger graphs would need external data, which is refused."""
MAX_NODES = 100_000
MAX_TENSORS = 100_000
MAX_ELEMENTS = 1 << 31
MAX_ACTIVATION_ELEMENTS = 1 << 28
OPSETS = range(18, 25)
IR_VERSIONS = range(8, 12)

# fmt: off
ALLOWED_OPERATORS = frozenset({
    "Abs", "Add", "And", "Attention", "AveragePool", "BatchNormalization", "Cast", "Ceil", "Clip",
    "Concat", "Constant", "ConstantOfShape", "Conv", "Cos", "CumSum", "DequantizeLinear", "Div",
    "Einsum", "Equal", "Erf", "Exp", "Expand", "Flatten", "Floor", "Gather", "GatherElements",
    "GatherND", "Gelu", "Gemm", "GlobalAveragePool", "Greater", "GreaterOrEqual", "GroupNormalization",
    "HardSigmoid", "HardSwish", "Identity", "InstanceNormalization", "LayerNormalization", "LeakyRelu",
    "Less", "LessOrEqual", "Log", "LogSoftmax", "MatMul", "Max", "MaxPool", "Min", "Mish", "Mod", "Mul",
    "Neg", "Not", "Or", "PRelu", "Pad", "Pow", "RMSNormalization", "Range", "Reciprocal", "ReduceL2",
    "ReduceMax", "ReduceMean", "ReduceMin", "ReduceSum", "Relu", "Reshape", "Resize", "RotaryEmbedding",
    "ScatterND", "Shape", "Sigmoid", "Sign", "Sin", "Slice", "Softmax", "Softplus", "Split", "Sqrt",
    "Squeeze", "Sub", "Tan", "Tanh", "Tile", "Transpose", "Trilu", "Unsqueeze", "Where",
})
# fmt: on
"""Deterministic, without subgraphs, without state: no If, Loop, Scan, no random operator, no strings."""

NBITS_DOMAIN = "com.microsoft"
NBITS_OPERATOR = "MatMulNBits"
NBITS_BLOCKS = (16, 32, 64, 128, 256)
_NBITS_BITS = 4
_NBITS_NEEDED = frozenset({"K", "N", "bits", "block_size"})
_NBITS_ATTRIBUTES = _NBITS_NEEDED | {"accuracy_level"}
_NBITS_FLOAT_LEVELS = (0, 1)
"""Levels of accuracy at which activations stay float32; the others round them to fewer bits."""

_ORT_FORMAT = b"ORTM"
"""At the fifth byte it makes a flatbuffer; a producer's name can put it into a valid ONNX file as well."""
_RUNTIME_SETTINGS = "ort_config"

_T = onnx.TensorProto
_BITS: dict[int, int] = {
    _T.FLOAT: 32,
    _T.FLOAT16: 16,
    _T.BFLOAT16: 16,
    _T.FLOAT8E4M3FN: 8,
    _T.FLOAT4E2M1: 4,
    _T.INT64: 64,
    _T.INT32: 32,
    _T.INT8: 8,
    _T.UINT8: 8,
    _T.BOOL: 8,
}
_FIELDS: dict[int, str] = {_T.FLOAT: "float_data", _T.INT64: "int64_data"}
"""Where elements lie that are not raw bytes; `int32_data` for the types that are not named here."""
_ALL_FIELDS = ("float_data", "int32_data", "int64_data", "double_data", "uint64_data", "string_data")
_FLOATS = frozenset({_T.FLOAT, _T.FLOAT16, _T.BFLOAT16, _T.FLOAT8E4M3FN})
_A = onnx.AttributeProto
_STANDARD = ("", "ai.onnx")
_PLAIN_ATTRIBUTES = frozenset({_A.FLOAT, _A.INT, _A.STRING, _A.TENSOR, _A.FLOATS, _A.INTS})


@dataclass(frozen=True, slots=True)
class ModelReport:
    """What a graph that is allowed turned out to be; `layers` and `width` are 0 where it has none."""

    role: GraphRole
    opset: int
    nodes: int
    operators: frozenset[str]
    parameters: int
    has_fp4: bool
    layers: int
    width: int


def inspect(
    model_bytes: bytes, role: GraphRole, contract: PolicyContract, max_bytes: int = MAX_MODEL_BYTES
) -> ModelReport:
    """What the graph of `role` is.

    Raises:
        ModelNotAllowedError: it does not parse, is too large, reaches outside itself (external data, custom
            domains, functions, subgraphs), holds an operator, type or value that is not allowed, contradicts
            itself, or has other inputs and outputs than `contract` needs. The message says which and where.
    """
    model = _parsed(model_bytes, role, max_bytes)
    opset = _check_envelope(model, role)
    tensors = _check_graph(model.graph, role)
    comparison = Comparison(role)
    comparison.check(model.graph, signature_of(role, contract))
    _check_consistent(model, role)
    return ModelReport(
        role=role,
        opset=opset,
        nodes=len(model.graph.node),
        operators=frozenset(node.op_type for node in model.graph.node),
        parameters=sum(math.prod(tensor.dims) for tensor in tensors),
        has_fp4=any(tensor.data_type == _T.FLOAT4E2M1 for tensor in tensors),
        layers=comparison.learnt.get(Axis.LAYERS, 0),
        width=comparison.learnt.get(Axis.WIDTH, 0),
    )


def _parsed(model_bytes: bytes, role: GraphRole, max_bytes: int) -> onnx.ModelProto:
    if not 0 < len(model_bytes) <= max_bytes:
        raise ModelNotAllowedError(
            f"{role} graph: {len(model_bytes)} bytes; between 1 and {max_bytes} are read"
        )
    if model_bytes[4:8] == _ORT_FORMAT:
        raise ModelNotAllowedError(f"{role} graph: is also a model in ONNX Runtime's own format")
    model = onnx.ModelProto()
    try:
        model.ParseFromString(model_bytes)
    except Exception as error:  # protobuf's DecodeError, whose module has no types
        raise ModelNotAllowedError(f"{role} graph: not an ONNX model ({error})") from error
    return model


def _check_envelope(model: onnx.ModelProto, role: GraphRole) -> int:
    """Everything around the graph; returns the opset version."""
    if model.ir_version not in IR_VERSIONS:
        raise ModelNotAllowedError(f"{role} graph: IR version {model.ir_version} is not in {IR_VERSIONS}")
    if model.functions:
        raise ModelNotAllowedError(f"{role} graph: defines {len(model.functions)} functions; none is allowed")
    if any(entry.key == _RUNTIME_SETTINGS for entry in model.metadata_props):
        raise ModelNotAllowedError(f"{role} graph: carries settings for the runtime")
    if model.training_info:
        raise ModelNotAllowedError(f"{role} graph: carries training graphs")
    version = _opset(model, role)
    if version not in OPSETS:
        raise ModelNotAllowedError(
            f"{role} graph: opset {version} is not between {OPSETS[0]} and {OPSETS[-1]}"
        )
    return version


def _opset(model: onnx.ModelProto, role: GraphRole) -> int:
    """The version of standard ONNX; nothing else is imported but, where it is used, MatMulNBits' domain."""
    others = [opset for opset in model.opset_import if opset.domain not in _STANDARD]
    used = any(_is_nbits(node) for node in model.graph.node)
    for opset in others:
        if opset.domain != NBITS_DOMAIN or not used:
            raise ModelNotAllowedError(
                f"{role} graph: imports the domain {opset.domain[:80]!r}; only standard ONNX is allowed"
            )
    if used and [opset.version for opset in others] != [1]:
        raise ModelNotAllowedError(f"{role} graph: does not import {NBITS_DOMAIN} once, in version 1")
    standard = len(model.opset_import) - len(others)
    if standard != 1:
        raise ModelNotAllowedError(f"{role} graph: imports {standard} opsets; one is allowed")
    return next(int(opset.version) for opset in model.opset_import if opset.domain in _STANDARD)


def _is_nbits(node: onnx.NodeProto) -> bool:
    return bool(node.op_type == NBITS_OPERATOR and node.domain == NBITS_DOMAIN)


def _check_domain(node: onnx.NodeProto, where: str) -> None:
    if node.domain == NBITS_DOMAIN:
        raise ModelNotAllowedError(f"{where} is of {NBITS_DOMAIN}, of which only {NBITS_OPERATOR} is allowed")
    if node.domain not in _STANDARD:
        raise ModelNotAllowedError(
            f"{where} is of the domain {node.domain[:80]!r}; only standard ONNX is allowed"
        )


def _check_graph(graph: onnx.GraphProto, role: GraphRole) -> list[onnx.TensorProto]:
    """Every node and every stored tensor; returns the tensors."""
    if len(graph.node) > MAX_NODES or len(graph.initializer) > MAX_TENSORS:
        raise ModelNotAllowedError(
            f"{role} graph: {len(graph.node)} nodes and {len(graph.initializer)} tensors are too many"
        )
    if graph.sparse_initializer:
        raise ModelNotAllowedError(f"{role} graph: holds sparse tensors")
    tensors = [*graph.initializer]
    stored = {tensor.name: tensor for tensor in graph.initializer}
    for index, node in enumerate(graph.node):
        where = f"{role} graph: node {index} {node.name[:80]!r} ({node.op_type[:40]})"
        tensors += _tensors_of_node(node, where)
        if _is_nbits(node):
            _check_nbits(node, stored, where)
    for tensor in tensors:
        _check_tensor(tensor, f"{role} graph: tensor {tensor.name[:80]!r}")
    both = {tensor.name for tensor in graph.initializer} & {value.name for value in graph.input}
    if both:
        raise ModelNotAllowedError(f"{role} graph: {sorted(both)[:3]} are inputs and stored tensors at once")
    return tensors


def _tensors_of_node(node: onnx.NodeProto, where: str) -> Iterable[onnx.TensorProto]:
    if not _is_nbits(node):
        _check_domain(node, where)
    for attribute in node.attribute:
        if attribute.type in (_A.GRAPH, _A.GRAPHS) or attribute.HasField("g") or attribute.graphs:
            raise ModelNotAllowedError(f"{where} holds a subgraph")
        if attribute.type not in _PLAIN_ATTRIBUTES or attribute.ref_attr_name:
            raise ModelNotAllowedError(
                f"{where} has the attribute {attribute.name[:40]!r} of a kind not allowed"
            )
        if attribute.type == _A.TENSOR:
            yield attribute.t
    if node.op_type not in ALLOWED_OPERATORS and not _is_nbits(node):
        raise ModelNotAllowedError(f"{where} is of an operator that is not allowed")


def _check_nbits(node: onnx.NodeProto, stored: Mapping[str, onnx.TensorProto], where: str) -> None:
    """The attributes within their bounds, and every stored input of the shape that they make.

    Shapes as in ONNX Runtime's description of the operator: codes uint8 (N, ⌈K/block⌉, block/2), scales float32
    (N, ⌈K/block⌉), zero points, which may be missing, uint8 (N, ⌈⌈K/block⌉/2⌉).
    """
    inputs, outputs, block = _nbits_sizes(node, where)
    if len(node.input) not in (3, 4) or len(node.output) != 1:
        raise ModelNotAllowedError(
            f"{where} has {len(node.input)} inputs and {len(node.output)} outputs; 3 or 4, and 1, are allowed"
        )
    blocks = -(-inputs // block)
    wanted = (
        ("codes", _T.UINT8, [outputs, blocks, block // 2]),
        ("scales", _T.FLOAT, [outputs, blocks]),
        ("zero points", _T.UINT8, [outputs, (blocks + 1) // 2]),
    )
    for name, (what, element, dims) in zip(node.input[1:], wanted, strict=False):
        tensor = stored.get(name)
        if tensor is None:
            raise ModelNotAllowedError(f"{where} reads {what} that are not stored")
        if tensor.data_type != element or list(tensor.dims) != dims:
            raise ModelNotAllowedError(
                f"{where} has {what} of the shape {list(tensor.dims)[:8]} and type {tensor.data_type}; "
                f"K {inputs}, N {outputs} and blocks of {block} need {dims} and {element}"
            )


def _nbits_sizes(node: onnx.NodeProto, where: str) -> tuple[int, int, int]:
    """K, N and the block's size."""
    found = {attribute.name: int(attribute.i) for attribute in node.attribute if attribute.type == _A.INT}
    if len(found) != len(node.attribute) or not _NBITS_NEEDED <= set(found) <= _NBITS_ATTRIBUTES:
        names = sorted({attribute.name[:40] for attribute in node.attribute})[:16]
        raise ModelNotAllowedError(
            f"{where} has the attributes {names}; integers called {sorted(_NBITS_NEEDED)} are needed"
        )
    if found["bits"] != _NBITS_BITS:
        raise ModelNotAllowedError(f"{where} has weights of {found['bits']} bits; {_NBITS_BITS} are allowed")
    if found["block_size"] not in NBITS_BLOCKS:
        raise ModelNotAllowedError(f"{where} has blocks of {found['block_size']}, not of {NBITS_BLOCKS}")
    if found.get("accuracy_level", 0) not in _NBITS_FLOAT_LEVELS:
        raise ModelNotAllowedError(f"{where} rounds its activations (level {found['accuracy_level']})")
    if found["K"] < 1 or found["N"] < 1:
        raise ModelNotAllowedError(f"{where} multiplies {found['K']} by {found['N']}")
    return found["K"], found["N"], found["block_size"]


def _check_tensor(tensor: onnx.TensorProto, where: str) -> None:
    if tensor.data_location != _T.DEFAULT or tensor.external_data:
        raise ModelNotAllowedError(f"{where} lies in another file")
    if tensor.HasField("segment"):
        raise ModelNotAllowedError(f"{where} is stored in segments")
    bits = _BITS.get(tensor.data_type)
    if bits is None:
        raise ModelNotAllowedError(f"{where} has element type {tensor.data_type}, which is not allowed")
    count = math.prod(tensor.dims)
    if any(dim < 0 for dim in tensor.dims) or count > MAX_ELEMENTS:
        raise ModelNotAllowedError(f"{where} has impossible dimensions {list(tensor.dims)[:8]}")
    _check_fields(tensor, where)
    stored = _stored_elements(tensor, bits)
    if stored != count:
        raise ModelNotAllowedError(f"{where} stores {stored} elements; its dimensions need {count}")
    if tensor.data_type in _FLOATS and not _is_finite(tensor):
        raise ModelNotAllowedError(f"{where} holds values that are not finite")


def _check_fields(tensor: onnx.TensorProto, where: str) -> None:
    """One place for the elements, and the one that goes with their type."""
    filled = [field for field in _ALL_FIELDS if len(getattr(tensor, field))]
    if filled and filled != [_FIELDS.get(tensor.data_type, "int32_data")]:
        raise ModelNotAllowedError(f"{where} stores elements in another type's field")
    if filled and tensor.HasField("raw_data"):
        raise ModelNotAllowedError(f"{where} is stored twice")


def _stored_elements(tensor: onnx.TensorProto, bits: int) -> float:
    """Elements that the bytes make; a fraction where they do not come out even."""
    count = math.prod(tensor.dims)
    if not tensor.HasField("raw_data"):
        # One entry an element, but FP4 packs two.
        entries = len(getattr(tensor, _FIELDS.get(tensor.data_type, "int32_data")))
        return float(entries * (2 if bits == 4 else 1))
    if bits == 4 and len(tensor.raw_data) == (count + 1) // 2:
        return float(count)
    return float(len(tensor.raw_data)) * 8 / bits


def _is_finite(tensor: onnx.TensorProto) -> bool:
    values = onnx.numpy_helper.to_array(tensor)
    if values.dtype != np.float32:
        values = values.astype(np.float32)
    return bool(np.isfinite(values).all())


def _check_consistent(model: onnx.ModelProto, role: GraphRole) -> None:
    """ONNX's own checker, then shape inference, which also bounds what a few bytes may blow up to."""
    try:
        standard = _standard(model)
        onnx.checker.check_model(standard)
        inferred = onnx.shape_inference.infer_shapes(
            standard, check_type=True, strict_mode=True, data_prop=True
        )
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError, ValueError) as error:
        reason = str(error).strip().replace("\n", " ")[:300]
        raise ModelNotAllowedError(f"{role} graph: contradicts itself: {reason}") from error
    for value in inferred.graph.value_info:
        dims = [dim.dim_value for dim in value.type.tensor_type.shape.dim if dim.HasField("dim_value")]
        if math.prod(dims) > MAX_ACTIVATION_ELEMENTS:
            raise ModelNotAllowedError(f"{role} graph: {value.name[:80]!r} would have the shape {dims[:8]}")


def _standard(model: onnx.ModelProto) -> onnx.ModelProto:
    """`model` with a MatMul in place of each MatMulNBits: left to themselves, the checks would pass over them.

    The weight is an input of (K, N) then, as nothing is dequantised here.
    """
    if not any(_is_nbits(node) for node in model.graph.node):
        return model
    standard = onnx.ModelProto()
    standard.CopyFrom(model)
    for index, node in enumerate(standard.graph.node):
        if _is_nbits(node):
            inputs, outputs, _ = _nbits_sizes(node, f"node {index}")
            weight = f"weight of node {index}"
            standard.graph.input.append(
                onnx.helper.make_tensor_value_info(weight, _T.FLOAT, [inputs, outputs])
            )
            node.CopyFrom(
                onnx.helper.make_node("MatMul", [node.input[0], weight], list(node.output), node.name)
            )
    kept = [opset for opset in standard.opset_import if opset.domain in _STANDARD]
    del standard.opset_import[:]
    standard.opset_import.extend(kept)
    return standard
