"""How well a policy drives: closed loop over evaluation seeds, by class of scenario.

Owns: the drive of one world by a `Policy` with a decision delay, the criteria of success, and their rates.
Must not know: which runtime a policy runs in (only `policy_of_checkpoint` does), or the device's own loop.

A decision is taken every `period_s` on the observation of that instant and takes effect `delay_s` later; the
plan is followed by absolute time, as on a device.
"""

import argparse
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np
from rich.console import Console
from rich.table import Table

from models.contract import PolicyContract
from models.digest import digest_of
from models.reference.checkpoint import read_checkpoint
from models.reference.contract import FLOW_STEPS, MAX_TOKENS
from models.reference.export import export_graphs
from models.reference.world.classes import CLASSES, ScenarioClass
from models.reference.world.drive import World
from models.reference.world.observe import ObservationHistory
from models.reference.world.referee import Fault
from models.reference.world.rig import CAMERAS, Camera
from models.runtime.onnx import OnnxPolicy
from models.runtime.policy import Decision, Knobs, Observation, Policy
from models.runtime.signature import GraphRole

EVALUATION_SEED = 9_000_000
_FRAME_S = 0.1
_STANDING_MPS = 0.3
FULL = Knobs(max_reasoning_tokens=MAX_TOKENS, flow_steps=FLOW_STEPS)


@dataclass(frozen=True, slots=True)
class Pace:
    """How often a decision is taken and how late it comes, both multiples of 50 ms above 0, and what a governor allows it."""

    period_s: float = 0.2
    delay_s: float = 0.1
    knobs: Knobs = FULL


@dataclass(frozen=True, slots=True)
class Journey:
    """What became of one drive; `stood` is whether it came to rest on the way."""

    progress_m: float
    worst_offset_m: float
    faults: frozenset[Fault]
    stood: bool
    decision_ms: tuple[float, ...]
    words: tuple[int, ...]

    @property
    def safe(self) -> bool:
        """No referee's complaint."""
        return not self.faults


def cameras_of(contract: PolicyContract) -> tuple[Camera, ...]:
    """The world's cameras that a policy looks through, in the contract's order. Raises `KeyError` for others."""
    known = {camera.name: camera for camera in CAMERAS}
    return tuple(known[camera.name] for camera in contract.cameras)


Result = tuple[int, bool, Journey]
Watch = Callable[[World, Observation, Decision], None]


def drive(
    world: World, policy: Policy, seconds: float, pace: Pace, watch: Watch = lambda *_: None
) -> Journey:
    """Let `policy` drive `world` for `seconds`; a drive ends early at the referee's first complaint.

    `watch` is told each decision, in the world that it was made in, and on what.
    """
    driver = _Driver(policy, pace, watch)
    worst, stood = 0.0, False
    for tick in range(round(seconds / 0.05)):
        acceleration, curvature = driver.command(world, tick)
        world.step(acceleration, curvature, 0.05)
        worst = max(worst, abs(world.lane_offset_m))
        stood |= world.ego.speed_mps < _STANDING_MPS and world.progress_m > 5
        if world.faults:
            break
    return Journey(
        world.progress_m,
        worst,
        world.faults,
        stood,
        tuple(driver.decision_ms),
        tuple(driver.words),
    )


class _Driver:
    """Observes at 10 Hz, decides at the pace, follows the plan that is due."""

    def __init__(self, policy: Policy, pace: Pace, watch: Watch) -> None:
        contract = policy.contract
        self._watch = watch
        self._policy, self._contract = policy, contract
        self._history = ObservationHistory(contract.cameras, contract.ego_history)
        self._knobs = pace.knobs
        self._period, self._delay = round(pace.period_s / 0.05), round(pace.delay_s / 0.05)
        self._due: Decision | None = None
        self._coming: deque[tuple[int, Decision]] = deque()
        self.decision_ms: list[float] = []
        self.words: list[int] = []

    def command(self, world: World, tick: int) -> tuple[float, float]:
        """Acceleration and curvature for the 50 ms from `tick` on."""
        if tick % round(_FRAME_S / 0.05) == 0:
            ego = world.ego
            pose = (ego.x_m, ego.y_m, ego.yaw_rad, ego.speed_mps)
            self._history.add(tick * 50_000_000, world.render(), pose)
        if self._coming and tick >= self._coming[0][0]:
            self._due = self._coming.popleft()[1]
        if tick % self._period == 0:
            self._coming.append((tick + self._delay, self._decided(tick, world)))
        if self._due is None:
            return 0.0, world.vehicle.curvature_per_m
        age_s = tick * 0.05 - self._due.observation_ns / 1e9
        row = self._due.plan[min(int(age_s / self._contract.dt_s + 1e-6), len(self._due.plan) - 1)]
        return float(row[0]), float(row[1])

    def _decided(self, tick: int, world: World) -> Decision:
        told = self._contract.instructions.index(world.instruction)
        observation = self._history.observation(tick, told)
        decision = self._policy.decide(observation, self._knobs, seed=tick)
        latency = decision.latency
        self.decision_ms.append((latency.visual_ns + latency.reason_ns + latency.action_ns) / 1e6)
        self.words.append(len(decision.tokens))
        self._watch(world, observation, decision)
        return decision


def evaluate(
    policy: Policy, one: ScenarioClass, seeds: range, pace: Pace, watch: Watch = lambda *_: None
) -> list[Result]:
    """Drive one class at every seed: (seed, passed, journey)."""
    results = []
    cameras = cameras_of(policy.contract)
    for seed in seeds:
        scenario = one.make(seed)
        journey = drive(World(seed, scenario, cameras), policy, one.seconds, pace, watch)
        came = journey.progress_m > one.goal_m(scenario) and (journey.stood or not one.must_stand(scenario))
        results.append((seed, journey.safe and came, journey))
    return results


def policy_of_checkpoint(checkpoint_dir: Path) -> OnnxPolicy:
    """The float32 policy of a checkpoint, without a release around it: for evaluation only."""
    config, _ = read_checkpoint(checkpoint_dir)
    graphs = {
        GraphRole(name): model.SerializeToString() for name, model in export_graphs(checkpoint_dir).items()
    }
    unreleased = digest_of((checkpoint_dir / "model.safetensors").read_bytes())
    return OnnxPolicy(unreleased, config.contract, graphs, threads=1)


@dataclass(frozen=True, slots=True)
class Score:
    """The results of one trial over its seeds."""

    scenarios: str
    seeds: int
    passed: int
    faults: dict[str, int]
    worst_offset_m: float
    failed_seeds: tuple[int, ...]


def score(scenarios: str, results: list[Result]) -> Score:
    """Count what became of the drives of one class."""
    journeys = [journey for _, _, journey in results]
    failed = tuple(seed for seed, passed, _ in results if not passed)
    return Score(
        scenarios,
        len(results),
        len(results) - len(failed),
        {str(fault): count for fault in Fault if (count := sum(fault in it.faults for it in journeys))},
        round(max(journey.worst_offset_m for journey in journeys), 3),
        failed,
    )


def _table(rows: list[tuple[str, list[Result]]]) -> Table:
    table = Table("class", "passed", "faults", "worst offset m", "ms p50/p99", "failed")
    for name, results in rows:
        it = score(name, results)
        times = np.concatenate([journey.decision_ms for _, _, journey in results])
        table.add_row(
            name,
            f"{it.passed}/{it.seeds}",
            ", ".join(f"{count} {fault}" for fault, count in it.faults.items()),
            f"{it.worst_offset_m:.2f}",
            f"{np.percentile(times, 50):.1f}/{np.percentile(times, 99):.1f}",
            " ".join(str(seed) for seed in it.failed_seeds[:8]),
        )
    return table


def _driven(
    policy: Policy, classes: list[ScenarioClass], pace: Pace, seeds: int, circuits: int
) -> list[tuple[str, list[Result]]]:
    """Each class at `seeds` seeds, and five minutes on each of `circuits` endless circuits."""
    chosen = range(EVALUATION_SEED, EVALUATION_SEED + seeds)
    rows = [(one.name, evaluate(policy, one, chosen, pace)) for one in classes]
    laps: list[Result] = []
    for seed in range(EVALUATION_SEED, EVALUATION_SEED + circuits):
        journey = drive(World(seed, None, cameras_of(policy.contract)), policy, 300.0, pace)
        laps.append((seed, journey.safe and journey.progress_m > 1200, journey))
    return [*rows, ("endless, 5 min", laps)] if laps else rows


def main() -> None:
    """`python -m models.reference.evaluate [--checkpoint DIR] [--seeds 100] [--endless 4] [--write]`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--checkpoint", type=Path, default=Path(__file__).parent / "checkpoint")
    parser.add_argument("--seeds", type=int, default=100)
    parser.add_argument("--endless", type=int, default=4, help="circuits to drive for five minutes each")
    parser.add_argument("--period", type=float, default=0.2, help="seconds between decisions")
    parser.add_argument("--delay", type=float, default=0.1, help="seconds until a decision takes effect")
    parser.add_argument("--max-tokens", type=int, default=MAX_TOKENS)
    parser.add_argument("--flow-steps", type=int, default=FLOW_STEPS)
    parser.add_argument("--only", default="", help="words in the names of the classes to drive")
    parser.add_argument("--write", action="store_true", help="leave evaluation.json beside the weights")
    arguments = parser.parse_args()
    pace = Pace(arguments.period, arguments.delay, Knobs(arguments.max_tokens, arguments.flow_steps))
    wanted = [one for one in CLASSES if any(word in one.name for word in arguments.only.split(",") or [""])]
    policy = policy_of_checkpoint(arguments.checkpoint)
    rows = _driven(policy, wanted, pace, arguments.seeds, arguments.endless)
    Console().print(_table(rows))
    if arguments.write:
        written = msgspec.json.encode({"pace": pace, "scores": [score(*row) for row in rows]})
        (arguments.checkpoint / "evaluation.json").write_bytes(msgspec.json.format(written, indent=2) + b"\n")


if __name__ == "__main__":
    main()
