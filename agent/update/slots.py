"""The two slots of a device, and the pointer that says which one is live.

Owns: `slots/a`, `slots/b`, `slots/pointer.json` and the journals of what is durable in a slot being filled.
At every instant, power cuts included, the pointer names at most one live slot, and once it named one it
always names a complete one: content is synced before the pointer moves, and the pointer moves by write, sync,
rename, sync of the directory. The live slot is never written to, nor is the fallback of a trial.
Must not know: where content comes from, whether it is genuine, what control does with it.
"""

import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from itertools import accumulate

import msgspec

from agent.errors import UnsafeToSwapError
from agent.ports import Disk
from models.digest import Digest, digest_from_text
from models.errors import MalformedError, NoSpaceError

POINTER = "slots/pointer.json"
_DIRECTORY = "slots"
MAX_TRIAL_BOOTS = 3
"""A release that saw this many starts of the device without passing its trial is returned from."""
_QUARANTINE_LENGTH = 64
_SPARE_BYTES = 4 << 20
"""Room left over for pointers, journals and the spool when a slot is filled."""


class Slot(StrEnum):
    """A place that holds one release."""

    A = "a"
    B = "b"

    @property
    def other(self) -> "Slot":
        """The one that this is not."""
        return Slot.B if self is Slot.A else Slot.A

    @property
    def directory(self) -> str:
        """Its directory, as a name on the disk."""
        return f"{_DIRECTORY}/{self}"

    @property
    def journal(self) -> str:
        """What is durable in it while it is being filled; beside it, as a slot holds its release and no more."""
        return f"{_DIRECTORY}/{self}.journal"


class Pointer(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """`pointer.json`. `trial_boots` counts starts of the device on trial, `trial_boot` is the last one counted."""

    live: Slot | None = None
    live_digest: str = ""
    fallback: Slot | None = None
    fallback_digest: str = ""
    trial: bool = False
    trial_boots: int = 0
    trial_boot: str = ""
    quarantined: tuple[str, ...] = ()

    def slot_of(self, digest: str) -> Slot | None:
        """The slot that is known to hold `digest`."""
        if self.live is not None and self.live_digest == digest:
            return self.live
        return self.fallback if self.fallback is not None and self.fallback_digest == digest else None


@dataclass(frozen=True, slots=True)
class StagedFile:
    """A file that a slot is to hold, and the number of chunks that it comes in."""

    path: str
    size_bytes: int
    chunks: int


@dataclass(frozen=True, slots=True)
class StagedSlot:
    """A slot whose content is complete and durable; nobody vouches for it before `verify()`."""

    slot: Slot
    digest: Digest


class _JournalHead(msgspec.Struct, frozen=True):
    digest: str
    files: tuple[tuple[str, int, int], ...]


def read_pointer(disk: Disk) -> Pointer:
    """The pointer as it is now, an empty one where there is none. Raises `MalformedError` where it is broken."""
    try:
        data = disk.read(POINTER)
    except FileNotFoundError:
        return Pointer()
    try:
        pointer = msgspec.json.decode(data, type=Pointer, strict=True)
        for digest in filter(None, (pointer.live_digest, pointer.fallback_digest)):
            digest_from_text(digest)
    except (msgspec.DecodeError, UnicodeDecodeError, MalformedError) as error:
        raise MalformedError(f"{POINTER}: {error}") from error
    if (pointer.live is None) != (not pointer.live_digest) or pointer.live == pointer.fallback is not None:
        raise MalformedError(f"{POINTER} contradicts itself: {data[:200]!r}")
    return pointer


class Staging:
    """A slot being filled: which chunks of which files are durable, across power cuts.

    Content goes into place by `write`, in any order; `make_durable` syncs what was written since and only
    then says so in the journal. A journal never names bytes that may not be there.
    """

    def __init__(self, disk: Disk, slot: Slot, digest: Digest, files: tuple[StagedFile, ...]) -> None:
        self.slot, self.digest, self.files = slot, digest, files
        self._disk = disk
        self._written: set[tuple[int, int]] = set()
        self.durable: set[tuple[int, int]] = set()
        """(file, chunk), as indices."""

    def name_of(self, file: int) -> str:
        """The file's name on the disk."""
        return f"{self.slot.directory}/{self.files[file].path}"

    def write(self, file: int, chunk: int, offset_bytes: int, data: bytes) -> None:
        """Put the content of one chunk into place; it counts only after `make_durable`."""
        self._disk.write_at(self.name_of(file), offset_bytes, data)
        self._written.add((file, chunk))

    @property
    def undurable(self) -> int:
        """Chunks written but not yet durable."""
        return len(self._written)

    def make_durable(self) -> None:
        """Sync what was written, then the journal that says so."""
        if not self._written:
            return
        for file in sorted({file for file, _ in self._written}):
            self._disk.sync(self.name_of(file))
        self._disk.append(self.slot.journal, b"".join(_line(mark) for mark in sorted(self._written)))
        self._disk.sync(self.slot.journal)
        self.durable |= self._written
        self._written = set()

    def complete(self) -> StagedSlot:
        """The slot, all of it durable. Raises `MalformedError` where chunks are missing."""
        self.make_durable()
        missing = sum(file.chunks for file in self.files) - len(self.durable)
        if missing:
            raise MalformedError(f"slot {self.slot} misses {missing} chunks of {self.digest}")
        return StagedSlot(self.slot, self.digest)


class SlotStore:
    """The only writer of slots and pointer."""

    def __init__(self, disk: Disk) -> None:
        self._disk = disk
        disk.make_directory(_DIRECTORY)
        disk.sync_directory("")

    def pointer(self) -> Pointer:
        """The pointer now. Raises `MalformedError` where it is broken."""
        return read_pointer(self._disk)

    def set_aside_broken_pointer(self) -> bool:
        """Where the pointer cannot be read, keep it as `pointer.broken` and start from none; True if so."""
        try:
            self.pointer()
        except MalformedError:
            self._disk.rename(POINTER, f"{_DIRECTORY}/pointer.broken")
            self._disk.sync_directory(_DIRECTORY)
            return True
        return False

    def stage(self, digest: Digest, files: Iterable[StagedFile]) -> Staging:
        """Open the free slot for `digest`: go on where its journal ends, or empty it and reserve the room.

        Raises:
            UnsafeToSwapError: a trial is under way, so that neither slot is free.
            NoSpaceError: the release does not fit; the slot is left empty.
        """
        pointer = self.pointer()
        if pointer.trial:
            raise UnsafeToSwapError("a trial is under way: both slots are needed")
        slot = pointer.live.other if pointer.live else Slot.A
        staging = Staging(self._disk, slot, digest, tuple(files))
        if pointer.fallback == slot:
            self._write(msgspec.structs.replace(pointer, fallback=None, fallback_digest=""))
        if not self._resume(staging):
            self._start(staging)
        return staging

    def flip(self, staged: StagedSlot) -> Pointer:
        """Make `staged` live, on trial, with the slot that was live as fallback. Call it for verified slots only."""
        pointer = self.pointer()
        if pointer.trial or pointer.live == staged.slot:
            raise UnsafeToSwapError(f"slot {staged.slot} may not become live now")
        return self._write(
            Pointer(
                live=staged.slot,
                live_digest=staged.digest,
                fallback=pointer.live,
                fallback_digest=pointer.live_digest,
                trial=True,
                quarantined=pointer.quarantined,
            )
        )

    def commit(self) -> Pointer:
        """The trial is passed. The fallback stays until its slot is needed."""
        return self._write(msgspec.structs.replace(self.pointer(), trial=False, trial_boots=0, trial_boot=""))

    def go_back(self) -> Pointer:
        """Make the fallback live again and quarantine what was; with no fallback nothing is live after it."""
        pointer = self.pointer()
        return self._write(
            Pointer(
                live=pointer.fallback,
                live_digest=pointer.fallback_digest,
                quarantined=_with(pointer.quarantined, pointer.live_digest),
            )
        )

    def quarantine(self, digest: Digest) -> Pointer:
        """Never install `digest` again on this device."""
        pointer = self.pointer()
        return self._write(msgspec.structs.replace(pointer, quarantined=_with(pointer.quarantined, digest)))

    def count_trial_boot(self, boot: str) -> Pointer:
        """Count this start of the device where a trial is under way, once a boot."""
        pointer = self.pointer()
        if not pointer.trial or pointer.trial_boot == boot:
            return pointer
        return self._write(
            msgspec.structs.replace(pointer, trial_boots=pointer.trial_boots + 1, trial_boot=boot)
        )

    def discard_free(self) -> None:
        """Empty the slot that is neither live nor a fallback."""
        pointer = self.pointer()
        for slot in Slot:
            if slot not in (pointer.live, pointer.fallback):
                self._empty(slot)

    def _write(self, pointer: Pointer) -> Pointer:
        fresh = f"{POINTER}.new"
        self._disk.remove(fresh)
        self._disk.write_at(fresh, 0, msgspec.json.encode(pointer) + b"\n")
        self._disk.sync(fresh)
        self._disk.rename(fresh, POINTER)
        self._disk.sync_directory(_DIRECTORY)
        return pointer

    def _empty(self, slot: Slot) -> None:
        # The journal goes first, durably: it must never speak of files that are gone.
        self._disk.remove(slot.journal)
        self._disk.sync_directory(_DIRECTORY)
        self._disk.remove_tree(slot.directory)

    def _start(self, staging: Staging) -> None:
        self._empty(staging.slot)
        self._check_room(staging)
        self._disk.make_directory(staging.slot.directory)
        self._disk.sync_directory(_DIRECTORY)
        try:
            self._lay_out(staging)
            self._write_journal(staging)
        except NoSpaceError:
            self._empty(staging.slot)
            raise

    def _check_room(self, staging: Staging) -> None:
        needed, free = sum(file.size_bytes for file in staging.files), self._disk.free_bytes()
        if needed + _SPARE_BYTES > free:
            raise NoSpaceError(f"{staging.digest} needs {needed} bytes and some to spare; {free} are free")

    def _lay_out(self, staging: Staging) -> None:
        """Make every file at its full size, names durable from the top down."""
        directories = sorted(
            {name.rpartition("/")[0] for name in map(staging.name_of, range(len(staging.files)))}
        )
        for directory in directories:
            self._disk.make_directory(directory)
        for index, file in enumerate(staging.files):
            self._disk.reserve(staging.name_of(index), file.size_bytes)
            self._disk.sync(staging.name_of(index))
        for directory in _with_parents(staging.slot.directory, directories):
            self._disk.sync_directory(directory)

    def _write_journal(self, staging: Staging) -> None:
        """A journal that says what `staging.durable` holds, replacing the one before."""
        fresh = f"{staging.slot.journal}.new"
        marks = b"".join(_line(mark) for mark in sorted(staging.durable))
        self._disk.remove(fresh)
        self._disk.write_at(fresh, 0, _head_of(staging) + marks)
        self._disk.sync(fresh)
        self._disk.rename(fresh, staging.slot.journal)
        self._disk.sync_directory(_DIRECTORY)

    def _resume(self, staging: Staging) -> bool:
        """Take over what the journal vouches for; False where it is of something else or nothing."""
        try:
            head, *lines = self._disk.read(staging.slot.journal).split(b"\n")
        except FileNotFoundError:
            return False
        if head + b"\n" != _head_of(staging) or not self._sizes_hold(staging):
            return False
        marks = {mark for line in lines if (mark := _mark_from(line)) is not None}
        staging.durable = {
            m for m in marks if m[0] < len(staging.files) and m[1] < staging.files[m[0]].chunks
        }
        self._write_journal(staging)  # a torn last line must not swallow the next one
        return True

    def _sizes_hold(self, staging: Staging) -> bool:
        names = [staging.name_of(index) for index in range(len(staging.files))]
        return all(
            self._disk.exists(name) and self._disk.size(name) == file.size_bytes
            for name, file in zip(names, staging.files, strict=True)
        )


def staged_from_pointer(pointer: Pointer) -> StagedSlot | None:
    """The live slot of `pointer`, as what may be loaded."""
    return StagedSlot(pointer.live, digest_from_text(pointer.live_digest)) if pointer.live else None


def _head_of(staging: Staging) -> bytes:
    files = tuple((file.path, file.size_bytes, file.chunks) for file in staging.files)
    return msgspec.json.encode(_JournalHead(staging.digest, files)) + b"\n"


def _line(mark: tuple[int, int]) -> bytes:
    text = f"{mark[0]} {mark[1]}"
    return f"{text} {zlib.crc32(text.encode()):08x}\n".encode()


def _mark_from(line: bytes) -> tuple[int, int] | None:
    """The mark of a journal line, None for a torn one."""
    text, _, checksum = line.rpartition(b" ")
    numbers = text.split(b" ")
    if len(numbers) != 2 or checksum != b"%08x" % zlib.crc32(text):
        return None
    return int(numbers[0]), int(numbers[1])


def _with(quarantined: tuple[str, ...], digest: str) -> tuple[str, ...]:
    kept = tuple(one for one in quarantined if one != digest)
    return (*kept, digest)[-_QUARANTINE_LENGTH:] if digest else kept


def _with_parents(top: str, directories: list[str]) -> list[str]:
    """`top`, `directories` and what lies between, the outer ones first."""
    every = {top}
    for directory in directories:
        parents = accumulate(directory.split("/"), "{}/{}".format)
        every.update(parent for parent in parents if len(parent) > len(top))
    return sorted(every, key=lambda name: name.count("/"))
