"""What is printed of a drive that is drawn: judged by the envelope of its time, with nothing made of what was unknown."""

import math
from dataclasses import replace
from pathlib import Path

import pytest

from agent.board.records import APPLIED, AppliedRecord
from agent.board.ring import RingWriter
from bench.picture import Drive, Happening, PowerSample
from bench.power_picture import figures_of
from bench.ticks import Ticks

SAMPLE = PowerSample(0.0, 90.0, 81.0, 30.0, 20.0, 45.0, 6.0, is_held=False, sensors="ok")


def lowered(taken_w: float, from_s: float, until_s: float) -> Drive:
    """20 s, the envelope of 90 W lowered to 45 W at 10 s; `taken_w` from one second to another, 81 and then 40 W else."""
    power = []
    for at_s in (n / 10 for n in range(200)):
        usual_w = 81.0 if at_s < 12 else 40.0
        module_w = taken_w if from_s <= at_s < until_s else usual_w
        power.append(replace(SAMPLE, at_s=at_s, envelope_w=90.0 if at_s < 10 else 45.0, module_w=module_w))
    decided_s = (*(n / 5 for n in range(50)), *(10.0 + n / 2 for n in range(20)))
    order = Happening("envelope 45 W", 10.0, 20.0)
    return Drive(20.0, tuple(power), decided_s, (), (order,), "a machine", "fifo")


@pytest.mark.parametrize(
    ("taken_w", "from_s", "until_s", "over"),
    [(99.0, 5.0, 6.0, 1.1), (90.0, 10.0, 11.9, 1.0), (54.0, 13.0, 14.0, 1.2), (math.nan, 5.0, 15.0, 0.9)],
)
def test_a_second_is_judged_by_the_envelope_that_it_had_two_seconds_to_reach(
    taken_w: float, from_s: float, until_s: float, over: float
) -> None:
    assert figures_of(lowered(taken_w, from_s, until_s))["max_1s_mean_over_envelope"] == pytest.approx(over)


def test_decisions_under_a_lower_envelope_are_counted_apart() -> None:
    found = figures_of(lowered(40.0, 12.0, 13.0))
    assert (found["decisions_per_s"], found["decisions_per_s_lowered"], found["decisions"]) == (5.0, 2.0, 70)


def test_ticks_are_read_for_as_long_as_one_likes_where_nobody_else_frees_the_ring(tmp_path: Path) -> None:
    ring = RingWriter(tmp_path / "ring", APPLIED.packer.size, 64)
    ticks = Ticks(tmp_path / "ring", frees=True)
    for number in range(200):
        due_ns = 10_000_000 * number
        assert ring.push(APPLIED.packer.pack(*AppliedRecord(number, due_ns, due_ns + 1000, 1, 0.0, 0.0, 0)))
        if number % 50 == 49:
            ticks.look()
    assert (ticks.count, ticks.unrecorded) == (200, 0)
