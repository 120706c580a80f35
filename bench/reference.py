"""The reference policy in every precision, driven closed loop over evaluation seeds, beside constant velocity.

Owns: the workload and the figures. Must not know: how a drive is judged (`models.reference.evaluate`).

For each variant: success by class, over nominal and over long-tail drives; `min_ade_m`, the mean distance over the
horizon between where the plan leads and where the expert's would (one sample, so the least of one); bytes of the three
graphs; latency of a decision; words a decision. Seeds from `EVALUATION_SEED` on, which no training sees.
"""

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from models import reference
from models.digest import digest_of
from models.errors import ConfigurationError
from models.quantise.apply import Precision, quantise
from models.quantise.calibrate import calibrate
from models.reference import expert
from models.reference.checkpoint import read_checkpoint
from models.reference.evaluate import EVALUATION_SEED, Pace, Result, evaluate
from models.reference.export_tflite import export_tflite
from models.reference.world.classes import CLASSES, ScenarioClass
from models.reference.world.drive import World
from models.release.build import CALIBRATED, CALIBRATION_CASES
from models.release.family import family_of
from models.runtime import tflite_schema
from models.runtime.constant import ConstantVelocity
from models.runtime.onnx import OnnxPolicy
from models.runtime.policy import Decision, Policy
from models.runtime.signature import GraphRole
from models.runtime.tflite import TflitePolicy

CHECKPOINT = Path(next(iter(reference.__path__))) / "checkpoint"
TFLITE, CONSTANT = "tflite-int8", "constant-velocity"
_ADE_EVERY = 10

Maker = Callable[[], tuple[Policy, int]]
"""Makes a policy, and says how many bytes its graphs are."""


def run(arguments: Sequence[str]) -> dict[str, object]:
    """Drive the variants; returns the figures by variant."""
    parser = argparse.ArgumentParser(prog="python -m bench reference")
    parser.add_argument("--seeds", type=int, default=300, help="drives of each class")
    parser.add_argument("--only", default="", help="words in the names of the classes to drive, by comma")
    parser.add_argument("--variants", default="", help="variants to drive, by comma; all without")
    options = parser.parse_args(arguments)
    classes = [one for one in CLASSES if any(word in one.name for word in options.only.split(","))]
    makers = {
        name: make
        for name, make in _makers().items()
        if not options.variants or name in options.variants.split(",")
    }
    return {
        "seeds_per_class": options.seeds,
        **{name: _figures(name, make, classes, options.seeds) for name, make in makers.items()},
    }


def _makers() -> dict[str, Maker]:
    onnx = {str(precision): lambda p=precision: _onnx(p) for precision in Precision}
    return {**onnx, TFLITE: _tflite, CONSTANT: _constant}


def _onnx(precision: Precision) -> tuple[Policy, int]:
    family = family_of(CHECKPOINT)
    contract, floats = family.contract(CHECKPOINT), family.export(CHECKPOINT)
    used = None
    if precision in CALIBRATED:
        used = calibrate(floats, contract, family.observe(contract, CALIBRATION_CASES))
    graphs = quantise(floats, precision, family.heads, used).graphs
    contents = {GraphRole(role): model.SerializeToString() for role, model in graphs.items()}
    policy = OnnxPolicy(digest_of(b"bench"), contract, contents, threads=1)
    return policy, sum(map(len, contents.values()))


def _tflite() -> tuple[Policy, int]:
    contract = read_checkpoint(CHECKPOINT)[0].contract
    graphs = {
        GraphRole(role): tflite_schema.bytes_from_model(model)
        for role, model in export_tflite(CHECKPOINT).items()
    }
    return TflitePolicy(digest_of(b"bench"), contract, graphs, threads=1), sum(map(len, graphs.values()))


def _constant() -> tuple[Policy, int]:
    return ConstantVelocity(digest_of(b"bench"), read_checkpoint(CHECKPOINT)[0].contract), 0


@dataclass
class _Ades:
    """Average displacement errors, of every tenth decision."""

    metres: list[float] = field(default_factory=list)
    _seen: int = 0

    def watch(self, world: World, decision: Decision) -> None:
        self._seen += 1
        if self._seen % _ADE_EVERY == 0:
            right = expert.plan(world.situation, world.road)
            speed = world.ego.speed_mps
            away = positions_m(decision.plan, speed) - positions_m(right, speed)
            self.metres.append(float(np.hypot(away[:, 0], away[:, 1]).mean()))


def positions_m(plan: NDArray[np.float32], speed_mps: float, dt_s: float = 0.1) -> NDArray[np.float64]:
    """Where a plan (H, 2) of acceleration and curvature leads, (H, 2) in the rig frame at its start."""
    speeds = np.maximum(speed_mps + np.cumsum(plan[:, 0].astype(np.float64)) * dt_s, 0.0)
    yaw = np.cumsum(speeds * dt_s * plan[:, 1])
    steps = speeds * dt_s
    return np.stack([np.cumsum(steps * np.cos(yaw)), np.cumsum(steps * np.sin(yaw))], axis=1)


def _figures(name: str, make: Maker, classes: list[ScenarioClass], seeds: int) -> dict[str, object]:
    try:
        policy, size_bytes = make()
    except ConfigurationError as error:
        return {"skipped": str(error)}
    ades = _Ades()
    chosen = range(EVALUATION_SEED, EVALUATION_SEED + seeds)
    results = {one.name: evaluate(policy, one, chosen, Pace(), ades.watch) for one in classes}
    journeys = [journey for rows in results.values() for _, _, journey in rows]
    times = np.concatenate([journey.decision_ms for journey in journeys])
    return {
        "variant": name,
        "success": {one: round(_share(rows), 4) for one, rows in results.items()},
        "success_nominal": _mean(results, [one.name for one in classes if not one.long_tail]),
        "success_long_tail": _mean(results, [one.name for one in classes if one.long_tail]),
        "min_ade_m": round(float(np.mean(ades.metres)), 3) if ades.metres else None,
        "bytes": size_bytes,
        "decision_ms_p50": round(float(np.percentile(times, 50)), 2),
        "decision_ms_p99": round(float(np.percentile(times, 99)), 2),
        "tokens_per_decision": round(float(np.mean(np.concatenate([it.words for it in journeys]))), 2),
    }


def _share(rows: list[Result]) -> float:
    return sum(passed for _, passed, _ in rows) / len(rows)


def _mean(results: dict[str, list[Result]], names: list[str]) -> float | None:
    rows = [row for name in names for row in results[name]]
    return round(_share(rows), 4) if rows else None
