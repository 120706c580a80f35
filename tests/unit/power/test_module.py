"""How module power is known, and what may be concluded from it."""

import random

import pytest

from agent.power.agreement import STUCK
from agent.power.device import PowerSample
from agent.power.module import ModulePower

TENTH = 100_000_000


class Drive:
    """A module whose monitor says what the rails do, for as long as it is asked to."""

    def __init__(self) -> None:
        self.module, self.now_ns = ModulePower(), 0
        self._rng = random.Random(3)

    def on(
        self, tenths: int, *, monitor: bool = True, rails: bool = True, stuck_w: float | None = None
    ) -> None:
        for _ in range(tenths):
            self.now_ns += TENTH
            gpu_w = self._rng.uniform(5.0, 40.0)
            module_w = 20.0 + 1.8 * gpu_w + 1.1 * 10.0 if stuck_w is None else stuck_w
            sample = PowerSample(module_w if monitor else None, gpu_w if rails else None, 10.0, ())
            self.module.add(sample, self.now_ns)


@pytest.fixture
def drive() -> Drive:
    """One that has been driving for twenty seconds."""
    found = Drive()
    found.on(200)
    return found


def test_a_monitor_that_is_believed_is_seen_and_learned_from(drive: Drive) -> None:
    assert drive.module.is_seen()
    assert drive.module.mean_w() == drive.module.measured_mean_w() == pytest.approx(70.0, abs=12.0)
    assert drive.module.lesson_w() is not None
    assert drive.module.steady_lesson_w() is not None
    assert drive.module.said == ()


def test_rails_that_stand_in_are_seen_and_said_and_teach_nothing(drive: Drive) -> None:
    drive.on(15, monitor=False)
    assert drive.module.is_seen()
    assert drive.module.mean_w() is not None
    assert drive.module.measured_mean_w() is drive.module.lesson_w() is drive.module.steady_lesson_w() is None
    assert drive.module.said == ("module power by its rails",)


def test_without_monitor_and_rails_nothing_is_known(drive: Drive) -> None:
    drive.on(1, monitor=False, rails=False)
    assert not drive.module.is_seen()
    assert drive.module.mean_w() is drive.module.measured_mean_w() is drive.module.lesson_w() is None
    assert drive.module.said == ()


def test_a_monitor_that_stands_still_teaches_nothing_soon_and_is_not_believed_later(drive: Drive) -> None:
    drive.on(3, stuck_w=105.0)
    assert drive.module.lesson_w() == 105.0
    drive.on(1, stuck_w=105.0)
    assert drive.module.lesson_w() is drive.module.steady_lesson_w() is None
    assert drive.module.measured_mean_w() is not None
    drive.on(30, stuck_w=105.0)
    assert drive.module.measured_mean_w() is None
    assert drive.module.mean_w() == pytest.approx(72.0, abs=15.0)
    assert drive.module.said == (STUCK, "module power by its rails")


def test_after_its_rails_spoke_for_it_a_steady_mean_is_learned_from_only_once_all_of_it_was_measured(
    drive: Drive,
) -> None:
    drive.on(5, monitor=False)
    drive.on(29)
    assert drive.module.steady_lesson_w() is None
    drive.on(1)
    assert drive.module.steady_lesson_w() is not None
