"""The part of TFLite's file format that Roskva reads and writes: schema version 3, as tables.

Owns: the tables, their field numbers, the numbers of types and operators.
Must not know: which graphs are allowed, how they are run.

Numbers: TensorFlow Lite's `schema.fbs`, in which they are never reused. Fields left out are refused on reading,
but for those in `UNREAD`, which describe and change nothing.
"""

from dataclasses import dataclass
from enum import IntEnum
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from models.runtime.flatbuffer import (
    Blob,
    Choice,
    Many,
    Numbers,
    One,
    Scalar,
    Table,
    Text,
    field,
    read,
    write,
)

IDENTIFIER = b"TFL3"
VERSION = 3
ABSENT = -1
"""In place of a tensor's number: an optional input that is not there."""


class Element(IntEnum):
    """Element types that are allowed."""

    FLOAT32 = 0
    INT32 = 2
    UINT8 = 3
    INT64 = 4
    INT8 = 9

    @property
    def dtype(self) -> np.dtype[np.generic]:
        """NumPy's name for it."""
        return np.dtype(self.name.lower())


class Kernel(IntEnum):
    """Built-in operators that are allowed: deterministic, without state, their shapes known beforehand."""

    ADD = 0
    CONCATENATION = 2
    DEQUANTIZE = 6
    FULLY_CONNECTED = 9
    MUL = 18
    RESHAPE = 22
    SOFTMAX = 25
    GATHER = 36
    TRANSPOSE = 39
    MEAN = 40
    SUB = 41
    DIV = 42
    SPLIT = 49
    CAST = 53
    MAXIMUM = 55
    SIN = 66
    RSQRT = 76
    BATCH_MATMUL = 126


@dataclass(frozen=True, slots=True)
class Fused(Table):
    """Options of ADD, SUB, MUL and DIV; `activation` 1 is ReLU."""

    UNREAD: ClassVar[frozenset[int]] = frozenset({1})
    activation: int = field(0, Scalar("b"))


@dataclass(frozen=True, slots=True)
class Concatenation(Table):
    """Options of CONCATENATION."""

    axis: int = field(0, Scalar("i"))
    activation: int = field(1, Scalar("b"))


@dataclass(frozen=True, slots=True)
class FullyConnected(Table):
    """Options of FULLY_CONNECTED; weights in the default layout, (outputs, inputs)."""

    activation: int = field(0, Scalar("b"))
    keep_num_dims: bool = field(2, Scalar("?", False))
    asymmetric_inputs: bool = field(3, Scalar("?", False))


@dataclass(frozen=True, slots=True)
class Softmax(Table):
    """Options of SOFTMAX, over the last axis."""

    beta: float = field(0, Scalar("f", 0.0))


@dataclass(frozen=True, slots=True)
class Gather(Table):
    """Options of GATHER."""

    axis: int = field(0, Scalar("i"))


@dataclass(frozen=True, slots=True)
class Mean(Table):
    """Options of MEAN."""

    keep_dims: bool = field(0, Scalar("?", False))


@dataclass(frozen=True, slots=True)
class Split(Table):
    """Options of SPLIT."""

    parts: int = field(0, Scalar("i"))


@dataclass(frozen=True, slots=True)
class BatchMatMul(Table):
    """Options of BATCH_MATMUL: which factor is turned."""

    turn_left: bool = field(0, Scalar("?", False))
    turn_right: bool = field(1, Scalar("?", False))


@dataclass(frozen=True, slots=True)
class Plain(Table):
    """Options that say nothing which inputs and outputs don't."""

    UNREAD: ClassVar[frozenset[int]] = frozenset({0, 1})


OPTIONS: dict[int, type[Table]] = {
    8: FullyConnected,
    9: Softmax,
    10: Concatenation,
    11: Fused,
    17: Plain,
    21: Fused,
    23: Gather,
    26: Plain,
    27: Mean,
    28: Fused,
    29: Fused,
    35: Split,
    37: Plain,
    38: Plain,
    39: Plain,
    101: BatchMatMul,
}
OPTIONS_OF: dict[Kernel, int] = {
    Kernel.FULLY_CONNECTED: 8,
    Kernel.SOFTMAX: 9,
    Kernel.CONCATENATION: 10,
    Kernel.ADD: 11,
    Kernel.RESHAPE: 17,
    Kernel.MUL: 21,
    Kernel.GATHER: 23,
    Kernel.TRANSPOSE: 26,
    Kernel.MEAN: 27,
    Kernel.SUB: 28,
    Kernel.DIV: 29,
    Kernel.SPLIT: 35,
    Kernel.CAST: 37,
    Kernel.DEQUANTIZE: 38,
    Kernel.MAXIMUM: 39,
    Kernel.BATCH_MATMUL: 101,
}
"""Number of each operator's options in the union; SIN and RSQRT have none."""


@dataclass(frozen=True, slots=True)
class OperatorCode(Table):
    """An operator that the file uses; the built-in number is the larger of its two fields."""

    deprecated_code: int = field(0, Scalar("b"))
    custom: str = field(1, Text())
    version: int = field(2, Scalar("i", 1))
    code: int = field(3, Scalar("i"))


@dataclass(frozen=True, slots=True)
class Quantisation(Table):
    """value = (code - zero point) · scale, one of each for a tensor or for each index along `axis`."""

    UNREAD: ClassVar[frozenset[int]] = frozenset({0, 1})
    scales: tuple[float, ...] = field(2, Numbers("f"))
    zero_points: tuple[int, ...] = field(3, Numbers("q"))
    axis: int = field(6, Scalar("i"))


@dataclass(frozen=True, slots=True)
class Tensor(Table):
    """A value: stored where its buffer has bytes, else computed or fed."""

    UNREAD: ClassVar[frozenset[int]] = frozenset({7, 8})
    shape: tuple[int, ...] = field(0, Numbers("i"))
    element: int = field(1, Scalar("b"))
    buffer: int = field(2, Scalar("I"))
    name: str = field(3, Text())
    quantisation: Quantisation | None = field(4, One(Quantisation))  # noqa: RUF009  it makes a dataclass field


@dataclass(frozen=True, slots=True)
class Operator(Table):
    """One step; inputs and outputs are numbers of tensors."""

    UNREAD: ClassVar[frozenset[int]] = frozenset({6, 7, 8, 13})
    code: int = field(0, Scalar("I"))
    inputs: tuple[int, ...] = field(1, Numbers("i"))
    outputs: tuple[int, ...] = field(2, Numbers("i"))
    options_kind: int = field(3, Scalar("B"))
    options: Table | None = field(4, Choice("options_kind", OPTIONS))  # noqa: RUF009  it makes a dataclass field


@dataclass(frozen=True, slots=True)
class Subgraph(Table):
    """Steps in the order in which they are run."""

    UNREAD: ClassVar[frozenset[int]] = frozenset({5})
    tensors: tuple[Tensor, ...] = field(0, Many(Tensor))
    inputs: tuple[int, ...] = field(1, Numbers("i"))
    outputs: tuple[int, ...] = field(2, Numbers("i"))
    operators: tuple[Operator, ...] = field(3, Many(Operator))
    name: str = field(4, Text())


@dataclass(frozen=True, slots=True)
class Buffer(Table):
    """Stored bytes. Fields 1 and 2 would place them outside the tables, and are refused."""

    content: bytes = field(0, Blob())


@dataclass(frozen=True, slots=True)
class Model(Table):
    """A file. Subgraphs share operator codes and buffers; buffer 0 is empty."""

    UNREAD: ClassVar[frozenset[int]] = frozenset({3, 5, 6, 7})
    version: int = field(0, Scalar("I"))
    codes: tuple[OperatorCode, ...] = field(1, Many(OperatorCode))
    subgraphs: tuple[Subgraph, ...] = field(2, Many(Subgraph))
    buffers: tuple[Buffer, ...] = field(4, Many(Buffer))


def model_from_bytes(content: bytes) -> Model:
    """The file as tables. Raises `ModelNotAllowedError`."""
    return read(content, IDENTIFIER, Model)


def bytes_from_model(model: Model) -> bytes:
    """The tables as a file."""
    return write(model, IDENTIFIER)


def stored(model: Model, tensor: Tensor) -> NDArray[np.generic] | None:
    """A stored tensor's elements (codes where it is quantised) in its shape; None where it is computed or fed."""
    content = model.buffers[tensor.buffer].content
    if not content:
        return None
    return np.frombuffer(content, Element(tensor.element).dtype).reshape(tensor.shape)
