"""`roskva demo`: the main job on this machine, told as it happens.

Owns: the command's options, its folder, and what stays running. Must not know: the steps.
"""

import shutil
import signal
import tempfile
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.text import Text

from fleet.demo.journey import Journey, Settings
from fleet.demo.processes import BrokerKind, Processes
from fleet.demo.story import Story, commands_for
from models.errors import RoskvaError, UsageError


def demo(
    folder: Annotated[
        Path | None, typer.Option(help="Where to put everything; a temporary folder otherwise.")
    ] = None,
    keep: Annotated[
        bool, typer.Option("--keep", help="Leave it running and print the console's address.")
    ] = False,
    devices: Annotated[int, typer.Option(min=1, max=8, help="How many emulated Thors.")] = 3,
    broker: Annotated[
        BrokerKind, typer.Option(help="Which broker to run; auto: Mosquitto where it is installed.")
    ] = BrokerKind.AUTO,
) -> None:
    """From a checkpoint to an action on three emulated Thors, and back, with every step checked.

    Ends with 0 only if each check held.

    Real processes, a real broker, real inference; the hardware is emulated and says so.
    """
    console = Console()
    place = _fresh(folder)
    held = False
    try:
        with Processes(place / "logs") as processes:
            journey = Journey(
                place, processes, Settings(devices=devices, broker=broker), commands_for(place, console)
            )
            held = Story(console, journey).tell()
            if keep:
                _wait_for_interrupt(console, journey)
    except RoskvaError:
        console.print(Text(f"The logs are in {place / 'logs'}", "red"))
        raise
    if folder is None and held:
        shutil.rmtree(place, ignore_errors=True)
    raise typer.Exit(0 if held else 1)


def _fresh(folder: Path | None) -> Path:
    """An empty folder. Raises `UsageError` where `folder` holds something."""
    if folder is None:
        return Path(tempfile.mkdtemp(prefix="roskva-demo-"))
    if folder.exists() and any(folder.iterdir()):
        raise UsageError(f"{folder} is not empty: give a folder that is, or none")
    folder.mkdir(parents=True, exist_ok=True)
    return folder.resolve()


def _wait_for_interrupt(console: Console, journey: Journey) -> None:
    """Stay until the person has seen enough."""
    console.print(
        f"\nRunning: console at [bold]{journey.server.url}/[/], files in {journey.folder}. Ctrl-C stops it."
    )
    awaited = {signal.SIGINT, signal.SIGTERM}
    signal.pthread_sigmask(signal.SIG_BLOCK, awaited)
    console.print(f"{signal.Signals(signal.sigwait(awaited)).name}: stopping.")
