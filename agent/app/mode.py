"""`roskva-agent mode`: which power mode is in force, which is wished, how far that is, and a wish made by hand.

Owns: the local order's board, and what is shown. Must not know: when a device is asked for a mode; it asks no process.
"""

from dataclasses import dataclass
from pathlib import Path

import msgspec
from rich.console import Console
from rich.table import Table

from agent.adapters.nvpmodel import Nvpmodel
from agent.app.local_order import order_here
from agent.app.power_mode import LocalOrder
from agent.board.feed import Feed
from agent.board.layout import text_from
from agent.board.records import (
    LOCAL_MODE_BOARD,
    MODE_ORDER,
    POWER,
    POWER_BOARD,
    ModeOrderRecord,
    PowerRecord,
)
from agent.config import AgentConfig
from agent.errors import SensorError
from agent.ports import Clock
from models.errors import UsageError

_ALIVE_NS = 3_000_000_000
_SAID = "; mode: "


@dataclass(frozen=True, slots=True)
class ModeNow:
    """Modes by name, empty for none. `in_force` and `said` are what `power` says, None where it does not run."""

    in_force: str | None
    said: str | None
    configured: str
    ordered: str
    modes: tuple[str, ...]

    @property
    def wished(self) -> str:
        """What counts: the order at the device, else the configuration."""
        return self.ordered or self.configured


def wanted_from(name: str | None, root: Path, *, clear: bool) -> str | None:
    """The order that the arguments ask for: empty to take it back, None to leave it.

    Raises:
        UsageError: both, or a mode that the device does not have.
        SensorError: nobody can say which modes it has.
    """
    if name is not None and clear:
        raise UsageError("name a MODE or --clear, not both")
    if name is not None:
        names = Nvpmodel(root).modes().names
        if name not in names:
            raise UsageError(f"no mode {name}; there are {', '.join(names)}")
    return "" if clear else name


def order(root: Path, config: AgentConfig, name: str, clock: Clock) -> None:
    """Put `name` (empty for none) on the local board; raises as `order_here`."""
    path = root / config.paths.run / LOCAL_MODE_BOARD
    order_here(path, MODE_ORDER, ModeOrderRecord(name.encode()), clock.mono_ns())


def mode_now(root: Path, config: AgentConfig, clock: Clock) -> ModeNow:
    """Read what stands on the boards, and in `nvpmodel.conf`."""
    run, now_ns = root / config.paths.run, clock.mono_ns()
    ordered, governor = LocalOrder(run), Feed[PowerRecord](run / POWER_BOARD, POWER)
    name = ordered.name(now_ns)
    governor.news(now_ns)
    record = governor.recent(now_ns, _ALIVE_NS)
    ordered.close()
    governor.close()
    return ModeNow(
        in_force=text_from(record.power_mode) if record else None,
        said=_said(text_from(record.sensors)) if record else None,
        configured=config.power.mode,
        ordered=name,
        modes=_modes(root),
    )


def show(now: ModeNow, *, as_json: bool, console: Console) -> None:
    """Print `now`."""
    if as_json:
        document = {
            "mode": now.in_force,
            "wished": now.wished,
            "configuration": now.configured,
            "local": now.ordered,
            "wish": now.said,
            "modes": now.modes,
        }
        console.out(msgspec.json.encode(document).decode(), highlight=False)
        return
    table = Table(show_header=False)
    for name, text in (
        ("in force", "power does not run" if now.in_force is None else now.in_force),
        ("wished", now.wished or "none"),
        ("configuration", now.configured or "none"),
        ("local", now.ordered or "none"),
        ("the wish", _progress(now)),
        ("modes", ", ".join(now.modes) or "unknown"),
    ):
        table.add_row(name, text)
    console.print(table)


def _progress(now: ModeNow) -> str:
    if now.said:
        return now.said
    if now.wished in {"", now.in_force}:
        return "nothing to do"
    return "power does not run" if now.in_force is None else "power has not taken it up yet"


def _modes(root: Path) -> tuple[str, ...]:
    try:
        return Nvpmodel(root).modes().names
    except SensorError:
        return ()


def _said(sensors: str) -> str:
    """What `power` says of the wish: it stands last among its words."""
    return f"; {sensors}".partition(_SAID)[2]
