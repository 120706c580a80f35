"""How many decisions in shadow are looked at before a candidate may drive, and how often that is unjust."""

from functools import reduce

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.control.admission import LEAST, MOST, Admission, Standing
from models.runtime.policy import Knobs

PROMISED_NS = 250_000_000
FULL, FRUGAL = Knobs(64, 16), Knobs(8, 2)


def seen(longer: list[bool], knobs: Knobs = FULL) -> Admission:
    """After decisions of which some took longer than promised."""
    latencies = (PROMISED_NS + 1 if slow else PROMISED_NS for slow in longer)
    return reduce(lambda admission, ns: admission.after(ns, knobs), latencies, Admission(PROMISED_NS))


def chance(standing: Standing, slow_share: float) -> float:
    """Of ending in `standing`, for a candidate of whose decisions so many are too long; exact, by going through all ways."""
    ways, ended = {(0, 0): 1.0}, 0.0
    while ways:
        onward: dict[tuple[int, int], float] = {}
        for (decisions, longer), share in ways.items():
            for more, part in ((1, slow_share), (0, 1 - slow_share)):
                at = Admission(PROMISED_NS, FULL, decisions + 1, longer + more)
                if at.standing is Standing.OPEN:
                    key = (at.decisions, at.longer)
                    onward[key] = onward.get(key, 0.0) + share * part
                elif at.standing is standing:
                    ended += share * part
        ways = onward
    return ended


def test_one_that_keeps_its_promise_is_refused_less_than_once_in_a_thousand() -> None:
    assert chance(Standing.REFUSED, 0.01) < 1e-3
    assert chance(Standing.REFUSED, 0.01) + chance(Standing.ADMITTED, 0.01) == pytest.approx(1.0)


def test_one_that_is_too_slow_half_of_the_time_passes_less_than_once_in_two_hundred() -> None:
    assert chance(Standing.ADMITTED, 0.5) < 1 / 200
    assert chance(Standing.ADMITTED, 1.0) == 0.0


def test_eight_decisions_are_enough_where_none_is_too_long_and_nineteen_where_one_or_two_are() -> None:
    assert seen([False] * (LEAST - 1)).standing is Standing.OPEN
    assert seen([False] * LEAST).standing is Standing.ADMITTED
    assert seen([True, True] + [False] * (MOST - 3)).standing is Standing.OPEN
    assert seen([True, True] + [False] * (MOST - 2)).standing is Standing.ADMITTED


def test_the_third_longer_one_refuses_at_once() -> None:
    refused = seen([True] * 3)
    assert refused.standing is Standing.REFUSED
    assert str(refused) == "3 of 3 decisions took longer than the promised 250 ms"


def test_what_was_seen_at_other_knobs_does_not_count() -> None:
    admission = seen([False] * (LEAST - 1)).after(PROMISED_NS, FRUGAL)
    assert (admission.knobs, admission.decisions, admission.standing) == (FRUGAL, 1, Standing.OPEN)


@given(st.lists(st.booleans(), min_size=MOST, max_size=MOST))
def test_nineteen_decisions_always_end_it(longer: list[bool]) -> None:
    standings = [seen(longer[:count]).standing for count in range(1, MOST + 1)]
    assert standings[-1] is not Standing.OPEN
    assert Standing.ADMITTED not in standings[: LEAST - 1]
