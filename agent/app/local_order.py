"""An order that a person gives at the device: one board, written once.

Owns: whose file it is, and what is said where it cannot be written. Must not know: what is ordered, who obeys.
"""

from pathlib import Path
from typing import NamedTuple, TypeVar

from agent.board.layout import Layout
from agent.board.seqlock import BoardWriter
from models.errors import NotNowError, UsageError

R = TypeVar("R", bound=NamedTuple)


def order_here(board: Path, layout: Layout[R], record: R, mono_ns: int) -> None:
    """Put `record` on `board`, as a file of our own whoever made the one before.

    Raises:
        UsageError: this user may not write there.
        NotNowError: there is no run directory yet.
    """
    try:
        board.unlink(missing_ok=True)
        with BoardWriter(board, layout) as writer:
            writer.write(record, mono_ns)
    except PermissionError as error:
        raise UsageError(f"this user may not order here; try with sudo: {error}") from error
    except OSError as error:
        raise NotNowError(f"the boards are not there; does `power` run? {error}") from error
