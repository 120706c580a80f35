"""What the demo shows in a terminal: headings, commands, checks, and the live table of the devices.

Owns: the looks. Must not know: how any of it comes to be.
"""

import re
import shlex
import textwrap
from collections.abc import Sequence

from rich.box import SIMPLE_HEAD
from rich.console import Console, Group
from rich.markup import escape
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from fleet.demo.journey import Check
from fleet.demo.server import DeviceStatus
from models.wire.messages import DeviceState, UpdatePhase

_COLUMNS = {
    "device": 6,
    "release": 12,
    "update": 14,
    "ticks": 6,
    "missed": 6,
    "late p99": 8,
    "speed": 8,
    "decisions": 9,
    "watts": 7,
    "°C": 2,
}
"""Columns and their least widths in cells; together they fit 100."""
_GUIDES = re.compile(r"[│├└─ ]*")
_LEAST_ROOM = 20
_EMULATED = "watts and °C are emulated"
_TEXTS = {"device", "release", "update"}
_FLEXIBLE = {"update"}
"""They have what a wider terminal has; the others stand still."""


def heading(console: Console, number: int, title: str, why: str) -> None:
    """The beginning of a step."""
    console.print()
    console.print(Panel(Text(why), title=f"[bold]{number}. {title}", title_align="left", border_style="cyan"))


def command(console: Console, line: str) -> None:
    """A command, as one would type it."""
    for number, row in enumerate(folded(line, console.width - 8)):
        start = "  [dim]$[/] " if number == 0 else "      "
        console.print(f"{start}[bold]{escape(row)}[/]", highlight=False, soft_wrap=True)


def folded(line: str, width: int) -> list[str]:
    """A shell command in rows of about `width` cells: broken between words, each option beside its value."""
    rows: list[str] = []
    for unit in _units(shlex.split(line)):
        if rows and len(rows[-1]) + 1 + len(unit) + 2 <= width:
            rows[-1] += f" {unit}"
        else:
            rows.append(unit)
    return [f"{row} \\" for row in rows[:-1]] + rows[-1:]


def _units(words: list[str]) -> list[str]:
    """The words, quoted, an option and its value as one."""
    units: list[str] = []
    for number, word in enumerate(words):
        option = number > 0 and words[number - 1].startswith("--") and not word.startswith("--")
        if option:
            units[-1] += f" {shlex.quote(word)}"
        else:
            units.append(shlex.quote(word))
    return units


def tree(console: Console, printed: str) -> None:
    """A tree that a command printed; what is too long goes on below, beside the tree's own lines."""
    for line in printed.splitlines():
        start = _GUIDES.match(line)
        guides = start.group() if start else ""
        below = guides.replace("├", "│").replace("└", " ").replace("─", " ")
        room = max(_LEAST_ROOM, console.width - len(guides))
        rows = textwrap.wrap(line[len(guides) :], room, subsequent_indent="  ", break_on_hyphens=False) or [
            ""
        ]
        for row, before in zip(rows, [guides, *[below] * len(rows)], strict=False):
            console.print(before + row, highlight=False, markup=False, soft_wrap=True)
    console.print()


def check(console: Console, made: Check) -> None:
    """Whether it held."""
    mark = "[green]✔[/]" if made.held else "[bold red]✘[/]"
    console.print(f"  {mark} {escape(made.name)} [dim]{escape(made.seen)}[/]", highlight=False)


def devices_table(devices: list[DeviceStatus], title: str) -> Group:
    """The devices, live: one row each, and what each is reasoning. It keeps its shape while the figures change."""
    table = Table(
        title=title,
        title_justify="left",
        caption_justify="right",
        expand=True,
        box=SIMPLE_HEAD,
        pad_edge=False,
        padding=(0, 1, 0, 0),
    )
    for name, width in _COLUMNS.items():
        flexible = 1 if name in _FLEXIBLE else None
        table.add_column(
            name,
            justify="left" if name in _TEXTS else "right",
            width=None if flexible else width,
            min_width=width,
            ratio=flexible,
            no_wrap=True,
        )
    thoughts = Text(no_wrap=True, overflow="ellipsis")
    for device in devices:
        table.add_row(device.id, *_cells(device.state))
        policy = device.state.policy if device.state else None
        thoughts.append(f"{device.id} ", style="cyan")
        thoughts.append(
            f"“{policy.reasoning}”\n" if policy and policy.reasoning else "…\n", style="italic dim"
        )
    table.caption = _EMULATED if any(d.state is not None and d.state.emulated for d in devices) else " "
    return Group(table, thoughts)


def _cells(state: DeviceState | None) -> Sequence[Text | ProgressBar | str]:
    if state is None:
        return ["[dim]starting"] + [""] * 8
    release = f"{state.policy.version} {state.policy.precision}" if state.policy else "[dim]none"
    loop, power = state.loop, state.power
    return [
        release,
        _update(state),
        f"{loop.ticks}" if loop else "",
        (f"[red]{loop.ticks_missed}" if loop.ticks_missed else "[green]0") if loop else "",
        f"{loop.lateness_p99_ns / 1e3:.0f} µs" if loop else "",
        f"{loop.speed_mps:.1f} m/s" if loop else "",
        f"{state.policy.decisions}" if state.policy else "",
        f"{_whole(power.module_w)}/{power.envelope_w:.0f}" if power else "",
        _whole(power.hottest_c) if power else "",
    ]


def _update(state: DeviceState) -> Text | ProgressBar | str:
    update = state.update
    if update.phase is UpdatePhase.FETCHING and update.bytes_total:
        return ProgressBar(total=update.bytes_total, completed=update.bytes_done, width=14)
    if update.reason:
        return f"[red]{escape(update.reason)}"
    return (
        "[green]driving"
        if update.phase is UpdatePhase.IDLE and state.live_digest
        else f"[yellow]{update.phase}"
    )


def _whole(figure: float | None) -> str:
    return "?" if figure is None else f"{figure:.0f}"
