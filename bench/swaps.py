"""Hot swaps while driving, and releases that break their contract in trial.

Owns: the two workloads and their figures. Must not know: how a device is set up (`bench.offline`), how a contract is broken
(`bench.faulty`).

Two releases of the reference policy take turns: load, go, 2 s on trial, keep. `swap_ticks_missed` are missed from 1 s before
the order to go to 1 s after the first tick of the new one, `swap_ticks_missed_unexplained` those that no standstill of a core
explains (`bench.misses`). `swap_plan_gap_periods` is the longest run of ticks meanwhile that executed nobody's decision or in
which the loop was stopping by itself; `swap_plan_age_max_ms` and `swap_degraded_ticks` tell what that leaves out. On
`swap_blind_ticks` the plant was silent for so long that the loop had to stop: where there are any, the machine is too busy,
and `swap_plan_gap_periods_unexplained` tells the longest run without such a tick.

Then candidates that break once they drive on trial, in five ways. The clock starts when the first breach is a fact: a bad plan
is there, the process ends, or a decision passes the latency that 99 in 100 are promised to keep. It ends at the first tick
that executes a decision of the release before. Nothing but `control` takes part.
"""

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import cycle, islice
from pathlib import Path

from agent.adapters.clock import MonotonicClock
from agent.board.layout import text_from
from agent.board.records import LOOP_BOARD
from agent.update.slots import StagedSlot
from agent.update.swap import ControlLine
from bench import faulty
from bench.handover import (
    Gaps,
    Record,
    between,
    blind,
    degraded,
    first_of,
    first_of_another,
    gaps_in,
    oldest_plan_ns,
)
from bench.misses import Misses
from bench.offline import Changing, Offline
from bench.progress import Tell, progress
from fleet.demo.processes import Processes
from fleet.demo.witness import Testimony
from fleet.demo.witnesses import Witnesses
from models.errors import NotNowError

_S = 1_000_000_000
_PRECISIONS = ("int8", "nvfp4")
_WARM_S, _SETTLE_S = 10.0, 3.0
"""After a start, until the governor has let the rate of decisions rise; after a trial."""
_AROUND_S = 1.0
_TRIAL_S = 2.0
_TOLD_S = 0.3
"""What is told every few ticks is told by then."""
_BREAK_AFTER = 8
_NOTICED_S = 20.0
BACK_MAX_S = 2.0
Figures = dict[str, object]


@dataclass(frozen=True, slots=True)
class Swap:
    """One change of release. `misses` are over its time alone; `took_s` from the order to go to the first tick of the new;
    `realtime` is what the kernel granted the loop."""

    realtime: str
    misses: Misses
    gaps: Gaps
    plan_age_max_ns: int
    degraded_ticks: int
    blind_ticks: int
    took_s: float
    reason: str
    """Why the new one did not stay, empty where it did."""
    detail: str


@dataclass(frozen=True, slots=True)
class Broken:
    """One trial: how long until the release before drove again (None: it did not), and the reason that was given."""

    fault: faulty.Fault
    back_s: float | None
    reason: str
    detail: str
    gaps: Gaps
    blind_ticks: int

    @property
    def is_in_time(self) -> bool:
        """Whether that was soon enough."""
        return self.back_s is not None and self.back_s < BACK_MAX_S


def measure(folder: Path, core: int, swaps: int, breaches: int) -> Figures:
    """Both workloads on a device below `folder`, its loop on `core`."""
    with Processes(folder / "logs") as processes, progress("changing hands", swaps + breaches) as tell:
        device = Offline(folder, processes, core, _PRECISIONS)
        witnesses = Witnesses.start(processes, os.sched_getaffinity(0) | {core})
        slots = device.start()
        changed = _swaps(device, slots, swaps, tell)
        broken = _breaches(device, device.live_first(slots), breaches, tell)
        seen = witnesses.testimony()
    return {
        **(swap_figures(changed, seen) if changed else {}),
        **(breach_figures(broken) if broken else {}),
    }


def swap_figures(swaps: Sequence[Swap], machine: Testimony) -> Figures:
    """What is printed of the swaps."""
    return {
        "swap_realtime": sorted({each.realtime for each in swaps}),
        "swaps": sum(not each.reason for each in swaps),
        "swaps_sent_back": sorted(each.reason for each in swaps if each.reason),
        "swap_ticks_missed": sum(each.misses.missed for each in swaps),
        "swap_ticks_missed_unexplained": sum(each.misses.unexplained(machine) for each in swaps),
        "swap_plan_gap_periods": max(each.gaps.longest for each in swaps),
        "swap_plan_gap_periods_unexplained": max(each.gaps.unexplained for each in swaps),
        "swap_plan_age_max_ms": round(max(each.plan_age_max_ns for each in swaps) / 1e6),
        "swap_degraded_ticks": sum(each.degraded_ticks for each in swaps),
        "swap_blind_ticks": sum(each.blind_ticks for each in swaps),
        "swap_go_to_driving_s_max": round(max(each.took_s for each in swaps), 3),
    }


def breach_figures(broken: Sequence[Broken]) -> Figures:
    """What is printed of the trials; the longest return is null where one release did not come back at all."""
    kinds = [fault for fault in faulty.Fault if any(each.fault is fault for each in broken)]
    return {
        "breaches": len(broken),
        "breaches_back_in_time": sum(each.is_in_time for each in broken),
        "breach_back_s_max": _longest_s(broken),
        "breach_plan_gap_periods": max(each.gaps.longest for each in broken),
        "breach_plan_gap_periods_unexplained": max(each.gaps.unexplained for each in broken),
        "breach_blind_ticks": sum(each.blind_ticks for each in broken),
        "breach_kinds": {str(fault): _kind([b for b in broken if b.fault is fault]) for fault in kinds},
    }


def _kind(broken: Sequence[Broken]) -> Figures:
    return {
        "breaches": len(broken),
        "back_in_time": sum(each.is_in_time for each in broken),
        "back_s_max": _longest_s(broken),
        "reasons": sorted({each.reason for each in broken}),
    }


def _longest_s(broken: Sequence[Broken]) -> float | None:
    took_s = [each.back_s for each in broken if each.back_s is not None]
    return round(max(took_s), 3) if len(took_s) == len(broken) else None


# --- swaps


def _swaps(device: Offline, slots: tuple[StagedSlot, StagedSlot], count: int, tell: Tell) -> list[Swap]:
    """`count` swaps, the first of `slots` live at first."""
    if not count:
        return []
    done, (live, other) = [], slots
    with device.control(device.ours) as line, _recorded(device, line, live) as (changing, record):
        for number in range(count):
            done.append(_swap(device, changing, record, other))
            live, other = (live, other) if done[-1].reason else (other, live)
            tell(f"swap {number + 1}: {_told(done[-1])}")
    return done


def _told(swap: Swap) -> str:
    return (
        f"{swap.misses.missed} missed, gap {swap.gaps.longest}, oldest plan {swap.plan_age_max_ns / 1e6:.0f} ms, "
        f"{swap.degraded_ticks} degraded, {swap.blind_ticks} blind, {swap.took_s:.2f} s from go"
        + (f", sent back: {swap.reason}: {swap.detail}" if swap.reason else "")
    )


def _swap(device: Offline, changing: Changing, record: Record, staged: StagedSlot) -> Swap:
    """Let `staged` take over, and stay."""
    changing.load(staged)
    record.restart()
    misses = Misses([device.run / LOOP_BOARD])

    def look() -> None:
        record.look()
        misses.look()

    watched = Changing(device, changing.line, look)
    watched.drive(_AROUND_S)
    ordered_ns = record.clock.mono_ns()
    epoch = watched.go(staged).epoch
    watched.drive(_AROUND_S + _TOLD_S)
    look()
    first = first_of(record.ticks, epoch, ordered_ns)
    if first is None:
        raise NotNowError(f"the release in slot {staged.slot} drives, and no tick executed a decision of it")
    around = between(record.ticks, ordered_ns - round(_AROUND_S * _S), first.mono_ns + round(_AROUND_S * _S))
    failed = changing.failed(_TRIAL_S - _AROUND_S) or changing.keep(staged)
    if failed is not None:
        changing.go_back(staged)
    return Swap(
        realtime=record.realtime,
        misses=misses,
        gaps=gaps_in(around, record.period_ns),
        plan_age_max_ns=oldest_plan_ns(around),
        degraded_ticks=degraded(around),
        blind_ticks=blind(around),
        took_s=(first.mono_ns - ordered_ns) / _S,
        reason=text_from(failed.reason) if failed else "",
        detail=text_from(failed.detail) if failed else "",
    )


# --- breaches


def _breaches(device: Offline, slots: tuple[StagedSlot, StagedSlot], count: int, tell: Tell) -> list[Broken]:
    """`count` trials of the second of `slots` while the first is live, each kind of fault in its turn."""
    if not count:
        return []
    done, (live, candidate) = [], slots
    argv = [sys.executable, *faulty.PROGRAM, "control", str(device.root)]
    with device.control(argv) as line, _recorded(device, line, live) as (changing, record):
        for number, fault in enumerate(islice(cycle(faulty.Fault), count)):
            done.append(_breach(device, changing, record, candidate, fault))
            tell(f"breach {number + 1}: {fault}, {_told_of(done[-1])}")
    return done


def _told_of(broken: Broken) -> str:
    back = "not back" if broken.back_s is None else f"back in {broken.back_s:.3f} s"
    return f"{back}, {broken.reason}: {broken.detail}, gap {broken.gaps.longest}, {broken.blind_ticks} blind"


def _breach(
    device: Offline, changing: Changing, record: Record, candidate: StagedSlot, fault: faulty.Fault
) -> Broken:
    """One trial of `candidate` that breaks as `fault` says."""
    faulty.write(device.run / faulty.FAULT_FILE, faulty.Order(fault, _BREAK_AFTER))
    (device.run / faulty.BREACH_FILE).unlink(missing_ok=True)
    changing.load(candidate)
    record.restart()
    changing.go(candidate)
    failed = changing.failed(_NOTICED_S)
    breach = faulty.breach_in(device.run)
    back_s = _back_s(changing, record, breach) if breach else None
    changing.drive(_AROUND_S)
    ticks = record.ticks
    changing.go_back(candidate)
    changing.drive(_SETTLE_S)
    reason = text_from(failed.reason) if failed else "not noticed"
    return Broken(
        fault=fault,
        back_s=back_s,
        reason=reason if breach else f"{reason}, before it broke",
        detail=text_from(failed.detail) if failed else "",
        gaps=gaps_in(ticks, record.period_ns),
        blind_ticks=blind(ticks),
    )


def _back_s(changing: Changing, record: Record, breach: faulty.Breach) -> float | None:
    """Seconds until a tick executed another worker's decision than the one's that broke; None where none did for long."""
    back = changing.wait(lambda: first_of_another(record.ticks, breach.epoch, breach.mono_ns), _NOTICED_S)
    return (back.mono_ns - breach.mono_ns) / _S if back else None


# --- both


@contextmanager
def _recorded(device: Offline, line: ControlLine, live: StagedSlot) -> Iterator[tuple[Changing, Record]]:
    """Changes of release and the record of the loop, once `live` drives."""
    clock = MonotonicClock()
    record = Record(device.run, clock)
    changing = Changing(device, line, record.look)
    try:
        changing.await_driving(live)
        changing.drive(_WARM_S)
        yield changing, record
    finally:
        record.close()
