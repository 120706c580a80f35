"""The `manage` process: network, updates, telemetry. It may be slow and it may crash; the robot drives on.

Owns: the wiring of one device's manage side, its threads, its end. Threads: this one (state, watchdog),
updates, telemetry, the host's figures, and the transport's.
Must not know: control's workings; it meets `control` at boards and rings only.
"""

import fcntl
import os
import secrets
import signal
import threading
from collections.abc import Callable
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from agent.adapters.clock import MonotonicClock
from agent.adapters.files import FileDisk
from agent.adapters.host import HostWatch
from agent.adapters.jetson import is_emulated
from agent.adapters.mqtt import Caller, MqttTransport
from agent.adapters.plant_file import read_plant
from agent.adapters.systemd import Notifier
from agent.app.inbox import Inbox, Receivers
from agent.app.ordered import OrderedEnvelope
from agent.board.change import UPDATE, UPDATE_BOARD, UpdateRecord
from agent.board.layout import bytes_from_text
from agent.board.records import ENVELOPE, FLEET_ENVELOPE_BOARD, raw_from_digest
from agent.board.seqlock import BoardWriter
from agent.config import AgentConfig
from agent.power.limits import Limits
from agent.telemetry.courier import Courier
from agent.telemetry.events import EventLog
from agent.telemetry.recorder import Recorder, TelemetryWorld
from agent.telemetry.spool import Spool
from agent.telemetry.state import Identity, StateReader
from agent.update.depot import Depot, Patience
from agent.update.steps import UpdateWorld
from agent.update.updater import Updater
from models.digest import Digest
from models.errors import ConfigurationError, NotNowError, TransferError
from models.trust.admit import DeviceIdentity, TrustAnchors
from models.wire.messages import UpdateStatus, encode
from models.wire.topics import Channel

_CYCLE_S = 0.25
_STATE_CYCLES = 4
_JOIN_S = 1.2
_BOOT_ID = "proc/sys/kernel/random/boot_id"


def run(root: Path, config: AgentConfig) -> int:
    """Manage the device below `root` until SIGTERM or SIGINT; returns the exit code.

    Raises:
        ConfigurationError: the pinned trust roots are missing.
        NotNowError: another `manage` runs on this device.
    """
    stopping = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopping.set())
    lock = _lock(root / config.paths.state)
    try:
        return Manage(root, config, stopping).run()
    finally:
        os.close(lock)


class Manage:
    """One device's manage side."""

    def __init__(self, root: Path, config: AgentConfig, stopping: threading.Event) -> None:
        run_directory, state = root / config.paths.run, root / config.paths.state
        run_directory.mkdir(parents=True, exist_ok=True)
        self._stopping, self._failure = stopping, ""
        self._clock, disk = MonotonicClock(), FileDisk(state)
        boot, device = boot_id(root), config.device
        self._who = Identity(boot, device.hardware, is_emulated(root))
        self.events = EventLog(self._clock)
        self.transport = MqttTransport(
            config.mqtt, Caller(device.fleet, device.id, device.hardware, boot, agent_version())
        )
        depot = Depot(self.transport, Patience(timeout_s=config.update.request_timeout_s))
        depot.stopping = stopping
        world = UpdateWorld(
            disk=disk,
            state=state,
            run=run_directory,
            clock=MonotonicClock(),
            depot=depot,
            identity=DeviceIdentity(device.id, device.hardware),
            anchors=_anchors(root / config.paths.trust),
            boot=boot,
            settings=config.update,
            plant=lambda: read_plant(run_directory),
            stopping=stopping,
        )
        self.updater = Updater(world, self.events, lambda: self.transport.connected)
        spool = Spool(disk, config.telemetry.spool_max_bytes)
        courier = Courier(spool, self.transport, MonotonicClock(), self.events)
        self.recorder = Recorder(
            TelemetryWorld(
                run_directory,
                boot,
                MonotonicClock(),
                spool,
                courier,
                self.events,
                config.telemetry.batch_s,
                stopping,
            )
        )
        board = BoardWriter(run_directory / FLEET_ENVELOPE_BOARD, ENVELOPE)
        self.envelope = OrderedEnvelope(disk, board, self._clock, self.events)
        receivers = Receivers(self.updater.offer, courier.acknowledged, depot.answered, self.envelope.take)
        self._inbox = Inbox(receivers, self.events)
        self._boards = StateReader(
            run_directory, disk, self._clock, Limits(run_directory, config.power.envelope_w)
        )
        self._host = HostWatch(state, self._clock)
        self._update_board = BoardWriter(run_directory / UPDATE_BOARD, UPDATE)
        self._connected = False

    def run(self) -> int:
        """Until told to stop, or until a thread of ours fails: then the service manager starts us anew."""
        notifier = Notifier()
        threads = [self._thread("updates", self.updater.run), self._thread("telemetry", self.recorder.loop)]
        self._thread("host", lambda: self._host.run(self._stopping))
        self.transport.start(self._inbox.deliver)
        self.events.record("manage-started")
        notifier.ready()
        cycle = 0
        while not self._stopping.wait(_CYCLE_S):
            self._tell(with_state=cycle % _STATE_CYCLES == 0)
            notifier.watchdog()
            cycle += 1
            if not self.transport.alive:
                self._failure = "the transport's thread died"
                self._stopping.set()
        notifier.stopping()
        for thread in threads:
            thread.join(_JOIN_S / len(threads))
        self.transport.stop()
        return 1 if self._failure else 0

    def _thread(self, name: str, work: Callable[[], None]) -> threading.Thread:
        thread = threading.Thread(target=self._guarded, args=(name, work), name=name, daemon=True)
        thread.start()
        return thread

    def _guarded(self, name: str, work: Callable[[], None]) -> None:
        """A thread that fails ends the process: half a manage would look alive and do nothing."""
        try:
            work()
        except BaseException as error:
            self._failure = f"{name}: {error}"
            self._stopping.set()
            raise

    def _tell(self, *, with_state: bool) -> None:
        status, connected = self.updater.status, self.transport.connected
        if connected and not self._connected:
            self.updater.ask_soon()
        self._connected = connected
        self._update_board.write(update_record(status, connected=connected), self._clock.mono_ns())
        if with_state:
            self.envelope.tick()
        if with_state and connected:
            with suppress(TransferError):
                state = encode(self._boards.state(self._who, status, self._host.recent()))
                self.transport.publish(Channel.STATE, state, sure=False, retain=True)


def update_record(status: UpdateStatus, *, connected: bool) -> UpdateRecord:
    """`update.board` for `status`."""
    digest = Digest(status.release_digest) if status.release_digest else None
    return UpdateRecord(
        bytes_from_text(status.phase.value, 16),
        raw_from_digest(digest),
        status.bytes_done,
        status.bytes_total,
        bytes_from_text(status.reason, 48),
        bytes_from_text(status.detail, 160),
        int(connected),
    )


def boot_id(root: Path) -> str:
    """The kernel's id of this boot; where there is none, one that no other start will have."""
    try:
        return (root / _BOOT_ID).read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError):
        return f"unknown-{secrets.token_hex(8)}"


def agent_version() -> str:
    """The installed version of this distribution."""
    try:
        return version("roskva")
    except PackageNotFoundError:
        return "0"


def _anchors(trust: Path) -> TrustAnchors:
    try:
        return TrustAnchors(
            (trust / "image-root.json").read_bytes(), (trust / "director-root.json").read_bytes()
        )
    except OSError as error:
        raise ConfigurationError(f"the pinned trust roots are missing: {error}") from error


def _lock(state: Path) -> int:
    """Hold the device's lock until the process ends."""
    state.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(state / "manage.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(descriptor)
        raise NotNowError("another manage process runs on this device") from error
    return descriptor
