"""`roskva-agent emulate`: a Thor made of files and the world it drives in, as one process.

Owns: wiring, pacing and the end of that process. Must not know: the agent's processes, which meet it only at
boards and at files below the root. What it reports is emulated.
"""

import logging
import signal
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from agent.adapters.clock import MonotonicClock
from agent.config import CONFIG_PATH, PathsSection, load_config
from agent.emulator.faults import Fault, active, clear, inject
from agent.emulator.load import LoadMeter
from agent.emulator.plant import STEP_S, Plant
from agent.emulator.profile import ProfileName, profile_named
from agent.emulator.thor import EmulatedThor
from agent.emulator.tree import create_tree, reboot
from agent.ports import Clock

_LOG = logging.getLogger("roskva.emulate")
_STEP_NS = round(STEP_S * 1e9)
_PHYSICS_NS = 49_000_000
"""Sysfs moves at 20 Hz: with every fifth step, give or take a late one."""
_REFEREE_STEPS = 100
_FORGIVE_NS = 200_000_000
"""Lateness up to this is caught up in quick steps; beyond it the world pauses instead of racing."""

app = typer.Typer(add_completion=False)
fault_app = typer.Typer(add_completion=False)


@dataclass(slots=True)
class _Stop:
    """Set by a signal, read once a step."""

    asked: bool = False

    def ask(self, *_: object) -> None:
        self.asked = True


@app.command()
def emulate(
    root: Annotated[Path, typer.Option(help="Root directory of the emulated device.")],
    seed: Annotated[int, typer.Option(help="World, idle power and hwmon numbers follow from it.")] = 1,
    profile: Annotated[ProfileName, typer.Option(help="Release of Jetson Linux.")] = ProfileName.R39,
    create_only: Annotated[bool, typer.Option("--create-only", help="Make the tree and end.")] = False,
    boot: Annotated[bool, typer.Option("--reboot", help="Boot first: new boot id, pending mode.")] = False,
) -> None:
    """Emulate a Thor T5000 and a vehicle below ROOT until SIGTERM or SIGINT."""
    root = root.resolve()
    created = create_tree(root, profile_named(profile), seed)
    if boot and not created:
        reboot(root, profile_named(profile), seed)
    if create_only:
        return
    stop = _Stop()
    signal.signal(signal.SIGTERM, stop.ask)
    signal.signal(signal.SIGINT, stop.ask)
    _run(root, seed, stop)


@fault_app.command()
def emulate_fault(
    root: Annotated[Path, typer.Option(help="Root directory of the emulated device.")],
    name: Annotated[
        Fault | None, typer.Argument(help="The fault; without one, say which are in force.")
    ] = None,
    take_back: Annotated[bool, typer.Option("--clear", help="Take it back instead.")] = False,
    sensor: Annotated[
        str | None,
        typer.Option(
            help="For a fault of one sensor: a rail's label, VIN, a zone's type, over-current, fan."
        ),
    ] = None,
    value: Annotated[
        float | None,
        typer.Option(help="°C of the air, W of a burst, or a stuck sensor's number in its file's own unit."),
    ] = None,
) -> None:
    """Put a fault of an emulated Thor in force, or take it back, while it runs.

    eagain, missing-sensor, stuck-sensor and negative-sensor are of one SENSOR: VIN where none is named, gpu-thermal for
    eagain. hwmon-renumbering happens once. mode-ignored makes nvpmodel ignore what it is asked and exit with 0.
    over-current-bursts, read-only-sysfs, frequency-rounding, fan-failure and hot-ambient need `roskva-agent emulate`
    to run below the same root, and are in force within 50 ms. A reboot takes all of them back.
    """
    root = root.resolve()
    if name is not None and take_back:
        clear(root, name, sensor=sensor)
    elif name is not None:
        inject(root, name, sensor=sensor, value=value)
    in_force = sorted(active(root))
    typer.echo(f"in force: {', '.join(in_force) or 'none'} (emulated)")


def _run(root: Path, seed: int, stop: _Stop) -> None:
    from models.reference.contract import reference_plant  # the world is numpy-heavy: only where it is driven
    from models.reference.world.drive import World

    run = root / _paths(root).run
    plant = Plant(World(seed), reference_plant(), run)
    clock = MonotonicClock()
    deadline_ns = clock.mono_ns()
    thor = EmulatedThor(root, seed, start_ns=deadline_ns, keep_trace=False)
    meter = LoadMeter(run, thor)
    steps = 0
    _LOG.info("emulating below %s", root)
    while not stop.asked:
        plant.step(deadline_ns)
        now_ns = clock.mono_ns()
        if now_ns - thor.now_ns >= _PHYSICS_NS:  # by real time: the load that is measured has no catching up
            thor.advance(now_ns, meter.measure(now_ns))
            stop.asked |= _is_off(thor)
        if steps % _REFEREE_STEPS == 0:
            plant.write_referee()
        steps += 1
        deadline_ns = _await_next(clock, deadline_ns)
    plant.write_referee()
    plant.close()


def _is_off(thor: EmulatedThor) -> bool:
    """A module that is critically hot shuts itself down, and so does the emulator."""
    if thor.off:
        _LOG.error("the emulated module was critically hot and is off")
    return thor.off


def _paths(root: Path) -> PathsSection:
    return load_config(root).paths if (root / CONFIG_PATH).exists() else PathsSection()


def _await_next(clock: Clock, deadline_ns: int) -> int:
    """Wait for the deadline after `deadline_ns` and return it; late by too much, start over from now."""
    following = deadline_ns + _STEP_NS
    now = clock.mono_ns()
    if now - following > _FORGIVE_NS:
        return now
    clock.sleep_until(following)
    return following
