"""One board: its layout, its writer's deaths, its readers' view."""

import os
import struct
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from agent.board.feed import Feed
from agent.board.layout import Layout, bytes_from_text, text_from
from agent.board.records import (
    ACTUATION,
    VEHICLE,
    ActuationRecord,
    VehicleRecord,
    Worker,
    digest_from_raw,
    raw_from_digest,
)
from agent.board.ring import RingWriter
from agent.board.seqlock import BoardReader, BoardWriter
from agent.errors import BoardError
from models.digest import Digest

RECORD = ActuationRecord(7, 123, -1.5, 0.02)
_GENERATION_AT = 8


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "actuation.board"


def test_a_record_is_read_as_written_with_its_stamp(path: Path) -> None:
    with BoardWriter(path, ACTUATION) as writer, BoardReader(path, ACTUATION) as reader:
        assert reader.read() is None
        writer.write(RECORD, 99)
        stamped = reader.read()
    assert stamped is not None
    assert (stamped.record, stamped.mono_ns, stamped.generation) == (RECORD, 99, 2)


def test_a_reader_refuses_an_absent_a_cut_and_a_foreign_board(path: Path) -> None:
    with pytest.raises(BoardError, match="not there"):
        BoardReader(path, ACTUATION)
    BoardWriter(path, ACTUATION).close()
    with pytest.raises(BoardError, match="layout"):
        BoardReader(path, VEHICLE)
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(BoardError, match="size"):
        BoardReader(path, ACTUATION)


def test_a_layout_with_other_field_names_is_another_layout() -> None:
    renamed = Layout("actuation", VehicleRecord, ACTUATION.fields)
    assert renamed.fingerprint != ACTUATION.fingerprint


def test_a_reader_does_not_follow_a_link(path: Path) -> None:
    BoardWriter(path.with_name("real.board"), ACTUATION).close()
    path.symlink_to(path.with_name("real.board"))
    with pytest.raises(BoardError):
        BoardReader(path, ACTUATION)


@pytest.mark.parametrize("make", [lambda p: BoardWriter(p, ACTUATION), lambda p: RingWriter(p, 8, 4)])
def test_what_others_planted_under_a_writers_next_name_is_neither_followed_nor_in_the_way(
    path: Path, make: Callable[[Path], BoardWriter[ActuationRecord] | RingWriter]
) -> None:
    """The directory is shared by three users; a pid can be guessed, and comes back."""
    secret = path.with_name("secret")
    secret.write_bytes(b"mine")
    path.with_name(f".{path.name}.{os.getpid()}").symlink_to(secret)
    make(path).close()
    assert secret.read_bytes() == b"mine"
    assert path.is_file()
    assert not path.is_symlink()


def test_a_new_writer_keeps_the_record_and_the_count_of_the_one_before(path: Path) -> None:
    with BoardWriter(path, ACTUATION) as writer:
        writer.write(RECORD, 1)
    reader = BoardReader(path, ACTUATION)
    with BoardWriter(path, ACTUATION) as again:
        before = reader.read()
        again.write(RECORD._replace(tick=8), 2)
        after = reader.read()
    reader.close()
    assert before is not None
    assert after is not None
    assert (before.record, after.record.tick) == (RECORD, 8)
    assert after.generation > before.generation


def test_a_writer_that_died_in_the_middle_leaves_nothing_to_read_until_the_next_one_writes(
    path: Path,
) -> None:
    with BoardWriter(path, ACTUATION) as writer:
        writer.write(RECORD, 1)
    with path.open("r+b") as file:
        file.seek(_GENERATION_AT)
        file.write(struct.pack("<Q", 3))
    with BoardReader(path, ACTUATION) as reader:
        assert reader.read() is None
        with BoardWriter(path, ACTUATION) as writer:
            writer.write(RECORD, 2)
        stamped = reader.read()
    assert stamped is not None
    assert stamped.generation % 2 == 0


def test_bytes_that_do_not_have_their_checksum_are_not_a_record(path: Path) -> None:
    with BoardWriter(path, ACTUATION) as writer:
        writer.write(RECORD, 1)
    with path.open("r+b") as file:
        file.seek(-3, 2)
        file.write(b"\xff")
    with BoardReader(path, ACTUATION) as reader:
        assert reader.read() is None


def test_a_feed_finds_a_board_that_appears_later_and_one_that_was_replaced(path: Path) -> None:
    feed: Feed[ActuationRecord] = Feed(path, ACTUATION)
    second_ns = 1_000_000_000
    assert feed.news(0) is None
    writer = BoardWriter(path, ACTUATION)
    writer.write(RECORD, second_ns)
    first = feed.news(second_ns)
    assert first is not None
    assert feed.news(2 * second_ns) is None
    path.unlink()
    with BoardWriter(path, ACTUATION) as other:
        other.write(RECORD._replace(tick=1), 3 * second_ns)
    replaced = feed.news(3 * second_ns)
    assert replaced is not None
    assert replaced.record.tick == 1
    assert feed.recent(3 * second_ns, 0) == replaced.record
    assert feed.recent(5 * second_ns, second_ns) is None
    writer.close()
    feed.close()


def test_a_feed_finds_a_new_board_also_where_the_writer_before_died_in_the_middle(path: Path) -> None:
    with BoardWriter(path, ACTUATION) as writer:
        writer.write(RECORD, 1)
    feed: Feed[ActuationRecord] = Feed(path, ACTUATION)
    assert feed.news(1) is not None
    with path.open("r+b") as file:
        file.seek(_GENERATION_AT)
        file.write(struct.pack("<Q", 3))
    assert feed.news(2) is None
    path.unlink()
    with BoardWriter(path, ACTUATION) as writer:
        writer.write(RECORD._replace(tick=8), 3)
    found = [feed.news(tick * 10_000_000) for tick in range(100)]
    assert [stamped.record.tick for stamped in found if stamped] == [8]
    feed.close()


def test_a_stamp_of_another_boot_is_never_recent(path: Path) -> None:
    with BoardWriter(path, ACTUATION) as writer:
        writer.write(RECORD, 3_600_000_000_000)
    feed: Feed[ActuationRecord] = Feed(path, ACTUATION)
    assert feed.news(1_000_000_000) is not None
    assert feed.recent(1_000_000_000, 500_000_000) is None
    feed.close()


def test_digests_and_texts_survive_the_way_through_a_board() -> None:
    digest = Digest("sha256:" + "0f" * 32)
    assert digest_from_raw(raw_from_digest(digest)) == digest
    assert digest_from_raw(raw_from_digest(None)) is None
    assert text_from(bytes_from_text("Ärger µs", 32).ljust(32, b"\0")) == "Ärger µs"
    assert bytes_from_text("aé", 2) == b"a"
    assert text_from(b"\xff\xfe") == "��"


def test_the_two_places_are_each_others_other() -> None:
    assert (Worker.A.other, Worker.B.other, Worker.B.letter) == (Worker.B, Worker.A, "b")


def waited_ns(feed: Feed[ActuationRecord], until_ns: int) -> int:
    """How long a wait for news took."""
    started_ns = time.monotonic_ns()
    assert feed.wait(until_ns)
    return time.monotonic_ns() - started_ns


def in_ns(duration_ns: int) -> int:
    return time.monotonic_ns() + duration_ns


def test_who_waits_for_a_board_is_woken_by_the_write(path: Path) -> None:
    with BoardWriter(path, ACTUATION, wakes=True) as writer:
        feed = Feed(path, ACTUATION)
        assert feed.news(0) is None
        waits, came = threading.Event(), []

        def wait() -> None:
            waits.set()
            came.append(waited_ns(feed, in_ns(60_000_000_000)))

        waiter = threading.Thread(target=wait)
        waiter.start()
        waits.wait()
        writer.write(RECORD, 1)
        waiter.join(30)
        assert came
        assert feed.news(0) is not None
        feed.close()


def test_a_write_between_the_look_and_the_wait_is_not_slept_through(path: Path) -> None:
    with BoardWriter(path, ACTUATION) as writer:
        writer.write(RECORD, 1)
        feed = Feed(path, ACTUATION)
        assert feed.news(0) is not None
        writer.write(RECORD, 2)
        assert waited_ns(feed, in_ns(60_000_000_000)) < 30_000_000_000
        feed.close()


def test_a_writer_that_wakes_nobody_is_waited_for_until_the_time_is_over(path: Path) -> None:
    with BoardWriter(path, ACTUATION):
        feed = Feed(path, ACTUATION)
        feed.news(0)
        assert waited_ns(feed, in_ns(20_000_000)) >= 19_000_000
        feed.close()


def test_a_writer_that_died_in_the_middle_of_a_record_is_no_news_again_and_again(path: Path) -> None:
    with BoardWriter(path, ACTUATION) as writer:
        writer.write(RECORD, 1)
        feed = Feed(path, ACTUATION)
        feed.news(0)
        with path.open("r+b") as file:
            file.seek(_GENERATION_AT)
            file.write(struct.pack("<Q", 3))
        assert waited_ns(feed, in_ns(60_000_000_000)) < 30_000_000_000
        assert feed.news(0) is None
        assert waited_ns(feed, in_ns(20_000_000)) >= 19_000_000
        feed.close()


def test_one_cannot_wait_for_a_board_that_is_not_there(tmp_path: Path) -> None:
    feed = Feed(tmp_path / "nothing.board", ACTUATION)
    feed.news(0)
    assert not feed.wait(in_ns(60_000_000_000))
