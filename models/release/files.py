"""Directories of files: listing, opening and hashing them so that what was looked at is what is used.

Owns: the table of names, sizes and digests that names a set of files, and the only way we open files of
others (no link followed, regular, one name each).
Must not know: what the files mean.
"""

import errno
import os
import stat
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from models.digest import Digest, digest_of, hex_of
from models.errors import DigestMismatchError, DirectoryMismatchError, MalformedError, RoskvaError, disk_error
from models.release.names import MAX_COMPONENTS, NameRule, check_names

BLOCK_BYTES = 1 << 20
MAX_SCANNED_FILES = 1 << 20
_FOLDER_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
# Without O_NONBLOCK a planted FIFO would hold us for ever.
_FILE_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK


_MACHINE = frozenset({errno.EIO, errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ESTALE})
"""Errors that speak of this machine, not of the directory."""


@dataclass(frozen=True, slots=True)
class FileEntry:
    """One row of the table: `path` is relative, with `/` between components."""

    path: str
    size_bytes: int
    digest: Digest


@dataclass(frozen=True, slots=True)
class Listing:
    """What a directory holds, sorted; `folders` are all folders below it."""

    files: tuple[str, ...]
    folders: frozenset[str]


def table_bytes(entries: Iterable[FileEntry]) -> bytes:
    """The canonical table: lines `size_bytes sha256hex path`, sorted by path."""
    rows = sorted(entries, key=lambda entry: entry.path)
    return "".join(f"{row.size_bytes} {hex_of(row.digest)} {row.path}\n" for row in rows).encode()


def table_digest(entries: Iterable[FileEntry]) -> Digest:
    """What names a set of files: names, sizes and content are all bound (the digests alone would not bind names)."""
    return digest_of(table_bytes(entries))


def scan(
    directory: Path,
    workers: int = 0,
    rule: NameRule = NameRule.RELEASE,
    on_bytes: Callable[[int], None] = lambda _: None,
) -> tuple[FileEntry, ...]:
    """Hash every file below `directory` on `workers` threads (0: one a core), sorted by path.

    `on_bytes` is told of each block that was hashed, from any of the threads: files may be terabytes.

    Raises:
        HostileNameError: a name that `rule` refuses, or two that collide.
        DirectoryMismatchError: a symbolic link, a hard link or anything that is no regular file.
        DigestMismatchError: a file changed its length while it was read.
    """
    with open_folder(directory, follow=True) as folder:
        listing = list_files(folder, rule)
        with ThreadPoolExecutor(workers or os.cpu_count() or 1) as pool:
            return tuple(pool.map(lambda path: _entry(folder, path, on_bytes), listing.files))


def chunk_digests(path: Path, chunk_bytes: int) -> tuple[Digest, ...]:
    """The digests of the successive pieces of `chunk_bytes` of the file at `path`, the last one shorter."""
    if chunk_bytes < 1:
        raise MalformedError(f"chunks of {chunk_bytes} bytes; at least 1 is needed")
    with path.open("rb") as file:
        return tuple(digest_of(piece) for piece in iter(lambda: file.read(chunk_bytes), b""))


@contextmanager
def open_folder(directory: Path, *, follow: bool = False) -> Iterator[int]:
    """A descriptor of `directory`, closed at the end; its last component may be a link only with `follow`.

    Raises:
        DirectoryMismatchError: there is no such directory.
    """
    try:
        descriptor = os.open(directory, _FOLDER_FLAGS | (0 if follow else os.O_NOFOLLOW))
    except OSError as error:
        raise _unopened(error, f"not a directory that can be read: {directory.name!r}") from error
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def list_files(folder: int, rule: NameRule = NameRule.RELEASE, max_files: int = MAX_SCANNED_FILES) -> Listing:
    """Every file below the open `folder`.

    Raises:
        HostileNameError: a name that `rule` refuses, or two that collide.
        DirectoryMismatchError: something else than folders and regular files with one name, or more than `max_files`.
    """
    files: list[str] = []
    folders: list[str] = []
    for path, is_folder in _walk(folder, "", 1):
        (folders if is_folder else files).append(path)
        if len(files) + len(folders) > max_files:
            raise DirectoryMismatchError(f"more than {max_files} files and folders")
    check_names(files, rule)
    return Listing(tuple(sorted(files)), frozenset(folders))


def open_file(folder: int, path: str) -> int:
    """A descriptor of the regular file `path` below `folder`; no link is followed at any component.

    Raises:
        DirectoryMismatchError: no such file, a link on the way, a second name, or no regular file.
    """
    *folders, name = path.split("/")
    current = os.dup(folder)
    try:
        for component in folders:
            following = os.open(component, _FOLDER_FLAGS | os.O_NOFOLLOW, dir_fd=current)
            os.close(current)
            current = following
        descriptor = os.open(name, _FILE_FLAGS, dir_fd=current)
    except OSError as error:
        raise _unopened(error, f"{path!r} cannot be opened as a regular file") from error
    finally:
        os.close(current)
    try:
        check_regular(os.fstat(descriptor), path)
    except DirectoryMismatchError:
        os.close(descriptor)
        raise
    return descriptor


def check_regular(status: os.stat_result, path: str) -> None:
    """Raise `DirectoryMismatchError` where `status` is not that of a regular file with exactly one name."""
    if not stat.S_ISREG(status.st_mode):
        raise DirectoryMismatchError(f"{path[:80]!r} is no regular file")
    if status.st_nlink != 1:
        raise DirectoryMismatchError(
            f"{path[:80]!r} has {status.st_nlink} names (hard links); exactly one is allowed"
        )


def blocks(descriptor: int, size_bytes: int) -> Iterator[bytes]:
    """The first `size_bytes` of an open file from its start, whatever its position; fewer where it is shorter."""
    offset = 0
    while offset < size_bytes and (
        block := os.pread(descriptor, min(BLOCK_BYTES, size_bytes - offset), offset)
    ):
        yield block
        offset += len(block)


def digest_of_descriptor(
    descriptor: int, size_bytes: int, path: str, on_bytes: Callable[[int], None] = lambda _: None
) -> Digest:
    """The digest of an open file of exactly `size_bytes`. Raises `DigestMismatchError` for another length."""
    hasher, seen_bytes = sha256(), 0
    # One byte more than promised, so that a longer file is seen as such and an endless one is not read.
    for block in blocks(descriptor, size_bytes + 1):
        hasher.update(block)
        seen_bytes += len(block)
        on_bytes(len(block))
    if seen_bytes != size_bytes:
        raise DigestMismatchError(
            f"{path[:80]!r} does not have {size_bytes} bytes: is it still being written?"
        )
    return Digest("sha256:" + hasher.hexdigest())


def _entry(folder: int, path: str, on_bytes: Callable[[int], None]) -> FileEntry:
    descriptor = open_file(folder, path)
    try:
        size_bytes = os.fstat(descriptor).st_size
        return FileEntry(path, size_bytes, digest_of_descriptor(descriptor, size_bytes, path, on_bytes))
    finally:
        os.close(descriptor)


def _walk(folder: int, prefix: str, depth: int) -> Iterator[tuple[str, bool]]:
    with os.scandir(folder) as entries:
        for entry in entries:
            path = prefix + entry.name
            status = entry.stat(follow_symlinks=False)
            if not stat.S_ISDIR(status.st_mode):
                check_regular(status, path)
                yield path, False
                continue
            yield path, True
            yield from _walk_folder(folder, entry.name, path, depth)


def _walk_folder(parent: int, name: str, path: str, depth: int) -> Iterator[tuple[str, bool]]:
    if depth >= MAX_COMPONENTS:
        raise DirectoryMismatchError(f"folders are nested more than {MAX_COMPONENTS} deep at {path[:80]!r}")
    try:
        descriptor = os.open(name, _FOLDER_FLAGS | os.O_NOFOLLOW, dir_fd=parent)
    except OSError as error:
        raise _unopened(error, f"{path[:80]!r} cannot be opened as a folder") from error
    try:
        yield from _walk(descriptor, path + "/", depth + 1)
    finally:
        os.close(descriptor)


def _unopened(error: OSError, what: str) -> RoskvaError:
    if error.errno in _MACHINE:
        return disk_error(error, what)
    return DirectoryMismatchError(f"{what} ({error.strerror})")
