"""NVFP4: E2M1 codes, an FP8 (E4M3) scale for 16 weights along the reduction axis, one float32 scale a tensor.

Owns: the arithmetic of the format.
Must not know: graphs.
A block takes the better of two scales, its largest weight coming to rest on 6 or on 4 (E2M1 has a wide gap
between them); the idea is from "Four Over Six" (2025). The tensor scale leaves room for both. Where scales are
searched for, each clipping ratio is tried from both; scales stay FP8 and codes E2M1.
"""

from dataclasses import dataclass

import ml_dtypes
import numpy as np
from numpy.typing import NDArray

from models.quantise.clipping import Clipping, Fit, Number, best_of, unclipped, weighted_error

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


def nvfp4_from_weight(
    weight: NDArray[np.float32], axis: int, clipping: Clipping | None = None
) -> Nvfp4Weight:
    """Quantise `weight`, whose size along the reduction `axis` is a multiple of `BLOCK` (else `ValueError`).

    `clipping`, where given, has one importance for each index along `axis`.
    """
    if weight.shape[axis] % BLOCK:
        raise ValueError(
            f"{weight.shape[axis]} weights along axis {axis} do not make whole blocks of {BLOCK}"
        )
    clipping = clipping or unclipped(weight.shape[axis])
    blocks, importance = _blocks(weight, axis), _blocks(clipping.along(axis, weight.shape), axis)
    largest = np.abs(blocks).max(axis=-1, keepdims=True)
    tensor_scale = _tensor_scale(float(largest.max(initial=0.0)))
    wanted = (
        largest * np.float32(ratio) / code
        for ratio in clipping.ratios
        for code in (_LARGEST_CODE, _SECOND_CODE)
    )
    best = best_of(_fitted(blocks, each, tensor_scale, importance) for each in wanted)
    return Nvfp4Weight(
        codes=_unblocked(best.codes, axis).astype(ml_dtypes.float4_e2m1fn),
        block_scales=_unblocked(best.scales, axis).astype(ml_dtypes.float8_e4m3fn),
        tensor_scale=tensor_scale,
        axis=axis,
    )


def _fitted(
    blocks: NDArray[np.float32],
    wanted: NDArray[np.float32],
    tensor_scale: np.float32,
    importance: NDArray[np.float64],
) -> Fit:
    """Codes and scales are values of E2M1 and E4M3, held as float32."""
    scales = np.minimum(wanted / tensor_scale, _LARGEST_SCALE).astype(ml_dtypes.float8_e4m3fn)
    scales = scales.astype(np.float32)
    real = scales * tensor_scale
    # A scale that rounds to nothing makes a block of zeros; 1 only avoids dividing by it.
    scaled = np.where(real > 0, blocks / np.where(real > 0, real, 1), 0)
    codes = np.clip(scaled, -_LARGEST_CODE, _LARGEST_CODE).astype(ml_dtypes.float4_e2m1fn)
    codes = codes.astype(np.float32)
    return Fit(codes, scales, np.zeros_like(scales), weighted_error(codes, real, blocks, importance))


def _tensor_scale(largest: float) -> np.float32:
    """So that the largest weight's block scale is `_TOP_SCALE`.

    Never so small that a product with FP8's smallest scale, halved, would leave float32's normal numbers.
    """
    wanted = np.float32(largest / (_LARGEST_CODE * _TOP_SCALE))
    return max(wanted, np.float32(2.0**-115))


def _blocks(weight: NDArray[Number], axis: int) -> NDArray[Number]:
    """(…, n·BLOCK along `axis`, …) → (…, n, BLOCK), `axis` last."""
    moved = np.moveaxis(weight, axis, -1)
    return moved.reshape(*moved.shape[:-1], -1, BLOCK)


def _unblocked(blocks: NDArray[np.float32], axis: int) -> NDArray[np.float32]:
    return np.moveaxis(blocks.reshape(*blocks.shape[:-2], -1), -1, axis)
