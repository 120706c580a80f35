"""The demo: the main job told as it happens, each step checked.

Owns: the telling, and the verdict. Must not know: how the steps are done (`journey`) or drawn (`view`).
"""

import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console
from rich.live import Live

from fleet.demo import view
from fleet.demo.commands import Commands
from fleet.demo.journey import Check, Journey
from fleet.demo.server import DeviceStatus
from fleet.demo.site import CHASSIS_SERIAL, BuiltRelease
from models.reference import evaluate
from models.reference.world.classes import CLASSES
from models.wire.messages import LoopFigures

_DRIVE_S = 12.0
_SETTLE_S = 12.0
"""How long the second release is watched after its trial."""
_SEEDS = 1
"""Evaluation seeds for each class; `python -m models.reference.evaluate` drives a hundred."""
_ENVELOPE_TOLERANCE = 1.02


@dataclass(slots=True)
class Story:
    """One telling. `tell` returns whether every check held."""

    console: Console
    journey: Journey
    checks: list[Check] = field(default_factory=list)
    _worst_w: dict[str, float] = field(default_factory=dict)
    _unjudged: int = 0

    def check(self, name: str, held: bool, seen: str) -> None:
        """Note and show one check."""
        made = Check(name, held, seen)
        self.checks.append(made)
        view.check(self.console, made)

    def tell(self) -> bool:
        """All six steps."""
        started_s = time.monotonic()
        self.training_site()
        self.reference_policy()
        first = self.release("int8", "1.0.0", 1)
        self.fleet_server()
        self.devices()
        second = self.first_drive(first)
        self.changeover(first, second)
        self.trace(second)
        held = all(made.held for made in self.checks)
        verdict = "[bold green]Every check held" if held else "[bold red]Not every check held"
        took = time.monotonic() - started_s
        counts = f"{sum(c.held for c in self.checks)} of {len(self.checks)}, {self._unjudged} not judged"
        self.console.print(f"\n{verdict}[/] ({counts}, {took:.0f} s)")
        return held

    def training_site(self) -> None:
        """Step 1."""
        why = "A checkpoint is hashed, file by file, and a signed claim says where it came from."
        view.heading(self.console, 1, "Training site", why)
        self.journey.site.record()
        claim = self.journey.site.claim.read_text(encoding="utf-8")
        self.check("the claim is signed", bool(json.loads(claim)["signatures"]), self.journey.site.claim.name)

    def reference_policy(self) -> None:
        """Step 2."""
        why = "A small vision-language-action network, trained by the script beside it, that reasons and drives."
        view.heading(self.console, 2, "Reference policy", why)
        for name, held, seen in _closed_loop_checks(self.journey.site.checkpoint):
            self.check(name, held, seen)

    def release(self, precision: str, version: str, counter: int) -> BuiltRelease:
        """Step 3, for one release."""
        if counter == 1:
            why = "Quantised, exported, signed (OpenSSF Model Signing), published (TUF) and verified again."
            view.heading(self.console, 3, "Release", why)
        built = self.journey.site.release(precision, version, counter)
        seen = f"{built.digest[:19]}… {built.size_bytes / 1e6:.2f} MB"
        self.check(f"release {version} ({precision}) verifies", built.manifest.precision == precision, seen)
        return built

    def fleet_server(self) -> None:
        """Step 4."""
        view.heading(
            self.console, 4, "Fleet server", "Depot, Director, registry, ingest into SQLite, API and console."
        )
        self.journey.start_server()
        health = self.journey.server.get("health")
        url = self.journey.server.url
        self.check("the API answers", bool(health), f"{url}/docs, broker: {self.journey.broker}")
        self.console.print(f"  console: [link={url}/]{url}/[/link]", highlight=False)

    def devices(self) -> None:
        """Step 5."""
        count = self.journey.settings.devices
        why = f"{count} emulated Thors: manage, control and power as processes of their own, on the hardware's own files."
        view.heading(self.console, 5, "Devices", why)
        self.journey.start_witnesses()
        self.journey.start_devices()
        self.check("every device is online", True, ", ".join(device.id for device in self.journey.devices))

    def first_drive(self, release: BuiltRelease) -> BuiltRelease:
        """Step 6, first half: the first release drives; the second is built meanwhile."""
        why = "Assigned, fetched over MQTT, verified, staged, switched to; it drives at 100 Hz inside its envelope."
        view.heading(self.console, 6, "The journey", why)
        with self.watching(f"release {release.manifest.version} arrives") as watch:
            self.journey.assign(release)
            seconds = self.journey.await_driving(release.digest, 60.0, watch)
        self.check("every device drives with the first release", True, f"trial passed after {seconds:.1f} s")
        second = self.release("nvfp4", "1.1.0", 2)
        with self.watching("driving") as watch:
            self.journey.drive(_DRIVE_S, watch)
        return second

    def changeover(self, first: BuiltRelease, second: BuiltRelease) -> None:
        """Step 6, second half: every device changes over while driving."""
        before, bare_before = self._loops(), self.journey.testimony()
        with self.watching(f"release {second.manifest.version} takes over while driving") as watch:
            self.journey.assign(second)
            seconds = self.journey.await_driving(second.digest, 60.0, watch)
            self.journey.drive(_SETTLE_S, watch)
        self.check("every device changed over while driving", True, f"trial passed after {seconds:.1f} s")
        self._check_ticks(before, self.journey.testimony().stalls - bare_before.stalls)
        self._check_envelopes()
        self._check_driving()
        self.console.print(f"  [dim]{first.manifest.version} stays in the other slot[/]", highlight=False)

    def _check_ticks(self, before: dict[str, LoopFigures], stalls: int) -> None:
        """No tick is missed; where this machine cannot tell, that is said instead of a check that held."""
        for device, loop in self._loops().items():
            missed = loop.ticks_missed - before[device].ticks_missed
            seen = f"{missed} of {loop.ticks - before[device].ticks}"
            if missed and not loop.realtime.startswith("fifo"):
                self._leave_unjudged(f"{device} missed {seen} ticks: there is no real-time class here")
            elif missed and stalls:
                self._leave_unjudged(
                    f"{device} missed {seen} ticks: bare loops beside it were held up {stalls} times"
                )
            else:
                self.check(f"{device} missed no tick over the change", missed == 0, seen)

    def _leave_unjudged(self, why: str) -> None:
        """Something that this machine does not let anyone judge: shown and counted, and no check."""
        self._unjudged += 1
        self.console.print(f"  [yellow]?[/] not judged: {why}", highlight=False)

    def _check_envelopes(self) -> None:
        for held in self.journey.devices:
            worst, envelope = self._worst_w.get(held.id, float("inf")), held.settings.envelope_w
            seen = f"worst 1 s mean {worst:.1f} W of {envelope:.0f} W (emulated)"
            self.check(f"{held.id} holds its envelope", worst <= envelope * _ENVELOPE_TOLERANCE, seen)

    def _check_driving(self) -> None:
        """What the emulated world saw; the devices do not know it."""
        for device in self.journey.devices:
            faults, metres = device.refereed()
            self.check(
                f"{device.id} drove well",
                not faults and metres > 0,
                f"{metres:.0f} m, faults: {faults or 'none'}",
            )

    def trace(self, release: BuiltRelease) -> None:
        """The proof: from an action to the rack, and from the checkpoint to the devices."""
        device = self.journey.devices[0].id
        found = self.journey.server.decisions(device=device, release=release.digest, limit=20)
        executed = next((d for d in found if d.record.ticks > 0), None)
        self.check(
            "its decisions are in the server's store", executed is not None, f"{len(found)} of {device}"
        )
        if executed is None:
            return
        where = ("--server", self.journey.server.url, "--trust", "repo/trust")
        done = self.journey.commands.run("roskva", "trace", executed.id, *where)
        view.tree(self.console, done.output)
        self.check("the trace ends at the rack", CHASSIS_SERIAL in done.output, CHASSIS_SERIAL)
        checkpoint = release.manifest.checkpoint_digest
        done = self.journey.commands.run("roskva", "trace", checkpoint, *where)
        view.tree(self.console, done.output)
        missing = [d.id for d in self.journey.devices if d.id not in done.output]
        self.check("the checkpoint leads to every device", not missing, f"missing: {missing or 'none'}")

    def watching(self, title: str) -> "_Watching":
        """A live table for as long as the context lasts."""
        return _Watching(self.console, title, self._note_power)

    def _loops(self) -> dict[str, LoopFigures]:
        return {d.id: d.state.loop for d in self.journey.server.devices() if d.state and d.state.loop}

    def _note_power(self, devices: list[DeviceStatus]) -> None:
        """Remember the highest 1 s mean of each device."""
        for device in devices:
            module_w = device.state.power.module_w if device.state and device.state.power else None
            if module_w is not None:
                self._worst_w[device.id] = max(self._worst_w.get(device.id, 0.0), module_w)


class _Watching:
    """A live table that is told the devices; `note` is told too."""

    def __init__(self, console: Console, title: str, note: Callable[[list[DeviceStatus]], None]) -> None:
        self._title, self._note = title, note
        self._live = Live(console=console, refresh_per_second=4, transient=False)

    def __enter__(self) -> Callable[[list[DeviceStatus]], None]:
        self._live.__enter__()
        return self._show

    def _show(self, devices: list[DeviceStatus]) -> None:
        self._note(devices)
        self._live.update(view.devices_table(devices, self._title))

    def __exit__(self, *_: object) -> None:
        self._live.__exit__(None, None, None)


def _closed_loop_checks(checkpoint: Path) -> list[tuple[str, bool, str]]:
    """Drive the checkpoint through an evaluation seed of each class; real inference, closed loop."""
    policy = evaluate.policy_of_checkpoint(checkpoint)
    seeds = range(evaluate.EVALUATION_SEED, evaluate.EVALUATION_SEED + _SEEDS)
    checks = []
    for one in CLASSES:
        drives = evaluate.evaluate(policy, one, seeds, evaluate.Pace())
        passed = sum(held for _, held, _ in drives)
        metres = sum(journey.progress_m for _, _, journey in drives)
        checks.append((f"it drives: {one.name}", passed == _SEEDS, f"{passed} of {_SEEDS}, {metres:.0f} m"))
    return checks


def commands_for(folder: Path, console: Console) -> Commands:
    """Commands run in `folder` and shown on `console`."""
    return Commands(folder, lambda line: view.command(console, line))
