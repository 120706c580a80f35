"""The search for scales: which clipping ratios are tried, and what an error costs.

Owns: the grid, the weighting of errors by what flows through a weight, and keeping the better of two fits.
Must not know: formats, graphs, where the weighting comes from.

An output of `x · W` is off by Σ x_k·δ_k. Taking the x_k as uncorrelated, its mean square is Σ E[x_k²]·δ_k²: the
squared errors of a block, weighted by the second moments of the inputs that they meet.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

Number = TypeVar("Number", np.float32, np.float64)

RATIOS = (1.0, 0.98, 0.96, 0.94, 0.92, 0.9, 0.88, 0.86, 0.84, 0.82, 0.8, 0.78, 0.76, 0.74, 0.72, 0.7)
"""The largest value that codes reach, over the largest weight. 1 stands first, and wins where nothing is better."""
_DAMPING = 0.01
"""Part of the mean moment that every input counts at least: what the set never showed may still come."""


@dataclass(frozen=True, slots=True)
class Clipping:
    """What to try, and what an error along each index of the reduction axis costs (float64 (K,), above 0)."""

    ratios: tuple[float, ...]
    importance: NDArray[np.float64]

    def along(self, axis: int, shape: tuple[int, ...]) -> NDArray[np.float64]:
        """`importance` for each weight of a tensor of `shape` that reduces over `axis`."""
        one = [1] * len(shape)
        one[axis] = -1
        return np.broadcast_to(self.importance.reshape(one), shape)


def unclipped(size: int) -> Clipping:
    """The largest weight sets the scale, and all of `size` inputs count alike: without a calibration set."""
    return Clipping((1.0,), np.ones(size))


def clipping_from_moments(moments: NDArray[np.float64]) -> Clipping:
    """The whole grid, errors weighted by `moments` (K,): the mean square of each input, 0 or more."""
    mean = float(moments.mean()) if moments.size else 0.0
    return Clipping(RATIOS, moments + _DAMPING * mean if mean > 0 else np.ones(moments.shape))


@dataclass(frozen=True, slots=True)
class Fit:
    """One choice of scales for many blocks: codes (…, B); scales, zero points and weighted errors (…, 1)."""

    codes: NDArray[np.float32]
    scales: NDArray[np.float32]
    zero_points: NDArray[np.float32]
    error: NDArray[np.float64]


def best_of(fits: Iterable[Fit]) -> Fit:
    """For each block the fit of the smallest error; of equals the first. Raises `StopIteration` of no fits."""
    remaining = iter(fits)
    best = next(remaining)
    for fit in remaining:
        better = fit.error < best.error
        best = Fit(
            np.where(better, fit.codes, best.codes),
            np.where(better, fit.scales, best.scales),
            np.where(better, fit.zero_points, best.zero_points),
            np.where(better, fit.error, best.error),
        )
    return best


def weighted_error(
    codes: NDArray[np.float32],
    scales: NDArray[np.float32],
    blocks: NDArray[np.float32],
    importance: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Σ importance · (codes · scales - blocks)² over each block, in float64: (…, B) → (…, 1)."""
    difference = codes.astype(np.float64) * scales - blocks
    return np.asarray((importance * np.square(difference)).sum(axis=-1, keepdims=True))
