"""Tensor files: what is written is safetensors, and nothing but what we write is read."""

import json

import numpy as np
import pytest
from safetensors.numpy import load, save

from models.errors import MalformedError
from models.release.tensors import Tensors, bytes_from_tensors, tensors_from_bytes

_TENSORS: Tensors = {
    "b": np.arange(6, dtype=np.float32).reshape(2, 3),
    "a": np.array([1, -2], np.int64),
    "empty": np.zeros(0, np.int64),
    "c": np.arange(7, dtype=np.uint8),
}


def _file(header: object, content: bytes) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text + content


def _entry(start: int, end: int, shape: list[int] | None = None, dtype: str = "U8") -> dict[str, object]:
    return {"dtype": dtype, "shape": [end - start] if shape is None else shape, "data_offsets": [start, end]}


def test_what_is_written_is_read_back() -> None:
    tensors, metadata = tensors_from_bytes(bytes_from_tensors(_TENSORS, {"k": "v"}))
    assert metadata == {"k": "v"}
    assert set(tensors) == set(_TENSORS)
    assert all(np.array_equal(tensors[name], array) for name, array in _TENSORS.items())


def test_the_safetensors_library_reads_what_is_written() -> None:
    theirs = load(bytes_from_tensors(_TENSORS, {"k": "v"}))
    assert all(np.array_equal(theirs[name], array) for name, array in _TENSORS.items())


_HOSTILE = {
    "nothing": b"",
    "a header longer than the file": (1 << 40).to_bytes(8, "little") + b"{}",
    "a header of a gigabyte": (1 << 30).to_bytes(8, "little") + b"{" + bytes(64),
    "no JSON": _file(b"\x80\x04pickle", b""),
    "an array": _file([1], b""),
    "overlapping tensors": _file({"__metadata__": {}, "a": _entry(0, 4), "b": _entry(2, 6)}, bytes(6)),
    "a gap": _file({"__metadata__": {}, "a": _entry(0, 4), "b": _entry(5, 6)}, bytes(6)),
    "a tail": _file({"__metadata__": {}, "a": _entry(0, 4)}, bytes(6)),
    "beyond the end": _file({"__metadata__": {}, "a": _entry(0, 400)}, bytes(4)),
    "backwards": _file({"__metadata__": {}, "a": _entry(4, 0, [0])}, bytes(4)),
    "negative offsets": _file({"__metadata__": {}, "a": _entry(-4, 0, [4])}, bytes(4)),
    "a shape that is not its size": _file({"__metadata__": {}, "a": _entry(0, 4, [5])}, bytes(4)),
    "a shape that overflows": _file({"__metadata__": {}, "a": _entry(0, 0, [1 << 40, 1 << 40, 0])}, b""),
    "an unknown type": _file({"__metadata__": {}, "a": _entry(0, 4, [4], "F8")}, bytes(4)),
    "unknown fields": _file({"__metadata__": {}, "a": {**_entry(0, 4), "x": 1}}, bytes(4)),
    "a duplicate": _file(
        b'{"__metadata__":{},"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]},'
        b'"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]}}',
        bytes(4),
    ),
    "unsorted names": _file({"__metadata__": {}, "b": _entry(0, 4), "a": _entry(4, 8)}, bytes(8)),
    "no metadata": _file({"a": _entry(0, 4)}, bytes(4)),
    "written by another library": save({"z": np.zeros(4, np.uint8), "a": np.zeros(4, np.float32)}),
}


@pytest.mark.parametrize("name", list(_HOSTILE))
def test_any_other_file_is_refused(name: str) -> None:
    with pytest.raises(MalformedError):
        tensors_from_bytes(_HOSTILE[name])
