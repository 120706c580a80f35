"""The variants that are driven: every precision, and what they must be better than.

Owns: how each comes from a checkpoint. Must not know: worlds, how a drive is judged.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from models import reference
from models.digest import digest_of
from models.errors import ConfigurationError
from models.quantise.apply import Precision, quantise
from models.quantise.calibrate import calibrate
from models.reference.checkpoint import read_checkpoint
from models.reference.evaluate import FULL, policy_of_checkpoint
from models.reference.export_tflite import export_tflite
from models.release.build import CALIBRATED, CALIBRATION_CASES
from models.release.family import family_of
from models.runtime import tflite_schema
from models.runtime.constant import ConstantVelocity
from models.runtime.onnx import OnnxPolicy
from models.runtime.policy import Knobs, Policy
from models.runtime.signature import GraphRole
from models.runtime.tflite import TflitePolicy

CHECKPOINT = Path(next(iter(reference.__path__))) / "checkpoint"
WITHOUT_REASONING = Path(__file__).parent / "without_reasoning"
FLOAT32, TFLITE, MUTE, SIGHT, CONSTANT = (
    "float32",
    "tflite-int8",
    "float32-mute",
    "without-reasoning",
    "constant-velocity",
)
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


def _onnx(checkpoint: Path, precision: Precision) -> Variant:
    family = family_of(checkpoint)
    contract, floats = family.contract(checkpoint), family.export(checkpoint)
    used = None
    if precision in CALIBRATED:
        used = calibrate(floats, contract, family.observe(contract, CALIBRATION_CASES))
    graphs = quantise(floats, precision, family.heads, used).graphs
    contents = {GraphRole(role): model.SerializeToString() for role, model in graphs.items()}
    policy = OnnxPolicy(digest_of(b"bench"), contract, contents, threads=1)
    return Variant(policy, sum(map(len, contents.values())))


def _tflite(checkpoint: Path) -> Variant:
    contract = read_checkpoint(checkpoint)[0].contract
    graphs = {
        GraphRole(role): tflite_schema.bytes_from_model(model)
        for role, model in export_tflite(checkpoint).items()
    }
    policy = TflitePolicy(digest_of(b"bench"), contract, graphs, threads=1)
    return Variant(policy, sum(map(len, graphs.values())))


def _mute(checkpoint: Path) -> Variant:
    return replace(_onnx(checkpoint, Precision.FLOAT32), knobs=_MUTE)


def _sight(_: Path) -> Variant:
    if not WITHOUT_REASONING.exists():
        raise ConfigurationError(
            f"no checkpoint in {WITHOUT_REASONING}: make train-reference REASONING=no, and put it there"
        )
    policy = policy_of_checkpoint(WITHOUT_REASONING)
    return Variant(policy, (WITHOUT_REASONING / "model.safetensors").stat().st_size, _MUTE)


def _constant(checkpoint: Path) -> Variant:
    return Variant(ConstantVelocity(digest_of(b"bench"), read_checkpoint(checkpoint)[0].contract), 0)


def _of(precision: Precision) -> Callable[[Path], Variant]:
    return lambda checkpoint: _onnx(checkpoint, precision)


VARIANTS: dict[str, Callable[[Path], Variant]] = {
    **{str(precision): _of(precision) for precision in Precision},
    TFLITE: _tflite,
    MUTE: _mute,
    SIGHT: _sight,
    CONSTANT: _constant,
}
"""Name → how it is made. `float32-mute` is the same policy, allowed no words; `without-reasoning` one of the same size,
trained as long, that never learnt any."""
