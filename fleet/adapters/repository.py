"""Published files on this machine's disk. Implements `fleet.ports.Content`.

Owns: paths below the repository and the server's state, bounded reads, no symbolic link followed.
Must not know: who asks, or why. Names were checked before they come here.
"""

import errno
import os
import stat
from pathlib import Path

from models.digest import Digest, hex_of
from models.errors import MalformedMessageError, TransferError, UnknownObjectError
from models.wire.messages import MAX_RANGE_BYTES

_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC
_ABSENT = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG})


class RepositoryFiles:
    """`repo` holds image/ and content/; `state` holds director/<device>/metadata/."""

    def __init__(self, repo: Path, state: Path) -> None:
        self._metadata = repo / "image" / "metadata"
        self._targets = repo / "image" / "targets"
        self._content = repo / "content"
        self._director = state / "director"

    def image_metadata(self, name: str) -> bytes:
        """A metadata file of the Image repository. Raises `UnknownObjectError`, `TransferError`."""
        return read_whole(self._metadata / name)

    def director_metadata(self, device: str, name: str) -> bytes:
        """A metadata file of this device's Director repository. Raises as above."""
        return read_whole(self._director / device / "metadata" / name)

    def target(self, path: str) -> bytes:
        """A small target of the Image repository. Raises as above."""
        return read_whole(self._targets / path)

    def content(self, digest: Digest, offset_bytes: int, length_bytes: int) -> bytes:
        """A range of published content. Raises as above, or `MalformedMessageError` where it leaves the content."""
        return read_range(self._content / hex_of(digest), offset_bytes, length_bytes)

    def whole_content(self, digest: Digest) -> bytes:
        """Published content of at most 1 MiB, all of it. Raises as above."""
        return read_whole(self._content / hex_of(digest))


def read_whole(path: Path, max_bytes: int = MAX_RANGE_BYTES) -> bytes:
    """A regular file of at most `max_bytes`. Raises `UnknownObjectError`, `TransferError`."""
    descriptor, size_bytes = _open(path)
    try:
        if size_bytes > max_bytes:
            raise UnknownObjectError(f"{path.name} has {size_bytes} bytes: ask for it in ranges")
        return _pread(descriptor, size_bytes, 0)
    finally:
        os.close(descriptor)


def read_range(path: Path, offset_bytes: int, length_bytes: int) -> bytes:
    """`length_bytes` of a regular file. Raises as `read_whole`, or `MalformedMessageError`."""
    descriptor, size_bytes = _open(path)
    try:
        if offset_bytes + length_bytes > size_bytes:
            raise MalformedMessageError(
                f"a range up to byte {offset_bytes + length_bytes} of content that has {size_bytes}"
            )
        return _pread(descriptor, length_bytes, offset_bytes)
    finally:
        os.close(descriptor)


def _open(path: Path) -> tuple[int, int]:
    try:
        descriptor = os.open(path, _FLAGS)
    except OSError as error:
        if error.errno in _ABSENT:
            raise UnknownObjectError(f"nothing is published as {path.name[:80]}") from error
        raise TransferError(f"cannot open {path.name[:80]}: {error.strerror}") from error
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode):
        os.close(descriptor)
        raise UnknownObjectError(f"nothing is published as {path.name[:80]}")
    return descriptor, status.st_size


def _pread(descriptor: int, length_bytes: int, offset_bytes: int) -> bytes:
    try:
        data = os.pread(descriptor, length_bytes, offset_bytes)
    except OSError as error:
        raise TransferError(f"cannot read: {error.strerror}") from error
    if len(data) != length_bytes:
        raise TransferError(f"read {len(data)} of {length_bytes} bytes")
    return data
