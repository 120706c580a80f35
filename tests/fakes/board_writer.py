"""A process that does nothing but write: `python -m tests.fakes.board_writer board|ring PATH`.

Owns: records by which a reader sees whether it read half of one: every field of a record is the same number.
"""

import sys
from itertools import count
from pathlib import Path
from typing import NamedTuple

from agent.board.layout import Layout
from agent.board.ring import RingWriter
from agent.board.seqlock import BoardWriter

SLOT_BYTES, SLOTS = 512, 64


class SameRecord(NamedTuple):
    """One number, written five ways."""

    a: int
    b: float
    text: bytes
    c: int
    d: float


SAME = Layout("same", SameRecord, "qd4096sqd")


def same(number: int) -> SameRecord:
    """The record of `number`."""
    return SameRecord(number, float(number), str(number).zfill(4096).encode(), number, float(number))


def main() -> None:
    """Write until killed."""
    kind, path = sys.argv[1], Path(sys.argv[2])
    if kind == "board":
        board = BoardWriter(path, SAME)
        for number in count(1):
            board.write(same(number), number)
    ring = RingWriter(path, SLOT_BYTES, SLOTS)
    number = 0
    while True:
        number += ring.push(str(number).encode() * 3)


if __name__ == "__main__":
    main()
