"""What the follower before this one left on the boards.

Owns: which command is still in force, which counts go on. Must not know: why the other one ended.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, TypeVar

from agent.board.layout import Layout
from agent.board.records import ACTUATION, ACTUATION_BOARD, LOOP, LOOP_BOARD
from agent.board.seqlock import BoardReader, Stamped
from agent.control.gate import REST, Command
from agent.errors import BoardError

R = TypeVar("R", bound=NamedTuple)

_IN_FORCE_NS = 500_000_000
"""A command younger than this is still being carried out when a follower starts."""
_GOES_ON_NS = 10_000_000_000
"""A loop that was away for longer was ended on purpose: the ticks since are nobody's."""


@dataclass(frozen=True, slots=True)
class Earlier:
    """The last tick, when it was, how many there were and were missed, and how often the gate changed a command;
    `last_ns` is None where this is a new loop."""

    command: Command = REST
    last_ns: int | None = None
    ticks: int = 0
    missed: int = 0
    interventions: int = 0


def earlier(run: Path, now_ns: int, period_ns: int) -> Earlier:
    """What the boards in `run` say of the loop before `now_ns`."""
    last = _stamped(run / ACTUATION_BOARD, ACTUATION)
    if last is None or not 0 <= now_ns - last.mono_ns <= _GOES_ON_NS:
        return Earlier()
    in_force = now_ns - last.mono_ns <= _IN_FORCE_NS
    command = Command(last.record.acceleration_mps2, last.record.curvature_per_m) if in_force else REST
    told = _stamped(run / LOOP_BOARD, LOOP)
    if told is None or told.record.tick_period_ns != period_ns:
        return Earlier(command)
    # The loop's board is written every few ticks: what passed between it and the last tick, and was no tick, was missed.
    periods = round((last.mono_ns - told.mono_ns) / period_ns)
    untold = max(0, periods - (last.record.tick - told.record.ticks))
    missed, interventions = told.record.ticks_missed + untold, told.record.gate_interventions
    return Earlier(command, last.mono_ns, last.record.tick, missed, interventions)


def _stamped(path: Path, layout: Layout[R]) -> Stamped[R] | None:
    try:
        with BoardReader(path, layout) as board:
            return board.read()
    except BoardError:
        return None
