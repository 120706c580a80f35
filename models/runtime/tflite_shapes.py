"""What each allowed TFLite operator makes of its operands' shapes and types.

Owns: one rule an operator, stricter than the interpreters': two dimensions where we need no more, constants where
a shape would otherwise depend on values.
Must not know: files, contracts.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.errors import ModelNotAllowedError
from models.runtime import tflite_schema as tfl
from models.runtime.flatbuffer import Table
from models.runtime.tflite_schema import Element, Kernel

Shape = tuple[int, ...]
_MAX_RANK = 5
_MAX_PARTS = 1000
_ACTIVATIONS = (0, 1)
"""None and ReLU."""


@dataclass(frozen=True, slots=True)
class Operand:
    """A value's shape and type, and its elements where they are stored."""

    shape: Shape
    element: Element
    constant: NDArray[np.generic] | None = None


@dataclass(frozen=True, slots=True)
class Made:
    """One output."""

    shape: Shape
    element: Element = Element.FLOAT32


Operands = Sequence[Operand]
_Rule = Callable[[Operands, Table | None], list[Made]]


def made_by(kernel: Kernel, operands: Operands, options: Table | None) -> list[Made]:
    """The outputs of `kernel`. Raises `ModelNotAllowedError` where operands or options do not fit it."""
    lowest, highest, rule = _RULES[kernel]
    if not lowest <= len(operands) <= highest:
        raise ModelNotAllowedError(f"{kernel.name} has {len(operands)} inputs")
    if any(len(each.shape) > _MAX_RANK for each in operands):
        raise ModelNotAllowedError(f"{kernel.name} has an input of more than {_MAX_RANK} dimensions")
    if getattr(options, "activation", 0) not in _ACTIVATIONS:
        raise ModelNotAllowedError(f"{kernel.name} ends in an activation that is not allowed")
    made = rule(operands, options)
    if not made:
        raise ModelNotAllowedError(
            f"{kernel.name} does not fit inputs of {[(each.element.name, each.shape) for each in operands][:4]}"
        )
    return made


def _are_floats(operands: Operands) -> bool:
    return all(each.element is Element.FLOAT32 for each in operands)


def _indices(operand: Operand) -> list[int] | None:
    """Whole numbers that are stored, such as axes."""
    if operand.element is not Element.INT32 or operand.constant is None:
        return None
    return [int(each) for each in operand.constant.ravel().tolist()]


def _alike(operands: Operands, _options: Table | None) -> list[Made]:
    return [Made(operands[0].shape)] if _are_floats(operands) else []


def _broadcast(operands: Operands, _options: Table | None) -> list[Made]:
    try:
        shape = np.broadcast_shapes(*(each.shape for each in operands))
    except ValueError:
        return []
    return [Made(shape)] if _are_floats(operands) else []


def _softmax(operands: Operands, options: Table | None) -> list[Made]:
    fits = isinstance(options, tfl.Softmax) and options.beta == 1.0 and operands[0].shape
    return _alike(operands, options) if fits else []


def _cast(operands: Operands, _options: Table | None) -> list[Made]:
    return [Made(operands[0].shape)] if operands[0].element is Element.UINT8 else []


def _dequantise(operands: Operands, _options: Table | None) -> list[Made]:
    fits = operands[0].element is Element.INT8 and operands[0].constant is not None
    return [Made(operands[0].shape)] if fits else []


def _fully_connected(operands: Operands, options: Table | None) -> list[Made]:
    rows, weight, *bias = operands
    if not isinstance(options, tfl.FullyConnected) or options.keep_num_dims:
        return []
    if len(rows.shape) != 2 or len(weight.shape) != 2 or rows.shape[1] != weight.shape[1]:
        return []
    if not _are_floats(operands):  # int8 weights would round the activations too: decision 12
        return []
    if any(each.shape != weight.shape[:1] for each in bias):
        return []
    return [Made((rows.shape[0], weight.shape[0]))]


def _batch_matmul(operands: Operands, options: Table | None) -> list[Made]:
    left, right = operands[0].shape, operands[1].shape
    if not isinstance(options, tfl.BatchMatMul) or len(left) != len(right) or len(left) < 2:
        return []
    (rows, inner), (inner_right, columns) = left[-2:], right[-2:]
    if options.turn_left:
        rows, inner = inner, rows
    if options.turn_right:
        inner_right, columns = columns, inner_right
    fits = left[:-2] == right[:-2] and inner == inner_right and _are_floats(operands)
    return [Made((*left[:-2], rows, columns))] if fits else []


def _reshape(operands: Operands, _options: Table | None) -> list[Made]:
    shape = _indices(operands[1])
    if shape is None or any(each < 1 for each in shape) or len(shape) > _MAX_RANK:
        return []
    fits = math.prod(shape) == math.prod(operands[0].shape)
    return [Made(tuple(shape), operands[0].element)] if fits else []


def _transpose(operands: Operands, _options: Table | None) -> list[Made]:
    order, shape = _indices(operands[1]), operands[0].shape
    if order is None or sorted(order) != list(range(len(shape))):
        return []
    return [Made(tuple(shape[each] for each in order))] if _are_floats(operands[:1]) else []


def _concatenation(operands: Operands, options: Table | None) -> list[Made]:
    first = operands[0].shape
    if not isinstance(options, tfl.Concatenation) or not 0 <= options.axis < len(first):
        return []
    axis = options.axis
    others = {each.shape[:axis] + each.shape[axis + 1 :] for each in operands}
    if len(others) != 1 or any(len(each.shape) != len(first) for each in operands):
        return []
    joined = sum(each.shape[axis] for each in operands)
    return [Made((*first[:axis], joined, *first[axis + 1 :]))] if _are_floats(operands) else []


def _gather(operands: Operands, options: Table | None) -> list[Made]:
    table, indices = operands
    fits = isinstance(options, tfl.Gather) and options.axis == 0 and len(indices.shape) == 1 and table.shape
    if not fits or indices.element not in (Element.INT32, Element.INT64) or not _are_floats([table]):
        return []
    return [Made((indices.shape[0], *table.shape[1:]))]


def _mean(operands: Operands, options: Table | None) -> list[Made]:
    axes, shape = _indices(operands[1]), operands[0].shape
    fits = isinstance(options, tfl.Mean) and options.keep_dims and axes == [len(shape) - 1]
    return [Made((*shape[:-1], 1))] if fits and shape and _are_floats(operands[:1]) else []


def _split(operands: Operands, options: Table | None) -> list[Made]:
    axes, shape = _indices(operands[0]), operands[1].shape
    if not isinstance(options, tfl.Split) or axes is None or len(axes) != 1 or not _are_floats(operands[1:]):
        return []
    axis, parts = axes[0], options.parts
    if not 0 <= axis < len(shape) or not 1 <= parts <= _MAX_PARTS or shape[axis] % parts:
        return []
    return [Made((*shape[:axis], shape[axis] // parts, *shape[axis + 1 :]))] * parts


_RULES: dict[Kernel, tuple[int, int, _Rule]] = {
    Kernel.ADD: (2, 2, _broadcast),
    Kernel.CONCATENATION: (1, _MAX_PARTS, _concatenation),
    Kernel.DEQUANTIZE: (1, 1, _dequantise),
    Kernel.FULLY_CONNECTED: (2, 3, _fully_connected),
    Kernel.MUL: (2, 2, _broadcast),
    Kernel.RESHAPE: (2, 2, _reshape),
    Kernel.SOFTMAX: (1, 1, _softmax),
    Kernel.GATHER: (2, 2, _gather),
    Kernel.TRANSPOSE: (2, 2, _transpose),
    Kernel.MEAN: (2, 2, _mean),
    Kernel.SUB: (2, 2, _broadcast),
    Kernel.DIV: (2, 2, _broadcast),
    Kernel.SPLIT: (2, 2, _split),
    Kernel.CAST: (1, 1, _cast),
    Kernel.MAXIMUM: (2, 2, _broadcast),
    Kernel.SIN: (1, 1, _alike),
    Kernel.RSQRT: (1, 1, _alike),
    Kernel.BATCH_MATMUL: (2, 2, _batch_matmul),
}
