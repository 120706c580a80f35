"""INT8: symmetric, one float32 scale an output channel, weights only.

Owns: the arithmetic of the format. Activations stay float32, so this saves bytes and memory traffic, not arithmetic.
Must not know: graphs.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.quantise.clipping import Clipping, Fit, Number, best_of, unclipped, weighted_error

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


def int8_from_weight(
    weight: NDArray[np.float32], axis: int, reduction_axis: int = 0, clipping: Clipping | None = None
) -> Int8Weight:
    """Quantise `weight` with a scale for each index along the output `axis`; a channel of zeros has scale 1.

    `clipping`, where given, has one importance for each index along `reduction_axis`.
    """
    clipping = clipping or unclipped(weight.shape[reduction_axis])
    channels = _channels(weight, axis)
    importance = _channels(clipping.along(reduction_axis, weight.shape), axis)
    largest = np.abs(channels).max(axis=1, keepdims=True, initial=0.0)
    best = best_of(_fitted(channels, largest, importance, ratio) for ratio in clipping.ratios)
    moved = np.moveaxis(weight, axis, 0).shape
    codes = np.moveaxis(best.codes.reshape(moved), 0, axis)
    return Int8Weight(np.ascontiguousarray(codes).astype(np.int8), best.scales[:, 0], axis)


def _fitted(
    channels: NDArray[np.float32],
    largest: NDArray[np.float32],
    importance: NDArray[np.float64],
    ratio: float,
) -> Fit:
    scales = np.where(largest > 0, largest * np.float32(ratio) / _LARGEST_CODE, 1).astype(np.float32)
    scales = np.maximum(scales, np.finfo(np.float32).tiny)
    codes = np.clip(np.rint(channels / scales), -_LARGEST_CODE, _LARGEST_CODE)
    error = weighted_error(codes, scales, channels, importance)
    return Fit(codes, scales, np.zeros_like(scales), error)


def _channels(array: NDArray[Number], axis: int) -> NDArray[Number]:
    """(…, C along `axis`, …) → (C, everything else)."""
    return np.moveaxis(array, axis, 0).reshape(array.shape[axis], -1)


def _along(scales: NDArray[np.float32], axis: int, dimensions: int) -> NDArray[np.float32]:
    shape = [1] * dimensions
    shape[axis] = -1
    return scales.reshape(shape)
