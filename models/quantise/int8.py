"""INT8: symmetric, one float32 scale an output channel, weights only.

Owns: the arithmetic of the format. Activations stay float32, so this saves bytes and memory traffic, not arithmetic.
Must not know: graphs.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_LARGEST_CODE = 127


@dataclass(frozen=True, slots=True)
class Int8Weight:
    """`codes` int8 in the weight's shape, -127..127; `scales` float32, one for each index along `axis`."""

    codes: NDArray[np.int8]
    scales: NDArray[np.float32]
    axis: int

    def dequantised(self) -> NDArray[np.float32]:
        """The weights that the codes stand for."""
        return np.asarray(self.codes.astype(np.float32) * _along(self.scales, self.axis, self.codes.ndim))


def int8_from_weight(weight: NDArray[np.float32], axis: int) -> Int8Weight:
    """Quantise `weight` with a scale for each index along the output `axis`; a channel of zeros has scale 1."""
    others = tuple(index for index in range(weight.ndim) if index != axis)
    largest = np.abs(weight).max(axis=others, initial=0.0)
    scales = np.where(largest > 0, largest / _LARGEST_CODE, 1).astype(np.float32)
    scales = np.maximum(scales, np.finfo(np.float32).tiny)
    codes = np.rint(weight / _along(scales, axis, weight.ndim))
    return Int8Weight(np.clip(codes, -_LARGEST_CODE, _LARGEST_CODE).astype(np.int8), scales, axis)


def _along(scales: NDArray[np.float32], axis: int, dimensions: int) -> NDArray[np.float32]:
    shape = [1] * dimensions
    shape[axis] = -1
    return scales.reshape(shape)
