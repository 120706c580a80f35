"""What the governor is told, and what it remembers of it.

Owns: the readings, with what is no number taken out, and the state with what follows from it. Must not know: how either
changes (`agent.power.learning`, `agent.power.governor`).
"""

import math
from dataclasses import dataclass, replace
from typing import NamedTuple

from agent.power.costs import Costs, KnobRange, KnobSetting, best_clock
from agent.power.envelope import Envelope, Terms

ASSUMED_J = 9.8
"""A decision of a 2B policy at the highest clock, above idle; of the emulated Thor, not measured on a board."""
ASSUMED_IDLE_W = 27.0
"""Published idle modules take 23 to 29 W."""
STEADY_NS = 3_000_000_000
"""Over this, decisions and joules are set off against each other."""
TRIM_NS = 2_000_000_000
"""The resting clock moves no more often."""
SETTLE_NS = 1_200_000_000
"""After a change the 1 s mean needs this long to speak of the new setting only, and a written cap to be in force."""
HELD_NS = 250_000_000
"""A worker that is held back goes on by itself where no word comes for so long."""
SLOWEST_S = 0.5
"""A decision may take so long on average, where no release promises anything."""


class Second(NamedTuple):
    """A second that ends `ahead_s` from now: what was taken in the part of it that is over, in joules, for how long somebody
    decided in it, and how many decisions ended in it or are under way. `delayed_j` was
    taken from a tenth of a second later on, as monitors speak of a tenth ago. `before_j` was taken in the second before it, None
    where not all of that was seen."""

    ahead_s: float
    past_j: float
    busy_s: float
    decisions: int
    delayed_j: float = 0.0
    before_j: float | None = None


@dataclass(frozen=True, slots=True)
class Readings:
    """What is known now; None for what failed, and for a number that is none.

    `module_w` is the 1 s mean, None also where its sensor is not believed; `seconds` are those in which a decision that begins
    soon will take something, their `past_j` only where `is_seen`; `steady_w`, `decisions_per_s`, `latency_s` and
    `steady_others_w` are measured over the same last three seconds, `others_w` is what other programs take now by the rail of
    the cores, `others_rise_w` what they took in the last second more than in the one before, `quiet_w` what the module took when nothing was decided, None while something is; `under_way_s` is for how long
    a decision has been under way, 0 for none, `latest_busy_s` how much of the last tenth of a second was spent on deciding; `idle` says that nothing was decided for much longer than a decision takes;
    `gpu_max_freq_hz` is what reads back; `over_current` counts events since the last readings; `ordered_w` is the envelope
    that is asked for.
    """

    mono_ns: int
    module_w: float | None
    seconds: tuple[Second, ...]
    steady_w: float | None
    decisions_per_s: float | None
    latency_s: float | None
    hottest_c: float | None
    gpu_max_freq_hz: int | None
    ordered_w: float
    promised_p99_s: float | None = None
    idle: bool = False
    throttled: bool = False
    over_current: int = 0
    is_seen: bool = True
    others_w: float = 0.0
    second_others_w: float = 0.0
    steady_others_w: float = 0.0
    others_rise_w: float = 0.0
    quiet_w: float | None = None
    under_way_s: float = 0.0
    latest_busy_s: float = 0.0

    def __post_init__(self) -> None:
        for name in ("module_w", "steady_w", "decisions_per_s", "latency_s", "promised_p99_s", "quiet_w"):
            value = getattr(self, name)
            if value is not None and not (math.isfinite(value) and value >= 0):
                object.__setattr__(self, name, None)
        if self.hottest_c is not None and not math.isfinite(self.hottest_c):
            object.__setattr__(self, "hottest_c", None)
        for name in (
            "others_w",
            "second_others_w",
            "steady_others_w",
            "others_rise_w",
            "under_way_s",
            "latest_busy_s",
        ):
            value = getattr(self, name)
            object.__setattr__(self, name, value if math.isfinite(value) and value > 0 else 0.0)

    @property
    def sees(self) -> bool:
        """Whether all of the last second was seen, and is believed."""
        return self.is_seen and self.module_w is not None


@dataclass(frozen=True, slots=True)
class GovernorState:
    """All that the governor remembers. `clock_hz` is where the clock rests while the setting's own may be lower."""

    setting: KnobSetting
    clock_hz: int
    envelope: Envelope
    costs: Costs
    idle_w: float = ASSUMED_IDLE_W
    others_w: float = 0.0
    """What others take, by the rail of the cores."""
    beside_w: float = 0.0
    """What others take, by what was taken when last nothing was decided."""
    felt_w: float = 0.0
    """Load that nobody explains, by what the 1 s mean has beyond the target."""
    blind_w: float = 0.0
    """What is assumed on top while module power is unknown."""
    shock_w: float = 0.0
    """Kept free for another over-current event, for a while after one."""
    risen_w: float = 0.0
    """How far the ramp has let the ceiling rise."""
    changed_ns: int = 0
    changed_w: float = 0.0
    clock_ns: int = 0
    joules_share: float = 1.0
    latency_share: float = 1.0
    """Of the settings in force over the steady time, in the mean."""
    trim_after_ns: int = 0
    now_ns: int = 0
    pace_hz: float = 0.0
    """Decisions a second that a worker may aim at: more than the setting's where each waits for its joules anyway."""
    wait_ns: int = HELD_NS
    """How long after the readings no decision may begin."""
    assumption: str = ""

    @property
    def may_begin(self) -> bool:
        """Whether a decision may begin at once."""
        return self.wait_ns == 0

    @property
    def standing_w(self) -> float:
        """What the device takes while nothing is decided."""
        return self.idle_w + max(self.others_w, self.beside_w) + self.felt_w + self.blind_w

    @property
    def ceiling_w(self) -> float:
        """What the device is expected to take at most, in any second, under the setting."""
        return self.standing_w + self.costs.watts(self.setting)

    @property
    def bearable_w(self) -> float:
        """What a second may hold at most in which no burst of others begins."""
        return self.envelope.bearable_w - self.shock_w

    @property
    def target_w(self) -> float:
        """What that must stay below."""
        return self.envelope.target_w(max(self.others_w, self.beside_w)) - self.shock_w


def counted_clock_hz(state: GovernorState, readings: Readings, asked_hz: int) -> int:
    """The clock to count with: `asked_hz`, or what reads back above it though it had time to take."""
    read_hz, top_hz = readings.gpu_max_freq_hz, state.costs.top_hz
    if not read_hz or not top_hz or readings.mono_ns - state.clock_ns < SETTLE_NS:
        return asked_hz
    return max(asked_hz, min(read_hz, top_hz))


def started(knobs: KnobRange, limit_w: float, terms: Terms, mono_ns: int) -> GovernorState:
    """The state to begin with: it decides nothing, and earns every watt within the terms."""
    costs = Costs(ASSUMED_J, None, knobs.top_hz)
    state = GovernorState(knobs.hold(), knobs.top_hz, Envelope(limit_w, terms), costs)
    allowed_w = state.target_w - state.standing_w
    return replace(
        state,
        clock_hz=best_clock(costs, knobs, allowed_w, SLOWEST_S),
        risen_w=min(state.standing_w, state.target_w),
        changed_ns=mono_ns,
        clock_ns=mono_ns,
        trim_after_ns=mono_ns + TRIM_NS,
        now_ns=mono_ns,
    )


def moved(state: GovernorState, knobs: KnobRange, mono_ns: int) -> GovernorState:
    """`state` in another power mode: what clocks do is learned anew; limit, heat, others and an over-current event stay."""
    anew = started(knobs, state.envelope.limit_w, state.envelope.terms, mono_ns)
    tripped = state.trim_after_ns > mono_ns + TRIM_NS
    lower_hz = max((hz for hz in knobs.clocks_hz if hz <= state.clock_hz), default=knobs.clocks_hz[0])
    kept = replace(
        anew,
        envelope=state.envelope,
        idle_w=state.idle_w,
        felt_w=state.felt_w,
        blind_w=state.blind_w,
        shock_w=state.shock_w,
        clock_hz=lower_hz if tripped else anew.clock_hz,
        trim_after_ns=max(anew.trim_after_ns, state.trim_after_ns),
    )
    return replace(kept, risen_w=min(kept.standing_w, kept.target_w))
