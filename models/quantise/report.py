"""What a quantisation did and what it cost.

Owns: the figures of one quantisation, by layer and as a whole, and their JSON.
Must not know: how weights are quantised, how decisions are made.
"""

from dataclasses import dataclass

import msgspec
import numpy as np
from numpy.typing import NDArray

from models.contract import PolicyContract
from models.digest import Digest
from models.runtime.policy import Decision
from models.runtime.signature import action_width

TOOL = "roskva-quantise"
TOOL_VERSION = "2"


class LayerReport(msgspec.Struct, frozen=True):
    """One stored weight. `left_alone` is the reason why it was not quantised, empty where it was.

    Errors are of quantised against float weights, in the weights' own unit; `relative_error` is the
    root-mean-square error over the root-mean-square weight. `calibrated`: its scales were searched for with what
    the calibration set fed it.
    """

    graph: str
    weight: str
    shape: tuple[int, ...]
    left_alone: str = ""
    max_error: float = 0.0
    rms_error: float = 0.0
    relative_error: float = 0.0
    calibrated: bool = False


class CalibrationSet(msgspec.Struct, frozen=True):
    """How many observations scales were searched for with, and the sha256 of what a policy sees of them."""

    observations: int
    digest: Digest


class OutputDifference(msgspec.Struct, frozen=True):
    """The quantised policy's decisions against the float policy's, same observations and seeds.

    `mean_difference` and `max_difference` have one entry a column of the plan: for a unicycle m/s² and 1/m.
    `token_agreement` is the part of the cases whose reasoning is the same word for word.
    """

    cases: int
    mean_difference: tuple[float, ...]
    max_difference: tuple[float, ...]
    token_agreement: float


class QuantisationReport(msgspec.Struct, frozen=True):
    """All of it. Bytes are those of the three graphs together.

    Without a `calibration` set the largest weight of a channel or block sets its scale; `rounding` says it in words.
    """

    tool: str
    version: str
    precision: str
    scheme: str
    layers: tuple[LayerReport, ...]
    bytes_before: int
    bytes_after: int
    rounding: str = ""
    calibration: CalibrationSet | None = None
    difference: OutputDifference | None = None

    @property
    def quantised(self) -> tuple[LayerReport, ...]:
        """The weights that were quantised."""
        return tuple(layer for layer in self.layers if not layer.left_alone)

    @property
    def left_alone(self) -> tuple[LayerReport, ...]:
        """The weights that were not, each with its reason."""
        return tuple(layer for layer in self.layers if layer.left_alone)

    @property
    def worst_relative_error(self) -> float:
        """The largest `relative_error` of a layer."""
        return max((layer.relative_error for layer in self.quantised), default=0.0)


@dataclass(frozen=True, slots=True)
class WeightError:
    """Largest, root-mean-square and relative root-mean-square error."""

    maximum: float
    rms: float
    relative: float


def weight_error(weight: NDArray[np.float32], quantised: NDArray[np.float32]) -> WeightError:
    """The error of `quantised` against `weight`, in float64; relative to nothing is 0."""
    difference = quantised.astype(np.float64) - weight.astype(np.float64)
    rms = float(np.sqrt(np.square(difference).mean())) if weight.size else 0.0
    size = float(np.sqrt(np.square(weight.astype(np.float64)).mean())) if weight.size else 0.0
    maximum = float(np.abs(difference).max(initial=0.0))
    return WeightError(maximum, rms, rms / size if size else 0.0)


def output_difference(
    reference: list[Decision], quantised: list[Decision], contract: PolicyContract
) -> OutputDifference:
    """Compare two policies' decisions, case by case; lists of one length."""
    gaps = [np.abs(one.plan - other.plan) for one, other in zip(reference, quantised, strict=True)]
    stacked = np.stack(gaps).reshape(-1, action_width(contract)) if gaps else np.zeros((1, 2))
    same = sum(one.tokens == other.tokens for one, other in zip(reference, quantised, strict=True))
    return OutputDifference(
        cases=len(gaps),
        mean_difference=tuple(float(value) for value in stacked.mean(axis=0)),
        max_difference=tuple(float(value) for value in stacked.max(axis=0)),
        token_agreement=same / len(gaps) if gaps else 1.0,
    )
