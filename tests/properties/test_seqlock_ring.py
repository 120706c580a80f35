"""Boards and rings under a writer that never rests, is killed at any moment, and starts again."""

import subprocess
import sys
import tempfile
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.adapters.clock import MonotonicClock
from agent.board.ring import RingReader, RingWriter
from agent.board.seqlock import BoardReader
from tests.fakes.board_writer import SAME, same
from tests.fakes.memory import directory_in_memory

_S = 1_000_000_000


@contextmanager
def writing(kind: str, path: Path) -> Iterator[None]:
    """While a process writes without pause, from the moment the file is there; killed at the end."""
    process = subprocess.Popen([sys.executable, "-m", "tests.fakes.board_writer", kind, str(path)])
    clock = MonotonicClock()
    deadline_ns = clock.mono_ns() + 60 * _S
    try:
        while not path.exists():
            assert clock.mono_ns() < deadline_ns, "the writer did not start"
            clock.sleep_until(clock.mono_ns() + _S // 100)
        yield
    finally:
        process.kill()
        process.wait()


@pytest.fixture
def memory() -> Iterator[Path]:
    with directory_in_memory() as directory:
        yield directory


def test_no_reader_ever_sees_half_a_record_even_from_a_writer_that_is_killed_again_and_again(
    memory: Path,
) -> None:
    path, clock, read = memory / "same.board", MonotonicClock(), 0
    for _ in range(4):
        with writing("board", path):
            reader = BoardReader(path, SAME)
            end_ns = clock.mono_ns() + _S // 4
            while clock.mono_ns() < end_ns:
                stamped = reader.read()
                if stamped is not None:
                    assert stamped.record == same(stamped.record.a)
                    assert stamped.mono_ns == stamped.record.a
                    read += 1
        left = reader.read()
        assert left is None or left.record == same(left.record.a)
        reader.close()
    assert read > 20


def test_a_ring_hands_over_every_record_in_order_while_its_writer_never_rests(memory: Path) -> None:
    path, clock = memory / "numbers.ring", MonotonicClock()
    taken: list[bytes] = []
    with writing("ring", path):
        reader = RingReader(path)
        end_ns = clock.mono_ns() + _S
        while clock.mono_ns() < end_ns:
            taken += reader.drain(1000)
    taken += reader.drain(1000)
    assert reader.skipped == 0
    assert len(taken) > 100
    assert taken == [str(number).encode() * 3 for number in range(len(taken))]


@settings(max_examples=150, deadline=None)
@given(
    st.integers(1, 5),
    st.lists(
        st.one_of(
            st.binary(max_size=8),
            st.integers(1, 4),
            st.sampled_from(["new writer", "new reader", "slow reader"]),
        ),
        max_size=40,
    ),
)
def test_a_ring_is_a_bounded_queue_whatever_order_things_happen_in(
    slots: int, happenings: list[bytes | int | str]
) -> None:
    """Bytes are pushed, a number is drained; the words restart a side, or take one record and stop half way."""
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "x.ring"
        writer = RingWriter(path, 8, slots)
        reader = RingReader(path)
        queue: deque[bytes] = deque()
        for happening in happenings:
            if isinstance(happening, bytes):
                room = len(queue) < slots
                assert writer.push(happening) is room
                if room:
                    queue.append(happening)
            elif isinstance(happening, int):
                assert list(reader.drain(happening)) == [
                    queue.popleft() for _ in range(min(happening, len(queue)))
                ]
            elif happening == "new writer":
                writer.close()
                writer = RingWriter(path, 8, slots)
            elif happening == "new reader":
                reader.close()
                reader = RingReader(path)
            elif queue:
                drained = reader.drain(1)
                assert next(drained) == queue[0]
                drained.close() if hasattr(drained, "close") else None
            assert len(reader) == len(queue)
        writer.close()
        reader.close()


@pytest.mark.parametrize("size", [0, 1, 63])
def test_a_file_that_is_too_short_for_its_own_head_is_replaced_by_the_writer(
    tmp_path: Path, size: int
) -> None:
    path = tmp_path / "x.ring"
    path.write_bytes(b"RSKR"[:size].ljust(size, b"\xff"))
    writer = RingWriter(path, 8, 2)
    writer.push(b"1")
    assert list(RingReader(path).drain(2)) == [b"1"]
