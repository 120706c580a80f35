"""From an observation on the board to a plan that a follower can take, beside the same graphs in a bare loop.

Owns: a policy worker alone on a core, this program as the plant that shows it recorded observations, the blocks of both in
turn, the ratio. Must not know: how the device came to hold the release.

A decision of the worker begins when the observation is on its board and the writer's call that wakes it is over, and ends
when the plan on that observation stands on its own board: a reader that does nothing else looks. One of the bare loop (`bench.bare`) begins with the arrays at hand, and ends with the plan.
Both decide at the same rate, on the same observations, with all words and flow steps, as nice as a worker is, on the same
core. Blocks go worker, bare, bare, worker.
"""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np

from agent.adapters.clock import MonotonicClock
from agent.adapters.files import FileDisk
from agent.adapters.plant_file import read_plant
from agent.board.change import POLICY, POLICY_BOARD
from agent.board.records import (
    OBSERVATION_BOARD,
    PLAN,
    POWER,
    POWER_BOARD,
    ObservationRecord,
    Worker,
    observation_layout,
    plan_board,
    raw_from_digest,
)
from agent.board.seqlock import BoardReader, BoardWriter
from agent.config import AgentConfig, load_config
from agent.update.slots import read_pointer
from models.contract import PlantSpec, PolicyContract
from models.digest import Digest, digest_from_text
from models.errors import NotNowError, PolicyFailedError
from models.release.family import family_of
from models.runtime.policy import Observation
from models.threads import single_threaded

_S = 1_000_000_000
_RATE_HZ = 10.0
_BLOCK, _WARM_UP = 50, 30
_EPOCH = 1_000
"""Above those of the workers that ran before on this device."""
_LOADED_NS, _DECIDED_NS = 60 * _S, 5 * _S
_OBSERVATIONS = 48
Figures = dict[str, object]


@dataclass(frozen=True, slots=True)
class Place:
    """A device whose processes are stopped, the cores to work on and to look from, and the checkpoint to observe for."""

    root: Path
    checkpoint: Path
    work_core: int
    look_core: int

    @property
    def config(self) -> AgentConfig:
        """What the device is configured to."""
        return load_config(self.root)

    @property
    def run(self) -> Path:
        """Where its boards are."""
        return self.root / self.config.paths.run

    def live(self) -> tuple[str, Digest]:
        """The slot of the release that is live, and its digest."""
        pointer = read_pointer(FileDisk(self.root / self.config.paths.state))
        return str(pointer.live), digest_from_text(pointer.live_digest)


def measure(place: Place, blocks: int) -> Figures:
    """`blocks` of each, in turn. Raises `NotNowError` where the worker does not load, `PolicyFailedError` where it fails."""
    with ExitStack() as stack:
        plant = stack.enter_context(_worker(place))
        bare = stack.enter_context(_bare(place, plant))
        ours: list[float] = []
        theirs: list[float] = []
        plant.block(_WARM_UP)
        bare.block(_WARM_UP)
        for index in range(blocks):
            first, second = (plant, bare) if index % 2 == 0 else (bare, plant)
            for each in (first, second):
                (ours if each is plant else theirs).extend(each.block(_BLOCK))
    return figures(ours, theirs)


def figures(ours_ms: list[float], theirs_ms: list[float]) -> Figures:
    """Medians and 99th percentiles of both, and how many times the bare loop's the worker's are."""
    ours, theirs = (np.percentile(each, (50, 99)) for each in (ours_ms, theirs_ms))
    return {
        "decisions": len(ours_ms),
        "decision_ms_p50": round(float(ours[0]), 3),
        "decision_ms_p99": round(float(ours[1]), 3),
        "bare_decisions": len(theirs_ms),
        "bare_ms_p50": round(float(theirs[0]), 3),
        "bare_ms_p99": round(float(theirs[1]), 3),
        "decision_overhead_p50": round(float(ours[0] / theirs[0]), 3),
        "decision_overhead_p99": round(float(ours[1] / theirs[1]), 3),
    }


class _Plant:
    """Shows observations to a worker and looks for its plans."""

    def __init__(self, run: Path, spec: PlantSpec, seen: tuple[Observation, ...], digest: Digest) -> None:
        self.spec, self.seen = spec, seen
        self._clock = MonotonicClock()
        self._observations = BoardWriter(run / OBSERVATION_BOARD, observation_layout(spec), wakes=True)
        self._power = BoardWriter(run / POWER_BOARD, POWER)
        self._policy = BoardWriter(run / POLICY_BOARD, POLICY)
        self._plans = BoardReader(run / plan_board(Worker.A), PLAN)
        self._raw = raw_from_digest(digest)
        self._shown = 0
        self._due_ns = 0
        """A worker passes over what comes sooner after an observation than the rate allows."""

    def block(self, count: int) -> list[float]:
        """`count` decisions at the rate; the milliseconds of each."""
        took_ms = []
        for _ in range(count):
            self._due_ns = max(self._due_ns + round(_S / _RATE_HZ), self._clock.mono_ns())
            self._allow_everything(self._due_ns)
            self._clock.sleep_until(self._due_ns)
            took_ms.append(self._decided())
        return took_ms

    def await_worker(self) -> None:
        """Return once it decides. Raises `NotNowError` after a minute."""
        deadline_ns = self._clock.mono_ns() + _LOADED_NS
        while self._clock.mono_ns() < deadline_ns:
            self._allow_everything(self._clock.mono_ns())
            before = self._plans.generation
            self._show()
            self._clock.sleep_until(self._clock.mono_ns() + _S // 2)
            if self._plans.generation != before:
                return
        raise NotNowError("the policy worker decides nothing; what it said stands above")

    def _decided(self) -> float:
        before = self._plans.generation
        observed_ns = self._show()
        shown_ns = self._clock.mono_ns()
        while self._plans.generation < before + 2:
            if self._clock.mono_ns() - shown_ns > _DECIDED_NS:
                raise PolicyFailedError("the policy worker gave no plan on an observation")
        done_ns = self._clock.mono_ns()
        plan = self._plans.read()
        if plan is None or plan.record.observation_ns != observed_ns:
            raise PolicyFailedError("the policy worker gave a plan on another observation than it was shown")
        return (done_ns - shown_ns) / 1e6

    def _show(self) -> int:
        seen, now_ns = self.seen[self._shown % len(self.seen)], self._clock.mono_ns()
        self._shown += 1
        frames = b"".join(seen.frames[camera.name].tobytes() for camera in self.spec.cameras)
        record = ObservationRecord(
            self._shown, now_ns, seen.instruction, seen.ego_history.astype("<f4").tobytes(), frames
        )
        self._observations.write(record, now_ns)
        return now_ns

    def _allow_everything(self, now_ns: int) -> None:
        """Be the governor and the supervisor."""
        power = POWER.record_from(POWER.packer.unpack(bytes(POWER.packer.size)))
        unbound = power._replace(decision_rate_hz=30.0, max_reasoning_tokens=1 << 20, flow_steps=1 << 20)
        self._power.write(unbound, now_ns)
        policy = POLICY.record_from(POLICY.packer.unpack(bytes(POLICY.packer.size)))
        self._policy.write(policy._replace(epoch=_EPOCH, digest=self._raw, driving=1), now_ns)


@contextmanager
def _worker(place: Place) -> Iterator[_Plant]:
    """A worker for the live release of the device, alone on its core, and the plant that it sees."""
    slot, digest = place.live()
    spec, family = read_plant(place.run), family_of(place.checkpoint)
    contract = family.contract(place.checkpoint)
    seen = family.observe(contract, _OBSERVATIONS)
    plant = _Plant(place.run, spec, tuple(_as_told(each, contract, spec) for each in seen), digest)
    words = ["--root", str(place.root), "--place", "a", "--slot", slot, "--digest", digest]
    argv = [sys.executable, "-P", "-m", "agent.app.worker", *words, "--epoch", str(_EPOCH)]
    with _on_core(place, argv):
        plant.await_worker()
        yield plant


def _as_told(seen: Observation, contract: PolicyContract, spec: PlantSpec) -> Observation:
    """`seen` with an instruction by the plant's number, not the contract's: its first where it has no such."""
    wanted = contract.instructions[seen.instruction]
    told = spec.instructions.index(wanted) if wanted in spec.instructions else 0
    return Observation(seen.sequence, seen.mono_ns, seen.frames, seen.ego_history, told)


@dataclass
class _Bare:
    process: "subprocess.Popen[str]"

    def block(self, count: int) -> list[float]:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(f"{count} {1 / _RATE_HZ}\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            raise PolicyFailedError("the bare loop ended")
        return msgspec.json.decode(line, type=list[float])


@contextmanager
def _bare(place: Place, plant: _Plant) -> Iterator[_Bare]:
    """The bare loop on the same release, observations and core."""
    contract = family_of(place.checkpoint).contract(place.checkpoint)
    frames = [
        np.concatenate([seen.frames[camera.name] for camera in contract.cameras]) for seen in plant.seen
    ]
    instructions = [
        [contract.instructions.index(plant.spec.instructions[seen.instruction])] for seen in plant.seen
    ]
    path = place.root / "observations.npz"
    np.savez(
        path,
        frames=np.stack(frames),
        ego_history=np.stack([seen.ego_history for seen in plant.seen]),
        instruction=np.array(instructions, np.int64),
    )
    config = place.config
    release = place.root / config.paths.state / "slots" / place.live()[0]
    argv = [sys.executable, "-P", "-m", "bench.bare", str(release), str(path), str(config.control.threads)]
    with _on_core(place, argv) as process:
        yield _Bare(process)


@contextmanager
def _on_core(place: Place, argv: list[str]) -> Iterator["subprocess.Popen[str]"]:
    """A process on the working core, ended with the block; this one looks from the other."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {place.work_core})
    environment = {**single_threaded(os.environ), "PYTHONPATH": str(Path(__file__).parent.parent)}
    process = subprocess.Popen(
        argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
    )
    os.sched_setaffinity(0, {place.look_core})
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        os.sched_setaffinity(0, before)
