"""Boards of others, which may not be there yet, or be made anew.

Owns: opening late, noticing what is new, finding the file again after its writer replaced it.
Must not know: what the records mean.
"""

from pathlib import Path
from typing import Generic, NamedTuple, TypeVar

from agent.board.layout import Layout
from agent.board.seqlock import BoardReader, Stamped
from agent.errors import BoardError

R = TypeVar("R", bound=NamedTuple)

_LOOK_AGAIN_NS = 250_000_000


class Feed(Generic[R]):
    """The latest record of one board. While the board is absent or silent its file is looked up 4 times a second."""

    def __init__(self, path: Path, layout: Layout[R]) -> None:
        self._path, self._layout = path, layout
        self._reader: BoardReader[R] | None = None
        self._inode = 0
        self._look_ns = 0
        self._generation = self._heard = 0
        self.latest: Stamped[R] | None = None

    def news(self, mono_ns: int) -> Stamped[R] | None:
        """The record now, where it is another than at the call before; else None."""
        reader = self._reader
        if reader is not None and reader.generation != self._generation:
            stamped = self._read()
            if stamped is not None:
                self._look_ns = mono_ns + _LOOK_AGAIN_NS
                return stamped
        if mono_ns >= self._look_ns:
            self._look(mono_ns)
        return None if self._reader is reader else self._read()

    def wait(self, until_ns: int) -> bool:
        """Return when there may be news since the last call of `news`, at `until_ns` at the latest.

        False at once where one cannot wait for this board. A writer that wakes nobody is waited for in vain.
        """
        reader = self._reader
        if reader is None or not reader.wait(max(self._generation, self._heard), until_ns):
            return False
        # What cannot be read, say of a writer that died in the middle, is no news twice.
        self._heard = reader.generation
        return True

    def recent(self, mono_ns: int, max_age_ns: int) -> R | None:
        """The latest record where its stamp is at most `max_age_ns` away; call `news` before.

        A stamp further ahead than that is one of another boot, or wrong, and never becomes old.
        """
        stamped = self.latest
        return stamped.record if stamped and abs(mono_ns - stamped.mono_ns) <= max_age_ns else None

    def close(self) -> None:
        """Unmap; the latest record stays."""
        if self._reader:
            self._reader.close()
            self._reader = None

    def _read(self) -> Stamped[R] | None:
        stamped = self._reader.read() if self._reader else None
        if stamped is not None:
            self._generation, self.latest = stamped.generation, stamped
        return stamped

    def _look(self, mono_ns: int) -> None:
        """Open the board where it is there and is not the one that is open."""
        self._look_ns = mono_ns + _LOOK_AGAIN_NS
        try:
            inode = self._path.stat().st_ino
            if self._reader is not None and inode == self._inode:
                return
            reader = BoardReader(self._path, self._layout)
        except (OSError, BoardError):
            return  # not there yet, or of another version: what was read last stays, and grows old
        self.close()
        self._reader, self._inode = reader, inode
        self._generation = self._heard = 0
