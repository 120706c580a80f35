"""What the demo shows in a terminal: headings, commands, checks, and the live table of the devices.

Owns: the looks. Must not know: how any of it comes to be.
"""

from collections.abc import Sequence

from rich.console import Console, Group
from rich.markup import escape
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from fleet.demo.journey import Check
from fleet.demo.server import DeviceStatus
from models.wire.messages import DeviceState, UpdatePhase


def heading(console: Console, number: int, title: str, why: str) -> None:
    """The beginning of a step."""
    console.print()
    console.print(Panel(Text(why), title=f"[bold]{number}. {title}", title_align="left", border_style="cyan"))


def command(console: Console, line: str) -> None:
    """A command, as one would type it."""
    console.print(f"  [dim]$[/] [bold]{escape(line)}[/]", highlight=False, soft_wrap=True)


def check(console: Console, made: Check) -> None:
    """Whether it held."""
    mark = "[green]✔[/]" if made.held else "[bold red]✘[/]"
    console.print(f"  {mark} {escape(made.name)} [dim]{escape(made.seen)}[/]", highlight=False)


def devices_table(devices: list[DeviceStatus], title: str) -> Group:
    """The devices, live: one row each, and what each is reasoning."""
    table = Table(title=title, title_justify="left", expand=True)
    for column in (
        "device",
        "release",
        "update",
        "ticks",
        "missed",
        "late p99",
        "speed",
        "decisions",
        "watts",
        "°C",
    ):
        table.add_column(column, justify="left" if column in {"device", "release", "update"} else "right")
    thoughts = Text()
    for device in devices:
        table.add_row(device.id, *_cells(device.state))
        if device.state and device.state.policy and device.state.policy.reasoning:
            thoughts.append(f" {device.id} ", style="cyan")
            thoughts.append(f"“{device.state.policy.reasoning}”\n", style="italic dim")
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
        f"{power.module_w:.0f}/{power.envelope_w:.0f}" if power else "",
        f"{power.hottest_c:.0f}" if power else "",
    ]


def _update(state: DeviceState) -> Text | ProgressBar | str:
    update = state.update
    if update.phase is UpdatePhase.FETCHING and update.bytes_total:
        return ProgressBar(total=update.bytes_total, completed=update.bytes_done, width=16)
    if update.reason:
        return f"[red]{escape(update.reason)}"
    return (
        "[green]driving"
        if update.phase is UpdatePhase.IDLE and state.live_digest
        else f"[yellow]{update.phase}"
    )
