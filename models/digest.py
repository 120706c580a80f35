"""Digests: how content is named.

Owns: the textual form `sha256:<64 hex>`, hashing of bytes and open files.
Must not know: what the content is.
"""

import hashlib
import re
from typing import BinaryIO, NewType

from models.errors import MalformedError

Digest = NewType("Digest", str)
"""`sha256:` and 64 lower-case hexadecimal digits."""

_PATTERN = re.compile(r"sha256:[0-9a-f]{64}")
_BLOCK_BYTES = 1 << 20


def digest_of(data: bytes | bytearray | memoryview) -> Digest:
    """The digest of `data`."""
    return Digest("sha256:" + hashlib.sha256(data).hexdigest())


def digest_of_file(file: BinaryIO) -> tuple[Digest, int]:
    """The digest and size in bytes of `file`, read from its current position to its end."""
    hasher, size_bytes = hashlib.sha256(), 0
    while block := file.read(_BLOCK_BYTES):
        hasher.update(block)
        size_bytes += len(block)
    return Digest("sha256:" + hasher.hexdigest()), size_bytes


def digest_from_text(text: str) -> Digest:
    """`text` as a digest. Raises `MalformedError` where it is not one."""
    if not _PATTERN.fullmatch(text):
        raise MalformedError(f"not a digest: {text[:80]!r} (expected sha256: and 64 hexadecimal digits)")
    return Digest(text)


def hex_of(digest: Digest) -> str:
    """The 64 hexadecimal digits of `digest`."""
    return digest.removeprefix("sha256:")


def short(digest: Digest) -> str:
    """Twelve digits, for people; never for comparison."""
    return hex_of(digest)[:12]
