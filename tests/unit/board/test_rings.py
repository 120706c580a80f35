"""One ring: what is queued, what is dropped, what survives the ends of both sides."""

from pathlib import Path

import pytest

from agent.board.ring import RingReader, RingWriter
from agent.errors import BoardError

_SLOTS_AT = 64


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "x.ring"


def test_records_come_out_in_order_and_once(path: Path) -> None:
    writer = RingWriter(path, 8, 4)
    reader = RingReader(path)
    for record in (b"one", b"", b"three"):
        assert writer.push(record)
    assert len(reader) == 3
    assert list(reader.drain(10)) == [b"one", b"", b"three"]
    assert list(reader.drain(10)) == []


def test_a_full_ring_drops_the_newest_and_counts_it(path: Path) -> None:
    writer = RingWriter(path, 8, 3)
    kept = [writer.push(str(n).encode()) for n in range(5)]
    reader = RingReader(path)
    assert kept == [True, True, True, False, False]
    assert list(reader.drain(10)) == [b"0", b"1", b"2"]
    assert writer.dropped == reader.dropped == 2
    assert writer.push(b"again")


def test_a_record_that_is_too_long_is_refused(path: Path) -> None:
    with pytest.raises(BoardError, match="9 bytes"):
        RingWriter(path, 8, 4).push(b"123456789")


def test_a_reader_that_starts_again_goes_on_where_the_last_one_was(path: Path) -> None:
    writer = RingWriter(path, 8, 4)
    for record in (b"1", b"2", b"3"):
        writer.push(record)
    first = RingReader(path)
    drained = first.drain(10)
    assert next(drained) == b"1"
    assert next(drained) == b"2"
    first.close()
    # "2" was handed out but the next was never asked for: it was not dealt with, and comes again.
    assert list(RingReader(path).drain(10)) == [b"2", b"3"]


def test_a_writer_that_starts_again_appends_to_what_is_queued(path: Path) -> None:
    first = RingWriter(path, 8, 4)
    first.push(b"1")
    first.close()
    again = RingWriter(path, 8, 4)
    again.push(b"2")
    assert list(RingReader(path).drain(10)) == [b"1", b"2"]


def test_a_writer_of_another_shape_makes_the_ring_anew(path: Path) -> None:
    RingWriter(path, 8, 4).push(b"1")
    RingWriter(path, 16, 4).push(b"2")
    assert list(RingReader(path).drain(10)) == [b"2"]


def test_a_record_whose_writer_died_before_it_was_whole_is_never_seen(path: Path) -> None:
    writer = RingWriter(path, 8, 4)
    writer.push(b"1")
    with path.open("r+b") as file:
        file.seek(_SLOTS_AT + 16)
        file.write(b"\x08\0\0\0garbage")
    reader = RingReader(path)
    assert list(reader.drain(10)) == [b"1"]
    writer.push(b"2")
    assert list(reader.drain(10)) == [b"2"]


def test_a_record_that_was_damaged_is_passed_over_and_counted(path: Path) -> None:
    writer = RingWriter(path, 8, 4)
    for record in (b"1", b"2", b"3"):
        writer.push(record)
    with path.open("r+b") as file:
        file.seek(_SLOTS_AT + 16 + 8)
        file.write(b"X")
    reader = RingReader(path)
    assert list(reader.drain(10)) == [b"1", b"3"]
    assert reader.skipped == 1


def test_a_reader_refuses_what_is_not_a_ring(path: Path) -> None:
    with pytest.raises(BoardError, match="not there"):
        RingReader(path)
    path.write_bytes(b"RSKR" + bytes(100))
    with pytest.raises(BoardError, match="not a ring"):
        RingReader(path)
