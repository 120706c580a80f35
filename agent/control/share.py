"""What a worker takes of what the governor allows the device: rate, tokens, flow steps, plan samples.

Owns: what holds where no governor speaks, and how driver and candidate share a rate. Must not know: when a decision is due,
who writes the board.
"""

import math
from typing import NamedTuple

from agent.board.change import CandidateState
from agent.board.records import PowerRecord

POWER_MAX_AGE_NS = 1_000_000_000
"""A governor that has said nothing for so long is none. It speaks ten times a second, and near the envelope it is its word at
each decision that holds the watts."""
_SCARCE_NS = 1_000_000_000
_SHADOW_HZ = 2.0
_HALVED_HZ = 4.0
"""From this rate on a candidate whose latency is looked at takes half: the driver keeps 2 Hz at least."""
_BESIDE = frozenset(
    (CandidateState.LOADING, CandidateState.SHADOW, CandidateState.READY, CandidateState.DRIVING)
)
"""While a candidate is in one of these, two workers are loaded."""


class Allowed(NamedTuple):
    """Decisions a second of the whole device, and what each may take."""

    rate_hz: float
    max_tokens: int
    flow_steps: int
    plan_samples: int


FRUGAL = Allowed(1.0, 8, 2, 1)
"""What an ordinary policy may take where nobody governs: inside every envelope, whatever the clock was left at."""


def allowed_by(power: PowerRecord | None) -> Allowed:
    """The governor's knobs, or the most frugal where it is silent or makes no sense."""
    if power is None or not (math.isfinite(power.decision_rate_hz) and power.decision_rate_hz >= 0):
        return FRUGAL
    return Allowed(power.decision_rate_hz, power.max_reasoning_tokens, power.flow_steps, power.plan_samples)


def is_spent(word_ns: int, began_ns: int, held_ns: int, now_ns: int) -> bool:
    """Whether the governor's word of `word_ns` allows no decision more: where it held one back within the last second, at `held_ns`
    the last time, there is no room for two, and a decision has begun at `began_ns`."""
    return now_ns - held_ns < _SCARCE_NS and word_ns <= began_ns


def share_hz(hz: float, candidate: int, *, driving: bool) -> float:
    """A worker's part of the rate that the governor allows the device, beside a `candidate` in the state given.

    A shadow takes a quarter at most, and half while its latency is looked at, so that this takes seconds. Both decide on the
    same watts: were the shadow not paid for, a change of release would leave the envelope.
    """
    halved = candidate == CandidateState.SHADOW and hz >= _HALVED_HZ
    shadow_hz = hz / 2 if halved else min(_SHADOW_HZ, hz / 4)
    if not driving:
        return shadow_hz
    return hz - shadow_hz if candidate in _BESIDE else hz
