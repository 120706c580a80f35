"""The variants that are driven: every precision, and what they must be better than.

Owns: how each comes from a checkpoint. Must not know: worlds, how a drive is judged.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from models import reference
from models.digest import digest_of
from models.errors import ConfigurationError
from models.quantise.calibrate import calibrate
from models.reference.checkpoint import read_checkpoint
from models.reference.evaluate import FULL
from models.release.build import CALIBRATED, CALIBRATION_CASES
from models.release.family import family_of
from models.release.graphs import Material, make_graphs
from models.release.precision import ReleasePrecision
from models.runtime.constant import ConstantVelocity
from models.runtime.load import RUNTIMES
from models.runtime.policy import Knobs, Policy

CHECKPOINT = Path(next(iter(reference.__path__))) / "checkpoint"
WITHOUT_REASONING = Path(__file__).parent / "without_reasoning"
MUTE, SIGHT, CONSTANT = "float32-mute", "without-reasoning", "constant-velocity"
_MUTE = Knobs(max_reasoning_tokens=0, flow_steps=FULL.flow_steps)


@dataclass(frozen=True, slots=True)
class Variant:
    """A policy, the bytes of its graphs, and what a governor allows it."""

    policy: Policy
    size_bytes: int
    knobs: Knobs = FULL


def variant(name: str, checkpoint: Path = CHECKPOINT) -> Variant:
    """Make the variant `name`. Raises `ConfigurationError` where this machine, or this checkout, lacks what it takes."""
    return VARIANTS[name](checkpoint)


def folder_of(name: str, checkpoint: Path) -> Path:
    """Where the weights of variant `name` lie, beside those of `checkpoint`."""
    return WITHOUT_REASONING if name == SIGHT else checkpoint


def _released(precision: ReleasePrecision, checkpoint: Path) -> Variant:
    """As a release of that precision would ship it."""
    family = family_of(checkpoint)
    contract, floats = family.contract(checkpoint), family.export(checkpoint)
    used = None
    if precision in CALIBRATED:
        used = calibrate(floats, contract, family.observe(contract, CALIBRATION_CASES))
    files = make_graphs(precision, Material(family, checkpoint, floats, used)).files
    policy = RUNTIMES[files.format].open(digest_of(b"bench"), contract, files.contents, 1)
    return Variant(policy, files.size_bytes)


def _mute(checkpoint: Path) -> Variant:
    return replace(_released(ReleasePrecision.FLOAT32, checkpoint), knobs=_MUTE)


def _sight(checkpoint: Path) -> Variant:
    folder = folder_of(SIGHT, checkpoint)
    if not folder.exists():
        raise ConfigurationError(
            f"no checkpoint in {folder}: make train-reference REASONING=no OUT=sight, and put sight/checkpoint there"
        )
    return _mute(folder)


def _constant(checkpoint: Path) -> Variant:
    return Variant(ConstantVelocity(digest_of(b"bench"), read_checkpoint(checkpoint)[0].contract), 0)


VARIANTS: dict[str, Callable[[Path], Variant]] = {
    **{str(precision): partial(_released, precision) for precision in ReleasePrecision},
    MUTE: _mute,
    SIGHT: _sight,
    CONSTANT: _constant,
}
"""Name → how it is made. `float32-mute` is the same policy, allowed no words; `without-reasoning` one of the same size,
trained as long, that never learnt any."""
