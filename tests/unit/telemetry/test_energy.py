"""Energy as a figure: what a decision and a metre took, and a counter that a restart does not set back."""

import math
from pathlib import Path
from typing import NamedTuple, TypeVar

import pytest

from agent.app.power import PowerLoop
from agent.board.layout import Layout
from agent.board.records import (
    ENVELOPE,
    FLEET_ENVELOPE_BOARD,
    LOOP,
    LOOP_BOARD,
    POWER,
    POWER_BOARD,
    VEHICLE,
    VEHICLE_BOARD,
    WORKER,
    EnvelopeRecord,
    PowerRecord,
    VehicleRecord,
    Worker,
    worker_board,
)
from agent.board.seqlock import BoardReader, BoardWriter, Stamped
from agent.config import config_from_text
from agent.emulator.stepped import AtOnce
from agent.power.energy import energy_before, energy_continued
from agent.power.limits import Limits
from agent.telemetry.energy import EnergyReading, EnergyShares, EnergyWindow
from agent.telemetry.state import Identity, StateReader
from models.wire.messages import HostFigures
from tests.fakes.clock import FakeClock
from tests.fakes.disk import FakeDisk
from tests.fakes.jetson import FakeDevice

S = 1_000_000_000
R = TypeVar("R", bound=NamedTuple)
CONFIG = config_from_text('[device]\nid = "thor-1"\nfleet = "yard"\n')
RECORD = PowerRecord(120.0, 70.5, 30.0, 20.0, 55.0, 1234.5, 0, 10.0, 32, 8, 1, 0, b"MAXN", b"ok")


def blank(layout: Layout[R]) -> R:
    """A record of nothing."""
    return layout.record_from(layout.packer.unpack(bytes(layout.packer.size)))


def test_a_decision_and_a_metre_take_what_the_module_took_by_what_was_done() -> None:
    window = EnergyWindow()
    assert window.add(EnergyReading(0, 100.0, 0, 50.0)) == EnergyShares(None, None)
    shares = window.add(EnergyReading(10 * S, 1000.0, 90, 80.0))
    assert shares == EnergyShares(10.0, 30.0)


def test_only_the_last_minute_counts() -> None:
    window = EnergyWindow()
    for second in range(200):
        shares = window.add(EnergyReading(second * S, second * 50.0, second * 5, second * 2.0))
    assert shares == EnergyShares(10.0, 25.0)
    for second in range(200, 300):
        shares = window.add(EnergyReading(second * S, second * 50.0, 995, 398.0))
    assert shares == EnergyShares(None, None), "who stands and decides nothing has no figure, and no old one"


def test_a_standing_vehicle_has_no_joules_a_metre_whatever_its_odometer_trembles() -> None:
    window = EnergyWindow()
    window.add(EnergyReading(0, 0.0, 0, 5.0))
    assert window.add(EnergyReading(S, 60.0, 10, 5.01)).joules_per_m is None


@pytest.mark.parametrize("anew", [EnergyReading(2 * S, 5.0, 40, 90.0), EnergyReading(2 * S, 900.0, 40, 0.0)])
def test_a_counter_that_was_started_anew_gives_no_negative_and_no_absurd_figure(anew: EnergyReading) -> None:
    window = EnergyWindow()
    window.add(EnergyReading(0, 700.0, 0, 50.0))
    window.add(EnergyReading(S, 800.0, 20, 80.0))
    assert window.add(anew) == EnergyShares(None, None)


def test_the_energy_counter_goes_on_where_the_power_process_is_started_again(tmp_path: Path) -> None:
    clock = FakeClock()

    def run(seconds: float) -> float:
        loop = PowerLoop(FakeDevice(module_w=50.0), CONFIG, tmp_path, clock, AtOnce())
        for _ in range(round(seconds * 10)):
            clock.advance(0.1)
            loop.sample()
        loop.close()
        with BoardReader(tmp_path / POWER_BOARD, POWER) as board:
            stamped = board.read()
        assert stamped is not None
        return stamped.record.energy_j

    first_j = run(10)
    clock.advance(5)
    assert first_j == pytest.approx(500.0, rel=0.05)
    assert run(10) == pytest.approx(2 * first_j, rel=0.01)


@pytest.mark.parametrize("stamp_ns", [5 * S, 6 * S])
def test_the_counter_of_another_boot_is_not_continued(stamp_ns: int) -> None:
    before = Stamped(RECORD, stamp_ns, 2)
    assert energy_continued(before, 5 * S) == (1234.5 if stamp_ns <= 5 * S else 0.0)
    assert energy_continued(None, 5 * S) == 0.0


@pytest.mark.parametrize("energy_j", [math.nan, math.inf, -1.0])
def test_an_absurd_counter_is_not_continued(energy_j: float) -> None:
    assert energy_continued(Stamped(RECORD._replace(energy_j=energy_j), 1, 2), 5 * S) == 0.0


def test_without_a_board_of_this_version_the_counter_begins_at_nothing(tmp_path: Path) -> None:
    assert energy_before(tmp_path / POWER_BOARD, S) == 0.0
    (tmp_path / POWER_BOARD).write_bytes(b"RSKB of another version")
    assert energy_before(tmp_path / POWER_BOARD, S) == 0.0


def test_the_state_says_whose_limit_is_in_force_and_what_was_taken_for_what(tmp_path: Path) -> None:
    clock = FakeClock()
    power, vehicle = (
        BoardWriter(tmp_path / POWER_BOARD, POWER),
        BoardWriter(tmp_path / VEHICLE_BOARD, VEHICLE),
    )
    worker = BoardWriter(tmp_path / worker_board(Worker.A), WORKER)
    loop = BoardWriter(tmp_path / LOOP_BOARD, LOOP)
    with BoardWriter(tmp_path / FLEET_ENVELOPE_BOARD, ENVELOPE) as fleet:
        fleet.write(EnvelopeRecord(60.0, 77), 1)
    reader = StateReader(tmp_path, FakeDisk(), clock, Limits(tmp_path, 120.0))
    host = HostFigures(0.5, 1, 2, 3)
    for second in range(11):
        now = clock.mono_ns()
        power.write(RECORD._replace(envelope_w=60.0, energy_j=100.0 + 50.0 * second), now)
        vehicle.write(VehicleRecord(now, 0, 0, 0, 8, 0, 0, 1000.0 + 8 * second, 0, 0), now)
        worker.write(blank(WORKER)._replace(epoch=1, decisions=5 * second), now)
        loop.write(blank(LOOP), now)
        state = reader.state(Identity("boot-1", "thor-t5000", emulated=True), host=host)
        clock.advance(1)
    assert (state.envelope_sequence, state.host) == (77, host)
    assert state.loop is not None
    assert state.loop.odometer_m == 1080.0
    assert state.power is not None
    assert state.power.envelope_source == "fleet"
    assert state.power.joules_per_decision == pytest.approx(10.0)
    assert state.power.joules_per_m == pytest.approx(50.0 / 8)
