"""A change of hands, by what the follower recorded of each tick.

Owns: how long no decision was executed around it, how old plans were, and when decisions of a release came back.
Must not know: why hands changed.

A tick's record does not hold the loop's state; `loop.board` tells it every few ticks. A tick between two reports counts as
in the worse state of the two.
"""

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path

from agent.board.feed import Feed
from agent.board.records import (
    APPLIED_RING,
    LOOP,
    LOOP_BOARD,
    PLAN,
    AppliedRecord,
    LoopRecord,
    LoopState,
    PlanRecord,
    Worker,
    plan_board,
)
from agent.control.gate import GateReason
from agent.control.worker import DECISIONS_PER_EPOCH
from agent.ports import Clock
from bench.ticks import Ticks, realtime_in

_WAITING = LoopState.WAITING


@dataclass(frozen=True, slots=True)
class Tick:
    """One tick: whose decision it executed (0: nobody's), in which state, how old that plan was (None: not known)."""

    due_ns: int
    mono_ns: int
    decision: int
    state: LoopState
    plan_age_ns: int | None = None
    is_blind: bool = False
    """The plant had said nothing for so long that the gate braked."""

    @property
    def epoch(self) -> int:
        """Of the worker whose decision it executed, 0 for none."""
        return self.decision // DECISIONS_PER_EPOCH

    @property
    def is_without_plan(self) -> bool:
        """Whether nothing that anyone decided was executed, or the loop was stopping by itself."""
        return self.decision == 0 or self.state >= LoopState.MINIMAL_RISK or self.state is _WAITING


@dataclass(frozen=True, slots=True)
class Gaps:
    """The longest run of ticks without a plan, in periods; and of those runs on whose every tick the plant spoke."""

    longest: int = 0
    unexplained: int = 0


def gaps_in(ticks: Sequence[Tick], period_ns: int) -> Gaps:
    """Deadlines inside a run that no tick was for count as well."""
    longest = unexplained = 0
    for without, run in groupby(ticks, lambda tick: tick.is_without_plan):
        if not without:
            continue
        told = list(run)
        periods = round((told[-1].due_ns - told[0].due_ns) / period_ns) + 1
        longest = max(longest, periods)
        unexplained = max(unexplained, 0 if blind(told) else periods)
    return Gaps(longest, unexplained)


def first_of(ticks: Sequence[Tick], epoch: int, after_ns: int) -> Tick | None:
    """The first tick from `after_ns` on that executed a decision of the worker with `epoch`."""
    return next((tick for tick in ticks if tick.mono_ns >= after_ns and tick.epoch == epoch), None)


def first_of_another(ticks: Sequence[Tick], epoch: int, after_ns: int) -> Tick | None:
    """The first tick from `after_ns` on that executed a decision of another worker than the one with `epoch`."""
    return next((t for t in ticks if t.mono_ns >= after_ns and t.epoch not in (0, epoch)), None)


def between(ticks: Sequence[Tick], start_ns: int, end_ns: int) -> list[Tick]:
    """The ticks that began from `start_ns` up to `end_ns`."""
    return [tick for tick in ticks if start_ns <= tick.mono_ns <= end_ns]


def oldest_plan_ns(ticks: Sequence[Tick]) -> int:
    """The greatest age of a plan that is known; 0 where none is."""
    return max((tick.plan_age_ns for tick in ticks if tick.plan_age_ns is not None), default=0)


def degraded(ticks: Sequence[Tick]) -> int:
    """Ticks on which the loop slowed down because the plan was old."""
    return sum(tick.state is LoopState.DEGRADED for tick in ticks)


def blind(ticks: Sequence[Tick]) -> int:
    """Ticks on which the plant was silent: the loop stops then, whoever drives."""
    return sum(tick.is_blind for tick in ticks)


def ticks_from(
    applied: Sequence[AppliedRecord], states: Sequence[tuple[int, LoopState]], observed_ns: Mapping[int, int]
) -> list[Tick]:
    """The ticks `applied`, by reports of the state with their ticks in order, and by when decisions' observations were."""
    numbers = [number for number, _ in states]

    def state_at(number: int) -> LoopState:
        after = bisect_left(numbers, number)
        near = states[max(after - 1, 0) : after + 1]
        return max((state for _, state in near), default=_WAITING)

    return [
        Tick(
            each.due_ns,
            each.mono_ns,
            each.decision,
            state_at(each.tick),
            each.mono_ns - observed_ns[each.decision] if each.decision in observed_ns else None,
            bool(each.intervened & GateReason.STALE),
        )
        for each in applied
    ]


@dataclass
class Record:
    """What the loop in `run` did since the last `restart`. `look` often: boards hold only what was written last."""

    run: Path
    clock: Clock
    _states: list[tuple[int, LoopState]] = field(default_factory=list)
    _observed_ns: dict[int, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._loop: Feed[LoopRecord] = Feed(self.run / LOOP_BOARD, LOOP)
        self._plans: list[Feed[PlanRecord]] = [Feed(self.run / plan_board(place), PLAN) for place in Worker]
        self._applied = Ticks(self.run / APPLIED_RING, frees=True)
        self.restart()

    def restart(self) -> None:
        """Forget what was."""
        self.look()
        self._applied.restart()
        del self._states[:-1]

    def look(self) -> None:
        """Take what is new. Nobody else frees the ring's room."""
        now_ns = self.clock.mono_ns()
        for plans in self._plans:
            if (plan := plans.news(now_ns)) is not None:
                self._observed_ns[plan.record.decision] = plan.record.observation_ns
        if (loop := self._loop.news(now_ns)) is not None:
            self._states.append((loop.record.ticks, LoopState(loop.record.state)))
        self._applied.look()

    @property
    def ticks(self) -> list[Tick]:
        """All of them, in order."""
        return ticks_from(self._applied.seen, self._states, self._observed_ns)

    @property
    def period_ns(self) -> int:
        """Of the loop; 0 while it has not spoken."""
        return self._loop.latest.record.tick_period_ns if self._loop.latest else 0

    @property
    def realtime(self) -> str:
        """What the kernel granted the loop."""
        return realtime_in(self._loop)

    def close(self) -> None:
        """Unmap everything."""
        for plans in self._plans:
            plans.close()
        self._loop.close()
        self._applied.close()
