"""The energy counter over a restart of the power process.

Owns: whether the counter that a board carries is this boot's, and so goes on. Must not know: rails, the governor.
"""

import math
from pathlib import Path

from agent.board.records import POWER, PowerRecord
from agent.board.seqlock import BoardReader, Stamped
from agent.errors import BoardError


def energy_continued(before: Stamped[PowerRecord] | None, mono_ns: int) -> float:
    """The joules to count on from at `mono_ns`; 0 where the record before is another boot's, or none at all.

    Boards lie in memory, so one that is there is this boot's; only an emulated device may keep them on a disk, and there a
    stamp ahead of the clock gives an earlier boot away.
    """
    if before is None or before.mono_ns > mono_ns:
        return 0.0
    energy_j = before.record.energy_j
    return energy_j if math.isfinite(energy_j) and energy_j > 0 else 0.0


def energy_before(path: Path, mono_ns: int) -> float:
    """As `energy_continued`, of the board at `path`, which may be absent or another version's."""
    try:
        with BoardReader(path, POWER) as board:
            return energy_continued(board.read(), mono_ns)
    except BoardError:
        return 0.0
