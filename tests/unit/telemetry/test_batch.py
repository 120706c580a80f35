"""Decisions joined with the ticks that executed them."""

from hypothesis import given
from hypothesis import strategies as st

from agent.board.records import AppliedRecord
from agent.telemetry.batch import Batcher
from models.wire.messages import DecisionRecord

S, MS = 1_000_000_000, 1_000_000
UTC_OFFSET_NS = 1_700_000_000 * S


def decision(sequence: int) -> DecisionRecord:
    return DecisionRecord(
        sequence, "sha256:" + "0" * 64, 0, 1, 1, 1, 1, 1, "go", ((0.0, 0.0),), 2, 7, 0, 0, 0, 0, 0, 0
    )


def tick(number: int, sequence: int, intervened: int = 0, acceleration: float = 1.0) -> AppliedRecord:
    return AppliedRecord(number, number * 10 * MS, number * 10 * MS, sequence, acceleration, 0.01, intervened)


def test_a_decision_carries_its_ticks_its_first_actuation_and_its_energy() -> None:
    batcher = Batcher()
    batcher.decided(decision(1), 0)
    for number in range(100):
        batcher.metered(number * 10 * MS, number * 0.5)
    for number in range(10, 20):
        batcher.applied(tick(number, 1, int(number == 12), acceleration=number / 10))
    batcher.applied(tick(20, 2))
    (done,) = batcher.finished(2 * S, UTC_OFFSET_NS)
    assert (done.ticks, done.interventions) == (10, 1)
    assert done.first_tick_utc_ns == UTC_OFFSET_NS + 100 * MS
    assert done.applied_acceleration_mps2 == 1.0
    assert abs(done.energy_j - 5.0) < 1e-9, "ten periods: the last tick holds until the next decision's first"


def test_the_energy_of_decisions_that_follow_each_other_adds_up_to_what_was_taken() -> None:
    batcher = Batcher()
    for number in range(201):
        batcher.metered(number * 10 * MS, number * 0.5)
    for number in range(201):
        sequence = 1 + number // 7
        batcher.decided(decision(sequence), number * 10 * MS)
        batcher.applied(tick(number, sequence))
    done = batcher.finished(9 * S, 0)
    assert len(done) == 29
    assert abs(sum(each.energy_j for each in done) - 100.0) < 1e-9


def test_ticks_that_nobody_recorded_are_not_charged_to_the_decision_before_them() -> None:
    batcher = Batcher()
    batcher.decided(decision(1), 0)
    for number in range(400):
        batcher.metered(number * 10 * MS, number * 0.5)
    batcher.applied(tick(10, 1))
    batcher.applied(tick(300, 2))
    (done,) = batcher.finished(4 * S, 0)
    assert done.energy_j == 0.0


def test_a_decision_that_still_drives_is_not_given_away() -> None:
    batcher = Batcher()
    batcher.decided(decision(1), 0)
    batcher.applied(tick(1, 1))
    assert batcher.finished(1 * S, 0) == []
    assert [d.sequence for d in batcher.finished(4 * S, 0)] == [1]


def test_a_decision_that_was_overtaken_goes_out_without_ticks() -> None:
    batcher = Batcher()
    batcher.decided(decision(1), 0)
    assert batcher.finished(2 * S, 0) == []
    (done,) = batcher.finished(4 * S, 0)
    assert (done.ticks, done.energy_j) == (0, 0.0)


def test_energy_from_a_meter_that_was_started_anew_is_never_negative() -> None:
    batcher = Batcher()
    batcher.decided(decision(1), 0)
    batcher.metered(0, 500.0)
    batcher.applied(tick(1, 1))
    batcher.metered(50 * MS, 1.0)
    batcher.applied(tick(9, 1))
    (done,) = batcher.finished(4 * S, 0)
    assert done.energy_j >= 0


def test_what_does_not_fit_is_counted() -> None:
    batcher = Batcher()
    for sequence in range(3000):
        batcher.decided(decision(sequence), 0)
    assert batcher.lost == 3000 - 2048
    assert len(batcher.finished(10 * S, 0)) == 2048


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 30)), max_size=40))
def test_every_decision_comes_out_exactly_once_and_every_tick_is_counted_once(
    steps: list[tuple[int, int]],
) -> None:
    batcher, now_ns, number, out = Batcher(), 0, 0, list[DecisionRecord]()
    for sequence, (ticks, pause) in enumerate(steps, start=1):
        batcher.decided(decision(sequence), now_ns)
        for _ in range(ticks):
            number += 1
            batcher.applied(tick(number, sequence))
        now_ns = max(now_ns, number * 10 * MS) + pause * 100 * MS
        out += batcher.finished(now_ns, 0)
    out += batcher.finished(now_ns + 100 * S, 0)
    assert sorted(d.sequence for d in out) == list(range(1, len(steps) + 1))
    assert sum(d.ticks for d in out) == sum(ticks for ticks, _ in steps)
