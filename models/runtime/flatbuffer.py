"""Reads and writes flatbuffers whose tables are declared as dataclasses.

Owns: the layout of the format. The reader checks every offset before it follows it, knows only the fields that
a table declares, and reads no more than the file can honestly hold; the writer's bytes hold nothing else.
Must not know: what the tables mean.

Layout: https://flatbuffers.dev/internals (little-endian; a table starts with the signed distance to its vtable,
which lists where each field lies in the table, 0 for absent).
"""

import dataclasses
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, TypeVar

import numpy as np

from models.errors import ModelNotAllowedError

MAX_BYTES = (1 << 31) - 1
"""The format's own limit: offsets to vtables are signed."""
_READ_FACTOR = 2
"""Bytes read for each byte there is: a little sharing is usual, a file that unfolds is not."""


class Table:
    """A table; its fields are made by `field`. Fields in `UNREAD` may be there, and are dropped."""

    __slots__ = ()
    UNREAD: ClassVar[frozenset[int]] = frozenset()


AnyTable = TypeVar("AnyTable", bound=Table)


@dataclass(frozen=True, slots=True)
class Scalar:
    """A number in the table itself; `code` is `struct`'s."""

    code: str
    default: int | float = 0


@dataclass(frozen=True, slots=True)
class Numbers:
    """A vector of numbers, read as a tuple."""

    code: str


@dataclass(frozen=True, slots=True)
class Blob:
    """A vector of bytes, aligned to 16."""


@dataclass(frozen=True, slots=True)
class Text:
    """A string; bytes that are not UTF-8 are replaced."""


@dataclass(frozen=True, slots=True)
class One:
    """Another table, or None."""

    of: type[Table]


@dataclass(frozen=True, slots=True)
class Many:
    """A vector of tables, read as a tuple."""

    of: type[Table]


@dataclass(frozen=True, slots=True)
class Choice:
    """A union: which table it is, the number in the field `by` says."""

    by: str
    of: Mapping[int, type[Table]]


Kind = Scalar | Numbers | Blob | Text | One | Many | Choice


def field(slot: int, kind: Kind) -> Any:
    """Declare that a dataclass field lies in the table's `slot`."""
    empty: dict[type, Any] = {Numbers: (), Many: (), Blob: b"", Text: ""}
    default = kind.default if isinstance(kind, Scalar) else empty.get(type(kind))
    return dataclasses.field(default=default, metadata={"slot": slot, "kind": kind})


def _slots(of: type[Table]) -> dict[int, tuple[str, Kind]]:
    assert dataclasses.is_dataclass(of)
    return {each.metadata["slot"]: (each.name, each.metadata["kind"]) for each in dataclasses.fields(of)}


def read(content: bytes, identifier: bytes, of: type[AnyTable]) -> AnyTable:
    """The root table of `content`.

    Raises:
        ModelNotAllowedError: it is too short or too long, has another identifier, points outside itself, unfolds
            to more than it can hold, or a table has a field that is not declared.
    """
    if not 8 <= len(content) <= MAX_BYTES:
        raise ModelNotAllowedError(f"{len(content)} bytes; between 8 and {MAX_BYTES} are read")
    if content[4:8] != identifier:
        raise ModelNotAllowedError(f"its identifier is {content[4:8]!r}; {identifier!r} is read")
    reader = _Reader(content)
    return reader.table(of, reader.target(0))


class _Reader:
    def __init__(self, content: bytes) -> None:
        self._content = content
        self._left_bytes = _READ_FACTOR * len(content)

    def table(self, of: type[AnyTable], position: int) -> AnyTable:
        vtable = position - self._number("i", position)
        offsets = self._vtable(vtable)
        known = _slots(of)
        values: dict[str, Any] = {}
        for slot, offset in enumerate(offsets):
            if not offset or slot in of.UNREAD:
                continue
            if slot not in known:
                raise ModelNotAllowedError(f"{of.__name__} has the field {slot}, which is not allowed")
            name, kind = known[slot]
            values[name] = self._value(kind, position + offset, values)
        return of(**values)

    def _vtable(self, position: int) -> tuple[int, ...]:
        size = self._number("H", position)
        if size < 4 or size % 2:
            raise ModelNotAllowedError(f"a table's layout at {position} has {size} bytes")
        count = (size - 4) // 2
        return struct.unpack(f"<{count}H", self._bytes(position + 4, 2 * count))

    def _value(self, kind: Kind, position: int, before: Mapping[str, Any]) -> object:
        match kind:
            case Scalar():
                return self._number(kind.code, position)
            case Numbers():
                size = struct.calcsize(kind.code)
                found = np.frombuffer(self._vector(position, size), f"<{np.dtype(kind.code).str[1:]}")
                return tuple(found.tolist())
            case Blob():
                return self._vector(position, 1)
            case Text():
                return self._vector(position, 1).decode(errors="replace")
            case One():
                return self.table(kind.of, self.target(position))
            case Many():
                return self._tables(kind.of, position)
            case Choice():
                chosen = kind.of.get(before.get(kind.by, 0))
                if chosen is None:
                    raise ModelNotAllowedError(
                        f"{kind.by} {before.get(kind.by, 0)} names a table that is not allowed"
                    )
                return self.table(chosen, self.target(position))

    def _tables(self, of: type[Table], position: int) -> tuple[Table, ...]:
        start = self.target(position)
        count = len(self._vector(position, 4)) // 4
        return tuple(self.table(of, self.target(start + 4 + 4 * index)) for index in range(count))

    def _vector(self, position: int, element_bytes: int) -> bytes:
        start = self.target(position)
        return self._bytes(start + 4, self._number("I", start) * element_bytes)

    def target(self, position: int) -> int:
        """Where the offset at `position` leads: always ahead."""
        return position + int(self._number("I", position))

    def _number(self, code: str, position: int) -> Any:
        return struct.unpack(f"<{code}", self._bytes(position, struct.calcsize(code)))[0]

    def _bytes(self, position: int, size: int) -> bytes:
        if position < 0 or position + size > len(self._content):
            raise ModelNotAllowedError(f"it points to {size} bytes at {position}, outside of itself")
        self._left_bytes -= size
        if self._left_bytes < 0:
            raise ModelNotAllowedError("it unfolds to more bytes than it can hold")
        return self._content[position : position + size]


def write(root: Table, identifier: bytes) -> bytes:
    """`root` and all that it holds as a flatbuffer; equal tables give equal bytes."""
    writer = _Writer(identifier)
    writer.point(0, writer.table(root))
    return bytes(writer.content)


class _Writer:
    """Front to back: a table's place is kept, what it points to follows."""

    def __init__(self, identifier: bytes) -> None:
        self.content = bytearray(4) + identifier
        self._vtables: dict[bytes, int] = {}

    def table(self, value: Table) -> int:
        """Write a table and what it holds; returns its position."""
        fields = [
            (slot, kind, getattr(value, name))
            for slot, (name, kind) in sorted(_slots(type(value)).items())
            if _is_there(kind, getattr(value, name))
        ]
        offsets, size = _placed([(slot, kind) for slot, kind, _ in fields])
        vtable = self._vtable(offsets, size)
        position = self._align(8)
        self.content += bytes(size)
        struct.pack_into("<i", self.content, position, position - vtable)
        for slot, kind, content in fields:
            self._field(kind, position + offsets[slot], content)
        return position

    def point(self, position: int, target: int) -> None:
        """Let the offset at `position` lead to `target`."""
        struct.pack_into("<I", self.content, position, target - position)

    def _field(self, kind: Kind, position: int, value: Any) -> None:
        match kind:
            case Scalar():
                struct.pack_into(f"<{kind.code}", self.content, position, value)
            case Numbers():
                packed = struct.pack(f"<{len(value)}{kind.code}", *value)
                self.point(position, self._vector(packed, len(value), struct.calcsize(kind.code)))
            case Blob():
                self.point(position, self._vector(value, len(value), 16))
            case Text():
                encoded = value.encode()
                self.point(position, self._vector(encoded + b"\0", len(encoded), 1))
            case One() | Choice():
                self.point(position, self.table(value))
            case Many():
                start = self._vector(bytes(4 * len(value)), len(value), 4)
                self.point(position, start)
                for index, each in enumerate(value):
                    self.point(start + 4 + 4 * index, self.table(each))

    def _vector(self, content: bytes, count: int, alignment: int) -> int:
        self._align(4)
        while (len(self.content) + 4) % alignment:
            self.content += bytes(4)
        position = len(self.content)
        self.content += struct.pack("<I", count) + content
        return position

    def _vtable(self, offsets: Mapping[int, int], size: int) -> int:
        places = [offsets.get(slot, 0) for slot in range(max(offsets, default=-1) + 1)]
        vtable = struct.pack(f"<{len(places) + 2}H", 4 + 2 * len(places), size, *places)
        if vtable not in self._vtables:
            self._vtables[vtable] = self._align(2)
            self.content += vtable
        return self._vtables[vtable]

    def _align(self, alignment: int) -> int:
        self.content += bytes(-len(self.content) % alignment)
        return len(self.content)


def _is_there(kind: Kind, value: object) -> bool:
    """Scalars at their default and empty values are left out; empty tables are not."""
    if isinstance(kind, Scalar):
        return value != kind.default
    return value is not None if isinstance(kind, One | Choice) else bool(value)


def _placed(fields: list[tuple[int, Kind]]) -> tuple[dict[int, int], int]:
    """Offset of each field in its table, the widest first so that each is aligned, and the table's size."""
    widths = {slot: struct.calcsize(kind.code) if isinstance(kind, Scalar) else 4 for slot, kind in fields}
    offsets, end = {}, 4
    for slot in sorted(widths, key=lambda each: -widths[each]):
        offsets[slot] = end
        end += widths[slot]
    return offsets, end
