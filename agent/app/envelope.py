"""`roskva-agent envelope`: how many watts this device may take, why, and a lower limit set by hand.

Owns: the local order's board, and what is shown. Must not know: the governor; it asks no process.
"""

import math
from dataclasses import dataclass
from pathlib import Path

import msgspec
from rich.console import Console
from rich.table import Table

from agent.app.local_order import order_here
from agent.board.feed import Feed
from agent.board.records import (
    ENVELOPE,
    LOCAL_ENVELOPE_BOARD,
    POWER,
    POWER_BOARD,
    EnvelopeRecord,
    PowerRecord,
)
from agent.config import AgentConfig
from agent.ports import Clock
from agent.power.limits import Limit, Limits, Ordered, is_envelope, limit_in_force
from models.errors import UsageError
from models.wire.messages import HIGHEST_ENVELOPE_W, LOWEST_ENVELOPE_W

_ALIVE_NS = 3_000_000_000


@dataclass(frozen=True, slots=True)
class EnvelopeNow:
    """What is in force and where it comes from, in watts; `governor_w` is None where `power` does not run."""

    limit: Limit
    config_w: float
    ordered: Ordered
    governor_w: float | None


def wanted_from(watts: float | None, *, clear: bool) -> float | None:
    """The local limit that the arguments ask for: NaN to clear it, None to leave it. Raises `UsageError`."""
    if watts is not None and clear:
        raise UsageError("name WATTS or --clear, not both")
    if watts is not None and not is_envelope(watts):
        raise UsageError(f"{watts:g} W is no envelope: {LOWEST_ENVELOPE_W:g} to {HIGHEST_ENVELOPE_W:g} W")
    return math.nan if clear else watts


def order(root: Path, config: AgentConfig, limit_w: float, clock: Clock) -> None:
    """Put `limit_w` (NaN for none) on the local board; raises as `order_here`."""
    path = root / config.paths.run / LOCAL_ENVELOPE_BOARD
    order_here(path, ENVELOPE, EnvelopeRecord(limit_w, 0), clock.mono_ns())


def envelope_now(root: Path, config: AgentConfig, clock: Clock) -> EnvelopeNow:
    """Read what stands on the boards."""
    run, now_ns = root / config.paths.run, clock.mono_ns()
    limits = Limits(run, config.power.envelope_w)
    governor: Feed[PowerRecord] = Feed(run / POWER_BOARD, POWER)
    ordered = limits.ordered(now_ns)
    governor.news(now_ns)
    record = governor.recent(now_ns, _ALIVE_NS)
    limits.close()
    governor.close()
    limit = limit_in_force(config.power.envelope_w, ordered.fleet_w, ordered.local_w)
    return EnvelopeNow(limit, config.power.envelope_w, ordered, record.envelope_w if record else None)


def show(now: EnvelopeNow, *, as_json: bool, console: Console) -> None:
    """Print `now`."""
    if as_json:
        document = {
            "envelope_w": now.limit.watts,
            "source": now.limit.source.value,
            "configuration_w": now.config_w,
            "fleet_w": now.ordered.fleet_w,
            "fleet_sequence": now.ordered.sequence,
            "local_w": now.ordered.local_w,
            "governor_w": now.governor_w,
        }
        console.out(msgspec.json.encode(document).decode(), highlight=False)
        return
    table = Table(show_header=False)
    for name, text in (
        ("in force", f"{now.limit.watts:g} W, {now.limit.source.value}"),
        ("configuration", _said(now.config_w)),
        ("fleet", _said(now.ordered.fleet_w)),
        ("local", _said(now.ordered.local_w)),
        ("governor was told", "power does not run" if now.governor_w is None else _said(now.governor_w)),
    ):
        table.add_row(name, text)
    console.print(table)


def _said(watts: float | None) -> str:
    return "no limit" if watts is None else f"{watts:g} W"
