"""`roskva-agent`: the commands of a device.

Owns: arguments, exit codes, the one line on stderr. Imports of a command are made when it runs, so that
`manage` never loads an inference runtime.
Must not know: what the commands do.
"""

import sys
from pathlib import Path
from typing import Annotated

import typer

from agent.config import CONFIG_PATH, MANAGE_NICE, AgentConfig, load_config
from agent.control.allowance import give_way
from agent.control.realtime import stay_off
from models.errors import RoskvaError

app = typer.Typer(help="The agent of one device.", no_args_is_help=True, pretty_exceptions_enable=False)

Root = Annotated[Path, typer.Option(help="The device's root directory; / on hardware.")]


@app.command()
def manage(root: Root = Path("/")) -> None:
    """Run the manage process: network, updates, telemetry."""
    from agent.app.manage import run

    give_way(MANAGE_NICE)
    raise typer.Exit(run(root, _beside_the_loop(root)))


@app.command()
def control(root: Root = Path("/")) -> None:
    """Run the control process: the loop and the policy."""
    from agent.app.control import run

    raise typer.Exit(run(root, _beside_the_loop(root)))


@app.command()
def power(root: Root = Path("/")) -> None:
    """Run the power process: the governor."""
    from agent.app.power import run

    raise typer.Exit(run(root, _beside_the_loop(root)))


@app.command()
def status(
    root: Root = Path("/"),
    as_json: Annotated[bool, typer.Option("--json", help="One line of JSON.")] = False,
) -> None:
    """Show what the boards say."""
    from rich.console import Console

    from agent.app.status import show

    show(root, load_config(root), as_json=as_json, console=Console())


@app.command()
def envelope(
    watts: Annotated[
        float | None, typer.Argument(help="The most the module may take here, 40 to 130.", show_default=False)
    ] = None,
    clear: Annotated[bool, typer.Option("--clear", help="Take the limit set here back.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One line of JSON.")] = False,
    root: Root = Path("/"),
) -> None:
    """Show how many watts are allowed and why, or set a limit here, until --clear or the next boot.

    The lowest of the configuration, the fleet's order and the limit set here is in force: none lifts another.

    Exit codes: 0 done, 2 wrong usage or not allowed to, 5 not now (no boards yet).
    """
    from rich.console import Console

    from agent.adapters.clock import MonotonicClock
    from agent.app.envelope import envelope_now, order, show, wanted_from

    config, clock, wanted_w = load_config(root), MonotonicClock(), wanted_from(watts, clear=clear)
    if wanted_w is not None:
        order(root, config, wanted_w, clock)
    show(envelope_now(root, config, clock), as_json=as_json, console=Console())


@app.command()
def mode(
    name: Annotated[
        str | None,
        typer.Argument(help="The power mode to wish for, as nvpmodel names it.", show_default=False),
    ] = None,
    clear: Annotated[bool, typer.Option("--clear", help="Take the wish made here back.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One line of JSON.")] = False,
    root: Root = Path("/"),
) -> None:
    """Show the power mode, or wish for one here, until --clear or the next boot.

    The device is asked for it once the vehicle is parked. One that needs a reboot is left to you.

    Exit codes: 0 done, 2 wrong usage or not allowed to, 5 not now (no boards yet, or no nvpmodel).
    """
    from rich.console import Console

    from agent.adapters.clock import MonotonicClock
    from agent.app.mode import mode_now, order, show, wanted_from

    config, clock, wanted = load_config(root), MonotonicClock(), wanted_from(name, root, clear=clear)
    if wanted is not None:
        order(root, config, wanted, clock)
    show(mode_now(root, config, clock), as_json=as_json, console=Console())


@app.command("check-config")
def check_config(root: Root = Path("/")) -> None:
    """Read the configuration and say whether it is good."""
    config = load_config(root)
    typer.echo(f"{CONFIG_PATH} is good: device {config.device.id} of fleet {config.device.fleet}")


@app.command(
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True}, add_help_option=False
)
def emulate(context: typer.Context) -> None:
    """Run an emulated Thor and its plant below --root."""
    from agent.emulator.command import app as emulator

    typer.main.get_command(emulator).main(
        context.args, prog_name="roskva-agent emulate", standalone_mode=True
    )


@app.command(
    "emulate-fault",
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True},
    add_help_option=False,
)
def emulate_fault(context: typer.Context) -> None:
    """Put a fault of an emulated Thor in force while it runs, or take it back."""
    from agent.emulator.command import fault_app as faults

    typer.main.get_command(faults).main(
        context.args, prog_name="roskva-agent emulate-fault", standalone_mode=True
    )


def _beside_the_loop(root: Path) -> AgentConfig:
    """The configuration, for a process that leaves the follower's core to it."""
    config = load_config(root)
    stay_off(config.control.core)
    return config


def main() -> None:
    """The console script: errors of ours become one line and an exit code."""
    try:
        app()
    except RoskvaError as error:
        print(f"error [{error.code}]: {error}", file=sys.stderr)
        raise SystemExit(error.exit_code) from None


if __name__ == "__main__":
    main()
