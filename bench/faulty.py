"""A policy worker that breaks its contract while it drives on trial: `python -P -m bench.faulty --root R …`.

Owns: the ways to break it, and the note of when. Must not know: how long anyone takes to notice.

All else is the real worker on a verified release. With `control` before the words it is the control process whose workers
these are. Without a `fault.json` in the run directory nothing breaks.
"""

import os
import signal
import sys
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path

import msgspec
import numpy as np

from agent.adapters.clock import MonotonicClock
from agent.adapters.systemd import Notifier
from agent.app.control import PythonSpawner, live_source, supervise
from agent.app.worker import arguments_from, loader_of, work
from agent.board.change import POLICY, POLICY_BOARD, CandidateState, PolicyRecord
from agent.board.feed import Feed
from agent.config import load_config
from agent.control.worker import LoadedPolicy, PolicyLoader
from agent.ports import Clock
from bench.wrapped import Wrapped
from models.errors import PolicyFailedError
from models.runtime.policy import Decision, Knobs, Observation, Policy

_S = 1_000_000_000
_SLOWER = 10
_FOREVER_NS = 3600 * _S
FAULT_FILE, BREACH_FILE = "fault.json", "breach.json"
PROGRAM = ("-P", "-m", "bench.faulty")


class Fault(StrEnum):
    """How a contract is broken."""

    SLOW = "slow"
    """Every decision takes ten times what 99 in 100 are promised to take."""
    NOT_FINITE = "not-finite"
    HANGS = "hangs"
    RAISES = "raises"
    DIES = "dies"


class Order(msgspec.Struct, frozen=True):
    """Break as `fault` says, from the decision after `after` on that the worker drove with on trial."""

    fault: Fault
    after: int


class Breach(msgspec.Struct, frozen=True):
    """When the first breach was a fact: a bad plan was there, the process ended, or a decision was late."""

    epoch: int
    mono_ns: int


@dataclass(frozen=True, slots=True)
class Trial:
    """Whether the worker of `epoch` drives on trial now, by `policy.board`."""

    epoch: int
    clock: Clock
    board: Feed[PolicyRecord]

    def is_on(self) -> bool:
        """A worker that drives with nobody to fall back on is not on trial."""
        self.board.news(self.clock.mono_ns())
        told = self.board.latest
        return (
            told is not None
            and told.record.epoch == self.epoch
            and told.record.candidate == CandidateState.DRIVING
        )


class FaultyPolicy(Wrapped):
    """`policy`, until it is time to break. `promised_ns` is the latency that its release promises."""

    def __init__(self, policy: Policy, order: Order, trial: Trial, promised_ns: int, breach: Path) -> None:
        super().__init__(policy)
        self._order, self._trial = order, trial
        self._promised_ns, self._breach = promised_ns, breach
        self._driven = 0
        self._told = False

    def decide(self, observation: Observation, knobs: Knobs, seed: int) -> Decision:
        """As the policy decides. Raises `PolicyFailedError` where that is the fault."""
        self._driven += self._trial.is_on()
        if self._driven <= self._order.after:
            return self._policy.decide(observation, knobs, seed)
        fault, clock = self._order.fault, self._trial.clock
        if fault in (Fault.SLOW, Fault.HANGS):
            now_ns = clock.mono_ns()
            self._tell(now_ns + self._promised_ns)
            clock.sleep_until(now_ns + (_SLOWER * self._promised_ns if fault is Fault.SLOW else _FOREVER_NS))
        decision = self._policy.decide(observation, knobs, seed)
        self._tell(clock.mono_ns())
        if fault is Fault.RAISES:
            raise PolicyFailedError("this decision fails, as it was told to")
        if fault is Fault.DIES:
            os.kill(os.getpid(), signal.SIGKILL)
        return replace(decision, plan=_broken(decision)) if fault is Fault.NOT_FINITE else decision

    def _tell(self, mono_ns: int) -> None:
        """Note the first breach."""
        if not self._told:
            self._told = True
            write(self._breach, Breach(self._trial.epoch, mono_ns))


def _broken(decision: Decision) -> "np.typing.NDArray[np.float32]":
    plan = decision.plan.copy()
    plan[-1, -1] = np.nan
    return plan


@dataclass(frozen=True, slots=True)
class FaultyLoader:
    """What `loader` loads, to be broken by `order`."""

    loader: PolicyLoader
    order: Order
    trial: Trial
    breach: Path

    def load(self) -> LoadedPolicy:
        """Raises what `loader` does."""
        loaded = self.loader.load()
        promised_ns = round(loaded.limits.decision_p99_ms * 1e6)
        policy = FaultyPolicy(loaded.policy, self.order, self.trial, promised_ns, self.breach)
        return replace(loaded, policy=policy)


def write(path: Path, content: msgspec.Struct) -> None:
    """Write a file that no reader sees half of."""
    fresh = path.with_name(f".{path.name}.new")
    fresh.write_bytes(msgspec.json.encode(content))
    fresh.replace(path)


def breach_in(run: Path) -> Breach | None:
    """What the worker noted, None where nothing broke yet."""
    try:
        return msgspec.json.decode((run / BREACH_FILE).read_bytes(), type=Breach)
    except FileNotFoundError:
        return None


def _worker(words: list[str]) -> int:
    arguments = arguments_from(words)
    config = load_config(arguments.root)
    loader: PolicyLoader = loader_of(arguments, config)
    run, epoch = arguments.root / config.paths.run, arguments.post.epoch
    if (run / FAULT_FILE).exists():
        order = msgspec.json.decode((run / FAULT_FILE).read_bytes(), type=Order)
        trial = Trial(epoch, MonotonicClock(), Feed(run / POLICY_BOARD, POLICY))
        loader = FaultyLoader(loader, order, trial, run / BREACH_FILE)
    return work(arguments, loader, config)


def _control(root: Path) -> int:
    config = load_config(root)
    spawner = PythonSpawner(root, worker_program=PROGRAM)
    return supervise(root / config.paths.run, spawner, live_source(root, config), Notifier({}))


if __name__ == "__main__":
    if sys.argv[1] == "control":
        sys.exit(_control(Path(sys.argv[2])))
    sys.exit(_worker(sys.argv[1:]))
