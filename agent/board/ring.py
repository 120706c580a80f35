"""Rings: a bounded queue of byte records in shared memory, one writer, one reader, no lock.

Owns: the file format. The writer never waits: where the reader is too slow it drops the newest record and
counts it. The reader's place is in the file too, so a reader that restarts goes on where it was.
Must not know: what the records mean.

File: magic `RSKR`, slot bytes u32, slots u64, head u64 (written by the writer), tail u64 (written by the
reader), dropped u64 (writer), then the slots: length u32, crc32 u32, record.
"""

import mmap
import os
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

from agent.board.making import make_file
from agent.errors import BoardError

_MAGIC = b"RSKR"
_HEAD = struct.Struct("<4sIQ")
_SLOTS_AT = 64
_HEAD_WORD, _TAIL_WORD, _DROPPED_WORD = 2, 3, 4
_SLOT_HEAD = struct.Struct("<II")
_READ_ATTEMPTS = 16


class _MappedRing:
    """The parts that writer and reader share."""

    def __init__(self, descriptor: int, name: str, slot_bytes: int, slots: int) -> None:
        self._stride, self._slots, self.name = slot_bytes + _SLOT_HEAD.size, slots, name
        size = _SLOTS_AT + self._stride * slots
        self._map = mmap.mmap(descriptor, size)
        os.close(descriptor)
        self._view = memoryview(self._map)
        self._words = self._view[:_SLOTS_AT].cast("Q")

    def close(self) -> None:
        """Unmap; the file and what is queued in it stay."""
        self._words.release()
        self._view.release()
        self._map.close()

    def _slot_at(self, index: int) -> int:
        return _SLOTS_AT + (index % self._slots) * self._stride

    @property
    def dropped(self) -> int:
        """Records that found no room, since the file was made."""
        return self._words[_DROPPED_WORD]

    def __len__(self) -> int:
        return self._words[_HEAD_WORD] - self._words[_TAIL_WORD]


class RingWriter(_MappedRing):
    """The one writer. An existing ring of the same shape is continued, with what is queued in it."""

    def __init__(self, path: Path, slot_bytes: int, slots: int) -> None:
        super().__init__(_open_or_create(path, slot_bytes, slots), path.name, slot_bytes, slots)
        self._slot_bytes = slot_bytes

    def push(self, record: bytes) -> bool:
        """Queue `record`; False where it was dropped because the ring is full. Raises `BoardError` if too long."""
        if len(record) > self._slot_bytes:
            raise BoardError(
                f"ring {self.name}: record of {len(record)} bytes, slots hold {self._slot_bytes}"
            )
        head = self._words[_HEAD_WORD]
        if head - self._words[_TAIL_WORD] >= self._slots:
            self._words[_DROPPED_WORD] += 1
            return False
        at = self._slot_at(head)
        _SLOT_HEAD.pack_into(self._view, at, len(record), zlib.crc32(record))
        self._view[at + _SLOT_HEAD.size : at + _SLOT_HEAD.size + len(record)] = record
        self._words[_HEAD_WORD] = head + 1
        return True


class RingReader(_MappedRing):
    """The one reader. Raises `BoardError` where the ring is absent or not a ring."""

    def __init__(self, path: Path) -> None:
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
        except OSError as error:
            raise BoardError(f"ring {path.name} is not there: {error.strerror}") from error
        stride, slots = _shape_of(descriptor, path.name)
        super().__init__(descriptor, path.name, stride, slots)
        self._taken = self._words[_TAIL_WORD]
        self.skipped = 0
        """Records that this reader had to pass over, because their bytes do not have their checksum."""

    def take(self, limit: int) -> Iterator[tuple[int, bytes]]:
        """Up to `limit` records after those taken before, oldest first, each with its place.

        They stay queued, and a reader that starts anew takes them again, until their places are released.
        """
        for _ in range(limit):
            if self._taken >= self._words[_HEAD_WORD]:
                return
            place, record = self._taken, self._whole_record_at(self._taken)
            self._taken += 1
            if record is None:
                self.skipped += 1
            else:
                yield place, record

    @property
    def taken(self) -> int:
        """The place after the last record taken: releasing it gives back everything."""
        return self._taken

    def release(self, place: int) -> None:
        """Give the room of all records before `place` back to the writer; never of one that was not taken."""
        self._words[_TAIL_WORD] = max(self._words[_TAIL_WORD], min(place, self._taken))

    def drain(self, limit: int) -> Iterator[bytes]:
        """Up to `limit` records from the first that was not released; each is released once the next is asked for."""
        self._taken = self._words[_TAIL_WORD]
        for _, record in self.take(limit):
            yield record
            self.release(self._taken)
        self.release(self._taken)

    def _whole_record_at(self, index: int) -> bytes | None:
        """The record, read again a few times: an Arm core may see the head move before the bytes."""
        for _ in range(_READ_ATTEMPTS):
            record = self._record_at(index)
            if record is not None:
                return record
        return None

    def _record_at(self, index: int) -> bytes | None:
        """The record, or None where its bytes do not have their checksum."""
        at = self._slot_at(index)
        length, crc = _SLOT_HEAD.unpack_from(self._view, at)
        if length > self._stride - _SLOT_HEAD.size:
            return None
        record = bytes(self._view[at + _SLOT_HEAD.size : at + _SLOT_HEAD.size + length])
        return record if zlib.crc32(record) == crc else None


def _shape_of(descriptor: int, name: str) -> tuple[int, int]:
    """Slot bytes and slots of an open ring file; closes it and raises `BoardError` where it is none."""
    head = os.pread(descriptor, _HEAD.size, 0)
    if len(head) == _HEAD.size:
        magic, slot_bytes, slots = _HEAD.unpack(head)
        expected = _SLOTS_AT + (slot_bytes + _SLOT_HEAD.size) * slots
        if magic == _MAGIC and os.fstat(descriptor).st_size == expected:
            return slot_bytes, slots
    os.close(descriptor)
    raise BoardError(f"{name} is not a ring, or is cut short")


def _open_or_create(path: Path, slot_bytes: int, slots: int) -> int:
    if path.exists():
        descriptor = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            if _shape_of(descriptor, path.name) == (slot_bytes, slots):
                return descriptor
            os.close(descriptor)
        except BoardError:
            pass  # closed by the check: it is replaced below
    head, size = _HEAD.pack(_MAGIC, slot_bytes, slots), _SLOTS_AT + (slot_bytes + _SLOT_HEAD.size) * slots
    return make_file(path, head, size, mode=0o664)
