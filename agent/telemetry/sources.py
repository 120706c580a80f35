"""What telemetry reads: the decision rings and the ticks, whenever their writers come and go.

Owns: opening rings when they appear, and again when they were replaced; the count of what they dropped.
Must not know: what is done with the records.
"""

from pathlib import Path

from agent.board.layout import Layout
from agent.board.records import APPLIED, AppliedRecord
from agent.board.ring import RingReader
from agent.errors import BoardError
from models.errors import MalformedMessageError
from models.wire.messages import DecisionRecord, decode

_CYCLE_MAX = 4096


class RingFeed:
    """One ring by its path."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._reader: RingReader | None = None
        self._inode = 0
        self._dropped_before = 0

    @property
    def dropped(self) -> int:
        """Records that found no room, over all files that stood at this path."""
        return self._dropped_before + (self._reader.dropped if self._reader is not None else 0)

    def drain(self) -> list[bytes]:
        """What is queued, oldest first; nothing where there is no ring."""
        self._look()
        return list(self._reader.drain(_CYCLE_MAX)) if self._reader is not None else []

    def close(self) -> None:
        """Unmap; what is queued stays."""
        if self._reader is not None:
            self._dropped_before += self._reader.dropped
            self._reader.close()
            self._reader = None

    def _look(self) -> None:
        try:
            inode = self._path.stat().st_ino
            if self._reader is not None and inode == self._inode:
                return
            reader = RingReader(self._path)
        except (OSError, BoardError):
            return
        self.close()
        self._reader, self._inode = reader, inode


class DecisionFeed:
    """The decisions of one worker's place."""

    def __init__(self, path: Path) -> None:
        self._ring = RingFeed(path)
        self._malformed = 0

    @property
    def lost(self) -> int:
        """Decisions that did not come through."""
        return self._ring.dropped + self._malformed

    def drain(self) -> list[DecisionRecord]:
        """What was decided since."""
        found = []
        for data in self._ring.drain():
            try:
                found.append(decode(data, DecisionRecord))
            except MalformedMessageError:
                self._malformed += 1
        return found

    def close(self) -> None:
        """Unmap."""
        self._ring.close()


class AppliedFeed:
    """The ticks."""

    def __init__(self, path: Path, layout: Layout[AppliedRecord] = APPLIED) -> None:
        self._ring, self._layout, self._packer = RingFeed(path), layout, layout.packer

    def drain(self) -> list[AppliedRecord]:
        """The ticks since; records of another length are skipped."""
        size = self._packer.size
        found = [data for data in self._ring.drain() if len(data) == size]
        return [self._layout.record_from(self._packer.unpack(data)) for data in found]

    def close(self) -> None:
        """Unmap."""
        self._ring.close()
