"""Telemetry on disk until the server has it: a bounded directory of numbered batches.

Owns: `spool/`: one file a batch, its number, its size, what is dropped where there is no room.
A batch is safe once `sync` returned; numbers go on after a restart. Where room is short, the oldest batch
without events goes first, then the oldest; what goes is counted.
Must not know: the network, what batches say.
"""

from contextlib import suppress
from dataclasses import dataclass
from itertools import islice

from agent.ports import Disk
from models.errors import NoSpaceError

_DIRECTORY = "spool"
_NEXT = f"{_DIRECTORY}/next"


@dataclass(frozen=True, slots=True)
class SpooledBatch:
    """One file: `sequence` is the batch's own, and orders the directory."""

    sequence: int
    decisions: int
    events: int
    size_bytes: int

    @property
    def name(self) -> str:
        """Its name on the disk; the counts are in it, so that dropping it needs no reading."""
        return f"{_DIRECTORY}/{self.sequence:012d}-{self.decisions}-{self.events}"


class Spool:
    """Single-threaded: the telemetry thread owns it."""

    def __init__(self, disk: Disk, max_bytes: int) -> None:
        self._disk, self._max_bytes = disk, max_bytes
        disk.make_directory(_DIRECTORY)
        disk.sync_directory("")
        self._entries: dict[int, SpooledBatch] = {}
        for name in disk.list(_DIRECTORY):
            self._take_in(name)
        self._size_bytes = sum(entry.size_bytes for entry in self._entries.values())
        self._next = max(self._read_next(), max(self._entries, default=-1) + 1)
        self._unsynced: list[SpooledBatch] = []
        self.dropped_decisions = 0
        """Decisions in batches that were dropped for want of room, since this object was made."""
        self.dropped_batches = 0

    @property
    def next_sequence(self) -> int:
        """The number that the next batch must carry."""
        return self._next

    @property
    def size_bytes(self) -> int:
        """Bytes of all batches."""
        return self._size_bytes

    def __len__(self) -> int:
        return len(self._entries)

    def append(self, data: bytes, decisions: int, events: int) -> None:
        """Store the batch that carries `next_sequence`. Durable after `sync`."""
        entry = SpooledBatch(self._next, decisions, events, len(data))
        self._next += 1
        # Before the batch, so that no number is used twice by a process that is killed. Not synced: after a power
        # cut there is a new boot, and numbers are unique within a boot.
        with suppress(NoSpaceError):
            self._disk.write_at(_NEXT, 0, b"%020d" % self._next)
        self._make_room(len(data))
        try:
            self._disk.write_at(entry.name, 0, data)
        except NoSpaceError:
            self._disk.remove(entry.name)
            self._make_room(self._max_bytes // 4)
            try:
                self._disk.write_at(entry.name, 0, data)
            except NoSpaceError:
                self._disk.remove(entry.name)
                self._count_dropped(entry)
                return
        self._entries[entry.sequence] = entry
        self._size_bytes += len(data)
        self._unsynced.append(entry)

    def sync(self) -> None:
        """Make everything appended so far durable; call it once for several batches."""
        waiting = [entry for entry in self._unsynced if entry.sequence in self._entries]
        self._unsynced = []
        if waiting:
            for entry in waiting:
                self._disk.sync(entry.name)
            self._disk.sync_directory(_DIRECTORY)

    def oldest(self, limit: int) -> list[SpooledBatch]:
        """The next batches to send, in order."""
        return list(islice(self._entries.values(), limit))  # in order: numbers only grow

    def read(self, entry: SpooledBatch) -> bytes | None:
        """The batch, None where it is gone or was cut short by a power cut."""
        if entry.sequence not in self._entries:
            return None
        try:
            return self._disk.read(entry.name)
        except FileNotFoundError:
            return None

    def remove(self, sequence: int) -> None:
        """The server has it, or it is unreadable."""
        entry = self._entries.pop(sequence, None)
        if entry is not None:
            self._disk.remove(entry.name)
            self._size_bytes -= entry.size_bytes

    def _make_room(self, size_bytes: int) -> None:
        while self._entries and self._size_bytes + size_bytes > self._max_bytes:
            oldest = next(iter(self._entries.values()))
            victim = next((entry for entry in self._entries.values() if not entry.events), oldest)
            self._count_dropped(victim)
            self.remove(victim.sequence)

    def _count_dropped(self, entry: SpooledBatch) -> None:
        self.dropped_batches += 1
        self.dropped_decisions += entry.decisions

    def _take_in(self, name: str) -> None:
        parts = name.split("-")
        if len(parts) == 3 and all(part.isdigit() for part in parts):
            size_bytes = self._disk.size(f"{_DIRECTORY}/{name}")
            entry = SpooledBatch(int(parts[0]), int(parts[1]), int(parts[2]), size_bytes)
            self._entries[entry.sequence] = entry

    def _read_next(self) -> int:
        try:
            text = self._disk.read(_NEXT)
        except FileNotFoundError:
            return 0
        return int(text) if text.isdigit() else 0
