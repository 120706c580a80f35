"""Boards: one record in shared memory, one writer, any number of readers, no lock.

Owns: the file format and the seqlock protocol. A writer makes the generation odd, writes, makes it even;
a reader takes a copy and retries where the generation moved. A checksum makes the copy safe on processors
that reorder stores (Thor's Arm cores do, and Python has no fences).
Must not know: what the records mean.

File: magic `RSKB`, fingerprint u32, generation u64, mono_ns u64, crc32 u32, 4 bytes unused, payload.
"""

import mmap
import os
import struct
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Generic, NamedTuple, Self, TypeVar

from agent.board.layout import Layout
from agent.board.making import make_file
from agent.errors import BoardError

if TYPE_CHECKING:
    from agent.board.wake import Doorbell

R = TypeVar("R", bound=NamedTuple)

_MAGIC = b"RSKB"
_HEAD = struct.Struct("<4sI")
_PAYLOAD_AT = 32
_GENERATION, _MONO, _CRC = 1, 2, 6
_READ_ATTEMPTS = 16


class Stamped(NamedTuple, Generic[R]):
    """A record and when it was written."""

    record: R
    mono_ns: int
    generation: int


class _Mapped(Generic[R]):
    """The parts of a board file that writer and reader share."""

    _bell: "Doorbell | None" = None

    def __init__(self, descriptor: int, layout: Layout[R], access: int) -> None:
        self._layout, self._packer = layout, layout.packer
        size = _PAYLOAD_AT + self._packer.size
        if os.fstat(descriptor).st_size != size:
            os.close(descriptor)
            raise BoardError(f"board {layout.name} has another size than this program's")
        self._map = mmap.mmap(descriptor, size, access=access)
        os.close(descriptor)
        self._view = memoryview(self._map)
        self._words = self._view[:_PAYLOAD_AT].cast("Q")
        self._halves = self._view[:_PAYLOAD_AT].cast("I")
        self._payload = self._view[_PAYLOAD_AT:]

    def close(self) -> None:
        """Unmap; the file stays, and its age says that its writer is gone."""
        if self._bell is not None:
            self._bell.close()
        for view in (self._payload, self._halves, self._words, self._view):
            view.release()
        self._map.close()

    def _doorbell(self) -> "Doorbell":
        from agent.board.wake import Doorbell  # it loads NumPy, which the follower does without

        if self._bell is None:
            self._bell = Doorbell(self._map, _GENERATION * self._words.itemsize)
        return self._bell

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class BoardWriter(_Mapped[R]):
    """The one writer of a board. A board left by an earlier writer keeps its record and generation.

    One that `wakes` wakes the readers that wait at every write, for a few microseconds.
    """

    def __init__(self, path: Path, layout: Layout[R], *, wakes: bool = False) -> None:
        super().__init__(_open_for_writing(path, layout), layout, mmap.ACCESS_WRITE)
        self._scratch = bytearray(self._packer.size)
        if wakes:
            self._doorbell()

    def write(self, record: R, mono_ns: int) -> None:
        """Publish `record`, stamped `mono_ns`. Takes no lock and allocates only what packing needs."""
        generation = self._words[_GENERATION] | 1
        self._packer.pack_into(self._scratch, 0, *record)
        self._words[_GENERATION] = generation
        self._payload[:] = self._scratch
        self._words[_MONO] = mono_ns
        self._halves[_CRC] = zlib.crc32(self._scratch)
        self._words[_GENERATION] = generation + 1
        if self._bell is not None:
            self._bell.ring()


class BoardReader(_Mapped[R]):
    """A reader. Raises `BoardError` at once where the board is absent or of another layout."""

    def __init__(self, path: Path, layout: Layout[R]) -> None:
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except OSError as error:
            raise BoardError(f"board {layout.name} is not there: {error.strerror}") from error
        if os.pread(descriptor, _HEAD.size, 0) != _HEAD.pack(_MAGIC, layout.fingerprint):
            os.close(descriptor)
            raise BoardError(f"board {layout.name} has another layout than this program's")
        super().__init__(descriptor, layout, mmap.ACCESS_READ)

    def read(self) -> Stamped[R] | None:
        """The latest whole record, or None where nothing was written yet or the writer died in the middle."""
        for _ in range(_READ_ATTEMPTS):
            before = self._words[_GENERATION]
            if before == 0:
                return None
            if before & 1:
                continue
            mono_ns, crc, copy = self._words[_MONO], self._halves[_CRC], bytes(self._payload)
            if self._words[_GENERATION] == before and zlib.crc32(copy) == crc:
                record = self._layout.record_from(self._packer.unpack(copy))
                return Stamped(record, mono_ns, before)
        return None

    @property
    def generation(self) -> int:
        """The generation now, for cheap polling: it moves with every write."""
        return self._words[_GENERATION]

    def wait(self, generation: int, until_ns: int) -> bool:
        """Return once the generation is another, at `until_ns` at the latest; False at once where that can't be done here."""
        bell = self._doorbell()
        if bell.works:
            bell.wait(generation, until_ns)
        return bell.works


def _open_for_writing(path: Path, layout: Layout[R]) -> int:
    """Open the board at `path`, making or replacing it where it is not of this layout."""
    head, size = _HEAD.pack(_MAGIC, layout.fingerprint), _PAYLOAD_AT + layout.packer.size
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        return make_file(path, head, size)
    if os.fstat(descriptor).st_size == size and os.pread(descriptor, _HEAD.size, 0) == head:
        return descriptor
    os.close(descriptor)
    return make_file(path, head, size)
