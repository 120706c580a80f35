"""A disk in memory that forgets what was not synced.

`cut_after(n)` lets n changing operations happen and then cuts the power: the next one raises `PowerCutError`,
and so do all others until `reboot()`. What survives a reboot is what was synced, and, of what was not,
nothing (`seed=None`) or a random part: of each directory's changes a prefix (nothing orders two directories),
and any 4 KiB pages of the file contents (nothing orders those either).
"""

import random
from collections.abc import Callable
from dataclasses import dataclass, field

from models.errors import HostileNameError, NoSpaceError

_PAGE_BYTES = 4096


class PowerCutError(BaseException):
    """The power is gone: not an `Exception`, so that nothing catches it and goes on."""


@dataclass(eq=False)
class _File:
    data: bytearray = field(default_factory=bytearray)
    durable: bytes = b""


@dataclass
class _Names:
    """A name space: files by name, and directories. The root is always there."""

    files: dict[str, _File] = field(default_factory=dict)
    directories: set[str] = field(default_factory=lambda: {""})

    def put(self, name: str, file: _File) -> None:
        if _parent(name) in self.directories:
            self.files[name] = file

    def drop(self, name: str) -> None:
        self.files.pop(name, None)

    def move(self, source: str, target: str, file: _File) -> None:
        self.drop(source)
        self.put(target, file)

    def add_directory(self, name: str) -> None:
        if _parent(name) in self.directories:
            self.directories.add(name)

    def drop_directory(self, name: str) -> None:
        self.directories.discard(name)


_Change = Callable[[_Names], None]


class FakeDisk:
    """`agent.ports.Disk` in memory, with room for `capacity_bytes`."""

    def __init__(self, capacity_bytes: int = 1 << 40) -> None:
        self._capacity_bytes = capacity_bytes
        self._names, self._durable = _Names(), _Names()
        self._pending: list[tuple[frozenset[str], _Change]] = []
        self._left: int | None = None
        self.operations = 0
        """Changing operations since the start or the last reboot."""

    def cut_after(self, operations: int) -> None:
        """Cut the power when `operations` more changes have happened."""
        self._left = operations

    def reboot(self, seed: int | None = None) -> None:
        """The power is back; what was not synced is lost (all of it, or a part drawn from `seed`)."""
        draw = random.Random(seed)
        if seed is not None:
            self._keep_a_part(draw)
        alive = dict(self._durable.files)
        for file in alive.values():
            file.data = bytearray(_torn(file, draw) if seed is not None else file.durable)
            file.durable = bytes(file.data)
        self._names = _Names(alive, set(self._durable.directories))
        self._durable = _Names(dict(alive), set(self._durable.directories))
        self._pending, self._left, self.operations = [], None, 0

    # The port.

    def read(self, name: str) -> bytes:
        return bytes(self._file(name).data)

    def read_range(self, name: str, offset_bytes: int, length_bytes: int) -> bytes:
        return bytes(self._file(name).data[offset_bytes : offset_bytes + length_bytes])

    def write_at(self, name: str, offset_bytes: int, data: bytes) -> None:
        self._turn()
        file = self._file_or_new(name)
        self._grow(name, file, offset_bytes + len(data))
        file.data[offset_bytes : offset_bytes + len(data)] = data

    def append(self, name: str, data: bytes) -> None:
        self._turn()
        file = self._file_or_new(name)
        self._grow(name, file, len(file.data) + len(data))
        file.data[len(file.data) - len(data) :] = data

    def sync(self, name: str) -> None:
        self._turn()
        file = self._file(name)
        file.durable = bytes(file.data)

    def sync_directory(self, name: str) -> None:
        self._turn()
        if _checked(name) not in self._names.directories:
            raise FileNotFoundError(name)
        # A directory's changes become durable with all that came before them on the way there.
        mine = [index for index, (parents, _) in enumerate(self._pending) if name in parents]
        for index in mine:
            self._pending[index][1](self._durable)
        self._pending = [entry for index, entry in enumerate(self._pending) if index not in mine]

    def rename(self, source: str, target: str) -> None:
        self._turn()
        file = self._file(source)
        if _parent(_checked(target)) not in self._names.directories:
            raise FileNotFoundError(target)
        self._change({_parent(source), _parent(target)}, lambda names: names.move(source, target, file))

    def remove(self, name: str) -> None:
        self._turn()
        if _checked(name) in self._names.files:
            self._change({_parent(name)}, lambda names: names.drop(name))

    def remove_tree(self, name: str) -> None:
        below = _checked(name) + "/"
        for file in [file for file in self._names.files if file.startswith(below)]:
            self.remove(file)
        inner = [d for d in self._names.directories if d == name or d.startswith(below)]
        for directory in sorted(inner, key=len, reverse=True):
            self._turn()
            self._change({_parent(directory)}, _dropping(directory))

    def make_directory(self, name: str) -> None:
        parts = _checked(name).split("/") if name else []
        for depth in range(1, len(parts) + 1):
            directory = "/".join(parts[:depth])
            if directory not in self._names.directories:
                self._turn()
                self._change({_parent(directory)}, _adding(directory))

    def list(self, name: str) -> list[str]:
        every = [*self._names.files, *(d for d in self._names.directories if d)]
        return sorted(entry.rpartition("/")[2] for entry in every if _parent(entry) == _checked(name))

    def exists(self, name: str) -> bool:
        return _checked(name) in self._names.files or name in self._names.directories

    def size(self, name: str) -> int:
        return len(self._file(name).data)

    def reserve(self, name: str, size_bytes: int) -> None:
        self._turn()
        self._grow(name, self._file_or_new(name), size_bytes)

    def free_bytes(self) -> int:
        return self._capacity_bytes - sum(len(file.data) for file in self._names.files.values())

    # Inside.

    def _keep_a_part(self, draw: random.Random) -> None:
        cut: set[str] = set()
        for parents, change in self._pending:
            if parents & cut or draw.random() < 0.2:
                cut |= parents  # nothing later in these directories survives either
            else:
                change(self._durable)

    def _turn(self) -> None:
        if self._left is not None:
            if self._left == 0:
                raise PowerCutError
            self._left -= 1
        self.operations += 1

    def _file(self, name: str) -> _File:
        try:
            return self._names.files[_checked(name)]
        except KeyError:
            raise FileNotFoundError(name) from None

    def _file_or_new(self, name: str) -> _File:
        if _checked(name) not in self._names.files:
            if _parent(name) not in self._names.directories:
                raise FileNotFoundError(name)
            file = _File()
            self._change({_parent(name)}, lambda names: names.put(name, file))
        return self._names.files[name]

    def _grow(self, name: str, file: _File, size_bytes: int) -> None:
        missing = size_bytes - len(file.data)
        if missing > self.free_bytes():
            raise NoSpaceError(f"no room on the disk for {name}")
        file.data.extend(bytes(max(0, missing)))

    def _change(self, parents: set[str], change: _Change) -> None:
        change(self._names)
        self._pending.append((frozenset(parents), change))


def _adding(directory: str) -> _Change:
    return lambda names: names.add_directory(directory)


def _dropping(directory: str) -> _Change:
    return lambda names: names.drop_directory(directory)


def _checked(name: str) -> str:
    if name and any(part in ("", ".", "..") for part in name.split("/")):
        raise HostileNameError(f"not a name below the root: {name[:80]!r}")
    return name


def _parent(name: str) -> str:
    return name.rpartition("/")[0]


def _torn(file: _File, draw: random.Random) -> bytes:
    """Each page is the synced one or the written one; the length is one of the two."""
    old, new = file.durable, bytes(file.data)
    length = draw.choice((len(old), len(new)))
    pages = []
    for at in range(0, length, _PAGE_BYTES):
        page = draw.choice((old, new))[at : min(at + _PAGE_BYTES, length)]
        pages.append(page.ljust(min(_PAGE_BYTES, length - at), b"\0"))
    return b"".join(pages)
