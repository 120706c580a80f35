"""Telemetry on disk until the server has it: a bounded directory of numbered batches.

Owns: `spool/`: one file a batch, its number, its size, what is dropped where there is no room.
A batch is safe once `sync` returned; numbers go on after a restart. Where room is short, the oldest batch
without events goes first, then the oldest; what goes is counted.
What the server will not take is set aside below `spool/aside`, at most an eighth of the room: a person (or a
later server) may want it; to send it again, move it back while `manage` does not run.
Must not know: the network, what batches say.
"""

import secrets
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice

from agent.ports import Disk
from models.errors import NoSpaceError

_DIRECTORY = "spool"
_NEXT = f"{_DIRECTORY}/next"
_ASIDE = f"{_DIRECTORY}/aside"
_ASIDE_SHARE = 8
_FAR = 10**11


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
        return f"{_DIRECTORY}/{self._file}"

    @property
    def name_aside(self) -> str:
        """Its name once it is set aside."""
        return f"{_ASIDE}/{self._file}"

    @property
    def _file(self) -> str:
        return f"{self.sequence:012d}-{self.decisions}-{self.events}"


class Spool:
    """Single-threaded: the telemetry thread owns it."""

    def __init__(self, disk: Disk, max_bytes: int) -> None:
        self._disk, self._max_bytes = disk, max_bytes
        disk.make_directory(_DIRECTORY)
        disk.sync_directory("")
        self._entries = self._found_in(_DIRECTORY)
        self._aside = self._found_in(_ASIDE)
        self._size_bytes = sum(entry.size_bytes for entry in self._entries.values())
        self._next = max(self._read_next(), max((*self._entries, *self._aside), default=-1) + 1)
        self._unsynced: list[SpooledBatch] = []
        self.dropped_decisions = 0
        """Decisions in batches that were dropped for want of room or came back in pieces, since this object was made."""
        self.dropped_batches = 0

    @property
    def next_sequence(self) -> int:
        """The number that the next batch must carry."""
        return self._next

    @property
    def size_bytes(self) -> int:
        """Bytes of all batches."""
        return self._size_bytes

    @property
    def aside(self) -> int:
        """Batches that are set aside."""
        return len(self._aside)

    def __len__(self) -> int:
        return len(self._entries)

    def append(self, data: bytes, decisions: int, events: int) -> None:
        """Store the batch that carries `next_sequence`. Durable after `sync`."""
        entry = SpooledBatch(self._next, decisions, events, len(data))
        self._next += 1
        # Before the batch, so that no number is used twice by a process that is killed. Not synced: after a power
        # cut there is a new boot, and numbers are unique within a boot.
        with suppress(NoSpaceError, OSError):
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

    def newest(self) -> SpooledBatch | None:
        """The batch that was stored last."""
        return next(reversed(self._entries.values()), None)

    def read(self, entry: SpooledBatch) -> bytes | None:
        """The batch, perhaps cut short by a power cut; None where it is gone or the disk cannot read it."""
        if entry.sequence not in self._entries:
            return None
        try:
            return self._disk.read(entry.name)
        except OSError:
            return None

    def lose(self, entry: SpooledBatch) -> None:
        """It cannot be read: remove and count it."""
        if entry.sequence in self._entries:
            self._count_dropped(entry)
            self.remove(entry.sequence)

    def set_aside(self, entry: SpooledBatch) -> None:
        """The server will not take it: keep it apart, durably; where there is no room for it, drop and count it."""
        if self._entries.pop(entry.sequence, None) is None:
            return
        self._size_bytes -= entry.size_bytes
        try:
            self._disk.make_directory(_ASIDE)
            self._disk.sync_directory(_DIRECTORY)
            self._disk.rename(entry.name, entry.name_aside)
            self._disk.sync_directory(_ASIDE)
            self._disk.sync_directory(_DIRECTORY)
        except (NoSpaceError, FileNotFoundError):
            self._disk.remove(entry.name)
            self._count_dropped(entry)
            return
        self._aside[entry.sequence] = entry
        while sum(one.size_bytes for one in self._aside.values()) > self._max_bytes // _ASIDE_SHARE:
            oldest = self._aside.pop(next(iter(self._aside)))
            self._disk.remove(oldest.name_aside)
            self._count_dropped(oldest)

    def remove(self, sequence: int) -> None:
        """The server has it."""
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

    def _found_in(self, directory: str) -> dict[int, SpooledBatch]:
        """The batches in a directory, in order."""
        found = {}
        for name in self._disk.list(directory):
            parts = name.split("-")
            if len(parts) == 3 and all(part.isdigit() for part in parts):
                size_bytes = self._disk.size(f"{directory}/{name}")
                entry = SpooledBatch(int(parts[0]), int(parts[1]), int(parts[2]), size_bytes)
                found[entry.sequence] = entry
        return found

    def _read_next(self) -> int:
        try:
            text = self._disk.read(_NEXT)
        except FileNotFoundError:
            return 0
        except OSError:
            # A bad sector: a number far from all that were used, so that none is used twice in this boot.
            return _FAR + secrets.randbelow(_FAR)
        return int(text) if text.isdigit() else 0
