"""The main job from checkpoint to action, as steps that the demo tells, a bench times and a test asserts.

Owns: the order of the steps, and what must hold after each. Must not know: terminals.
"""

import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from fleet.demo.commands import Commands
from fleet.demo.devices import Device, DeviceSettings
from fleet.demo.processes import BrokerKind, Processes, await_port, free_port, pause, program, start_broker
from fleet.demo.server import DeviceStatus, Server
from fleet.demo.site import BuiltRelease, Site
from fleet.demo.witness import Testimony
from fleet.demo.witnesses import Witnesses
from models.digest import Digest
from models.errors import NotNowError
from models.wire.messages import ConnectionKind, UpdatePhase

FLEET = "demo"
ENVELOPES_W = (120.0, 90.0, 70.0)
"""One for each device: the third must turn its knobs to stay inside."""
_POLL_S = 0.25
Watch = Callable[[list[DeviceStatus]], None]
"""Is shown the devices at each look."""


def unwatched(_: list[DeviceStatus]) -> None:
    """Nobody looks."""


@dataclass(frozen=True, slots=True)
class Check:
    """Something that must hold, and what was seen."""

    name: str
    held: bool
    seen: str


@dataclass(frozen=True, slots=True)
class Settings:
    """How large the journey is."""

    devices: int = 3
    trial_s: float = 6.0
    decision_hz: float = 5.0
    core: int = -1
    """What the followers are pinned to; -1 for nothing."""
    max_bytes_per_s: int = 0
    window: int = 16
    broker: BrokerKind = BrokerKind.AUTO


@dataclass(slots=True)
class Journey:
    """A running fleet below `folder`: training site, broker, server, devices."""

    folder: Path
    processes: Processes
    settings: Settings
    commands: Commands
    site: Site = field(init=False)
    server: Server = field(init=False)
    devices: list[Device] = field(default_factory=list)
    broker: str = ""
    broker_port: int = 0
    _witnesses: Witnesses = field(default_factory=Witnesses)

    def __post_init__(self) -> None:
        self.site = Site(self.folder, self.commands)

    def start_server(self) -> None:
        """Start the broker and the fleet server; returns once the API answers."""
        self.broker_port = free_port()
        self.restart_broker()
        http_port = free_port()
        state = self.folder / "server"
        self.processes.start("server", self._serve(state, http_port))
        await_port(http_port, self.processes, timeout_s=40.0)
        self.server = Server.connect(f"http://127.0.0.1:{http_port}", state / "operator.token")

    def _serve(self, state: Path, http_port: int) -> list[str]:
        return [
            *(program("roskva-fleet"), "serve", "--state", str(state), "--repo", str(self.site.repo)),
            *("--keys", str(self.site.keys), "--fleet", FLEET),
            *("--mqtt-port", str(self.broker_port), "--http-port", str(http_port)),
        ]

    def start_witnesses(self) -> None:
        """Start a bare loop on every core that this process may use."""
        self._witnesses = Witnesses.start(self.processes, os.sched_getaffinity(0))

    def testimony(self) -> Testimony:
        """What the bare loops saw since their start."""
        return self._witnesses.testimony()

    def start_devices(self) -> None:
        """Make and start the devices; returns once the server hears all of them."""
        for number in range(1, self.settings.devices + 1):
            settings = DeviceSettings(
                id=f"thor-{number}",
                fleet=FLEET,
                port=self.broker_port,
                envelope_w=ENVELOPES_W[(number - 1) % len(ENVELOPES_W)],
                decision_hz=self.settings.decision_hz,
                core=self.settings.core,
                trial_s=self.settings.trial_s,
                max_bytes_per_s=self.settings.max_bytes_per_s,
                window=self.settings.window,
            )
            device = Device(settings, self.folder / "devices" / settings.id, seed=40 + number)
            device.create(self.site.trust, self.commands, self.processes.volatile_folder())
            device.start(self.processes)
            self.devices.append(device)
        self.await_all(
            lambda d: d.connection is ConnectionKind.ONLINE and d.state is not None, "online", 60.0
        )

    def restart_broker(self) -> None:
        """Start the broker on the port that everyone knows."""
        folder, kind = self.folder / "broker", self.settings.broker
        self.broker = start_broker(self.processes, folder, self.broker_port, kind)

    def await_release(self, digest: Digest, timeout_s: float = 20.0) -> None:
        """Return once the server has found the published release."""
        self._await(lambda: digest in {r["digest"] for r in self.server.get("releases")}, "found", timeout_s)

    def await_decision_after(self, device: str, sequence: int, timeout_s: float) -> None:
        """Return once the server has a later decision of `device`."""
        self._await(
            lambda: self.server.decisions(device, limit=1)[0].record.sequence > sequence, "heard", timeout_s
        )

    def _await(self, holds: Callable[[], bool], what: str, timeout_s: float) -> None:
        deadline_s = time.monotonic() + timeout_s
        while not holds():
            self.processes.check()
            if time.monotonic() > deadline_s:
                raise NotNowError(f"not {what} after {timeout_s:.0f} s")
            pause(_POLL_S)

    def assign(self, release: BuiltRelease) -> None:
        """Order every device to run `release`."""
        for device in self.devices:
            self.server.assign(device.id, release.digest)

    def await_driving(self, digest: Digest, timeout_s: float, watch: Watch = unwatched) -> float:
        """Wait until every device drives with `digest`, its trial passed; returns the seconds it took."""
        started_s = time.monotonic()
        self.await_all(lambda d: drives_with(d, digest), f"driving with {digest[:19]}…", timeout_s, watch)
        return time.monotonic() - started_s

    def drive(self, seconds: float, watch: Watch = unwatched) -> None:
        """Watch the devices drive."""
        deadline_s = time.monotonic() + seconds
        while time.monotonic() < deadline_s:
            self.processes.check()
            watch(self.server.devices())
            pause(_POLL_S)

    def await_all(
        self,
        holds: Callable[[DeviceStatus], bool],
        what: str,
        timeout_s: float,
        watch: Watch = unwatched,
    ) -> None:
        """Poll until `holds` is true of every device. Raises `NotNowError`, naming who is late and why."""
        deadline_s = time.monotonic() + timeout_s
        while True:
            self.processes.check()
            seen = self.server.devices()
            watch(seen)
            late = [device for device in seen if not holds(device)]
            if len(seen) == self.settings.devices and not late:
                return
            if time.monotonic() > deadline_s:
                raise NotNowError(
                    f"not {what} after {timeout_s:.0f} s: {[_why(d) for d in late] or len(seen)}"
                )
            pause(_POLL_S)


def drives_with(device: DeviceStatus, digest: Digest) -> bool:
    """Whether `device` drives with `digest` and its trial is passed."""
    state = device.state
    return (
        state is not None
        and state.live_digest == digest
        and not state.on_trial
        and state.update.phase is UpdatePhase.IDLE
        and state.policy is not None
        and state.policy.release_digest == digest
        and state.policy.decisions > 0
    )


def _why(device: DeviceStatus) -> str:
    state = device.state
    if state is None:
        return f"{device.id}: {device.connection}"
    return f"{device.id}: {state.update.phase} {state.update.reason} {state.update.detail}".rstrip()
