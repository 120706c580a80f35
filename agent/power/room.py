"""Whether the seconds in which another decision would take something have room for it, and if not, from when on.

Owns: what was taken in a second so far, as far as it was seen and counted, what is still to come in it, and what it may hold.
Must not know: rates, clocks and what else is commanded; times are arguments and the state is a value.

A rate is a mean, and every second must hold. Of each second that ends within the next one it is known what was taken in the
part that is over; what the decision under way and the next one take in the rest is bounded by what they are worth, and by what
a busy device takes. Monitors lag, so the newest tenth is counted by the time that was spent on decisions in it.
"""

import math
from collections.abc import Iterator
from dataclasses import replace
from typing import NamedTuple

from agent.power.state import HELD_NS, GovernorState, Readings, Second, counted_clock_hz

_STEP_NS = 10_000_000
_DELAY_S = 0.1
_RISE_SHARE = 0.85
"""A decision is whole: the load is held to rise a little slower than it may."""
_RESIDUAL_SHARE = 0.4
"""At the least so much of a usual decision is left of one that is under way: nobody knows how long it thinks."""
_FIRST_SHARE, _FIRST_S = 0.13, 0.25
"""A decision sees first, and takes so much of the joules of that time earlier than a steady one would; of the emulated Thor."""
_CUT_W = 1.7
"""What a second holds hinges on where it cuts decisions. So much is kept free where the device is busy for two thirds of it:
less where there are fewer decisions, and none where they follow on one another."""
_MOST_CUT = 4 / 27
"""The largest value of x²(1 - x)."""
_UNSEEN_SHARE = 0.5
"""Where nobody sees the module, half a burst of others may have been there already."""


class _Work(NamedTuple):
    """The decision that is under way, with what it still takes, and the next one. At first they take `first_j` more than
    `busy_w` says."""

    next_j: float
    under_way_j: float
    busy_w: float
    first_j: float

    def ahead_j(self, ahead_s: float, wait_s: float) -> float:
        """What both take in the next `ahead_s` where the next one begins `wait_s` from now."""
        next_j = min(self.next_j, self.busy_w * (ahead_s - wait_s) + self.first_j)
        most_j = self.busy_w * ahead_s + self.first_j
        return min(min(self.under_way_j, self.busy_w * ahead_s) + next_j, most_j)


class _Room(NamedTuple):
    """What `work` may take in a second that ends `ahead_s` from now."""

    ahead_s: float
    work: _Work
    joules: float


def wait_ns(state: GovernorState, readings: Readings) -> int:
    """How long no decision may begin; `HELD_NS` also where none may until more is known."""
    if state.setting.decision_rate_hz <= 0:
        return HELD_NS
    clock_hz = counted_clock_hz(state, readings, state.setting.gpu_max_freq_hz)
    state = replace(state, setting=replace(state.setting, gpu_max_freq_hz=clock_hz))
    rooms = [room for second in readings.seconds for room in _rooms(state, readings, second)]
    waits_ns = range(0, HELD_NS, _STEP_NS)
    return next((each_ns for each_ns in waits_ns if _fits(rooms, each_ns / 1e9)), HELD_NS)


def _fits(rooms: list[_Room], wait_s: float) -> bool:
    return all(
        room.work.ahead_j(room.ahead_s, wait_s) <= room.joules for room in rooms if room.ahead_s > wait_s
    )


def _rooms(state: GovernorState, readings: Readings, second: Second) -> Iterator[_Room]:
    """The longest thought has to fit, and a burst of others beside a usual one, as hardly ever both come at once; and no more
    than the second before had by what the load may rise, beside what others' has risen."""
    costs, setting = state.costs, state.setting
    usual_j = costs.joules_at(setting)
    busy_w = costs.busy_w(setting)
    first_j = _FIRST_SHARE * min(usual_j, busy_w * _FIRST_S)
    usual = _Work(usual_j, _under_way_j(state, readings), busy_w, first_j)
    taken_j = _past_j(state, readings, second) + state.standing_w * second.ahead_s + _cut_j(state)
    yield _Room(second.ahead_s, usual._replace(next_j=costs.longest_j(setting)), state.bearable_w - taken_j)
    yield _Room(second.ahead_s, usual, state.target_w - taken_j)
    if second.before_j is not None and readings.sees:
        rise_w = _RISE_SHARE * state.envelope.terms.up_w_per_s
        yield _Room(second.ahead_s, usual, second.before_j + rise_w + readings.others_rise_w - taken_j)


def _cut_j(state: GovernorState) -> float:
    """What is kept free of a second for not knowing where it cuts a decision."""
    share = (state.bearable_w - state.standing_w) / state.costs.busy_w(state.setting)
    share = min(max(share, 0.0), 1.0)
    return _CUT_W * share * share * (1.0 - share) / _MOST_CUT


def _under_way_j(state: GovernorState, readings: Readings) -> float:
    """What a decision that is not over yet still takes; it may have begun under a fuller setting."""
    if readings.under_way_s <= 0:
        return 0.0
    whole_j = max(state.costs.joules_at(state.setting), state.costs.joules * state.joules_share)
    busy_w = state.costs.busy_w(state.setting)
    if not math.isfinite(busy_w):
        return whole_j
    return max(whole_j - busy_w * readings.under_way_s, _RESIDUAL_SHARE * whole_j)


def _past_j(state: GovernorState, readings: Readings, second: Second) -> float:
    """What was taken in the part of `second` that is over: what was seen, with what could not be seen yet, and no less than its
    decisions take."""
    past_s = 1.0 - second.ahead_s
    counted_j = _counted_j(state, readings, past_s, second.busy_s, second.decisions)
    if not readings.sees:
        return counted_j + _UNSEEN_SHARE * state.envelope.terms.burst_w * past_s
    latest_s, busy_s = min(_DELAY_S, past_s), min(readings.latest_busy_s, second.busy_s)
    return max(counted_j, second.past_j, second.delayed_j + _counted_j(state, readings, latest_s, busy_s, 0))


def _counted_j(
    state: GovernorState, readings: Readings, seconds: float, busy_s: float, decisions: int
) -> float:
    """What is taken in so many seconds, `busy_s` of them spent on decisions: longer thoughts take longer. Where nobody knows how
    long they take, by their number."""
    standing_w = state.idle_w + state.felt_w + readings.second_others_w
    busy_w = state.costs.busy_w(state.setting)
    decided_j = busy_w * busy_s if math.isfinite(busy_w) else state.costs.joules_at(state.setting) * decisions
    return standing_w * seconds + decided_j
