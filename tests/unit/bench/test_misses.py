"""What a bench says of missed ticks: which the machine explains, and which it does not."""

from pathlib import Path

import msgspec
import pytest

from agent.board.records import LOOP_BOARD
from bench.misses import Misses, is_explained, ticks_in
from fleet.demo import witness  # its names begin as tests do, so they are not imported here
from tests.fakes.misses import MS, PERIOD_NS, follower_that_missed, standstill

NOBODY = witness.Testimony(())


@pytest.mark.parametrize(
    ("stood", "explained"),
    [
        ((1, 12), True),
        ((4, 30), True),
        ((-10, 7.5), True),
        ((5, 7.1), True),
        ((5, 6.9), False),
        ((-20, 1), False),
        ((13, 40), False),
    ],
)
def test_a_miss_is_explained_where_a_standstill_made_the_tick_overrun_its_period(
    stood: tuple[float, float], explained: bool
) -> None:
    assert is_explained((0, 12 * MS), PERIOD_NS, standstill(*stood)) is explained


def test_a_miss_that_no_witness_saw_is_unexplained() -> None:
    assert not is_explained((0, 12 * MS), PERIOD_NS, NOBODY)


@pytest.mark.parametrize(("away_ms", "ticks"), [(10.1, 1), (19.9, 1), (20, 1), (20.1, 2), (1000, 99)])
def test_a_span_counts_the_deadlines_that_passed_in_it(away_ms: float, ticks: int) -> None:
    assert ticks_in((0, round(away_ms * MS)), PERIOD_NS) == ticks


def test_each_miss_is_held_against_the_machine_at_its_own_time(tmp_path: Path) -> None:
    follower_that_missed(tmp_path, 0)
    misses = Misses([tmp_path / LOOP_BOARD])
    follower_that_missed(tmp_path, 3, ((0, 12 * MS), (100 * MS, 121 * MS)))
    misses.look()
    assert misses.missed == 3
    assert misses.unexplained(NOBODY) == 3
    assert misses.unexplained(standstill(101, 120)) == 1
    assert misses.unexplained(standstill(0, 11)) == 2


def test_a_miss_whose_time_was_overwritten_stays_unexplained(tmp_path: Path) -> None:
    follower_that_missed(tmp_path, 0)
    misses = Misses([tmp_path / LOOP_BOARD])
    follower_that_missed(tmp_path, 5, ((0, 12 * MS),))
    misses.look()
    assert misses.unexplained(standstill(-100, 500)) == 4


def test_ticks_that_were_missed_before_are_not_counted(tmp_path: Path) -> None:
    follower_that_missed(tmp_path, 7, ((0, 12 * MS),))
    misses = Misses([tmp_path / LOOP_BOARD])
    misses.look()
    assert (misses.missed, misses.unexplained(NOBODY)) == (0, 0)


def test_a_follower_that_starts_over_takes_none_of_its_misses_back(tmp_path: Path) -> None:
    follower_that_missed(tmp_path, 7)
    misses = Misses([tmp_path / LOOP_BOARD])
    follower_that_missed(tmp_path, 9)
    misses.look()
    follower_that_missed(tmp_path, 1)
    misses.look()
    assert (misses.missed, misses.unexplained(NOBODY)) == (3, 3)


def test_the_witnesses_of_all_cores_are_heard_together_but_for_half_a_line(tmp_path: Path) -> None:
    told = [
        [witness.Wakeup(9, 1 * MS, 7 * MS), witness.Wakeup(10, 11 * MS, 11 * MS)],
        [witness.Wakeup(12, 20 * MS, 21 * MS)],
    ]
    files = [tmp_path / "core-0", tmp_path / "core-1", tmp_path / "core-2"]
    for file, lines in zip(files, told, strict=False):
        file.write_bytes(b"".join(msgspec.json.encode(line) + b"\n" for line in lines) + b"[13,")
    heard = witness.testimony(files)
    assert (heard.ticks, heard.stalls, heard.late_max_us) == (22, 1, 6000.0)
    assert heard.held_up_ns(0, 40 * MS) == 7 * MS
    assert heard.held_up_ns(2 * MS, 4 * MS) == 2 * MS
