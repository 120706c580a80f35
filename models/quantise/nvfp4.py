"""NVFP4: E2M1 codes, an FP8 (E4M3) scale for 16 weights along the reduction axis, one float32 scale a tensor.

Owns: the arithmetic of the format.
Must not know: graphs.
A block takes the better of two scales, its largest weight coming to rest on 6 or on 4 (E2M1 has a wide gap
between them); the idea is from "Four Over Six" (2025). The tensor scale leaves room for both.
"""

from dataclasses import dataclass

import ml_dtypes
import numpy as np
from numpy.typing import NDArray

BLOCK = 16
_LARGEST_CODE = 6.0
_SECOND_CODE = 4.0
_LARGEST_SCALE = 448.0
_TOP_SCALE = 256.0
"""The largest weight's block scale: FP8 holds it exactly, and one and a half times as much as well."""


@dataclass(frozen=True, slots=True)
class Nvfp4Weight:
    """`codes` float4_e2m1fn in the weight's shape, `block_scales` float8_e4m3fn, shorter by `BLOCK` along `axis`."""

    codes: NDArray[np.generic]
    block_scales: NDArray[np.generic]
    tensor_scale: np.float32
    axis: int

    def dequantised(self) -> NDArray[np.float32]:
        """The weights that the codes stand for: code · (block scale · tensor scale), rounded in that order."""
        scales = self.block_scales.astype(np.float32) * self.tensor_scale
        return np.asarray(
            self.codes.astype(np.float32) * np.repeat(scales, BLOCK, axis=self.axis), np.float32
        )


def nvfp4_from_weight(weight: NDArray[np.float32], axis: int) -> Nvfp4Weight:
    """Quantise `weight`, whose size along the reduction `axis` is a multiple of `BLOCK` (else `ValueError`)."""
    if weight.shape[axis] % BLOCK:
        raise ValueError(
            f"{weight.shape[axis]} weights along axis {axis} do not make whole blocks of {BLOCK}"
        )
    blocks = _blocks(weight, axis)
    largest = np.abs(blocks).max(axis=-1, keepdims=True)
    tensor_scale = _tensor_scale(float(largest.max(initial=0.0)))
    first = _fitted(blocks, largest / _LARGEST_CODE, tensor_scale)
    second = _fitted(blocks, largest / _SECOND_CODE, tensor_scale)
    better = second.error < first.error
    codes = np.where(better, second.codes.astype(np.float32), first.codes.astype(np.float32))
    scales = np.where(better, second.scales.astype(np.float32), first.scales.astype(np.float32))
    return Nvfp4Weight(
        codes=_unblocked(codes, axis).astype(ml_dtypes.float4_e2m1fn),
        block_scales=_unblocked(scales, axis).astype(ml_dtypes.float8_e4m3fn),
        tensor_scale=tensor_scale,
        axis=axis,
    )


@dataclass(frozen=True, slots=True)
class _Fit:
    """One choice of scales: codes (…, BLOCK), scales (…, 1) and squared error (…, 1)."""

    codes: NDArray[np.generic]
    scales: NDArray[np.generic]
    error: NDArray[np.float64]


def _fitted(blocks: NDArray[np.float32], wanted: NDArray[np.float32], tensor_scale: np.float32) -> _Fit:
    scales = np.minimum(wanted / tensor_scale, _LARGEST_SCALE).astype(ml_dtypes.float8_e4m3fn)
    real = scales.astype(np.float32) * tensor_scale
    # A scale that rounds to nothing makes a block of zeros; 1 only avoids dividing by it.
    scaled = np.where(real > 0, blocks / np.where(real > 0, real, 1), 0)
    codes = np.clip(scaled, -_LARGEST_CODE, _LARGEST_CODE).astype(ml_dtypes.float4_e2m1fn)
    difference = codes.astype(np.float64) * real - blocks
    return _Fit(codes, scales, np.square(difference).sum(axis=-1, keepdims=True))


def _tensor_scale(largest: float) -> np.float32:
    """So that the largest weight's block scale is `_TOP_SCALE`.

    Never so small that a product with FP8's smallest scale, halved, would leave float32's normal numbers.
    """
    wanted = np.float32(largest / (_LARGEST_CODE * _TOP_SCALE))
    return max(wanted, np.float32(2.0**-115))


def _blocks(weight: NDArray[np.float32], axis: int) -> NDArray[np.float32]:
    """(…, n·BLOCK along `axis`, …) → (…, n, BLOCK), `axis` last."""
    moved = np.moveaxis(weight, axis, -1)
    return moved.reshape(*moved.shape[:-1], -1, BLOCK)


def _unblocked(blocks: NDArray[np.float32], axis: int) -> NDArray[np.float32]:
    return np.moveaxis(blocks.reshape(*blocks.shape[:-2], -1), -1, axis)
