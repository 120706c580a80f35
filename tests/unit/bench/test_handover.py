"""What a bench says of a change of hands, from ticks as the follower records them."""

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.board.records import (
    APPLIED,
    APPLIED_RING,
    APPLIED_SLOTS,
    LOOP,
    LOOP_BOARD,
    PLAN,
    AppliedRecord,
    LoopState,
    Worker,
    plan_board,
)
from agent.board.ring import RingReader, RingWriter
from agent.board.seqlock import BoardWriter
from agent.control.gate import GateReason
from agent.control.worker import DECISIONS_PER_EPOCH
from bench import faulty, swaps
from bench.handover import (
    Gaps,
    Record,
    Tick,
    blind,
    degraded,
    first_of,
    first_of_another,
    gaps_in,
    oldest_plan_ns,
    ticks_from,
)
from bench.misses import Misses
from fleet.demo import witness
from tests.fakes.clock import FakeClock
from tests.fakes.misses import MS, PERIOD_NS, follower_that_missed, standstill

OLD, NEW = 4, 5


def tick(number: int, epoch: int, state: LoopState = LoopState.OK, late_ns: int = 50_000) -> Tick:
    due_ns = number * PERIOD_NS
    return Tick(due_ns, due_ns + late_ns, epoch and epoch * DECISIONS_PER_EPOCH + number, state)


def drive(epochs: Iterable[int]) -> list[Tick]:
    """A tick after the other that executes a decision of each of `epochs`; 0 is nobody's."""
    return [tick(number, epoch) for number, epoch in enumerate(epochs)]


def applied(number: int, decision: int, intervened: int = 0) -> AppliedRecord:
    due_ns = number * PERIOD_NS
    return AppliedRecord(number, due_ns, due_ns + 50_000, decision, 0.0, 0.0, intervened)


def test_hands_that_change_between_two_ticks_leave_no_gap() -> None:
    assert gaps_in(drive([OLD] * 50 + [NEW] * 50), PERIOD_NS) == Gaps(0, 0)


@pytest.mark.parametrize("state", [LoopState.MINIMAL_RISK, LoopState.SAFE_STOP, LoopState.WAITING])
def test_a_loop_that_stops_by_itself_is_a_gap_though_it_still_names_a_decision(state: LoopState) -> None:
    ticks = [tick(n, OLD, state if 3 <= n < 7 else LoopState.OK) for n in range(10)]
    assert gaps_in(ticks, PERIOD_NS).longest == 4


def test_a_slowed_loop_still_executes_a_plan() -> None:
    ticks = [tick(n, OLD, LoopState.DEGRADED) for n in range(10)]
    assert (gaps_in(ticks, PERIOD_NS).longest, degraded(ticks)) == (0, 10)


def test_a_gap_in_which_the_plant_was_silent_is_told_but_explained() -> None:
    ticks = drive([OLD, 0, 0, 0, 0, OLD, 0, 0, NEW])
    ticks[3] = replace(ticks[3], is_blind=True)
    assert gaps_in(ticks, PERIOD_NS) == Gaps(longest=4, unexplained=2)


def test_deadlines_without_a_tick_inside_a_gap_belong_to_it() -> None:
    ticks = drive([OLD, OLD, 0, 0, 0, 0, NEW])
    assert gaps_in([each for each in ticks if each.due_ns != 3 * PERIOD_NS], PERIOD_NS) == Gaps(4, 4)


@given(st.lists(st.sampled_from([0, OLD, NEW]), max_size=60))
def test_the_longest_gap_is_the_longest_run_of_nobodys_ticks(epochs: list[int]) -> None:
    runs = "".join("x" if epoch == 0 else " " for epoch in epochs).split()
    assert gaps_in(drive(epochs), PERIOD_NS).longest == max(map(len, runs), default=0)


def test_back_is_the_first_tick_after_the_breach_that_another_worker_decided() -> None:
    ticks = drive([OLD] * 5 + [NEW] * 20 + [0] * 3 + [OLD] * 5)
    back = first_of_another(ticks, NEW, 15 * PERIOD_NS)
    assert back is not None
    assert back.due_ns == 28 * PERIOD_NS
    new = first_of(ticks, NEW, 0)
    assert new is not None
    assert new.due_ns == 5 * PERIOD_NS


def test_what_drove_before_the_breach_is_not_back() -> None:
    ticks = drive([OLD] * 5 + [NEW] * 20 + [0] * 30)
    assert first_of_another(ticks, NEW, 15 * PERIOD_NS) is None


def test_a_tick_between_two_reports_counts_as_in_the_worse_state_of_the_two() -> None:
    reports = [(10, LoopState.OK), (20, LoopState.MINIMAL_RISK), (30, LoopState.OK)]
    ticks = ticks_from([applied(n, 1) for n in range(9, 35)], reports, {})
    stopping = [each.due_ns // PERIOD_NS for each in ticks if each.state is LoopState.MINIMAL_RISK]
    assert stopping == list(range(11, 31))


def test_a_plan_is_as_old_as_its_observation_and_one_that_nobody_saw_has_no_age() -> None:
    ticks = ticks_from([applied(100, 7), applied(101, 8)], [], {7: 70 * PERIOD_NS})
    assert [each.plan_age_ns for each in ticks] == [30 * PERIOD_NS + 50_000, None]
    assert oldest_plan_ns(ticks) == 30 * PERIOD_NS + 50_000


def test_ticks_on_which_the_plant_was_silent_are_told_apart() -> None:
    reasons = (GateReason.NONE, GateReason.STALE, GateReason.STALE | GateReason.JERK, GateReason.JERK)
    assert blind(ticks_from([applied(n, 1, int(each)) for n, each in enumerate(reasons)], [], {})) == 2


def test_the_record_is_put_together_from_the_ring_and_the_boards_and_frees_the_ring(tmp_path: Path) -> None:
    clock = FakeClock()
    ring = RingWriter(tmp_path / APPLIED_RING, APPLIED.packer.size, APPLIED_SLOTS)
    loop = BoardWriter(tmp_path / LOOP_BOARD, LOOP)
    plans = BoardWriter(tmp_path / plan_board(Worker.B), PLAN)
    ring.push(APPLIED.packer.pack(*applied(1, 1)))
    record = Record(tmp_path, clock)
    plan = PLAN.record_from(PLAN.packer.unpack(bytes(PLAN.packer.size)))
    plans.write(plan._replace(decision=7, observation_ns=15 * MS), clock.mono_ns())
    told = LOOP.record_from(LOOP.packer.unpack(bytes(LOOP.packer.size)))
    told = told._replace(
        ticks=2, state=int(LoopState.DEGRADED), tick_period_ns=PERIOD_NS, realtime=b"fifo:50"
    )
    loop.write(told, clock.mono_ns())
    ring.push(APPLIED.packer.pack(*applied(2, 7)))
    clock.advance(1.0)
    record.look()
    assert record.ticks == [Tick(20 * MS, 20_050_000, 7, LoopState.DEGRADED, 5_050_000)]
    assert (record.period_ns, record.realtime) == (PERIOD_NS, "fifo:50")
    record.restart()
    assert record.ticks == []
    assert len(RingReader(tmp_path / APPLIED_RING)) == 0
    record.close()


def misses_in(run: Path, ticks: int = 0, spans: tuple[tuple[int, int], ...] = ()) -> Misses:
    """What was missed in the time of one swap, before which 7 ticks had been missed."""
    run.mkdir()
    follower_that_missed(run, 7)
    misses = Misses([run / LOOP_BOARD])
    follower_that_missed(run, 7 + ticks, spans)
    misses.look()
    return misses


def swap(misses: Misses, **other: float | str) -> swaps.Swap:
    return swaps.Swap(
        "none",
        misses,
        Gaps(int(other.get("gap", 0)), 0),
        250 * MS,
        0,
        0,
        0.04,
        str(other.get("reason", "")),
        "",
    )


def test_only_swaps_that_stayed_are_counted_and_the_worst_of_all_is_told(tmp_path: Path) -> None:
    nothing = misses_in(tmp_path / "nothing")
    done = [swap(nothing), swap(nothing, gap=3), swap(nothing, reason="latency")]
    found = swaps.swap_figures(done, witness.Testimony(()))
    assert (found["swaps"], found["swaps_sent_back"]) == (2, ["latency"])
    assert (found["swap_ticks_missed"], found["swap_plan_gap_periods"]) == (0, 3)
    assert found["swap_plan_gap_periods_unexplained"] == 0
    assert found["swap_plan_age_max_ms"] == 250


def test_ticks_that_were_missed_in_any_swap_are_summed_also_where_it_was_sent_back_and_the_machine_explains_its_own(
    tmp_path: Path,
) -> None:
    done = [
        swap(misses_in(tmp_path / "first", 3, ((0, 12 * MS), (100 * MS, 121 * MS)))),
        swap(misses_in(tmp_path / "second", 2, ((500 * MS, 525 * MS),)), reason="latency"),
        swap(misses_in(tmp_path / "third")),
    ]
    found = swaps.swap_figures(done, standstill(100, 121))
    assert (found["swap_ticks_missed"], found["swap_ticks_missed_unexplained"]) == (5, 3)


def broken(fault: faulty.Fault, back_s: float | None) -> swaps.Broken:
    return swaps.Broken(fault, back_s, "no-plan", "", Gaps(), 0)


def test_two_seconds_are_too_late_and_so_is_never() -> None:
    done = [
        broken(faulty.Fault.SLOW, 0.8),
        broken(faulty.Fault.SLOW, 2.0),
        broken(faulty.Fault.DIES, 0.1),
        broken(faulty.Fault.HANGS, None),
    ]
    found = swaps.breach_figures(done)
    assert (found["breaches"], found["breaches_back_in_time"], found["breach_back_s_max"]) == (4, 2, None)
    kinds = found["breach_kinds"]
    assert isinstance(kinds, dict)
    assert set(kinds) == {"slow", "hangs", "dies"}
    assert (kinds["slow"]["back_in_time"], kinds["slow"]["back_s_max"]) == (1, 2.0)
    assert (kinds["hangs"]["back_in_time"], kinds["hangs"]["back_s_max"]) == (0, None)
