"""What the governor is told, and what it remembers of it.

Owns: the readings, with what is no number taken out, and the state with what follows from it. Must not know: how either
changes (`agent.power.learning`, `agent.power.governor`).
"""

import math
from dataclasses import dataclass, replace

from agent.power.costs import Costs, KnobRange, KnobSetting, best_clock
from agent.power.envelope import Envelope, Terms

ASSUMED_J = 9.8
"""A decision of a 2B policy at the highest clock, above idle; of the emulated Thor, not measured on a board."""
ASSUMED_IDLE_W = 27.0
"""Published idle modules take 23 to 29 W."""
AHEAD_S = (0.1, 0.2, 0.3, 0.9)
"""What a decision that begins now still takes is looked at this far ahead; the last leaves the newest sample behind it."""
STEADY_NS = 3_000_000_000
"""Over this, decisions and joules are set off against each other."""
TRIM_NS = 2_000_000_000
"""The resting clock moves no more often."""
SLOWEST_S = 0.5
"""A decision may take so long on average, where no release promises anything."""


@dataclass(frozen=True, slots=True)
class Readings:
    """What is known now; None for what failed, and for a number that is none.

    `module_w` is the 1 s mean, None also where its sensor is not believed; `past_j` what was taken in the last 0.9, 0.8, 0.7
    and 0.1 s, empty where unknown, `past_decisions` how many decisions ended in them; `steady_w`, `decisions_per_s` and
    `latency_s` are measured over the same last three seconds; `idle` says that nothing was decided for much
    longer than a decision takes; `gpu_max_freq_hz` is what reads back; `over_current` counts events since the last
    readings; `ordered_w` is the envelope that is asked for.
    """

    mono_ns: int
    module_w: float | None
    past_j: tuple[float, ...]
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
    past_decisions: tuple[int, ...] = (0,) * len(AHEAD_S)

    def __post_init__(self) -> None:
        for name in ("module_w", "steady_w", "decisions_per_s", "latency_s", "promised_p99_s"):
            value = getattr(self, name)
            if value is not None and not (math.isfinite(value) and value >= 0):
                object.__setattr__(self, name, None)
        if self.hottest_c is not None and not math.isfinite(self.hottest_c):
            object.__setattr__(self, "hottest_c", None)


@dataclass(frozen=True, slots=True)
class GovernorState:
    """All that the governor remembers. `clock_hz` is where the clock rests while the setting's own may be lower."""

    setting: KnobSetting
    clock_hz: int
    envelope: Envelope
    costs: Costs
    idle_w: float = ASSUMED_IDLE_W
    felt_w: float = 0.0
    """Others' load, by what the 1 s mean has beyond the target."""
    blind_w: float = 0.0
    """What is assumed on top while module power is unknown."""
    shock_w: float = 0.0
    """Kept free for another over-current event, for a while after one."""
    risen_w: float = 0.0
    """How far the ramp has let the ceiling rise."""
    changed_ns: int = 0
    changed_w: float = 0.0
    clock_ns: int = 0
    read_hz: int | None = None
    read_ns: int = 0
    """What the clock cap read back as, and since when."""
    trim_after_ns: int = 0
    now_ns: int = 0
    may_begin: bool = False
    """Whether a decision may begin before the next readings."""
    assumption: str = ""

    @property
    def standing_w(self) -> float:
        """What the device takes while nothing is decided."""
        return self.idle_w + self.felt_w + self.blind_w

    @property
    def ceiling_w(self) -> float:
        """What the device is expected to take at most, in any second, under the setting."""
        return self.standing_w + self.costs.watts(self.setting)

    @property
    def target_w(self) -> float:
        """What that must stay below."""
        return self.envelope.target_w - self.shock_w


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
