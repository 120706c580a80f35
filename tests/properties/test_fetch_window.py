"""The window of a fetch under every order of answers, losses, lies and delays."""

import random

from hypothesis import given
from hypothesis import strategies as st

from agent.update.window import Chunk, FetchLimits, FetchWindow
from models.digest import digest_of
from models.wire.messages import Refusal, RefusalCode

CHUNKS = [Chunk(2, n, n * 4, 4, digest_of(b"%4d" % n), digest_of(b"file")) for n in range(12)]
MS = 1_000_000


@given(
    st.lists(st.sampled_from(["answer", "late", "busy", "lose", "twice"]), max_size=200), st.integers(0, 99)
)
def test_every_chunk_arrives_once_and_the_window_is_never_exceeded(fates: list[str], seed: int) -> None:
    window = FetchWindow(CHUNKS, FetchLimits(3, 10 * MS, 0, 10**15), random.Random(seed), 0)
    now_ns, count, got, open_ids = 0, 0, list[Chunk](), list[tuple[str, Chunk]]()
    turns = iter(fates)
    while not window.done:
        window.expire(now_ns)
        while (chunk := window.take(now_ns)) is not None:
            count += 1
            window.sent(f"r{count}", chunk, now_ns)
            open_ids.append((f"r{count}", chunk))
            assert window.in_flight <= 3
        fate = next(turns, "answer")
        if open_ids and fate != "lose":
            request, chunk = open_ids.pop(0 if fate != "late" else -1)
            if fate == "busy":
                window.refused(request, Refusal(RefusalCode.BUSY), now_ns)
            for _ in range(2 if fate == "twice" else 1):
                if (done := window.arrived(request, b"%4d" % chunk.index, now_ns)) is not None:
                    got.append(done)
        elif open_ids:
            open_ids.pop(0)
        now_ns += max(window.wait_ns(now_ns), MS) if not open_ids else MS
    assert sorted(chunk.index for chunk in got) == list(range(12))


@given(st.integers(1, 1000))
def test_the_rate_is_never_exceeded_over_any_second(rate: int) -> None:
    window = FetchWindow(CHUNKS, FetchLimits(64, 10**15, rate, 10**18), random.Random(0), 0)
    sent: list[int] = []
    now_ns = 0
    while len(sent) < len(CHUNKS):
        while (chunk := window.take(now_ns)) is not None:
            window.sent(f"r{len(sent)}", chunk, now_ns)
            sent.append(now_ns)
        now_ns += max(1, window.wait_ns(now_ns))
    for start in sent:
        inside = sum(4 for at in sent if start <= at < start + 1_000_000_000)
        assert inside <= 2 * rate + 4, "a second's bytes saved up, a second's earned, and one chunk into debt"


def test_a_depot_that_trickles_for_ever_does_not_fill_the_memory() -> None:
    window = FetchWindow(CHUNKS, FetchLimits(3, 10 * MS, 0, 10**18), random.Random(1), 0)
    now_ns = 0
    for turn in range(1000):
        window.expire(now_ns)
        while (chunk := window.take(now_ns)) is not None:
            window.sent(f"r{turn}-{chunk.index}", chunk, now_ns)
        now_ns += 20_000 * MS
    assert window.remembered <= 1024
