"""What the journey bench says of missed ticks: which the machine explains, and which it does not."""

import time
from pathlib import Path

import msgspec

from agent.board.records import LOOP, LOOP_BOARD
from agent.board.seqlock import BoardWriter
from bench.journey import Misses
from fleet.demo import witness  # its names begin as tests do, so they are not imported here


def follower_that_missed(run: Path, ticks: int) -> None:
    blank = LOOP.record_from(LOOP.packer.unpack(bytes(LOOP.packer.size)))
    with BoardWriter(run / LOOP_BOARD, LOOP) as board:
        board.write(blank._replace(ticks_missed=ticks), time.monotonic_ns())


def test_a_missed_tick_is_explained_only_by_a_stall_at_its_time(tmp_path: Path) -> None:
    follower_that_missed(tmp_path, 0)
    misses = Misses([tmp_path / LOOP_BOARD])
    follower_that_missed(tmp_path, 2)
    misses.look([])
    now_ns = time.monotonic_ns()
    assert misses.unexplained([]) == 2
    assert misses.unexplained([now_ns - 60_000_000_000, now_ns + 60_000_000_000]) == 2
    assert misses.unexplained([now_ns - 100_000_000]) == 0


def test_ticks_that_were_missed_before_are_not_counted(tmp_path: Path) -> None:
    follower_that_missed(tmp_path, 7)
    misses = Misses([tmp_path / LOOP_BOARD])
    misses.look([])
    assert misses.unexplained([]) == 0


def test_the_witnesses_of_all_cores_are_heard_together(tmp_path: Path) -> None:
    seen = (witness.Testimony(10, 1, 5100.0, (30,)), witness.Testimony(12, 2, 7200.5, (10, 20)))
    files = [tmp_path / "core-0.json", tmp_path / "core-1.json", tmp_path / "core-2.json"]
    for file, one in zip(files, seen, strict=False):
        file.write_bytes(msgspec.json.encode(one))
    assert witness.testimony(files) == witness.Testimony(22, 3, 7200.5, (10, 20, 30))
