"""Model families: which checkpoints a release can be built from, and how.

Owns: the table of families, and recognising one from a checkpoint's `config.json`.
Must not know: precision, keys, claims. A new family is one more row, not one more `if` elsewhere.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import msgspec
import onnx

from models.contract import PolicyContract
from models.errors import RefusedError, UsageError
from models.reference import expert
from models.reference.checkpoint import Config, read_checkpoint
from models.reference.export import export_graphs
from models.reference.export_tflite import export_tflite
from models.reference.world.classes import CLASSES
from models.reference.world.drive import World
from models.reference.world.observe import ObservationHistory
from models.release.manifest import ReleaseLimits
from models.release.tflite_report import TfliteExport
from models.runtime.policy import Observation

T = TypeVar("T")

_MAX_CONFIG_BYTES = 1 << 20
_OBSERVATIONS_A_DRIVE = 2
_OBSERVE_EVERY = 50
_WARM_UP_STEPS = 20
_PLAN_STEPS = 5
_SEED = 4_000_000
"""Far from the seeds of training and evaluation."""


class UnknownFamilyError(RefusedError):
    """Nothing here can turn this checkpoint into graphs."""

    code = "unknown-model-family"


@dataclass(frozen=True, slots=True)
class ModelFamily:
    """How releases come from one kind of checkpoint.

    `observe` gives that many observations for golden outputs and for comparing precisions, always the same.
    `heads` are weights that NVFP4 leaves alone: errors there reach the plan undamped.
    `tflite` exports the same policy with int8 weights; None where nothing does.
    """

    name: str
    contract: Callable[[Path], PolicyContract]
    export: Callable[[Path], dict[str, onnx.ModelProto]]
    observe: Callable[[PolicyContract, int], tuple[Observation, ...]]
    limits: ReleaseLimits
    heads: frozenset[str] = frozenset()
    tflite: Callable[[Path], TfliteExport] | None = None


class _Config(msgspec.Struct, frozen=True):
    """What tells families apart: Hugging Face's `model_type`, or our own `architecture`."""

    model_type: str = ""
    architecture: str = ""


def family_of(checkpoint: Path) -> ModelFamily:
    """The family of the checkpoint in the folder `checkpoint`.

    Raises:
        UsageError: there is no `config.json` that can be read.
        UnknownFamilyError: it is of a family that nothing here can export.
    """
    config = _read(checkpoint, _Config)
    name = config.model_type or config.architecture
    if name not in _FAMILIES:
        raise UnknownFamilyError(
            f"the checkpoint is of the family {name[:80]!r}; releases can be built of {sorted(_FAMILIES)}. "
            "Larger models are exported and quantised by their own tools (NVIDIA Model Optimizer for Alpamayo)"
        )
    return _FAMILIES[name]


def _read(checkpoint: Path, kind: type[T]) -> T:
    path = checkpoint / "config.json"
    try:
        with path.open("rb") as file:
            data = file.read(_MAX_CONFIG_BYTES + 1)
        if len(data) > _MAX_CONFIG_BYTES:
            raise UsageError(f"{path} is longer than the {_MAX_CONFIG_BYTES} bytes that are read")
        return msgspec.json.decode(data, type=kind)
    except (OSError, msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise UsageError(f"{checkpoint} holds no config.json that can be read: {error}") from error


def _reference_contract(checkpoint: Path) -> PolicyContract:
    return _read(checkpoint, Config).contract


def _reference_tflite(checkpoint: Path) -> TfliteExport:
    return TfliteExport(export_tflite(checkpoint), read_checkpoint(checkpoint)[1])


def _reference_observations(contract: PolicyContract, count: int) -> tuple[Observation, ...]:
    """What the cameras show in seeded drives of each class in turn, the expert at the wheel."""
    found: list[Observation] = []
    for seed in range(-(-count // _OBSERVATIONS_A_DRIVE)):
        found += _observed_drive(contract, _SEED + seed)
    return tuple(found[:count])


def _observed_drive(contract: PolicyContract, seed: int) -> list[Observation]:
    scenario = CLASSES[seed % len(CLASSES)].make(seed)
    world, history = World(seed, scenario), ObservationHistory(contract.cameras, contract.ego_history)
    told = contract.instructions.index(world.instruction)
    dt_s = contract.ego_history.dt_s
    found: list[Observation] = []
    plan = expert.plan(world.situation, world.road)
    for step in range(_WARM_UP_STEPS + _OBSERVE_EVERY * (_OBSERVATIONS_A_DRIVE - 1) + 1):
        ego = world.ego
        mono_ns = round(step * dt_s * 1e9)
        history.add(mono_ns, world.render(), (ego.x_m, ego.y_m, ego.yaw_rad, ego.speed_mps))
        if step >= _WARM_UP_STEPS and (step - _WARM_UP_STEPS) % _OBSERVE_EVERY == 0:
            found.append(history.observation(len(found), told))
        if step % _PLAN_STEPS == 0:
            plan = expert.plan(world.situation, world.road)
        acceleration, curvature = plan[step % _PLAN_STEPS]
        world.step(float(acceleration), float(curvature), dt_s)
    return found


_FAMILIES = {
    "roskva-reference": ModelFamily(
        name="roskva-reference",
        contract=_reference_contract,
        export=export_graphs,
        observe=_reference_observations,
        limits=ReleaseLimits(
            decision_p99_ms=250.0,
            max_speed_mps=15.0,
            max_lateral_mps2=3.0,
            max_jerk_mps3=40.0,
            golden_tolerance_acceleration_mps2=0.02,
            golden_tolerance_curvature_per_m=0.0003,
            validated_envelope_w=(40.0, 130.0),
        ),
        # Measured: 5 kB more; the mean difference of plans falls by a third (acceleration) and two thirds (curvature).
        heads=frozenset({"waypoints.weight"}),
        tflite=_reference_tflite,
    )
}
