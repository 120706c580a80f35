"""INT4: unsigned 4-bit codes, a float32 scale and a zero point for 32 weights along the reduction axis.

Owns: the arithmetic of the format, and the layout in which ONNX Runtime's `MatMulNBits` reads it.
Must not know: graphs.
The range of a block always holds 0, so that 0 has a code of its own and stays 0.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.quantise.clipping import Clipping, Fit, Number, best_of, unclipped, weighted_error

BLOCK = 32
BITS = 4
_LARGEST_CODE = 15
_LARGEST_SCALE = np.finfo(np.float32).max / _LARGEST_CODE
"""So that no code stands for infinity; only blocks that span more than float32's largest number are clipped by it."""


@dataclass(frozen=True, slots=True)
class Int4Weight:
    """A weight of K inputs and N outputs.

    `codes` uint8 (K, N), 0..15; `scales` float32 and `zero_points` uint8, 0..15, both (⌈K/32⌉, N).
    """

    codes: NDArray[np.uint8]
    scales: NDArray[np.float32]
    zero_points: NDArray[np.uint8]

    def dequantised(self) -> NDArray[np.float32]:
        """The weights that the codes stand for, float32 (K, N): (code - zero point) · scale, rounded once."""
        count = len(self.codes)
        zero = np.repeat(self.zero_points, BLOCK, axis=0)[:count].astype(np.float32)
        scale = np.repeat(self.scales, BLOCK, axis=0)[:count]
        return np.asarray((self.codes.astype(np.float32) - zero) * scale, np.float32)

    def packed_codes(self) -> NDArray[np.uint8]:
        """`MatMulNBits`' B: uint8 (N, ⌈K/32⌉, 16), the first of two codes in the low nibble.

        Beyond K stands the zero point, which is a weight of 0.
        """
        count, outputs = self.codes.shape
        whole = np.repeat(self.zero_points, BLOCK, axis=0)
        whole[:count] = self.codes
        return _packed(whole.T.reshape(outputs, -1, BLOCK))

    def packed_zero_points(self) -> NDArray[np.uint8]:
        """`MatMulNBits`' zero points: uint8 (N, ⌈⌈K/32⌉/2⌉), packed alike."""
        even = np.pad(self.zero_points.T, ((0, 0), (0, len(self.zero_points) % 2)))
        return _packed(even)


def int4_from_weight(weight: NDArray[np.float32], clipping: Clipping | None = None) -> Int4Weight:
    """Quantise `weight` (K, N), K ≥ 1; a block of zeros has scale 1. `clipping` has one importance an input."""
    count, outputs = weight.shape
    clipping = clipping or unclipped(count)
    blocks = _blocks(weight)
    importance = _blocks(clipping.along(0, weight.shape))
    # In float64: the range of the largest float32 numbers is none itself.
    lowest = np.minimum(blocks.min(axis=-1, keepdims=True), 0).astype(np.float64)
    highest = np.maximum(blocks.max(axis=-1, keepdims=True), 0).astype(np.float64)
    best = best_of(
        _fitted(blocks, (lowest * ratio, highest * ratio), importance) for ratio in clipping.ratios
    )
    codes = best.codes.reshape(outputs, -1)[:, :count].T
    return Int4Weight(
        codes=np.ascontiguousarray(codes).astype(np.uint8),
        scales=np.ascontiguousarray(best.scales[..., 0].T),
        zero_points=np.ascontiguousarray(best.zero_points[..., 0].T).astype(np.uint8),
    )


def _fitted(
    blocks: NDArray[np.float32],
    bounds: tuple[NDArray[np.float64], NDArray[np.float64]],
    importance: NDArray[np.float64],
) -> Fit:
    lowest, highest = bounds
    span = highest - lowest
    scales = np.where(span > 0, span / _LARGEST_CODE, 1).astype(np.float32)
    scales = np.clip(scales, np.finfo(np.float32).tiny, _LARGEST_SCALE).astype(np.float32)
    zero_points = np.rint(-lowest / np.where(span > 0, span, 1) * _LARGEST_CODE).astype(np.float32)
    codes = np.clip(np.rint(blocks / scales) + zero_points, 0, _LARGEST_CODE)
    error = weighted_error(codes - zero_points, scales, blocks, importance)
    return Fit(codes, scales, zero_points, error)


def _blocks(array: NDArray[Number]) -> NDArray[Number]:
    """(K, N) → (N, ⌈K/32⌉, 32), zeros beyond K."""
    missing = -len(array) % BLOCK
    return np.pad(array, ((0, missing), (0, 0))).T.reshape(array.shape[1], -1, BLOCK)


def _packed(codes: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.asarray(codes[..., 0::2] | (codes[..., 1::2] << 4), np.uint8)
