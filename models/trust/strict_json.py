"""JSON that has one reading only.

Owns: refusing what parsers disagree on: duplicate keys, NaN and infinities, a byte-order mark, excess depth.
Must not know: what is parsed. For documents of ours a comparison with the canonical bytes does the same;
this is for documents in formats of others.
"""

import json
from typing import Any, TypeVar

import msgspec

from models.errors import MalformedError

T = TypeVar("T")


def decode_strict(data: bytes, kind: type[T], what: str, max_bytes: int) -> T:
    """`data` as a `kind`; `what` names the document in errors.

    Raises:
        MalformedError: longer than `max_bytes`, not UTF-8 JSON, a duplicate key, a number that JSON or a float
            does not have, or a field unknown, missing or of another type.
    """
    if len(data) > max_bytes:
        raise MalformedError(f"{what} of {len(data)} bytes; at most {max_bytes} are read")
    try:
        tree = json.loads(
            data.decode("utf-8"),
            object_pairs_hook=_without_duplicates,
            parse_constant=_refuse,
            parse_float=_finite,
        )
        return msgspec.convert(tree, kind, strict=True)
    except (ValueError, RecursionError, msgspec.ValidationError) as error:
        raise MalformedError(f"{what}: {error}") from error


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    names = [name for name, _ in pairs]
    if len(set(names)) != len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"the key {twice[:80]!r} appears twice")
    return dict(pairs)


def _refuse(constant: str) -> float:
    raise ValueError(f"{constant} is no JSON number")


def _finite(text: str) -> float:
    number = float(text)
    if number in (float("inf"), float("-inf")):
        raise ValueError(f"{text[:40]} is no finite number")
    return number
