"""What telemetry reads: the decision rings and the ticks, whenever their writers come and go.

Owns: opening rings when they appear, and again when they were replaced; the count of what they dropped; giving
records back only once what was made of them is safe, so that a process that is killed loses none.
Must not know: what is done with the records.
"""

from collections import deque
from collections.abc import Callable
from pathlib import Path

from agent.board.layout import Layout
from agent.board.records import APPLIED, AppliedRecord
from agent.board.ring import RingReader
from agent.errors import BoardError
from models.errors import MalformedMessageError
from models.wire.messages import DecisionRecord, decode

_CYCLE_MAX = 4096

Waiting = Callable[[int], bool]
"""Whether what was made of the decision with this sequence is not safe yet."""


class RingFeed:
    """One ring by its path. Records are `take`n, `note`d with the decision that they belong to, and `release`d."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._reader: RingReader | None = None
        self._inode = 0
        self._dropped_before = 0
        self._noted: deque[tuple[int, int]] = deque()
        """(place, decision), each decision at the first of its records in a row."""

    @property
    def dropped(self) -> int:
        """Records that found no room, over all files that stood at this path."""
        return self._dropped_before + (self._reader.dropped if self._reader is not None else 0)

    def take(self) -> list[tuple[int, bytes]]:
        """What was queued since, oldest first, each with its place; nothing where there is no ring."""
        self._look()
        return list(self._reader.take(_CYCLE_MAX)) if self._reader is not None else []

    def note(self, place: int, decision: int) -> None:
        """The record at `place` belongs to `decision`, and is needed for as long as that is waiting."""
        if not self._noted or self._noted[-1][1] != decision:
            self._noted.append((place, decision))

    def release(self, is_waiting: Waiting) -> None:
        """Give back all records before the first that is still needed."""
        while self._noted and not is_waiting(self._noted[0][1]):
            self._noted.popleft()
        if self._reader is not None:
            self._reader.release(self._noted[0][0] if self._noted else self._reader.taken)

    def close(self) -> None:
        """Unmap; what is queued stays."""
        if self._reader is not None:
            self._dropped_before += self._reader.dropped
            self._reader.close()
            self._reader = None
        self._noted.clear()

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

    def take(self) -> list[DecisionRecord]:
        """What was decided since."""
        found = []
        for place, data in self._ring.take():
            try:
                decision = decode(data, DecisionRecord)
            except MalformedMessageError:
                self._malformed += 1
                continue
            self._ring.note(place, decision.sequence)
            found.append(decision)
        return found

    def release(self, is_waiting: Waiting) -> None:
        """Give back the decisions before the first that is still waiting."""
        self._ring.release(is_waiting)

    def close(self) -> None:
        """Unmap."""
        self._ring.close()


class AppliedFeed:
    """The ticks."""

    def __init__(self, path: Path, layout: Layout[AppliedRecord] = APPLIED) -> None:
        self._ring, self._layout, self._packer = RingFeed(path), layout, layout.packer

    def take(self) -> list[AppliedRecord]:
        """The ticks since; records of another length are skipped."""
        found = []
        for place, data in self._ring.take():
            if len(data) == self._packer.size:
                tick = self._layout.record_from(self._packer.unpack(data))
                self._ring.note(place, tick.decision)
                found.append(tick)
        return found

    def release(self, is_waiting: Waiting) -> None:
        """Give back the ticks before the first of a decision that is still waiting."""
        self._ring.release(is_waiting)

    def close(self) -> None:
        """Unmap."""
        self._ring.close()
