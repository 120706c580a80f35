"""Tensors in a file: the safetensors format, read strictly and written canonically.

Owns: the one form that we write (names sorted, no gaps, header padded to eight bytes) and the refusal of any other.
Must not know: what the tensors mean.

The format: github.com/huggingface/safetensors. Only files of our own are read here, so that a file must be, byte for
byte, what writing its content again would give; that leaves no room for overlaps, gaps, duplicates or oversized headers.
"""

import math
from collections.abc import Mapping
from typing import Annotated

import msgspec
import numpy as np
from numpy.typing import NDArray

from models.errors import MalformedError

MAX_HEADER_BYTES = 1 << 20
MAX_TENSORS = 4096
MAX_ELEMENTS = 1 << 31
_METADATA = "__metadata__"
_KINDS: dict[str, np.dtype[np.generic]] = {
    "F32": np.dtype("<f4"),
    "I64": np.dtype("<i8"),
    "U8": np.dtype("u1"),
}
_NAMES = {kind: name for name, kind in _KINDS.items()}

Tensors = dict[str, NDArray[np.generic]]
_Natural = Annotated[int, msgspec.Meta(ge=0, le=1 << 48)]


class _Entry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One tensor of the header, in the format's own field order."""

    dtype: str
    shape: Annotated[tuple[_Natural, ...], msgspec.Meta(max_length=8)]
    data_offsets: tuple[_Natural, _Natural]


def bytes_from_tensors(tensors: Mapping[str, NDArray[np.generic]], metadata: Mapping[str, str]) -> bytes:
    """The file that holds `tensors` (float32, int64, uint8) and `metadata`; raises `KeyError` for another type."""
    header: dict[str, object] = {_METADATA: dict(sorted(metadata.items()))}
    parts: list[bytes] = []
    offset = 0
    for name in sorted(tensors):
        array = np.asarray(tensors[name], order="C")
        part = array.tobytes()
        header[name] = _Entry(_NAMES[array.dtype], array.shape, (offset, offset + len(part)))
        parts.append(part)
        offset += len(part)
    text = msgspec.json.encode(header)
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text + b"".join(parts)


def tensors_from_bytes(data: bytes) -> tuple[Tensors, dict[str, str]]:
    """The tensors and the metadata of a file that `bytes_from_tensors` wrote.

    Raises:
        MalformedError: any other file.
    """
    if len(data) < 8:
        raise MalformedError(f"tensors: {len(data)} bytes are no safetensors file")
    size = int.from_bytes(data[:8], "little")
    if size > min(MAX_HEADER_BYTES, len(data) - 8):
        raise MalformedError(f"tensors: a header of {size} bytes does not fit")
    try:
        header = msgspec.json.decode(data[8 : 8 + size], type=dict[str, msgspec.Raw])
        metadata = msgspec.json.decode(header.pop(_METADATA, msgspec.Raw(b"{}")), type=dict[str, str])
        entries = {name: msgspec.json.decode(raw, type=_Entry) for name, raw in header.items()}
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise MalformedError(f"tensors: header: {error}") from error
    if len(entries) > MAX_TENSORS:
        raise MalformedError(f"tensors: {len(entries)} of them; at most {MAX_TENSORS} are read")
    content = memoryview(data)[8 + size :]
    tensors = {name: _tensor(name, entry, content) for name, entry in entries.items()}
    if bytes_from_tensors(tensors, metadata) != data:
        raise MalformedError("tensors: not in canonical form (sorted, without gaps, overlaps or duplicates)")
    return tensors, metadata


def _tensor(name: str, entry: _Entry, content: memoryview) -> NDArray[np.generic]:
    kind = _KINDS.get(entry.dtype)
    if kind is None:
        raise MalformedError(
            f"tensors: {name[:80]!r} has the type {entry.dtype[:16]!r}; {sorted(_KINDS)} are read"
        )
    start, end = entry.data_offsets
    if math.prod(max(size, 1) for size in entry.shape) > MAX_ELEMENTS:
        raise MalformedError(f"tensors: {name[:80]!r} has an impossible shape")
    if end > len(content) or end - start != math.prod(entry.shape) * kind.itemsize:
        raise MalformedError(
            f"tensors: {name[:80]!r} lies outside the file, or is not as long as its shape says"
        )
    array: NDArray[np.generic] = np.frombuffer(content[start:end], kind).reshape(entry.shape)
    return array
