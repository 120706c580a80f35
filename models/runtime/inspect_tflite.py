"""Looks at a TFLite graph before any interpreter does, and refuses what the contract does not allow.

Owns: the bounds, the inputs and outputs that each graph must have, and one sentence for each refusal. Nothing is
executed. Which fields, operators and shapes there can be, `tflite_schema` and `tflite_shapes` say.
Must not know: interpreters, files, releases.

TFLite's shapes are fixed, so the graphs of `models.runtime.policy` are cut with a cache of T positions, whose
unfilled ones a `mask` of large negative numbers hides; `reason` holds two subgraphs that share their weights:

| subgraph | inputs | outputs |
|---|---|---|
| visual | `frames` uint8 (N, height, width, 3); `ego_history` (steps, 4); `instruction` int64 (1,) | `prefix` (P, D) |
| prefill | `prefix` (P, D); `tokens` int64 (1,) | `logits` (V,); `key`, `value` (L, P+1, D) |
| step | `tokens`, `position` int64 (1,); `mask` (1, T); `past_key`, `past_value` (L, T, D) | `logits` (V,); `key`, `value` (L, 1, D) |
| action | `key`, `value` (L, T, D); `mask` (1, T); `state` (H, A); `time` (1,) | `velocity` (H, A) |
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from models.contract import PolicyContract
from models.errors import ModelNotAllowedError
from models.runtime import tflite_schema as tfl
from models.runtime.flatbuffer import MAX_BYTES
from models.runtime.signature import GraphRole, action_width, signature_of
from models.runtime.tflite_schema import Element, Kernel
from models.runtime.tflite_shapes import Operand, made_by

MAX_TENSORS = 100_000
MAX_OPERATORS = 100_000
MAX_ELEMENTS = 1 << 28
"""Of one tensor."""
MAX_COMPUTED_ELEMENTS = 1 << 29
"""Of all tensors of a subgraph that are not stored: what a few bytes may blow up to."""
MAX_CACHE_POSITIONS = 1 << 20
SUBGRAPHS = {
    GraphRole.VISUAL: ("visual",),
    GraphRole.REASON: ("prefill", "step"),
    GraphRole.ACTION: ("action",),
}
_Ports = dict[str, tuple[Element, tuple[int | str, ...]]]


@dataclass(frozen=True, slots=True)
class TfliteReport:
    """A graph that is allowed; `sizes` has what the contract leaves to it: P, D, L, T and P1, which is P + 1."""

    role: GraphRole
    model: tfl.Model
    operators: frozenset[str]
    stored_bytes: int
    sizes: Mapping[str, int]


def inspect_tflite(
    content: bytes, role: GraphRole, contract: PolicyContract, max_bytes: int = MAX_BYTES
) -> TfliteReport:
    """What the graph of `role` is.

    Raises:
        ModelNotAllowedError: it is no TFLite file, is too large, reaches outside itself, holds a field, operator,
            type or value that is not allowed, contradicts itself, or has other inputs and outputs than `contract`
            needs. The message says which and where.
    """
    try:
        return _inspected(content, role, contract, max_bytes)
    except ModelNotAllowedError as error:
        raise ModelNotAllowedError(f"{role} graph: {error}") from error


def check_cut(reports: Sequence[TfliteReport], contract: PolicyContract) -> dict[str, int]:
    """The sizes on which all graphs agree. Raises `ModelNotAllowedError` where they don't, or T is too small."""
    sizes: dict[str, int] = {}
    for report in reports:
        for name, size in report.sizes.items():
            if sizes.setdefault(name, size) != size:
                raise ModelNotAllowedError(f"the graphs do not agree on {name}: {sizes[name]} and {size}")
    needed = sizes["P"] + 1 + contract.reasoning.max_tokens
    if not needed <= sizes["T"] <= MAX_CACHE_POSITIONS:
        raise ModelNotAllowedError(f"the cache has {sizes['T']} positions; {needed} are needed")
    return sizes


def _inspected(content: bytes, role: GraphRole, contract: PolicyContract, max_bytes: int) -> TfliteReport:
    if len(content) > max_bytes:
        raise ModelNotAllowedError(f"{len(content)} bytes; at most {max_bytes} are read")
    model = tfl.model_from_bytes(content)
    kernels = _kernels(model)
    names = tuple(each.name for each in model.subgraphs)
    if names != SUBGRAPHS[role]:
        raise ModelNotAllowedError(f"its subgraphs are {names[:4]}; {SUBGRAPHS[role]} are needed")
    sizes: dict[str, int] = {}
    for subgraph in model.subgraphs:
        _Subgraph(model, subgraph, kernels).check()
        inputs, outputs = _ports(subgraph.name, contract)
        _compare(f"{subgraph.name}: input", subgraph, (subgraph.inputs, inputs), sizes)
        _compare(f"{subgraph.name}: output", subgraph, (subgraph.outputs, outputs), sizes)
    if sizes.get("P1", 1 + sizes.get("P", 0)) != 1 + sizes.get("P", 0):
        raise ModelNotAllowedError(f"prefill keeps {sizes['P1']} positions of {sizes['P']} and a token")
    stored = sum(len(each.content) for each in model.buffers)
    return TfliteReport(role, model, frozenset(each.name for each in kernels), stored, sizes)


def _kernels(model: tfl.Model) -> list[Kernel]:
    """Everything around the subgraphs; returns the operators that the file may use."""
    if model.version != tfl.VERSION:
        raise ModelNotAllowedError(f"schema version {model.version}; {tfl.VERSION} is read")
    if not model.buffers or model.buffers[0].content:
        raise ModelNotAllowedError("its first buffer is not empty")
    return [_kernel(each) for each in model.codes]


def _kernel(code: tfl.OperatorCode) -> Kernel:
    if code.custom:
        raise ModelNotAllowedError(f"the custom operator {code.custom[:80]!r} is not allowed")
    number = max(code.code, code.deprecated_code)
    if number not in set(Kernel):
        raise ModelNotAllowedError(f"the built-in operator {number} is not allowed")
    return Kernel(number)


class _Subgraph:
    """One subgraph, checked from its inputs on: what is read must have been made before."""

    def __init__(self, model: tfl.Model, subgraph: tfl.Subgraph, kernels: Sequence[Kernel]) -> None:
        self._model, self._subgraph, self._kernels = model, subgraph, kernels
        self._known: dict[int, Operand] = {}

    def check(self) -> None:
        subgraph, name = self._subgraph, self._subgraph.name
        if len(subgraph.tensors) > MAX_TENSORS or len(subgraph.operators) > MAX_OPERATORS:
            raise ModelNotAllowedError(
                f"{name}: {len(subgraph.operators)} operators and {len(subgraph.tensors)} tensors are too many"
            )
        for number, tensor in enumerate(subgraph.tensors):
            self._tensor(number, tensor)
        computed = [each for number, each in enumerate(subgraph.tensors) if number not in self._known]
        if sum(math.prod(each.shape) for each in computed) > MAX_COMPUTED_ELEMENTS:
            raise ModelNotAllowedError(
                f"{name}: its values would have more than {MAX_COMPUTED_ELEMENTS} elements"
            )
        for number in subgraph.inputs:
            self._learn(number, f"{name}: input")
        for index, operator in enumerate(subgraph.operators):
            self._operator(operator, f"{name}: operator {index}")
        for number in subgraph.outputs:
            self._operand(number, f"{name}: output")

    def _tensor(self, number: int, tensor: tfl.Tensor) -> None:
        where = f"{self._subgraph.name}: tensor {tensor.name[:80]!r}"
        if tensor.element not in set(Element):
            raise ModelNotAllowedError(f"{where} has element type {tensor.element}, which is not allowed")
        if any(size < 1 for size in tensor.shape) or math.prod(tensor.shape) > MAX_ELEMENTS:
            raise ModelNotAllowedError(f"{where} has impossible dimensions {list(tensor.shape[:8])}")
        if tensor.buffer >= len(self._model.buffers):
            raise ModelNotAllowedError(f"{where} lies in buffer {tensor.buffer}, which is not there")
        content = self._model.buffers[tensor.buffer].content
        needed = math.prod(tensor.shape) * Element(tensor.element).dtype.itemsize
        if content and len(content) != needed:
            raise ModelNotAllowedError(f"{where} stores {len(content)} bytes; its dimensions need {needed}")
        _check_quantisation(tensor, bool(content), where)
        if content:
            self._known[number] = self._stored(tensor, where)

    def _stored(self, tensor: tfl.Tensor, where: str) -> Operand:
        values = tfl.stored(self._model, tensor)
        if values is not None and values.dtype == np.float32 and not np.isfinite(values).all():
            raise ModelNotAllowedError(f"{where} holds values that are not finite")
        return Operand(tensor.shape, Element(tensor.element), values)

    def _operator(self, operator: tfl.Operator, where: str) -> None:
        if operator.code >= len(self._kernels):
            raise ModelNotAllowedError(f"{where} is of the kind {operator.code}, which is not there")
        kernel = self._kernels[operator.code]
        where = f"{where} ({kernel.name})"
        if operator.options is not None and operator.options_kind != tfl.OPTIONS_OF.get(kernel):
            raise ModelNotAllowedError(f"{where} has the options of another operator")
        operands = [self._operand(number, where) for number in operator.inputs if number != tfl.ABSENT]
        if len(operands) != len(operator.inputs) and kernel is not Kernel.FULLY_CONNECTED:
            raise ModelNotAllowedError(f"{where} lacks an input")
        made = [(each.shape, each.element) for each in made_by(kernel, operands, operator.options)]
        if len(operator.outputs) != len(made):
            raise ModelNotAllowedError(f"{where} has {len(operator.outputs)} outputs; it makes {len(made)}")
        for number, wanted in zip(operator.outputs, made, strict=True):
            tensor = self._learn(number, where)
            if (tensor.shape, tensor.element) != wanted:
                raise ModelNotAllowedError(
                    f"{where} makes {wanted[1].name} {wanted[0]}; the file says {tensor.shape[:8]}"
                )

    def _operand(self, number: int, where: str) -> Operand:
        if number not in self._known:
            raise ModelNotAllowedError(f"{where} reads tensor {number}, which nothing has made")
        return self._known[number]

    def _learn(self, number: int, where: str) -> Operand:
        """A tensor that is made here, once."""
        if not 0 <= number < len(self._subgraph.tensors) or number in self._known:
            raise ModelNotAllowedError(
                f"{where} makes tensor {number}, which is not there or was made already"
            )
        tensor = self._subgraph.tensors[number]
        self._known[number] = Operand(tensor.shape, Element(tensor.element))
        return self._known[number]


def _check_quantisation(tensor: tfl.Tensor, is_stored: bool, where: str) -> None:
    """Int8 codes are stored, symmetric, and have one scale, or one for each index along an axis; others none."""
    quantisation = tensor.quantisation or tfl.Quantisation()
    scales = np.array(quantisation.scales, np.float32)
    if tensor.element != Element.INT8:
        if scales.size:
            raise ModelNotAllowedError(f"{where} is quantised, and not as int8")
        return
    axis = quantisation.axis
    channels = tensor.shape[axis] if 0 <= axis < len(tensor.shape) else 0
    if not is_stored or scales.size not in (1, channels) or len(quantisation.zero_points) != scales.size:
        raise ModelNotAllowedError(f"{where} has {scales.size} scales for {channels} channels")
    if any(quantisation.zero_points) or not (np.isfinite(scales) & (scales > 0)).all():
        raise ModelNotAllowedError(f"{where} is not symmetric, or has scales that are not positive numbers")


def _compare(
    where: str, subgraph: tfl.Subgraph, ports: tuple[tuple[int, ...], _Ports], sizes: dict[str, int]
) -> None:
    """The ports there are against those wanted; `sizes` learns what the contract does not number."""
    tensors = [subgraph.tensors[number] for number in ports[0]]
    names = [each.name for each in tensors]
    if sorted(names) != sorted(ports[1]):
        raise ModelNotAllowedError(f"{where}s are {names[:16]}; the contract needs {sorted(ports[1])}")
    for tensor in tensors:
        element, dims = ports[1][tensor.name]
        if tensor.element != element or len(tensor.shape) != len(dims):
            raise ModelNotAllowedError(
                f"{where} {tensor.name!r} is not {element.name} of {len(dims)} dimensions"
            )
        for index, (size, wanted) in enumerate(zip(tensor.shape, dims, strict=True)):
            needed = sizes.setdefault(wanted, size) if isinstance(wanted, str) else wanted
            if size != needed:
                raise ModelNotAllowedError(
                    f"{where} {tensor.name!r}, dimension {index}, is {size}; {needed} is needed"
                )


def _ports(name: str, contract: PolicyContract) -> tuple[_Ports, _Ports]:
    """Inputs and outputs of a subgraph; letters are sizes that the graphs choose and must agree on."""
    words = (Element.FLOAT32, (len(contract.reasoning.vocabulary),))
    waypoints = (Element.FLOAT32, (contract.horizon_steps, action_width(contract)))
    cache, one = (Element.FLOAT32, ("L", "T", "D")), (Element.INT64, (1,))
    mask = (Element.FLOAT32, (1, "T"))
    match name:
        case "visual":
            frames = signature_of(GraphRole.VISUAL, contract).inputs["frames"].dims
            return {
                "frames": (Element.UINT8, tuple(int(each) for each in frames)),
                "ego_history": (Element.FLOAT32, (contract.ego_history.steps, 4)),
                "instruction": one,
            }, {"prefix": (Element.FLOAT32, ("P", "D"))}
        case "prefill":
            whole = (Element.FLOAT32, ("L", "P1", "D"))
            inputs: _Ports = {"prefix": (Element.FLOAT32, ("P", "D")), "tokens": one}
            return inputs, {"logits": words, "key": whole, "value": whole}
        case "step":
            made = (Element.FLOAT32, ("L", 1, "D"))
            past: _Ports = {"mask": mask, "past_key": cache, "past_value": cache}
            return {"tokens": one, "position": one} | past, {"logits": words, "key": made, "value": made}
        case _:
            time = (Element.FLOAT32, (1,))
            fed: _Ports = {"key": cache, "value": cache, "mask": mask, "state": waypoints, "time": time}
            return fed, {"velocity": waypoints}
