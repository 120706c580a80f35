"""A lane is bounded by count, bytes and share, and gives back what it took."""

import threading

from fleet.lanes import Lane, LaneLimits


def test_a_lane_refuses_beyond_its_bytes_and_counts_it() -> None:
    lane: Lane[str] = Lane(LaneLimits(items=10, size_bytes=100, items_per_sender=10))
    assert lane.offer("a", 60, "first")
    assert not lane.offer("b", 60, "second")
    assert lane.refused == 1
    assert lane.take(5) == ["first"]
    assert lane.offer("b", 60, "second")


def test_a_sender_has_its_share_again_once_its_items_were_taken() -> None:
    lane: Lane[int] = Lane(LaneLimits(items=10, size_bytes=100, items_per_sender=2))
    assert [lane.offer("a", 1, number) for number in range(3)] == [True, True, False]
    assert lane.take(1) == [0]
    assert lane.offer("a", 1, 3)
    assert lane.take(9) == [1, 3]


def test_a_closed_lane_gives_what_it_has_and_then_ends() -> None:
    lane: Lane[int] = Lane(LaneLimits(10, 100, 10))
    lane.offer("a", 1, 1)
    lane.close()
    assert not lane.offer("a", 1, 2)
    assert lane.take(9) == [1]
    assert lane.take(9) is None


def test_a_taker_that_waits_is_woken() -> None:
    lane: Lane[int] = Lane(LaneLimits(10, 100, 10))
    taken: list[int] = []
    thread = threading.Thread(target=lambda: taken.extend(lane.take() or []))
    thread.start()
    lane.offer("a", 1, 5)
    thread.join(5)
    assert taken == [5]
