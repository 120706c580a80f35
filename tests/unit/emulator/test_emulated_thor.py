"""The emulated Thor as a closed loop: pulses in, watts and degrees out, and clocks that answer."""

import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from agent.adapters.jetson import Jetson
from agent.board.records import POWER, POWER_BOARD, WORKER, Worker, WorkerRecord, worker_board
from agent.board.seqlock import BoardReader, BoardWriter
from agent.emulator.faults import Fault, inject
from agent.emulator.load import LoadMeter
from agent.emulator.physics import EDGE, Chip, Decision, Workload, latency_s
from agent.emulator.places import CPU, GPU, NVPMODEL
from agent.emulator.profile import GPU_MAX_HZ, GPU_MIN_HZ, ProfileName, gpu_frequencies_hz, profile_named
from agent.emulator.pulses import Pace, StagedPolicy
from agent.emulator.sysfs import hwmon_named, typed
from agent.emulator.thor import IDLE_W, Activity, Background, EmulatedThor
from agent.emulator.tree import create_tree
from tests.fakes.clock import FakeClock

_S = 1_000_000_000
_STEP_NS = _S // 10
R39 = profile_named(ProfileName.R39)


def _driven(thor: EmulatedThor, policy: StagedPolicy, seconds: float) -> int:
    """Drive on; the decisions that ended in that time."""
    before = policy.count.decisions
    end_ns = thor.now_ns + round(seconds * _S)
    while thor.now_ns < end_ns:
        until_ns = min(thor.now_ns + _STEP_NS, end_ns)
        thor.advance(until_ns, Activity(policy.advance(until_ns)))
    return policy.count.decisions - before


def _bare(mode: int = 0, seed: int = 4, ambient_c: float = 25.0) -> EmulatedThor:
    return EmulatedThor(None, seed, mode=mode, ambient_c=ambient_c)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    create_tree(tmp_path, R39, seed=4)
    (tmp_path / "run").mkdir()
    return tmp_path


def test_the_truth_is_idle_power_and_the_pulses_on_it() -> None:
    thor = _bare()
    idle_w = thor.rails.module_w
    assert IDLE_W[0] <= idle_w <= IDLE_W[1]
    pulse, _ = thor.place(Decision(EDGE, 5, 4), 300_000_000)
    thor.advance(_S, Activity((pulse,)))
    assert thor.trace is not None
    added_j = sum(stage.duration_s * stage.rails.module_w for stage in pulse.stages)
    assert thor.trace.energy_j == pytest.approx(
        idle_w + added_j, rel=0.002
    )  # less what cooling saves in leakage
    assert thor.trace.max_mean_w(0.001) == pytest.approx(idle_w + pulse.stages[1].rails.module_w, rel=0.002)


def test_two_decisions_in_one_window_are_seen() -> None:
    """At 1.2 Hz most seconds have one decision and some have two."""
    thor = _bare()
    policy = StagedPolicy(None, thor, 1, pace=Pace(1.2, 12.0), tokens=5)
    idle_w = thor.rails.module_w
    _driven(thor, policy, 30)
    assert thor.trace is not None
    one_j = (thor.trace.energy_j - idle_w * 30) / policy.count.decisions
    assert thor.trace.max_mean_w() > idle_w + 1.9 * one_j


def test_a_lower_clock_makes_decisions_slower_and_cheaper_in_power(root: Path) -> None:
    jetson = Jetson(root, FakeClock())
    thor = EmulatedThor(root, 4)
    policy = StagedPolicy(None, thor, 1, tokens=5)
    jetson.set_gpu_max_freq_hz(gpu_frequencies_hz()[140])
    _driven(thor, policy, 5)
    fast, fast_w = policy.latencies_ns[-1], jetson.power().module_w or 0.0
    jetson.set_gpu_max_freq_hz(GPU_MIN_HZ)
    _driven(thor, policy, 5)
    assert policy.latencies_ns[-1] > 2.5 * fast
    assert (jetson.power().module_w or 0.0) < 0.75 * fast_w


def test_decisions_at_maxn_are_as_frequent_as_their_latency_allows() -> None:
    thor = _bare()
    policy = StagedPolicy(None, thor, 1, pace=Pace(30.0, 30.0), tokens=5)
    done = _driven(thor, policy, 20)
    assert done == pytest.approx(20 / latency_s(Decision(EDGE, 5, 4), Chip()), rel=0.1)
    assert thor.trace is not None
    assert 115 < thor.trace.max_mean_w() < 140


def test_tokens_are_drawn_so_that_latency_is_the_published_one() -> None:
    thor = _bare()
    policy = StagedPolicy(None, thor, 1)
    _driven(thor, policy, 300)
    latencies_ms = sorted(latency_ns / 1e6 for latency_ns in policy.latencies_ns)
    assert latencies_ms[len(latencies_ms) // 2] == pytest.approx(91.9, rel=0.06)
    assert latencies_ms[len(latencies_ms) * 9 // 10] == pytest.approx(140.3, rel=0.06)


def test_a_mode_that_gates_tpcs_is_slower_than_its_clock_says() -> None:
    gated, free = _bare(mode=2), _bare(mode=1)
    assert gated.chip(0).gpu_hz > free.chip(0).gpu_hz
    assert gated.chip(0).tpcs < free.chip(0).tpcs
    decision = Decision(EDGE, 5, 4)
    assert latency_s(decision, gated.chip(0)) > latency_s(decision, free.chip(0))


@pytest.mark.parametrize("tpcs", [5, 8])
def test_how_many_tpcs_a_gated_mode_leaves_can_be_assumed_otherwise(tpcs: int) -> None:
    thor = EmulatedThor(None, 4, profile=replace(R39, gated_tpcs=tpcs), mode=3)
    assert thor.chip(0).tpcs == tpcs
    assert EmulatedThor(None, 4, profile=replace(R39, gated_tpcs=tpcs), mode=1).chip(0).tpcs == 10


def test_the_monitors_say_the_mean_of_a_tenth_of_a_second_at_times_of_their_own(root: Path) -> None:
    thor, jetson = EmulatedThor(root, 4), Jetson(root, FakeClock())
    idle_w = thor.rails.module_w
    pulse, _ = thor.place(Decision(EDGE, 5, 4), 200_000_000)
    thor.advance(200_000_000, Activity((pulse,)))
    said_j, said_w = 0.0, set()
    for number in range(1, 500):
        thor.advance(200_000_000 + number * 1_000_000)
        watts = jetson.power().module_w or 0.0
        said_j += 0.001 * (watts - idle_w)
        said_w.add(watts)
    added_j = sum(stage.duration_s * stage.rails.module_w for stage in pulse.stages)
    assert 5 <= len(said_w) <= 6
    assert said_j == pytest.approx(added_j, rel=0.05)
    assert max(said_w) < idle_w + 0.95 * pulse.stages[1].rails.module_w


def test_what_others_take_is_in_the_truth_and_on_their_rails(root: Path) -> None:
    thor = EmulatedThor(root, 4, background_w=lambda at_ns: Background(cpu_w=20.0 if at_ns >= _S else 0.0))
    jetson = Jetson(root, FakeClock())
    thor.advance(_S)
    before = jetson.power()
    thor.advance(3 * _S)
    after = jetson.power()
    assert (after.soc_w or 0.0) - (before.soc_w or 0.0) == pytest.approx(20.0, abs=0.3)
    assert thor.trace is not None
    assert thor.trace.max_mean_w() - thor.trace.energy_between_j(0, _S) == pytest.approx(21.0, abs=0.1)
    assert thor.own_trace is not None
    assert thor.own_trace.max_ramp_w_per_s() < 0.1 < 20.0 < thor.trace.max_ramp_w_per_s()


def test_a_cap_between_two_clocks_is_rounded_down_without_a_word(root: Path) -> None:
    thor, jetson = EmulatedThor(root, 4), Jetson(root, FakeClock())
    jetson.set_gpu_max_freq_hz(1_000_000_000)
    thor.advance(100_000_000)
    expected_hz = max(hz for hz in gpu_frequencies_hz() if hz <= 1_000_000_000)
    assert jetson.gpu_max_freq_hz() == expected_hz == thor.chip(thor.now_ns).gpu_hz


def test_a_cap_holds_for_the_next_decision_however_soon_that_is(root: Path) -> None:
    thor = EmulatedThor(root, 4)
    thor.advance(_S)
    Jetson(root, FakeClock()).set_gpu_max_freq_hz(GPU_MIN_HZ)
    pulse, _ = thor.place(Decision(EDGE, 5, 4), _S)
    assert pulse.end_ns - pulse.start_ns > 250_000_000


def test_a_decision_of_seconds_feels_a_cap_that_comes_in_the_middle_of_it() -> None:
    reasoning = Workload(0.02, 0.6, 0.035, 0.02, flow_steps=10)
    thor, fast = _bare(), _bare()
    policies = [StagedPolicy(None, at, 1, workload=reasoning, tokens=20) for at in (thor, fast)]
    for at, policy in zip((thor, fast), policies, strict=True):
        _driven(at, policy, 0.3)
    thor.cap_hz = GPU_MIN_HZ
    for at, policy in zip((thor, fast), policies, strict=True):
        _driven(at, policy, 5.0)
    assert policies[0].latencies_ns[0] > policies[1].latencies_ns[0] + _S
    assert policies[0].count.decisions < policies[1].count.decisions


def test_two_workers_share_the_gpu_and_each_takes_longer() -> None:
    thor = _bare()
    driving = StagedPolicy(None, thor, 1, pace=Pace(20.0, 20.0), tokens=5)
    shadow = StagedPolicy(None, thor, 2, pace=Pace(20.0, 20.0), tokens=5, worker=Worker.B, epoch=2)
    for number in range(1, 101):
        until_ns = number * _STEP_NS
        thor.advance(until_ns, Activity((*driving.advance(until_ns), *shadow.advance(until_ns))))
    together = driving.count.decisions + shadow.count.decisions
    assert together == pytest.approx(10 / latency_s(Decision(EDGE, 5, 4), Chip()), rel=0.05)
    assert min(driving.count.decisions, shadow.count.decisions) > 0.3 * together
    assert driving.latencies_ns[-1] > 1.5e9 * latency_s(Decision(EDGE, 5, 4), Chip())


def test_a_cap_above_the_mode_gives_no_higher_clock(root: Path) -> None:
    thor = EmulatedThor(root, 4)
    Jetson(root, FakeClock()).set_gpu_max_freq_hz(GPU_MAX_HZ)
    thor.advance(100_000_000)
    assert thor.chip(thor.now_ns).gpu_hz == 1_386_000_000


def test_a_live_change_of_mode_moves_clocks_and_cores(root: Path) -> None:
    thor = EmulatedThor(root, 4)
    thor.advance(100_000_000)
    for file in ("cpufreq/policy3/scaling_max_freq", "cpu3/online"):
        (root / CPU / file).write_text("0\n")
    subprocess.run([str(root / NVPMODEL), "-m", "0"], check=True, timeout=30, capture_output=True)
    thor.advance(200_000_000)
    assert thor.chip(thor.now_ns).gpu_hz == GPU_MAX_HZ
    assert (root / CPU / "cpufreq/policy3/scaling_max_freq").read_text() == "2601000\n"
    assert (root / CPU / "cpu3/online").read_text() == "1\n"


def test_a_reader_never_sees_half_a_number(root: Path) -> None:
    thor = EmulatedThor(root, 4)
    policy = StagedPolicy(None, thor, 1)
    sizes = set()
    for _ in range(50):
        _driven(thor, policy, 0.1)
        sizes |= {path.stat().st_size for path in root.glob("sys/class/hwmon/*/power1_input")}
    assert len(sizes) == 1
    assert (root / GPU / "cur_freq").read_text().split()[0].isdigit()


def test_a_dead_fan_in_hot_air_throttles_a_module_that_nobody_governs_and_the_loop_settles(
    root: Path,
) -> None:
    thor = EmulatedThor(root, 4, ambient_c=25.0)
    policy = StagedPolicy(None, thor, 1, tokens=5)
    cool = _driven(thor, policy, 30)
    assert not thor.throttled
    inject(root, Fault.FAN_FAILURE)
    thor.ambient_c = 45.0
    _driven(thor, policy, 1500)
    hot = _driven(thor, policy, 30)
    assert hot < 0.9 * cool
    assert 100 < thor.heat.temperatures.gpu_c < 113
    assert not thor.off
    assert int((typed(root, "cooling_device")["devfreq-gpu-gpc-0"] / "cur_state").read_text()) > 0
    assert int((typed(root, "cooling_device")["pwm-fan"] / "cur_state").read_text()) == 4


def test_a_module_that_was_critically_hot_is_off() -> None:
    thor = _bare(ambient_c=112.0)
    policy = StagedPolicy(None, thor, 1)
    _driven(thor, policy, 600)
    assert thor.off
    assert thor.rails.module_w == 0.0
    assert _driven(thor, policy, 10) == 0


def test_an_r38_tree_is_followed_too(tmp_path: Path) -> None:
    create_tree(tmp_path, profile_named(ProfileName.R38), seed=2)
    thor, jetson = EmulatedThor(tmp_path, 2), Jetson(tmp_path, FakeClock())
    thor.advance(_S)
    assert jetson.power().failing == ()
    assert thor.chip(_S).tpcs == 10
    assert not (hwmon_named(tmp_path, "ina238") / "power1_label").exists()


def test_the_same_seed_gives_the_same_drive() -> None:
    drives = []
    for seed in (1, 1, 2):
        thor = _bare(seed=seed)
        _driven(thor, StagedPolicy(None, thor, seed), 20)
        assert thor.trace is not None
        drives.append(thor.trace.energy_j)
    assert drives[0] == drives[1] != drives[2]


BLANK_POWER = POWER.record_from(POWER.packer.unpack(bytes(POWER.packer.size)))


class Governed:
    """A stand-in policy below a `power.board` that the test writes."""

    def __init__(self, run: Path) -> None:
        self.thor = _bare()
        self.thor.advance(_S)
        self.policy = StagedPolicy(run, self.thor, 1, tokens=20)
        self.power = BoardWriter(run / POWER_BOARD, POWER)
        self.run = run

    def drive(
        self, seconds: float, rate_hz: float | None, tokens: int = 64, steps: int = 16, samples: int = 1
    ) -> WorkerRecord:
        for _ in range(round(seconds * 10)):
            if rate_hz is not None:
                record = BLANK_POWER._replace(
                    decision_rate_hz=rate_hz,
                    max_reasoning_tokens=tokens,
                    flow_steps=steps,
                    plan_samples=samples,
                )
                self.power.write(record, self.thor.now_ns)
            _driven(self.thor, self.policy, 0.1)
        with BoardReader(self.run / worker_board(Worker.A), WORKER) as board:
            stamped = board.read()
        assert stamped is not None
        return stamped.record


@pytest.fixture
def governed(tmp_path: Path) -> Governed:
    return Governed(tmp_path)


def test_the_stand_in_decides_at_the_governors_rate_and_says_so_on_its_board(governed: Governed) -> None:
    first = governed.drive(5.0, rate_hz=2.0)
    second = governed.drive(10.0, rate_hz=2.0)
    assert second.decisions - first.decisions == pytest.approx(20, abs=1)
    assert second.tokens_total - first.tokens_total == 20 * (second.decisions - first.decisions)
    assert second.busy_ns > first.busy_ns


def test_the_stand_in_decides_nothing_at_rate_0_and_again_afterwards(governed: Governed) -> None:
    governed.drive(3.0, rate_hz=5.0)
    held = governed.drive(1.0, rate_hz=0.0)
    assert governed.drive(5.0, rate_hz=0.0).decisions == held.decisions
    assert governed.drive(2.0, rate_hz=5.0).decisions > held.decisions


def test_fewer_tokens_and_flow_steps_make_the_stand_in_faster(governed: Governed) -> None:
    slow = governed.drive(4.0, rate_hz=2.0).latency_last_ns
    fast = governed.drive(4.0, rate_hz=2.0, tokens=8, steps=2).latency_last_ns
    saved_s = 12 * EDGE.token_s + 2 * EDGE.flow_step_s
    assert slow - fast == pytest.approx(1e9 * saved_s, rel=0.01)


def test_each_plan_that_is_drawn_takes_the_flow_once_more_and_nothing_else(governed: Governed) -> None:
    one = governed.drive(4.0, rate_hz=2.0, samples=9).latency_last_ns
    governed.policy.workload = replace(EDGE, plan_samples=6)
    six = governed.drive(4.0, rate_hz=2.0, samples=9).latency_last_ns
    four = governed.drive(4.0, rate_hz=2.0, samples=4).latency_last_ns
    flow_ns = 1e9 * EDGE.flow_steps * EDGE.flow_step_s
    assert six - one == pytest.approx(5 * flow_ns, rel=0.01)
    assert six - four == pytest.approx(2 * flow_ns, rel=0.01)


def test_three_seconds_after_power_died_the_stand_in_is_frugal(governed: Governed) -> None:
    governed.drive(5.0, rate_hz=5.0)
    died = governed.drive(3.5, rate_hz=None).decisions
    last = governed.drive(10.0, rate_hz=None)
    assert last.decisions - died == pytest.approx(10, abs=1)
    assert last.latency_last_ns < governed.policy.latencies_ns[0]


def test_what_real_workers_count_becomes_pulses(tmp_path: Path) -> None:
    thor = _bare()
    meter = LoadMeter(tmp_path, thor)
    blank = WORKER.record_from(WORKER.packer.unpack(bytes(WORKER.packer.size)))
    board = BoardWriter(tmp_path / worker_board(Worker.A), WORKER)
    board.write(blank._replace(epoch=1), 1)
    thor.advance(_STEP_NS, meter.measure(_STEP_NS))
    board.write(blank._replace(epoch=1, decisions=2, tokens_total=12, busy_ns=_STEP_NS // 2), 2)
    activity = meter.measure(2 * _STEP_NS)
    tokens_s = [pulse.stages[2].duration_s for pulse in activity.pulses]
    assert sum(tokens_s) == pytest.approx(12 * EDGE.token_s)
    assert activity.pulses[1].start_ns >= activity.pulses[0].end_ns
    assert activity.cpu_busy == pytest.approx(0.5 / 14)


@pytest.mark.parametrize(("allowed", "drawn"), [(None, 1), (0, 1), (6, 6)])
def test_as_many_plans_as_the_governor_allows_the_real_release_are_drawn_by_the_emulated_one(
    tmp_path: Path, allowed: int | None, drawn: int
) -> None:
    thor, board = _bare(), BoardWriter(tmp_path / worker_board(Worker.A), WORKER)
    meter = LoadMeter(tmp_path, thor)
    if allowed is not None:
        told = BLANK_POWER._replace(flow_steps=4, plan_samples=allowed)
        BoardWriter(tmp_path / POWER_BOARD, POWER).write(told, 1)
    blank = WORKER.record_from(WORKER.packer.unpack(bytes(WORKER.packer.size)))
    for decisions in (0, 1):
        board.write(blank._replace(epoch=1, decisions=decisions, tokens_total=5 * decisions), 1 + decisions)
        activity = meter.measure(_STEP_NS)
    (pulse,) = activity.pulses
    assert pulse.stages[-1].duration_s == pytest.approx(drawn * EDGE.flow_steps * EDGE.flow_step_s)


def test_workers_that_are_faster_than_the_emulated_gpu_keep_it_busy_and_no_longer(tmp_path: Path) -> None:
    thor = _bare()
    meter = LoadMeter(tmp_path, thor)
    blank = WORKER.record_from(WORKER.packer.unpack(bytes(WORKER.packer.size)))
    board = BoardWriter(tmp_path / worker_board(Worker.A), WORKER)
    for number in range(100):
        board.write(blank._replace(epoch=1, decisions=5 * number, tokens_total=25 * number), number + 1)
        until_ns = thor.now_ns + _STEP_NS
        thor.advance(until_ns, meter.measure(until_ns))
    assert thor.free_ns - thor.now_ns < _S
    assert thor.trace is not None
    assert thor.trace.energy_between_j(5 * _S, 10 * _S) / 5 > 110
