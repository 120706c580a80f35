"""The fleet server, put together: the only place that builds its adapters.

Owns: which part gets which, its threads, and the order in which they start and stop.
Must not know: command lines.
"""

import logging
import os
import secrets
import tempfile
import threading
from collections.abc import Callable
from fcntl import LOCK_EX, LOCK_NB, flock
from functools import partial
from pathlib import Path
from typing import IO

from fastapi import FastAPI, Response

from fleet.adapters.clock import SystemClock
from fleet.adapters.mqtt import BrokerAddress, MqttLink
from fleet.adapters.repository import RepositoryFiles
from fleet.adapters.signing import RepositorySigner
from fleet.api.answers import describe, install
from fleet.api.desk import Desk
from fleet.api.reference import page
from fleet.api.routes import make_router
from fleet.api.views import HealthView
from fleet.catalogue import Catalogue
from fleet.config import FleetConfig
from fleet.depot import Depot
from fleet.director import Director, DirectorParts
from fleet.door import Door
from fleet.envelopes import EnvelopeParts, Envelopes
from fleet.ingest import Ingest
from fleet.records import Presence
from fleet.registry import Registry
from fleet.router import Receivers, Router
from fleet.store.connect import connect
from fleet.store.envelopes import SqlEnvelopeStore
from fleet.store.inventory import SqlInventoryStore
from fleet.store.telemetry import SqlTelemetryStore
from fleet.upkeep import Upkeep, UpkeepParts
from models.errors import ConfigurationError, NotNowError
from models.trust.keyset import KeyDirectory

TOKEN_NAME = "operator.token"  # noqa: S105 - the name of the file
LOCK_NAME = ".lock"
JOIN_NS = 1_500_000_000
RESTART_S = 1.0
_log = logging.getLogger(__name__)


class FleetServer:
    """Everything between the broker and the database, and the app that shows it."""

    def __init__(self, config: FleetConfig) -> None:
        """Open the store and wire the parts; nothing runs before `start`.

        Raises:
            ConfigurationError: the state directory cannot be made or written to, or there is no repository.
            UnknownObjectError, MalformedError: the Director's key is not there, or is none.
            NotNowError: another server works in the state directory.
            StoreError: the database cannot be opened.
        """
        self.config = config
        fleet, repo, clock = config.server.fleet, Path(config.server.repo), SystemClock()
        prepare_state(config.state)
        check_sources(repo, Path(config.server.keys))
        self._claim = claim_state(config.state)
        self._clock = clock
        self._engine = connect(config.store_url)
        telemetry, inventory = SqlTelemetryStore(self._engine), SqlInventoryStore(self._engine)
        self._link = MqttLink(fleet, BrokerAddress(config.mqtt.host, config.mqtt.port), self._receive)
        self._catalogue, self._registry = Catalogue(repo), Registry(clock, inventory.devices())
        files = RepositoryFiles(repo, config.state)
        signer = RepositorySigner(repo, config.state, Path(config.server.keys))
        parts = DirectorParts(inventory, self._catalogue, self._registry, signer, self._link, clock)
        self._director = director = Director(fleet, parts)
        envelopes = Envelopes(
            fleet, EnvelopeParts(SqlEnvelopeStore(self._engine), self._registry, self._link, clock)
        )
        self._upkeep = Upkeep(
            UpkeepParts(self._catalogue, self._registry, director, envelopes, inventory, clock)
        )
        self._ingest = Ingest(fleet, telemetry, self._link)
        self._depot = Depot(fleet, files, self._link)
        receivers = Receivers(self._registry, self._ingest, self._depot, self._upkeep.greet)
        self._router = Router(fleet, receivers, clock)
        self.desk = Desk(self._registry, self._catalogue, telemetry, inventory, director, files, envelopes)
        self._threads: list[threading.Thread] = []
        self._stopping = threading.Event()

    def start(self) -> None:
        """Start all threads, the broker's connection last."""
        self._upkeep.look_for_releases()
        self._director.finish_interrupted()
        self._run("ingest", self._ingest.run)
        self._run("upkeep", self._upkeep.run)
        for number in range(self.config.depot.threads):
            self._run(f"depot-{number}", self._depot.run)
        self._link.start()

    def stop(self) -> None:
        """Stop the connection, let the threads finish what waits, close the store."""
        self._stopping.set()
        self._link.stop()
        for part in (self._depot, self._ingest, self._upkeep):
            part.close()
        deadline_ns = self._clock.mono_ns() + JOIN_NS
        for thread in self._threads:
            thread.join(max(0.0, (deadline_ns - self._clock.mono_ns()) / 1e9))
        self._engine.dispose()
        self._claim.close()

    def app(self) -> FastAPI:
        """REST and its reference page; the console is mounted by `fleet.console`."""
        app = FastAPI(
            title="Roskva fleet",
            version="1",
            description="Devices, releases, decisions and the checkpoints they come from.",
            docs_url=None,
            redoc_url=None,
        )
        install(app)
        app.add_middleware(Door, names=(self.config.http.host, *self.config.http.names))
        app.include_router(make_router(self.desk, self.health, operator_token(self.config.state)))
        app.openapi = lambda: describe(app)  # type: ignore[method-assign]

        @app.get("/docs", include_in_schema=False)
        def get_docs() -> Response:
            return Response(page(app.openapi()), media_type="text/html")

        return app

    def health(self) -> HealthView:
        """What the server has done since its start."""
        sights, connected = self._registry.sights(), self._link.connected
        return HealthView(
            status="ok" if connected and not self._ingest.failing else "degraded",
            fleet=self.config.server.fleet,
            broker_connected=connected,
            devices=len(sights),
            devices_online=sum(sight.presence is Presence.ONLINE for sight in sights),
            releases=len(self._catalogue.releases()),
            messages=self._router.messages,
            messages_malformed=self._router.malformed + self._ingest.malformed,
            messages_refused=self._ingest.refused,
            batches=self._ingest.batches,
            decisions=self._ingest.decisions,
            content_sent_bytes=self._depot.sent_bytes,
            sends_dropped=self._link.dropped,
            store_failures=self._ingest.failures,
        )

    def _receive(self, topic: str, payload: bytes, retained: bool) -> None:
        self._router.receive(topic, payload, retained)

    def _run(self, name: str, target: Callable[[], None]) -> None:
        keep = partial(keep_running, name, target, self._stopping)
        thread = threading.Thread(target=keep, name=name, daemon=True)
        self._threads.append(thread)
        thread.start()


def keep_running(name: str, target: Callable[[], None], stopping: threading.Event) -> None:
    """Run `target` until it returns; what it did not foresee is logged, and it runs again a little later.

    A thread's edge is as a process's: one that died silently would leave a server that looks well and does nothing.
    """
    while True:
        try:
            target()
        except Exception:  # noqa: BLE001 - the edge of a thread
            _log.exception("%s failed and is started again", name)
        else:
            return
        if stopping.wait(RESTART_S):
            return


def prepare_state(state: Path) -> None:
    """Make the state directory, for its owner only. Raises `ConfigurationError`, also where it cannot be written to."""
    try:
        state.mkdir(parents=True, exist_ok=True, mode=0o700)
        with tempfile.TemporaryFile(dir=state):
            pass
    except OSError as error:
        raise ConfigurationError(f"cannot keep state in {state}: {error.strerror}") from error


def claim_state(state: Path) -> IO[bytes]:
    """The open lock of the state directory; the kernel lets go of it with the process, however that ends.

    Raises:
        NotNowError: another server holds it; two would sign and count against each other.
    """
    lock = (state / LOCK_NAME).open("ab")
    try:
        flock(lock, LOCK_EX | LOCK_NB)
    except OSError as error:
        lock.close()
        raise NotNowError(f"another fleet server works in {state}") from error
    return lock


def check_sources(repo: Path, keys: Path) -> None:
    """Raise `ConfigurationError` or `UnknownObjectError` where `repo` or the key that signs orders is not there."""
    if not repo.is_dir():
        raise ConfigurationError(f"no repository at {repo}: `roskva release publish` makes one")
    KeyDirectory(keys).signer("director-online")


def operator_token(state: Path) -> str:
    """The token that orders need; made at the first start, readable by its owner only.

    Raises:
        ConfigurationError: it cannot be read or made, or others may read it.
    """
    path = state / TOKEN_NAME
    try:
        if not path.exists():
            _make_token(path)
        if path.stat().st_mode & 0o077:
            raise ConfigurationError(f"{path} may be read by others: chmod 600 it")
        token = path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"cannot read {path}: {error}") from error
    if len(token) < 16:
        raise ConfigurationError(f"{path} holds no token: remove it, and a new one is made")
    return token


def _make_token(path: Path) -> None:
    """Whole or not at all, so that a server that is killed here can start again."""
    fresh = path.with_suffix(".partial")
    fresh.unlink(missing_ok=True)
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(secrets.token_urlsafe(32) + "\n")
        file.flush()
        os.fsync(file.fileno())
    fresh.rename(path)
