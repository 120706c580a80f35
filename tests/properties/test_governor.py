"""Whatever the policy does, the 1 s mean stays inside the envelope.

The plants here are simpler than the emulated Thor and not made by the same hand: joules a decision, idle watts, a
share of the load that follows the clock.
"""

from dataclasses import dataclass, field

from hypothesis import given, settings
from hypothesis import strategies as st

from agent.power.envelope import RollingMean
from agent.power.governor import (
    ASSUMED_IDLE_W,
    ASSUMED_J,
    GovernorState,
    KnobSetting,
    Ladder,
    Readings,
    governed,
    ladder_for,
)

CLOCKS = tuple(range(315_000_000, 1_575_000_001, 15_000_000))
STEP_NS = 100_000_000
_GOVERN_STEPS = 2
_DECISION_LAG_STEPS = 3
_RATE_STEPS = 30


@dataclass(frozen=True)
class Episode:
    """For `steps` tenths of a second: what a decision costs, how many are wanted, and which sensors work."""

    steps: int
    joules: float
    wanted_hz: float
    power_seen: bool = True
    heat_seen: bool = True


@dataclass
class Run:
    """A governed plant; `means` collects the true 1 s mean at every step."""

    ladder: Ladder
    state: GovernorState
    idle_w: float
    means: list[float] = field(default_factory=list)
    now: int = 1_000_000_000
    rates: list[float] = field(default_factory=lambda: [2.0] * _RATE_STEPS)
    truth: RollingMean = field(default_factory=RollingMean)
    seen: RollingMean = field(default_factory=RollingMean)
    recent: RollingMean = field(default_factory=lambda: RollingMean(300_000_000))

    def play(self, episodes: list[Episode]) -> None:
        for episode in episodes:
            for step in range(episode.steps):
                self._step(episode)
                if step % _GOVERN_STEPS == 0:
                    self.state = governed(self.state, self._readings(episode), self.ladder)

    def _step(self, episode: Episode) -> None:
        setting = self.ladder.settings[self.state.rung]
        self.rates = [*self.rates[1:], min(setting.decision_rate_hz, episode.wanted_hz)]
        watts = self.idle_w + self.rates[-_DECISION_LAG_STEPS] * episode.joules * _share(setting)
        self.now += STEP_NS
        self.truth.add(self.now, watts)
        if episode.power_seen:
            self.seen.add(self.now, watts)
            self.recent.add(self.now, watts)
        self.means.append(self.truth.mean(self.now) or watts)

    def _readings(self, episode: Episode) -> Readings:
        return Readings(
            self.now,
            self.seen.mean(self.now) if episode.power_seen else None,
            self.recent.mean(self.now) if episode.power_seen else None,
            sum(self.rates) / len(self.rates),
            50.0 if episode.heat_seen else None,
            self.ladder.settings[self.state.rung].gpu_max_freq_hz,
        )


def _share(setting: KnobSetting) -> float:
    """The plant's own truth: 40 % of the load falls with the clock; tokens and flow steps save nothing."""
    return 0.6 + 0.4 * setting.gpu_max_freq_hz / CLOCKS[-1]


def _episodes(joules: st.SearchStrategy[float]) -> st.SearchStrategy[list[Episode]]:
    episode = st.builds(
        Episode,
        steps=st.integers(5, 120),
        joules=joules,
        wanted_hz=st.floats(0.0, 30.0),
        power_seen=st.sampled_from([True, True, True, False]),
        heat_seen=st.sampled_from([True, True, True, False]),
    )
    return st.lists(episode, min_size=1, max_size=12)


def _run(limit_w: float, idle_w: float, decision_hz: float) -> Run:
    ladder = ladder_for(decision_hz, CLOCKS)
    return Run(ladder, ladder.start(limit_w, 1_000_000_000), idle_w)


@settings(max_examples=150, deadline=None)
@given(
    limit_w=st.floats(40, 130),
    idle_w=st.floats(18, ASSUMED_IDLE_W),
    decision_hz=st.floats(2.5, 30),
    episodes=_episodes(st.floats(0.5, ASSUMED_J)),
)
def test_an_ordinary_policy_never_leaves_the_envelope(
    limit_w: float, idle_w: float, decision_hz: float, episodes: list[Episode]
) -> None:
    """Up to the assumed cost of a decision there's no overshoot at all, however demand, cost and sensors jump."""
    run = _run(limit_w, idle_w, decision_hz)
    run.play(episodes)
    assert max(run.means) <= limit_w


@settings(max_examples=150, deadline=None)
@given(
    limit_w=st.floats(40, 130),
    idle_w=st.floats(18, 29),
    joules=st.floats(ASSUMED_J, 20.0),
    before=_episodes(st.floats(0.5, 20.0)),
)
def test_a_costlier_policy_than_assumed_is_inside_within_four_seconds(
    limit_w: float, idle_w: float, joules: float, before: list[Episode]
) -> None:
    """Whatever was before: from the moment that the cost stands still and power can be seen, it's learned."""
    run = _run(limit_w, idle_w, 10.0)
    run.play(before)
    run.means.clear()
    run.play([Episode(200, joules, 10.0)])
    assert max(run.means[40:]) <= limit_w


@settings(max_examples=100, deadline=None)
@given(limit_w=st.floats(60, 130), joules=st.floats(3.0, ASSUMED_J))
def test_the_watts_that_are_there_are_used_and_the_setting_comes_to_rest(
    limit_w: float, joules: float
) -> None:
    run = _run(limit_w, 25.0, 10.0)
    run.play([Episode(600, joules, 30.0)])
    rung = run.state.rung
    affordable_hz = (limit_w - 25.0) / joules
    assert run.ladder.settings[rung].decision_rate_hz >= 0.7 * min(10.0, affordable_hz * joules / ASSUMED_J)
    run.play([Episode(100, joules, 30.0)])
    assert run.state.rung == rung


ANY = st.one_of(st.none(), st.floats(0.0, 400.0))
READINGS = st.builds(
    Readings,
    mono_ns=st.integers(0, 10**13),
    module_w=ANY,
    recent_w=ANY,
    decisions_per_s=st.one_of(st.none(), st.floats(0.0, 40.0)),
    hottest_c=st.one_of(st.none(), st.floats(-20.0, 130.0)),
    gpu_max_freq_hz=st.one_of(st.none(), st.sampled_from(CLOCKS)),
    over_current=st.integers(0, 50),
)


@settings(max_examples=200, deadline=None)
@given(st.floats(40, 130), st.floats(0.2, 30), st.lists(READINGS, min_size=1, max_size=40))
def test_for_no_readings_at_all_is_more_commanded_than_is_expected_to_fit(
    limit_w: float, decision_hz: float, readings: list[Readings]
) -> None:
    ladder = ladder_for(decision_hz, CLOCKS)
    state = ladder.start(limit_w, 0)
    for now in sorted(readings, key=lambda each: each.mono_ns):
        state = governed(state, now, ladder)
        expected_w = state.idle_w + state.joules * ladder.costs[state.rung]
        assert state.rung == ladder.hold or expected_w <= state.envelope.target_w <= limit_w
