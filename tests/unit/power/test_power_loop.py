"""The power process in simulated time: a governed emulated Thor, and what the board says when things fail."""

import math
from dataclasses import replace
from pathlib import Path

import pytest

from agent.adapters.jetson import Jetson
from agent.app.power import PowerLoop
from agent.board.change import POLICY, POLICY_BOARD
from agent.board.layout import text_from
from agent.board.records import (
    LIMITS,
    POWER,
    POWER_BOARD,
    WORKER,
    PowerRecord,
    Worker,
    limits_board,
    worker_board,
)
from agent.board.seqlock import BoardReader, BoardWriter
from agent.config import AgentConfig, config_from_text
from agent.emulator.faults import Fault, clear, inject
from agent.emulator.physics import EDGE
from agent.emulator.profile import GPU_MAX_HZ, ProfileName, profile_named
from agent.emulator.pulses import Pace, StagedPolicy
from agent.emulator.stepped import AtOnce
from agent.emulator.sysfs import hwmon_named
from agent.emulator.thor import Activity, EmulatedThor
from agent.emulator.tree import create_tree
from agent.emulator.truth import PowerTrace
from agent.power.device import PowerDevice
from agent.power.modes import PowerMode, PowerModes
from agent.power.progress import WorkersMeter
from agent.telemetry.figures import power_figures
from models.wire.messages import PowerFigures, decode, encode
from tests.fakes.clock import FakeClock
from tests.fakes.jetson import FakeDevice


def _config(envelope_w: float) -> AgentConfig:
    text = '[device]\nid = "d"\nfleet = "f"\n[power]\nenvelope_w = {}\n[control]\ndecision_hz = 12.0\n'
    return config_from_text(text.format(envelope_w))


def _board(run: Path) -> PowerRecord:
    with BoardReader(run / POWER_BOARD, POWER) as board:
        stamped = board.read()
    assert stamped is not None
    return stamped.record


class Bench:
    """An emulated Thor, a stand-in policy and the power loop, stepped together; the trace is the true power."""

    def __init__(self, root: Path, envelope_w: float, seed: int) -> None:
        create_tree(root, profile_named(ProfileName.R39), seed)
        self.run = root / "run/roskva"
        self.run.mkdir(parents=True)
        self.clock, self.root = FakeClock(), root
        jetson = Jetson(root, self.clock)
        jetson.set_gpu_max_freq_hz(GPU_MAX_HZ)
        self.thor = EmulatedThor(root, seed, start_ns=self.clock.mono_ns())
        self.worker = StagedPolicy(self.run, self.thor, seed, pace=Pace(wanted_hz=12.0, camera_hz=12.0))
        self.loop = PowerLoop(jetson, _config(envelope_w), self.run, self.clock, AtOnce())

    def drive(self, seconds: float, governed: bool = True) -> PowerTrace:
        """Drive on, and give the true power of that time."""
        self.thor.trace = PowerTrace()
        self.drive_on(seconds, governed)
        return self.thor.trace

    def drive_on(self, seconds: float, governed: bool = True) -> None:
        """Drive on, with the trace that there is."""
        for _ in range(round(seconds * 10)):
            self.clock.advance(0.1)
            now = self.clock.mono_ns()
            self.thor.advance(now, Activity(self.worker.advance(now)))
            if governed:
                self.loop.sample()


@pytest.mark.parametrize("envelope_w", [40.0, 55.0, 70.0, 90.0, 120.0])
def test_an_emulated_thor_stays_inside_its_envelope_while_the_policy_drives(
    tmp_path: Path, envelope_w: float
) -> None:
    """By 2 % at most in any second, those too in which thoughts become longer."""
    bench = Bench(tmp_path, envelope_w, seed=2)
    driven = bench.drive(0.0)
    for tokens in (14, 4, 14, 9):
        bench.worker.tokens = tokens
        bench.drive_on(12.0)
    assert 0.75 * envelope_w <= driven.max_mean_w() <= 1.02 * envelope_w


@pytest.mark.parametrize(("envelope_w", "least"), [(55.0, 1), (120.0, 6)])
def test_a_policy_that_draws_six_plans_stays_inside_with_as_many_as_fit(
    tmp_path: Path, envelope_w: float, least: int
) -> None:
    bench = Bench(tmp_path, envelope_w, seed=2)
    bench.worker.workload = replace(EDGE, plan_samples=6)
    limits = LIMITS.record_from(LIMITS.packer.unpack(bytes(LIMITS.packer.size)))
    BoardWriter(bench.run / limits_board(Worker.A), LIMITS).write(limits._replace(epoch=1, plan_samples=6), 1)
    policy = POLICY.record_from(POLICY.packer.unpack(bytes(POLICY.packer.size)))
    BoardWriter(bench.run / POLICY_BOARD, POLICY).write(policy._replace(epoch=1), 1)
    driven = bench.drive(40.0)
    assert 0.75 * envelope_w <= driven.max_mean_w() <= 1.02 * envelope_w
    assert _board(bench.run).plan_samples == least


def test_without_the_governor_the_same_load_would_leave_the_envelope(tmp_path: Path) -> None:
    thor = EmulatedThor(None, 2, mode=0)
    policy = StagedPolicy(None, thor, 2, pace=Pace(wanted_hz=12.0, camera_hz=12.0), tokens=14)
    thor.advance(12 * 10**9, Activity(policy.advance(12 * 10**9)))
    assert thor.trace is not None
    assert thor.trace.max_mean_w() > 1.2 * 90.0


def test_when_power_dies_the_policy_takes_its_frugal_knobs(tmp_path: Path) -> None:
    bench = Bench(tmp_path, 120.0, seed=2)
    bench.drive(30.0)
    bench.drive(6.0, governed=False)
    assert bench.drive(2.0, governed=False).max_mean_w() < 60.0


def test_energy_on_the_board_is_the_power_that_was_taken(tmp_path: Path) -> None:
    bench = Bench(tmp_path, 70.0, seed=2)
    taken_j = bench.drive(20.0).energy_j
    assert _board(bench.run).energy_j == pytest.approx(taken_j, rel=0.06)


def test_where_the_monitor_of_the_module_is_gone_its_rails_speak_for_it_and_that_is_said(
    tmp_path: Path,
) -> None:
    bench = Bench(tmp_path, 70.0, seed=2)
    bench.drive(20.0)
    before_j = _board(bench.run).energy_j
    (hwmon_named(bench.root, "ina238") / "power1_input").unlink()
    decided = bench.worker.count.decisions
    driven = bench.drive(10.0)
    record = _board(bench.run)
    assert text_from(record.sensors) == "failing: VIN; module power by its rails"
    assert math.isnan(record.module_w)
    assert record.energy_j == before_j
    assert bench.worker.count.decisions - decided > 25
    assert driven.max_mean_w() <= 1.02 * 70.0


def test_a_monitor_that_stood_still_has_taught_nothing_wrong_once_it_moves_again(tmp_path: Path) -> None:
    bench = Bench(tmp_path, 90.0, seed=2)
    bench.drive(30.0)
    inject(bench.root, Fault.STUCK_SENSOR)
    while "VIN stands still" not in text_from(_board(bench.run).sensors):
        bench.drive(0.1)
    bench.drive(10.0)
    clear(bench.root, Fault.STUCK_SENSOR)
    assert bench.drive(20.0).max_mean_w() <= 1.02 * 90.0


def test_where_the_rails_are_gone_too_the_worst_is_assumed_and_that_is_said(tmp_path: Path) -> None:
    bench = Bench(tmp_path, 70.0, seed=2)
    bench.drive(20.0)
    assert text_from(_board(bench.run).sensors) == "ok"
    before = _board(bench.run).decision_rate_hz
    (hwmon_named(bench.root, "ina238") / "power1_input").unlink()
    (hwmon_named(bench.root, "ina3221") / "curr1_input").unlink()
    bench.drive(2.0)
    record = _board(bench.run)
    words = text_from(record.sensors)
    assert words.startswith("failing: ")
    assert words.endswith("; module power unknown: worst case assumed")
    assert math.isnan(record.module_w)
    figures = power_figures(record)
    assert figures.module_w is None
    assert figures.hottest_c == record.hottest_c
    assert decode(encode(figures), PowerFigures) == figures
    assert record.decision_rate_hz < before


def _fake_loop(device: PowerDevice, run: Path, clock: FakeClock) -> PowerLoop:
    return PowerLoop(device, _config(70.0), run, clock, AtOnce())


def _turns(loop: PowerLoop, clock: FakeClock, seconds: float) -> None:
    for _ in range(round(seconds * 10)):
        clock.advance(0.1)
        loop.sample()


def test_a_cap_that_cannot_be_written_is_said_on_the_board(tmp_path: Path) -> None:
    device, clock = FakeDevice(module_w=100.0, stuck=True), FakeClock()
    _turns(_fake_loop(device, tmp_path, clock), clock, 3)
    assert "knob: the cap is stuck" in text_from(_board(tmp_path).sensors)


def test_the_cap_never_exceeds_the_power_mode(tmp_path: Path) -> None:
    create_tree(tmp_path, profile_named(ProfileName.R39), seed=1)
    clock = FakeClock()
    jetson = Jetson(tmp_path, clock)
    (tmp_path / "run").mkdir()
    _turns(_fake_loop(jetson, tmp_path / "run", clock), clock, 30)
    record = _board(tmp_path / "run")
    assert text_from(record.power_mode) == "120W"
    assert record.gpu_max_freq_hz <= 1_386_000_000


def test_the_governor_looks_again_for_another_power_mode(tmp_path: Path) -> None:
    device, clock = FakeDevice(mode=None), FakeClock()
    loop = _fake_loop(device, tmp_path, clock)
    _turns(loop, clock, 1)
    assert text_from(_board(tmp_path).power_mode) == "unknown"
    device.mode = 0
    _turns(loop, clock, 61)
    assert text_from(_board(tmp_path).power_mode) == "MAXN"


def test_a_mode_that_cannot_be_asked_for_once_changes_nothing(tmp_path: Path) -> None:
    """A busy machine answers late; a cap above the mode and a policy thrown back to its floor would be worse."""
    modes = PowerModes((PowerMode(0, "120W", 1_386_000_000),), 0)
    device, clock = FakeDevice(modes=modes), FakeClock()
    loop = _fake_loop(device, tmp_path, clock)
    _turns(loop, clock, 59)
    before = _board(tmp_path)
    device.mode = None
    _turns(loop, clock, 10)
    after = _board(tmp_path)
    assert text_from(after.power_mode) == "120W"
    assert after.decision_rate_hz >= before.decision_rate_hz > 0
    assert after.gpu_max_freq_hz == before.gpu_max_freq_hz <= 1_386_000_000


def test_what_workers_did_is_counted_once_across_their_restarts_and_held_up_writes(tmp_path: Path) -> None:
    """A pid may come back; an epoch does not."""
    blank = WORKER.record_from(WORKER.packer.unpack(bytes(WORKER.packer.size)))
    path = tmp_path / worker_board(Worker.A)
    board, meter = BoardWriter(path, WORKER), WorkersMeter(tmp_path)
    board.write(blank._replace(pid=7, epoch=1, decisions=10), 1)
    meter.progress()
    board.write(blank._replace(pid=7, epoch=1, decisions=12), 2)
    assert meter.progress().decisions == 2
    board.write(blank._replace(pid=7, epoch=2, decisions=20), 3)
    assert meter.progress().decisions == 20
    with path.open("r+b") as file:
        file.seek(8)
        file.write((7).to_bytes(8, "little"))  # an odd generation: a record is being written
    assert meter.progress().decisions == 0
    board.write(blank._replace(pid=7, epoch=2, decisions=23), 4)
    assert meter.progress().decisions == 3
