"""The demo's devices: a root directory each, four processes each.

Owns: how an emulated Thor is made, configured and started. Must not know: the agent's code (it runs its command).
"""

import json
import shutil
from dataclasses import dataclass
from pathlib import Path

from fleet.demo.commands import Commands
from fleet.demo.processes import Processes, program

CONFIG = """\
[device]
id = "{id}"
fleet = "{fleet}"

[mqtt]
port = {port}
reconnect_cap_s = 2.0

[control]
decision_hz = {decision_hz}
core = {core}

[power]
envelope_w = {envelope_w}

[update]
trial_s = {trial_s}
max_bytes_per_s = {max_bytes_per_s}
window = {window}
"""

_FAULTS = ("collided", "off_road", "ran_red_light")
PARTS = ("emulate", "power", "control", "manage")
"""Started in this order: the plant first, so that the loop finds its boards."""


@dataclass(frozen=True, slots=True)
class DeviceSettings:
    """What goes into `agent.toml`."""

    id: str
    fleet: str
    port: int
    envelope_w: float
    decision_hz: float = 5.0
    core: int = -1
    trial_s: float = 8.0
    max_bytes_per_s: int = 0
    window: int = 16


@dataclass(frozen=True, slots=True)
class Device:
    """One emulated Thor below `root`."""

    settings: DeviceSettings
    root: Path
    seed: int

    @property
    def id(self) -> str:
        """Its device id."""
        return self.settings.id

    def create(self, trust: Path, commands: Commands, run: Path) -> None:
        """Make the directory tree of a T5000, its configuration and its pinned roots; `run` is in memory."""
        self.root.mkdir(parents=True)
        (self.root / "run").symlink_to(run, target_is_directory=True)
        commands.run(
            "roskva-agent", "emulate", "--root", self.root, "--seed", str(self.seed), "--create-only"
        )
        etc = self.root / "etc/roskva"
        (etc / "trust").mkdir(parents=True, exist_ok=True)
        for name in ("image-root.json", "director-root.json"):
            shutil.copyfile(trust / name, etc / "trust" / name)
        s = self.settings
        text = CONFIG.format(
            id=s.id,
            fleet=s.fleet,
            port=s.port,
            decision_hz=s.decision_hz,
            core=s.core,
            envelope_w=s.envelope_w,
            trial_s=s.trial_s,
            max_bytes_per_s=s.max_bytes_per_s,
            window=s.window,
        )
        (etc / "agent.toml").write_text(text, encoding="utf-8")

    def start(self, processes: Processes) -> None:
        """Start the emulated hardware and the agent's three processes."""
        for part in PARTS:
            self.start_part(part, processes)

    def refereed(self) -> tuple[list[str], float]:
        """The faults that the emulated world saw, and the metres driven."""
        seen = json.loads((self.root / "run/roskva/referee.json").read_text(encoding="utf-8"))
        return [fault for fault in _FAULTS if seen[fault]], float(seen["odometer_m"])

    def start_part(self, part: str, processes: Processes) -> None:
        """Start one of its processes."""
        seed = ["--seed", str(self.seed)] if part == "emulate" else []
        argv = [program("roskva-agent"), part, "--root", str(self.root), *seed]
        processes.start(f"{self.id}-{part}", argv)
