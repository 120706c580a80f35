"""The registry: every device that was ever seen, whether it is there, and what it last said.

Owns: presence, the last state, five minutes of samples for the console, counts of malformed messages.
Must not know: MQTT, SQL. Reading and writing are safe from several threads.
"""

import threading
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field

from fleet.ports import Clock
from fleet.records import Presence, StoredDevice
from models.errors import MalformedMessageError, UnknownObjectError
from models.wire.messages import Connection, ConnectionKind, DeviceState

SILENT_AFTER_NS = 10_000_000_000
SAMPLES = 300
MAX_DEVICES = 10_000
"""A broker without access rules lets anybody invent device ids; the registry stops here."""
_RATE_WINDOW = 6


@dataclass(frozen=True, slots=True)
class Sample:
    """One state, reduced to what the charts draw."""

    utc_ns: int
    decisions: int
    module_w: float | None
    envelope_w: float
    lateness_p99_ns: int
    lateness_max_ns: int


@dataclass(frozen=True, slots=True)
class DeviceSight:
    """A device as the registry sees it now. `silence_ns` is None where no live state came yet."""

    stored: StoredDevice
    connection: ConnectionKind
    presence: Presence
    silence_ns: int | None
    decision_rate_hz: float
    malformed: int

    @property
    def device(self) -> str:
        """Its id."""
        return self.stored.device

    @property
    def state(self) -> DeviceState | None:
        """The last state it sent."""
        return self.stored.state


@dataclass(slots=True)
class _Tracked:
    device: str
    first_seen_utc_ns: int
    last_seen_utc_ns: int
    hardware: str = ""
    agent_version: str = ""
    boot: str = ""
    connection: ConnectionKind = ConnectionKind.OFFLINE
    state: DeviceState | None = None
    heard_mono_ns: int | None = None
    malformed: int = 0
    changed: bool = True
    samples: deque[Sample] = field(default_factory=lambda: deque(maxlen=SAMPLES))


def presence_of(connection: ConnectionKind, silence_ns: int | None) -> Presence:
    """What a device's connection and its silence say together."""
    if connection is ConnectionKind.ONLINE and (silence_ns is None or silence_ns > SILENT_AFTER_NS):
        return Presence.SILENT
    return Presence(connection.value)


def decision_rate_hz(samples: Iterable[Sample]) -> float:
    """Decisions a second over the last few samples, since the worker that makes them began to count."""
    counted: list[Sample] = []
    for sample in list(samples)[-_RATE_WINDOW:]:
        if counted and sample.decisions < counted[-1].decisions:
            counted.clear()
        counted.append(sample)
    if len(counted) < 2 or counted[-1].utc_ns <= counted[0].utc_ns:
        return 0.0
    made = counted[-1].decisions - counted[0].decisions
    return made * 1e9 / (counted[-1].utc_ns - counted[0].utc_ns)


class Registry:
    """Devices by id."""

    def __init__(self, clock: Clock, known: Iterable[StoredDevice] = ()) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._devices = {device.device: _tracked(device) for device in known}

    def observe_connection(self, device: str, connection: Connection) -> bool:
        """Take a connection message; says whether the device was never seen before.

        Raises:
            MalformedMessageError: the registry is full.
        """
        with self._lock:
            first = device not in self._devices
            tracked = self._track(device)
            tracked.connection = connection.kind
            if connection.kind is ConnectionKind.ONLINE:
                tracked.boot, tracked.agent_version = connection.boot[:64], connection.agent_version[:64]
            tracked.hardware = connection.hardware[:64]
            return first

    def observe_state(self, device: str, state: DeviceState, retained: bool) -> None:
        """Take a state message; one that the broker kept says nothing about now.

        Raises:
            MalformedMessageError: the registry is full.
        """
        with self._lock:
            tracked = self._track(device)
            tracked.state, tracked.boot, tracked.hardware = state, state.boot[:64], state.hardware[:64]
            if retained:
                return
            tracked.heard_mono_ns = self._clock.mono_ns()
            tracked.last_seen_utc_ns = self._clock.utc_ns()
            tracked.samples.append(_sample(state))

    def count_malformed(self, device: str) -> None:
        """A message of a known device could not be read."""
        with self._lock:
            if device in self._devices:
                self._devices[device].malformed += 1

    def sight(self, device: str) -> DeviceSight:
        """One device. Raises `UnknownObjectError`."""
        with self._lock:
            if device not in self._devices:
                raise UnknownObjectError(f"no device {device[:64]!r} was ever seen")
            return self._see(self._devices[device])

    def sights(self) -> tuple[DeviceSight, ...]:
        """All devices by name."""
        with self._lock:
            return tuple(self._see(self._devices[name]) for name in sorted(self._devices))

    def samples(self, device: str) -> tuple[Sample, ...]:
        """The samples of the last five minutes, oldest first."""
        with self._lock:
            return tuple(self._devices[device].samples) if device in self._devices else ()

    def drain_changed(self) -> tuple[StoredDevice, ...]:
        """Devices that changed since the last call, for the store."""
        with self._lock:
            changed = [tracked for tracked in self._devices.values() if tracked.changed]
            for tracked in changed:
                tracked.changed = False
            return tuple(self._see(tracked).stored for tracked in changed)

    def mark_changed(self, devices: Iterable[str]) -> None:
        """The store did not keep them: let `drain_changed` return them again."""
        with self._lock:
            for device in devices:
                self._devices[device].changed = True

    def _track(self, device: str) -> _Tracked:
        if device not in self._devices:
            if len(self._devices) >= MAX_DEVICES:
                raise MalformedMessageError(f"device {device}: the registry holds {MAX_DEVICES} already")
            now_ns = self._clock.utc_ns()
            self._devices[device] = _Tracked(device, now_ns, now_ns)
        tracked = self._devices[device]
        tracked.changed = True
        return tracked

    def _see(self, tracked: _Tracked) -> DeviceSight:
        heard = tracked.heard_mono_ns
        silence_ns = None if heard is None else self._clock.mono_ns() - heard
        presence = presence_of(tracked.connection, silence_ns)
        rate_hz = decision_rate_hz(tracked.samples) if presence is Presence.ONLINE else 0.0
        stored = _stored(tracked, presence)
        return DeviceSight(stored, tracked.connection, presence, silence_ns, rate_hz, tracked.malformed)


def _tracked(device: StoredDevice) -> _Tracked:
    tracked = _Tracked(device.device, device.first_seen_utc_ns, device.last_seen_utc_ns)
    tracked.hardware, tracked.agent_version, tracked.boot = device.hardware, device.agent_version, device.boot
    tracked.state, tracked.changed = device.state, False
    return tracked


def _stored(tracked: _Tracked, presence: Presence) -> StoredDevice:
    return StoredDevice(
        device=tracked.device,
        hardware=tracked.hardware,
        agent_version=tracked.agent_version,
        boot=tracked.boot,
        presence=presence,
        first_seen_utc_ns=tracked.first_seen_utc_ns,
        last_seen_utc_ns=tracked.last_seen_utc_ns,
        state=tracked.state,
    )


def _sample(state: DeviceState) -> Sample:
    policy, power, loop = state.policy, state.power, state.loop
    return Sample(
        utc_ns=state.utc_ns,
        decisions=policy.decisions if policy else 0,
        module_w=power.module_w if power else None,
        envelope_w=power.envelope_w if power else 0.0,
        lateness_p99_ns=loop.lateness_p99_ns if loop else 0,
        lateness_max_ns=loop.lateness_max_ns if loop else 0,
    )
