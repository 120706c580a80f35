"""What the control bench says of ticks and of cyclictest, from records of theirs."""

from pathlib import Path

import msgspec
import pytest

from agent.board.records import APPLIED, APPLIED_RING, AppliedRecord
from agent.board.ring import RingReader, RingWriter
from bench import overhead
from bench.control import parts_from
from bench.cyclic import Cyclic, cyclic_from_json
from bench.lateness import arrived, figures
from bench.ticks import Ticks
from models.errors import MalformedError, UsageError

MS = 1_000_000
PERIOD_NS = 10 * MS


def report(histogram: dict[str, int], cycles: int, worst: int) -> bytes:
    """As cyclictest 2.4 writes it, less what is not read."""
    thread = {"histogram": histogram, "cycles": cycles, "min": 1, "max": worst, "avg": 5.0, "cpu": 1}
    return msgspec.json.encode({"file_version": 1, "num_threads": 1, "thread": {"0": thread}})


def test_a_quantile_is_the_lateness_that_so_many_wake_ups_did_not_exceed() -> None:
    found = cyclic_from_json(report({"50": 500, "60": 498, "90": 1, "400": 1}, 1000, 400))
    assert [found.quantile_us(share) for share in (0.5, 0.501, 0.998, 0.999, 1.0)] == [50, 60, 60, 90, 400]
    assert (found.wakeups, found.max_us) == (1000, 400)


def test_what_was_later_than_the_histogram_is_wide_counts_as_the_latest() -> None:
    found = cyclic_from_json(report({"50": 998}, 1000, 123_456))
    assert found.quantile_us(0.999) == 123_456
    assert found.wakeups == 1000


@pytest.mark.parametrize("garbage", [b"", b"{}", b'{"thread": {}}', report({"a": 1}, 1, 1)])
def test_a_report_of_another_form_is_told(garbage: bytes) -> None:
    with pytest.raises(MalformedError):
        cyclic_from_json(garbage)


class Ring:
    """A follower's ring, and a reader that frees its room as telemetry does."""

    def __init__(self, run: Path) -> None:
        self.path = run / APPLIED_RING
        self._ring = RingWriter(self.path, APPLIED.packer.size, 64)
        self._telemetry = RingReader(self.path)
        self._tick = self._skipped = 0

    def ticks(self, count: int, late_ns: int = 50_000, skipped: int = 0, decision: int = 1) -> None:
        self._skipped += skipped
        for _ in range(count):
            self._tick += 1
            due_ns = (self._tick + self._skipped) * PERIOD_NS + 3 * MS
            self._ring.push(
                APPLIED.packer.pack(*AppliedRecord(self._tick, due_ns, due_ns + late_ns, decision, 0, 0, 0))
            )

    def freed(self) -> int:
        return len(list(self._telemetry.drain(1000)))


def test_ticks_are_read_beside_telemetry_which_loses_none(tmp_path: Path) -> None:
    ring = Ring(tmp_path)
    ring.ticks(5)
    ticks = Ticks(ring.path)
    for _ in range(10):
        ring.ticks(20)
        ticks.look()
        assert ring.freed() >= 20
    assert ticks.count == 200
    assert ticks.phase_us(10_000) == 3_000


def test_lateness_and_missed_ticks_are_those_of_the_record(tmp_path: Path) -> None:
    ring = Ring(tmp_path)
    ticks = Ticks(ring.path)
    for _ in range(18):
        ring.ticks(50)
        ticks.look()
        ring.freed()
    ring.ticks(1, late_ns=800_000, skipped=3)
    ticks.look()
    found = figures(ticks, Cyclic({40: 999, 200: 1}, 200), "fifo:50 mlock")
    assert (found["ticks"], found["ticks_missed"]) == (901, 3)
    assert (found["lateness_p50_us"], found["lateness_p999_us"], found["lateness_max_us"]) == (50, 800, 800)
    assert found["lateness_p999_vs_cyclictest"] == 20.0


def test_a_tick_that_found_no_room_in_the_ring_is_not_a_missed_one(tmp_path: Path) -> None:
    ring = Ring(tmp_path)
    ticks = Ticks(ring.path)
    ring.ticks(70, skipped=1)  # six more than there is room for
    ticks.look()
    ring.freed()
    ring.ticks(2, skipped=4)
    ticks.look()
    found = figures(ticks, Cyclic({40: 10}, 40), "fifo:50 mlock")
    assert (found["ticks"], found["ticks_unrecorded"], found["ticks_missed"]) == (66, 6, 4)


def test_ticks_that_followed_nobodys_plan_are_told_apart(tmp_path: Path) -> None:
    ring = Ring(tmp_path)
    ring.ticks(3, decision=0)
    ticks = Ticks(ring.path)
    ring.ticks(4, decision=0)
    ring.ticks(5)
    ticks.look()
    assert (ticks.count, ticks.without_plan) == (9, 4)


def test_telemetry_is_what_came_in_between_two_counts() -> None:
    before, after = {"batches": 5, "decisions": 50, "other": 1}, {"batches": 25, "decisions": 350, "other": 2}
    assert arrived(before, after) == {"telemetry_batches": 20, "telemetry_decisions": 300}


def test_without_a_real_time_class_nothing_is_compared(tmp_path: Path) -> None:
    ring = Ring(tmp_path)
    ticks = Ticks(ring.path)
    ring.ticks(10)
    ticks.look()
    assert figures(ticks, Cyclic({40: 10}, 40), "no-fifo gc:frozen")["lateness_p999_vs_cyclictest"] is None


def test_overhead_is_how_many_times_as_long_as_the_bare_loop_a_decision_takes() -> None:
    found = overhead.figures([4.0] * 98 + [8.0] * 2, [4.0] * 98 + [6.0] * 2)
    assert (found["decisions"], found["bare_decisions"]) == (100, 100)
    assert found["decision_overhead_p50"] == 1.0
    assert found["decision_overhead_p99"] == pytest.approx(8 / 6, abs=0.01)


def test_parts_come_in_their_order_and_a_word_that_is_none_is_told() -> None:
    assert parts_from("swaps, lateness") == ("idle", "loaded", "swaps")
    assert parts_from("overhead,loaded") == ("loaded", "overhead")
    with pytest.raises(UsageError, match="swap"):
        parts_from("swap")
