"""The real disk: files below one directory, made durable by fsync.

Owns: the `Disk` port on POSIX. Names are checked, so that none leaves the directory.
Must not know: what is stored, or why in that order.
"""

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from models.errors import HostileNameError, NoSpaceError

_WRITE = os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


class FileDisk:
    """`agent.ports.Disk` below `root`, which is made where it is absent, unless it is only to be read."""

    def __init__(self, root: Path, *, read_only: bool = False) -> None:
        self.root = root
        if not read_only:
            root.mkdir(parents=True, exist_ok=True)

    def path(self, name: str) -> Path:
        """Where `name` lies. Raises `HostileNameError` where it would leave the root."""
        parts = name.split("/") if name else []
        if any(part in ("", ".", "..") or "\0" in part for part in parts):
            raise HostileNameError(f"not a name below the root: {name[:80]!r}")
        return self.root.joinpath(*parts)

    def read(self, name: str) -> bytes:
        """The whole file."""
        with self._opened(name, _READ) as descriptor, os.fdopen(descriptor, "rb", closefd=False) as file:
            return file.read()

    def read_range(self, name: str, offset_bytes: int, length_bytes: int) -> bytes:
        """At most `length_bytes` from `offset_bytes` on."""
        with self._opened(name, _READ) as descriptor:
            return os.pread(descriptor, length_bytes, offset_bytes)

    def write_at(self, name: str, offset_bytes: int, data: bytes) -> None:
        """Write in place, making the file where it is absent."""
        with self._opened(name, _WRITE) as descriptor:
            view = memoryview(data)
            while view:
                written = os.pwrite(descriptor, view, offset_bytes)
                view, offset_bytes = view[written:], offset_bytes + written

    def append(self, name: str, data: bytes) -> None:
        """Write at the end, making the file where it is absent."""
        with self._opened(name, _WRITE | os.O_APPEND) as descriptor:
            view = memoryview(data)
            while view:
                view = view[os.write(descriptor, view) :]

    def sync(self, name: str) -> None:
        """Make the file's content and size durable."""
        with self._opened(name, _READ) as descriptor:
            os.fdatasync(descriptor)  # content and size; times may be lost, nobody reads them

    def sync_directory(self, name: str) -> None:
        """Make the names in a directory durable."""
        with self._opened(name, _READ | os.O_DIRECTORY) as descriptor:
            os.fsync(descriptor)

    def rename(self, source: str, target: str) -> None:
        """Atomically give `source` the name `target`."""
        with _room(target):
            self.path(source).replace(self.path(target))

    def remove(self, name: str) -> None:
        """Remove a file; absent is fine."""
        self.path(name).unlink(missing_ok=True)

    def remove_tree(self, name: str) -> None:
        """Remove a directory and all below it; absent is fine. Links are removed, not followed."""
        path = self.path(name)
        if path.is_symlink():
            path.unlink()
        elif path.exists():
            shutil.rmtree(path)

    def make_directory(self, name: str) -> None:
        """Make a directory and its parents; present is fine."""
        with _room(name):
            self.path(name).mkdir(parents=True, exist_ok=True)

    def list(self, name: str) -> list[str]:
        """Names in a directory, sorted; empty where it is absent."""
        try:
            return sorted(entry.name for entry in self.path(name).iterdir())
        except FileNotFoundError:
            return []

    def exists(self, name: str) -> bool:
        """Whether the file or directory is there."""
        return self.path(name).exists()

    def size(self, name: str) -> int:
        """Bytes of a file."""
        return self.path(name).stat(follow_symlinks=False).st_size

    def reserve(self, name: str, size_bytes: int) -> None:
        """Allocate `size_bytes` for a file now; an existing longer file keeps its length."""
        with self._opened(name, _WRITE) as descriptor:
            if size_bytes:
                os.posix_fallocate(descriptor, 0, size_bytes)

    def free_bytes(self) -> int:
        """Room left for a process without privileges."""
        figures = os.statvfs(self.root)
        return figures.f_bavail * figures.f_frsize

    @contextmanager
    def _opened(self, name: str, flags: int) -> Iterator[int]:
        with _room(name):
            descriptor = os.open(self.path(name), flags, 0o644)
            try:
                yield descriptor
            finally:
                os.close(descriptor)


@contextmanager
def _room(name: str) -> Iterator[None]:
    """A full disk is a `NoSpaceError`; every other trouble stays what it is."""
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            raise NoSpaceError(f"no room on the disk for {name}: {error.strerror}") from error
        raise
