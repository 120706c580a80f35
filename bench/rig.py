"""The rig: a device that drives in the reference world, all of it in virtual time and from one seed.

Owns: the wiring, what is watched on the way, when a drive is over. Must not know: which drives are made, how they are judged.

Follower, gate, supervisor with its seats, policy worker and plant are those of the device, unmodified, at their boards in
memory; only the clock is another (`bench.turns`), and with it how long a decision takes. The policy's plans are those of
its network. Nothing is measured here that depends on the machine: for how late ticks are, see `bench control`'s other parts.
"""

import hashlib
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import msgspec
import numpy as np

from agent.adapters.plant_file import read_plant
from agent.adapters.plant_shared import SharedPlant
from agent.board.change import POLICY, POLICY_BOARD, PolicyRecord
from agent.board.feed import Feed
from agent.board.records import (
    APPLIED_RING,
    LOOP,
    LOOP_BOARD,
    POWER,
    POWER_BOARD,
    WORKER,
    LoopRecord,
    LoopState,
    Worker,
    WorkerRecord,
    worker_board,
)
from agent.board.ring import RingReader
from agent.board.seqlock import BoardWriter
from agent.config import ControlSection
from agent.control.loop import Follower
from agent.control.publish import Post
from agent.control.seat import Child, Release
from agent.control.supervisor import CYCLE_NS, Supervisor
from agent.control.worker import DECISIONS_PER_EPOCH, Surroundings, serve
from agent.emulator.plant import STEP_S, STEPS_PER_FRAME, Plant
from bench.turns import Bell, Program, VirtualTime
from bench.worker_faults import Fault, FaultyLoader, FaultyPolicy, FaultySight, Ill, Pace
from models.contract import PolicyContract
from models.reference.contract import reference_plant
from models.reference.evaluate import FULL, cameras_of
from models.reference.world.drive import World
from models.reference.world.referee import Fault as Complaint
from models.reference.world.scenario import Scenario
from models.release.manifest import ReleaseLimits
from models.runtime.policy import Policy

_S = 1_000_000_000
_STEP_NS = round(STEP_S * _S)
_GOVERN_NS = _S // 2
_LOOK_NS = _S // 20
_RINGFUL = 1 << 16
FIRST_LOAD_NS = _S // 5
SETTLED_NS = _S // 2
"""From the start of `control` until the world begins to move: the first worker is ready by then."""
WELL_NS = 2 * _S
"""Recovered is who drove on a fresh plan for this long."""
PATIENCE_NS = 40 * _S
"""How long after a fault a drive may last until that is so."""
_LOOP = ControlSection()
_TICK_NS = round(_S / _LOOP.tick_hz)
_UNBOUND = POWER.record_from(POWER.packer.unpack(bytes(POWER.packer.size)))._replace(
    decision_rate_hz=_LOOP.decision_hz,
    max_reasoning_tokens=FULL.max_reasoning_tokens,
    flow_steps=FULL.flow_steps,
)
"""A governor that allows everything."""


@dataclass(frozen=True, slots=True)
class Driver:
    """A policy, and what its release promises."""

    policy: Policy
    limits: ReleaseLimits


@dataclass(frozen=True, slots=True)
class Course:
    """One drive: the world, for how long at least, and what goes wrong with the worker so many seconds after its start.

    `relapses`: every worker after it has the same fault from its start on.
    """

    seed: int
    scenario: Scenario
    seconds: float
    fault: Fault = Fault.NONE
    fault_s: float = 0.0
    relapses: bool = False


@dataclass
class Drive:
    """What became of it. `states` are the loop's since the fault, as its board told them, without repetitions."""

    complaints: frozenset[Complaint] = frozenset()
    states: list[LoopState] = field(default_factory=list)
    recovered: bool = False
    well_after_s: float = 0.0
    """From the fault until the loop was well for good, in seconds."""
    stopped: bool = False
    """Whether the loop stopped the vehicle, or had begun to, before it was well again."""
    workers: int = 0
    decisions_failed: int = 0
    applied: str = ""
    """A sha256 of every record of every tick: the same drive has the same."""


def drive(driver: Driver, course: Course) -> Drive:
    """Drive `course` to its end."""
    with _directory_in_memory() as run, VirtualTime() as time:
        return _Rig(run, time, driver, course).drive()


@contextmanager
def _directory_in_memory() -> Iterator[Path]:
    memory = Path("/dev/shm")  # Linux's own tmpfs
    with tempfile.TemporaryDirectory(prefix="roskva-rig-", dir=memory if memory.is_dir() else None) as name:
        yield Path(name)


class _Rig:
    """Everything of one drive; the spawner of its supervisor."""

    def __init__(self, run: Path, time: VirtualTime, driver: Driver, course: Course) -> None:
        self._run, self._time, self._driver, self._course = run, time, driver, course
        self._start_ns = time.mono_ns() + SETTLED_NS
        self._fault_ns = self._start_ns + round(course.fault_s * _S)
        self._bell = Bell(time)
        contract = driver.policy.contract
        self._world = World(course.seed, course.scenario, cameras_of(contract))
        # A plant has one instruction at a time; the reference plant's roads have no junction.
        spec = msgspec.structs.replace(reference_plant(), instructions=(course.scenario.instruction,))
        self._plant = Plant(self._world, spec, run)
        self._steps = 0
        self._power = BoardWriter(run / POWER_BOARD, POWER)
        self._workers: list[Program] = []
        release = Release("a", driver.policy.release_digest)
        self._supervisor = Supervisor(run, time, self, lambda: release)
        self._watch = _Watch(run)

    def drive(self) -> Drive:
        """Start all, let time pass until the drive is over."""
        time = self._time
        self._supervisor.start()
        time.every(CYCLE_NS, lambda _: self._supervisor.cycle())
        time.every(_GOVERN_NS, lambda _: self._power.write(_UNBOUND, time.mono_ns()))
        time.every(_STEP_NS, self._move, self._start_ns)
        time.every(_LOOK_NS, lambda due_ns: self._watch.look(due_ns, self._fault_ns))
        if self._course.fault is Fault.KILLED:
            time.at(self._fault_ns, self._kill)
        self._time.run_until(self._end_ns())
        while not self._is_over():
            self._time.run_until(self._time.mono_ns() + _LOOK_NS)
        return self._found()

    # --- the supervisor's children

    def follower(self) -> Child:
        """One that is never late, and ticks as `Follower.run` has it tick."""
        return self._time.every(_TICK_NS, Follower(self._run, self._time, _LOOP.tick_hz).tick)

    def promote(self, pid: int) -> None:
        """Nothing limits what runs in virtual time."""

    def worker(self, place: Worker, release: Release, epoch: int, *, candidate: bool) -> Child:
        """As `agent.app.worker` runs it, but for how it is loaded and how it waits."""
        pace, ill = Pace(np.random.default_rng([self._course.seed, 29, len(self._workers)])), self._ill()
        load_ns = pace.load_ns if self._workers else lambda: FIRST_LOAD_NS
        policy = FaultyPolicy(self._driver.policy, self._time, pace, ill)
        loader = FaultyLoader(policy, self._driver.limits, self._time, load_ns)
        connect = partial(self._sight, ill, pace)

        def work(me: Program) -> int:
            post = Post(place, release.slot, release.digest, epoch, me.pid, candidate)
            hz, run, time = _LOOP.decision_hz, self._run, self._time
            return serve(post, Surroundings(run, time, loader, connect, hz, lambda: me.asked_to_end))

        self._workers.append(self._time.start(work))
        return self._workers[-1]

    def _ill(self) -> Ill:
        """What is wrong with the next worker."""
        if not self._workers:
            return Ill(self._course.fault, self._fault_ns)
        return Ill(self._course.fault if self._course.relapses else Fault.NONE, self._time.mono_ns())

    def _sight(self, ill: Ill, pace: Pace, contract: PolicyContract) -> FaultySight:
        plant = SharedPlant(self._run, read_plant(self._run), contract)
        return FaultySight(plant, self._bell, ill, pace.lag_ns())

    # --- what else runs

    def _move(self, due_ns: int) -> None:
        """A step of the plant, as the emulator takes it."""
        self._plant.step(due_ns)
        self._steps += 1
        if self._steps % STEPS_PER_FRAME == 1:
            self._bell.ring()

    def _kill(self) -> None:
        """Somebody with SIGKILL; with `relapses` again and again."""
        self._workers[-1].kill()
        if self._course.relapses:
            self._time.at(self._time.mono_ns() + CYCLE_NS, self._kill)

    # --- the end

    def _end_ns(self) -> int:
        return self._start_ns + round(self._course.seconds * _S)

    def _is_over(self) -> bool:
        now_ns = self._time.mono_ns()
        well = self._watch.well_since_ns
        return (well is not None and now_ns - well >= WELL_NS) or now_ns >= self._fault_ns + PATIENCE_NS

    def _found(self) -> Drive:
        watch, now_ns = self._watch, self._time.mono_ns()
        well = watch.well_since_ns
        return Drive(
            complaints=self._world.faults,
            states=watch.states,
            recovered=well is not None and now_ns - well >= WELL_NS,
            well_after_s=round((well - self._fault_ns) / _S, 3) if well and well > self._fault_ns else 0.0,
            stopped=any(state in (LoopState.MINIMAL_RISK, LoopState.SAFE_STOP) for state in watch.states),
            workers=len(self._workers),
            decisions_failed=watch.failed,
            applied=watch.applied.hexdigest(),
        )


class _Watch:
    """Looks at the boards, as anyone may."""

    def __init__(self, run: Path) -> None:
        self._run = run
        self._loop: Feed[LoopRecord] = Feed(run / LOOP_BOARD, LOOP)
        self._policy: Feed[PolicyRecord] = Feed(run / POLICY_BOARD, POLICY)
        self._worker: Feed[WorkerRecord] = Feed(run / worker_board(Worker.A), WORKER)
        self._ring: RingReader | None = None
        self.applied = hashlib.sha256()
        self.states: list[LoopState] = []
        self.well_since_ns: int | None = None
        self.failed = 0

    def look(self, now_ns: int, since_ns: int) -> None:
        """Note the loop's state from `since_ns` on, since when it is well, and what it commanded."""
        for feed in (self._loop, self._policy, self._worker):
            feed.news(now_ns)
        self._read_ring()
        if self._loop.latest is None or self._policy.latest is None:
            return
        self._note(now_ns, self._loop.latest.record, self._policy.latest.record, since_ns)
        if self._worker.latest is not None:
            self.failed = max(self.failed, self._worker.latest.record.failed)

    def _note(self, now_ns: int, loop: LoopRecord, policy: PolicyRecord, since_ns: int) -> None:
        state = LoopState(loop.state)
        if now_ns >= since_ns and self.states[-1:] != [state]:
            self.states.append(state)
        drives = policy.driving == 1 and loop.decision // DECISIONS_PER_EPOCH == policy.epoch
        if state is not LoopState.OK or not drives:
            self.well_since_ns = None
        elif self.well_since_ns is None:
            self.well_since_ns = now_ns

    def _read_ring(self) -> None:
        if self._ring is None:
            self._ring = RingReader(self._run / APPLIED_RING)
        for record in self._ring.drain(_RINGFUL):
            self.applied.update(record)
