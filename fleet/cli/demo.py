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
from fleet.demo.processes import BrokerKind, Processes, endable
from fleet.demo.story import Story, commands_for
from models.errors import UsageError


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
    with endable() as ended:
        try:
            with Processes(place / "logs") as processes:
                settings = Settings(devices=devices, broker=broker)
                journey = Journey(place, processes, settings, commands_for(place, console))
                held = Story(console, journey).tell()
                if keep:
                    _wait_for_signal(console, journey)
        except KeyboardInterrupt:
            name = signal.Signals(ended[0]).name
            console.print(f"\n{name}: all that was started is stopped.", highlight=False)
        finally:  # also where the terminal that it would say so on is gone
            if folder is None and (held or ended):
                shutil.rmtree(place, ignore_errors=True)
            elif not held:
                _show_logs(console, place)
    raise typer.Exit(0 if held else 128 + ended[0] if ended else 1)


def _show_logs(console: Console, place: Path) -> None:
    console.print(Text(f"The logs are in {place / 'logs'}", "red"))


def _fresh(folder: Path | None) -> Path:
    """An empty folder. Raises `UsageError` where `folder` holds something."""
    if folder is None:
        return Path(tempfile.mkdtemp(prefix="roskva-demo-"))
    if folder.exists() and any(folder.iterdir()):
        raise UsageError(f"{folder} is not empty: give a folder that is, or none")
    folder.mkdir(parents=True, exist_ok=True)
    return folder.resolve()


def _wait_for_signal(console: Console, journey: Journey) -> None:
    """Stay until the person has seen enough, which ends it with `KeyboardInterrupt`."""
    console.print(
        f"\nRunning: console at [bold]{journey.server.url}/[/], files in {journey.folder}. Ctrl-C stops it.",
        soft_wrap=True,
    )
    while True:
        signal.pause()
