"""Record layouts: a named tuple of numbers and byte strings, packed at fixed offsets.

Owns: packing, unpacking and the fingerprint by which a reader knows that it reads the layout it was built for.
Must not know: files, memory, what the records mean.
"""

import struct
import zlib
from dataclasses import dataclass
from typing import Any, Generic, NamedTuple, TypeVar

R = TypeVar("R", bound=NamedTuple)


@dataclass(frozen=True, slots=True)
class Layout(Generic[R]):
    """How records of `kind` lie in memory: `fields` is a struct format of one code a field, little-endian.

    Codes in use: `q` and `Q` (64-bit integers), `d` (float64), `Ns` (N bytes, padded with zeros).
    """

    name: str
    kind: type[R]
    fields: str

    @property
    def packer(self) -> struct.Struct:
        """The compiled format; `struct` caches nothing for us, so adapters keep it."""
        return struct.Struct("<" + self.fields)

    @property
    def fingerprint(self) -> int:
        """32 bits that change with the name, the field names or the format."""
        names: tuple[str, ...] = self.kind._fields
        return zlib.crc32(f"{self.name}|{','.join(names)}|{self.fields}".encode())

    def record_from(self, values: tuple[Any, ...]) -> R:
        """The record that `values`, as unpacked, stand for."""
        return self.kind(*values)


def text_from(padded: bytes) -> str:
    """The text in a zero-padded field; undecodable bytes are replaced, never raised on."""
    return padded.rstrip(b"\0").decode("utf-8", "replace")


def bytes_from_text(text: str, size: int) -> bytes:
    """`text` as at most `size` bytes of UTF-8, cut at a character."""
    return text.encode()[:size].decode("utf-8", "ignore").encode()
