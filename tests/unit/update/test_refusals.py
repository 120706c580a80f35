"""The pause after a refusal: it doubles, it ends, and only the Director can cut it short."""

import pytest

from agent.update.refusals import Refused, may_fetch, refused, still_ordered

MINUTE_NS = 60 * 1_000_000_000
DAY_NS = 24 * 60 * MINUTE_NS


def test_a_refused_order_is_not_fetched_for_ten_minutes_and_then_once_more() -> None:
    past = refused(None, "order", 5)
    assert not may_fetch(past, "order", 5 + 10 * MINUTE_NS - 1)
    assert may_fetch(past, "order", 5 + 10 * MINUTE_NS)


def test_each_refusal_doubles_the_pause_up_to_a_day() -> None:
    past: Refused | None = None
    pauses = []
    for _ in range(40):
        past = refused(past, "order", 0)
        pauses.append(past.until_ns)
    assert pauses[:4] == [10 * MINUTE_NS, 20 * MINUTE_NS, 40 * MINUTE_NS, 80 * MINUTE_NS]
    assert pauses[-1] == max(pauses) == DAY_NS


@pytest.mark.parametrize("order", ["another", None])
def test_another_order_of_the_director_lifts_the_pause(order: str | None) -> None:
    past = refused(None, "order", 0)
    assert still_ordered(past, "order") == past
    assert may_fetch(past, "another", 1)
    assert may_fetch(still_ordered(past, order), "order", 1)
