"""TFLite files that a policy must never be loaded from: each is refused unopened, by its own sentence."""

import contextlib
import struct
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models import reference
from models.errors import ModelNotAllowedError
from models.reference.checkpoint import read_checkpoint
from models.reference.export_tflite import export_tflite
from models.runtime import tflite_schema as tfl
from models.runtime.flatbuffer import Scalar, Table, Text, field
from models.runtime.inspect_tflite import MAX_OPERATORS, inspect_tflite
from models.runtime.signature import GraphRole
from models.runtime.tflite_schema import Element, Kernel, Model, Operator, Subgraph, Tensor

Spoil = Callable[[Model], Model]
_CHECKPOINT = Path(next(iter(reference.__path__))) / "checkpoint"
_CONTRACT = read_checkpoint(_CHECKPOINT)[0].contract
_GRAPHS = export_tflite(_CHECKPOINT)
_ACTION = _GRAPHS["action"]
_BYTES = {role: tfl.bytes_from_model(_GRAPHS[role]) for role in GraphRole}


def _inspect(content: bytes, role: GraphRole = GraphRole.ACTION) -> None:
    inspect_tflite(content, role, _CONTRACT)


def _graph(model: Model, **changes: Any) -> Model:
    return replace(model, subgraphs=(replace(model.subgraphs[0], **changes), *model.subgraphs[1:]))


def _with_tensor(which: str, **changes: Any) -> Spoil:
    def spoil(model: Model) -> Model:
        tensors = [
            replace(each, **changes) if each.name == which else each for each in model.subgraphs[0].tensors
        ]
        return _graph(model, tensors=tuple(tensors))

    return spoil


def _with_content(name: str, change: Callable[[bytes], bytes]) -> Spoil:
    """Other bytes in the buffer of the tensor `name`."""

    def spoil(model: Model) -> Model:
        buffers = list(model.buffers)
        number = _tensor(model.subgraphs[0], name).buffer
        buffers[number] = tfl.Buffer(change(buffers[number].content))
        return replace(model, buffers=tuple(buffers))

    return spoil


def _tensor(subgraph: Subgraph, name: str) -> Tensor:
    return next(each for each in subgraph.tensors if each.name == name)


def _with_operator(kernel: Kernel, change: Callable[[Operator], Operator]) -> Spoil:
    """The first operator of `kernel`, changed."""

    def spoil(model: Model) -> Model:
        operators = list(model.subgraphs[0].operators)
        index = next(n for n, each in enumerate(operators) if model.codes[each.code].code == kernel)
        operators[index] = change(operators[index])
        return _graph(model, operators=tuple(operators))

    return spoil


def _with_code(code: Table) -> Spoil:
    return lambda model: replace(model, codes=(code, *model.codes[1:]))  # type: ignore[arg-type]


def _quantised(**changes: Any) -> Spoil:
    def spoil(model: Model) -> Model:
        name = "action_layers.0.out.weight.codes"
        old = _tensor(model.subgraphs[0], name).quantisation
        assert old is not None
        return _with_tensor(name, quantisation=replace(old, **changes))(model)

    return spoil


def _not_a_number(content: bytes) -> bytes:
    values = np.frombuffer(content, np.float32).copy()
    values[1] = np.nan
    return values.tobytes()


def _reversed_operators(model: Model) -> Model:
    return _graph(model, operators=model.subgraphs[0].operators[::-1])


def _endless(model: Model) -> Model:
    """The same operator over and over, in few bytes a piece."""
    operator = Operator(code=0)
    return _graph(model, operators=(operator,) * (MAX_OPERATORS + 1))


def _two_writers(model: Model) -> Model:
    operators = model.subgraphs[0].operators
    return _graph(model, operators=(*operators, operators[-1]))


@dataclass(frozen=True, slots=True)
class _OutsideBuffer(Table):
    """A buffer whose bytes lie after the tables, or in another file."""

    offset: int = field(1, Scalar("Q"))
    size: int = field(2, Scalar("Q"))


@dataclass(frozen=True, slots=True)
class _StatefulTensor(Table):
    is_variable: bool = field(5, Scalar("?", False))


@dataclass(frozen=True, slots=True)
class _ExternalTensor(Table):
    external_buffer: int = field(10, Scalar("I"))


@dataclass(frozen=True, slots=True)
class _CustomOperator(Table):
    options: str = field(5, Text())


@dataclass(frozen=True, slots=True)
class _LargeCustomOperator(Table):
    offset: int = field(9, Scalar("Q"))


@dataclass(frozen=True, slots=True)
class _NewKindOfOperator(Table):
    options_kind: int = field(11, Scalar("B"))


def _extra(where: str, table: Table) -> Spoil:
    """One more `table` at the end of a vector of the model or of its first subgraph."""

    def spoil(model: Model) -> Model:
        if where == "buffers":
            return replace(model, buffers=(*model.buffers, table))  # type: ignore[arg-type]
        return _graph(model, **{where: (*getattr(model.subgraphs[0], where), table)})

    return spoil


_HOSTILE: dict[str, tuple[Spoil, str]] = {
    "bytes outside the tables": (_extra("buffers", _OutsideBuffer(1 << 40, 8)), "has the field 1"),
    "a tensor with state": (_extra("tensors", _StatefulTensor(True)), "has the field 5"),
    "a tensor in another file": (_extra("tensors", _ExternalTensor(1)), "has the field 10"),
    "an operator with custom options": (_extra("operators", _CustomOperator("x")), "has the field 5"),
    "custom options after the tables": (_extra("operators", _LargeCustomOperator(9)), "has the field 9"),
    "options of the newer union": (_extra("operators", _NewKindOfOperator(1)), "has the field 11"),
    "a custom operator": (_with_code(tfl.OperatorCode(32, "Shell", 1, 32)), "custom operator 'Shell'"),
    "a custom operator without a name": (_with_code(tfl.OperatorCode(32, "", 1, 32)), "operator 32 "),
    "a branch": (_with_code(tfl.OperatorCode(118, "", 1, 118)), "operator 118 "),
    "a loop": (_with_code(tfl.OperatorCode(119, "", 1, 119)), "operator 119 "),
    "a random operator": (_with_code(tfl.OperatorCode(127, "", 1, 149)), "operator 149 "),
    "an operator hidden in the older field": (_with_code(tfl.OperatorCode(118, "", 1, 0)), "operator 118 "),
    "a negative operator": (_with_code(tfl.OperatorCode(-5, "", 1, -5)), "operator -5 "),
    "an operator of no kind": (
        _with_operator(Kernel.ADD, lambda each: replace(each, code=99)),
        "which is not there",
    ),
    "another schema": (lambda model: replace(model, version=4), "schema version 4"),
    "no buffers": (lambda model: replace(model, buffers=()), "first buffer"),
    "a first buffer with bytes": (
        lambda model: replace(model, buffers=(tfl.Buffer(b"x"), *model.buffers[1:])),
        "first buffer",
    ),
    "no subgraph": (lambda model: replace(model, subgraphs=()), "subgraphs are"),
    "a second subgraph": (
        lambda model: replace(model, subgraphs=model.subgraphs * 2),
        "subgraphs are",
    ),
    "a tensor in a buffer that is not there": (_with_tensor("number_1.0", buffer=10**6), "is not there"),
    "a tensor of strings": (_with_tensor("number_1.0", element=5), "element type 5"),
    "a negative dimension": (_with_tensor("number_1.0", shape=(-1, -1)), "impossible dimensions"),
    "an empty dimension": (_with_tensor("number_1.0", shape=(0,)), "impossible dimensions"),
    "terabytes in a few numbers": (
        _with_tensor("velocity", shape=(1 << 30, 1 << 30)),
        "impossible dimensions",
    ),
    "fewer bytes than the shape needs": (_with_content("action_places", lambda old: old[:-4]), "stores"),
    "more bytes than the shape needs": (_with_content("action_places", lambda old: old + old), "stores"),
    "a weight that is not a number": (_with_content("action_places", _not_a_number), "not finite"),
    "a scale that is not a number": (_quantised(scales=(float("nan"),) * 96), "not positive numbers"),
    "a scale of nothing": (_quantised(scales=(0.0,) * 96), "not positive numbers"),
    "fewer scales than channels": (_quantised(scales=(1.0,) * 95, zero_points=(0,) * 95), "95 scales"),
    "scales along no axis": (_quantised(axis=7), "for 0 channels"),
    "zero points apart from zero": (_quantised(zero_points=(3,) * 96), "not symmetric"),
    "codes that are fed": (_with_tensor("action_layers.0.out.weight.codes", buffer=0), "scales"),
    "a quantised float": (
        _with_tensor("action_places", quantisation=tfl.Quantisation((1.0,), (0,), 0)),
        "not as int8",
    ),
    "more operators than are read": (_endless, "too many"),
    "values used before they are made": (_reversed_operators, "nothing has made"),
    "a value made twice": (_two_writers, "made already"),
    "a tensor number far outside": (
        _with_operator(Kernel.ADD, lambda each: replace(each, inputs=(1 << 30, 0))),
        "nothing has made",
    ),
    "a negative tensor number": (
        _with_operator(Kernel.ADD, lambda each: replace(each, inputs=(-7, 0))),
        "nothing has made",
    ),
    "an output far outside": (
        _with_operator(Kernel.ADD, lambda each: replace(each, outputs=(1 << 30,))),
        "is not there",
    ),
    "a missing input": (
        _with_operator(Kernel.ADD, lambda each: replace(each, inputs=(tfl.ABSENT, 0))),
        "lacks an input",
    ),
    "too many inputs": (
        _with_operator(Kernel.MUL, lambda each: replace(each, inputs=each.inputs * 2)),
        "has 4 inputs",
    ),
    "too many outputs": (
        _with_operator(Kernel.MUL, lambda each: replace(each, outputs=each.outputs * 2)),
        "has 2 outputs",
    ),
    "the options of another operator": (
        _with_operator(Kernel.ADD, lambda each: replace(each, options_kind=9, options=tfl.Softmax(1.0))),
        "options of another operator",
    ),
    "options of an unknown kind": (
        _with_operator(Kernel.ADD, lambda each: replace(each, options_kind=77)),
        "options_kind 77",
    ),
    "a split into nothing": (
        _with_operator(Kernel.SPLIT, lambda each: replace(each, options=tfl.Split(0))),
        "does not fit",
    ),
    "a split into a million": (
        lambda model: _with_operator(Kernel.SPLIT, lambda each: replace(each, options=tfl.Split(1 << 20)))(
            _with_tensor("key", shape=(1 << 20,))(model)
        ),
        "does not fit",
    ),
    "many large values in few bytes": (
        lambda model: _graph(
            model,
            tensors=(*model.subgraphs[0].tensors, *(Tensor((1 << 28,), 0, 0, f"v{n}") for n in range(3))),
        ),
        "would have more than",
    ),
    "a softmax that is flat": (
        _with_operator(Kernel.SOFTMAX, lambda each: replace(each, options=tfl.Softmax(0.0))),
        "does not fit",
    ),
    "an activation of no kind": (
        _with_operator(Kernel.ADD, lambda each: replace(each, options=tfl.Fused(99))),
        "activation",
    ),
    "a shape that the operator does not make": (_with_tensor("velocity", shape=(64, 3)), "the file says"),
    "an order that is none": (
        _with_content("index_1_0_2", lambda _: np.array([1, 1, 2], np.int32).tobytes()),
        "does not fit",
    ),
    "a shape of other size": (
        _with_content("index_64_2", lambda _: np.array([64, 1 << 20], np.int32).tobytes()),
        "does not fit",
    ),
    "another input": (_with_tensor("time", name="clock"), "inputs are"),
    "another output": (_with_tensor("velocity", name="plan"), "outputs are"),
    "an output that nothing makes": (
        lambda model: _graph(model, outputs=(10**6,)),
        "nothing has made",
    ),
}


@pytest.mark.parametrize("attack", list(_HOSTILE))
def test_a_hostile_graph_is_refused_and_the_sentence_says_why(attack: str) -> None:
    spoil, sentence = _HOSTILE[attack]
    with pytest.raises(ModelNotAllowedError, match=sentence) as caught:
        _inspect(tfl.bytes_from_model(spoil(_ACTION)))
    assert str(caught.value).startswith("action graph: ")


@pytest.mark.parametrize("role", list(GraphRole))
def test_the_graphs_that_are_spoilt_here_are_themselves_allowed(role: GraphRole) -> None:
    _inspect(_BYTES[role], role)


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", "0 bytes"),
        (b"TFL3", "4 bytes"),
        (b"\x08\0\0\0ORTM" + bytes(64), "identifier"),
        (b"\x08\0\0\0TFL3", "outside of itself"),
        (b"\xff\xff\xff\xffTFL3" + bytes(64), "outside of itself"),
        (b"\x08\0\0\0TFL3" + struct.pack("<i", 1 << 30) + bytes(64), "outside of itself"),
        (b"\x08\0\0\0TFL3" + struct.pack("<i", -(1 << 30)) + bytes(64), "outside of itself"),
        (b"\x08\0\0\0TFL3" + bytes(64), "layout"),
    ],
    ids=[
        "nothing",
        "half a header",
        "another format",
        "no table",
        "a root far outside",
        "a layout before the file",
        "a layout behind the file",
        "a layout of no size",
    ],
)
def test_bytes_that_are_no_table_are_refused(content: bytes, sentence: str) -> None:
    with pytest.raises(ModelNotAllowedError, match=sentence):
        _inspect(content)


def test_a_larger_file_than_is_read_is_refused() -> None:
    with pytest.raises(ModelNotAllowedError, match="at most 1000"):
        inspect_tflite(_BYTES[GraphRole.ACTION], GraphRole.ACTION, _CONTRACT, max_bytes=1000)


def test_a_file_cut_short_is_refused_wherever_it_is_cut() -> None:
    whole = _BYTES[GraphRole.ACTION]
    for length in range(0, len(whole) - 1, 9973):
        with pytest.raises(ModelNotAllowedError):
            _inspect(whole[:length])


def test_a_small_file_that_unfolds_to_a_large_one_is_refused() -> None:
    """A thousand subgraphs that are all the same large table."""
    large = tfl.Subgraph(inputs=tuple(range(5000)))
    content = bytearray(tfl.bytes_from_model(tfl.Model(3, (), (tfl.Subgraph(),) * 999 + (large,))))
    first = content.index(struct.pack("<I", 1000)) + 4
    last = first + 4 * 999
    table = last + struct.unpack_from("<I", content, last)[0]
    for place in range(first, last, 4):
        struct.pack_into("<I", content, place, table - place)
    with pytest.raises(ModelNotAllowedError, match="unfolds"):
        _inspect(bytes(content))


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 60_000), st.integers(0, 255), st.sampled_from([1, 2, 4]))
def test_a_damaged_file_is_allowed_or_refused_and_never_anything_else(
    place: int, value: int, width: int
) -> None:
    content = bytearray(_BYTES[GraphRole.ACTION])
    content[place : place + width] = bytes([value]) * width
    with contextlib.suppress(ModelNotAllowedError):
        _inspect(bytes(content))


def test_what_an_interpreter_is_given_holds_nothing_that_was_not_inspected() -> None:
    """Bytes between and behind the tables are gone, whatever they were."""
    whole = _BYTES[GraphRole.ACTION]
    assert tfl.bytes_from_model(tfl.model_from_bytes(whole + b"PK\x03\x04 and more")) == whole


@pytest.mark.parametrize("role", [GraphRole.VISUAL, GraphRole.REASON])
def test_a_graph_in_another_graphs_place_is_refused(role: GraphRole) -> None:
    with pytest.raises(ModelNotAllowedError, match="subgraphs are"):
        _inspect(_BYTES[GraphRole.ACTION], role)


def test_int8_weights_that_would_round_the_activations_are_refused() -> None:
    codes = _tensor(_ACTION.subgraphs[0], "action_layers.0.out.weight.codes")
    number = _ACTION.subgraphs[0].tensors.index(codes)
    rows = _ACTION.subgraphs[0].inputs[0]
    hybrid = _with_operator(
        Kernel.FULLY_CONNECTED, lambda each: replace(each, inputs=(rows, number, tfl.ABSENT))
    )
    assert codes.element == Element.INT8
    with pytest.raises(ModelNotAllowedError, match="does not fit"):
        _inspect(tfl.bytes_from_model(hybrid(_ACTION)))
