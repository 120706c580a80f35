"""The fleet server, put together: the only place that builds its adapters.

Owns: which part gets which, its threads, and the order in which they start and stop.
Must not know: command lines.
"""

import os
import secrets
import threading
from collections.abc import Callable
from pathlib import Path

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
from fleet.ingest import Ingest
from fleet.records import Presence
from fleet.registry import Registry
from fleet.router import Receivers, Router
from fleet.store.connect import connect
from fleet.store.inventory import SqlInventoryStore
from fleet.store.telemetry import SqlTelemetryStore
from fleet.upkeep import Upkeep, UpkeepParts
from models.errors import ConfigurationError

TOKEN_NAME = "operator.token"  # noqa: S105 - the name of the file
JOIN_NS = 1_500_000_000


class FleetServer:
    """Everything between the broker and the database, and the app that shows it."""

    def __init__(self, config: FleetConfig) -> None:
        """Open the store and wire the parts; nothing runs before `start`.

        Raises:
            ConfigurationError: the state directory cannot be made.
            StoreError: the database cannot be opened.
        """
        self.config = config
        fleet, repo, clock = config.server.fleet, Path(config.server.repo), SystemClock()
        prepare_state(config.state)
        self._clock = clock
        self._engine = connect(config.store_url)
        telemetry, inventory = SqlTelemetryStore(self._engine), SqlInventoryStore(self._engine)
        self._link = MqttLink(fleet, BrokerAddress(config.mqtt.host, config.mqtt.port), self._receive)
        self._catalogue, self._registry = Catalogue(repo), Registry(clock, inventory.devices())
        files = RepositoryFiles(repo, config.state)
        signer = RepositorySigner(repo, config.state, Path(config.server.keys))
        parts = DirectorParts(inventory, self._catalogue, self._registry, signer, self._link, clock)
        director = Director(fleet, parts)
        self._upkeep = Upkeep(UpkeepParts(self._catalogue, self._registry, director, inventory, clock))
        self._ingest = Ingest(fleet, telemetry, self._link)
        self._depot = Depot(fleet, files, self._link)
        receivers = Receivers(self._registry, self._ingest, self._depot, self._upkeep.greet)
        self._router = Router(fleet, receivers, clock)
        self.desk = Desk(self._registry, self._catalogue, telemetry, inventory, director, files)
        self._threads: list[threading.Thread] = []

    def start(self) -> None:
        """Start all threads, the broker's connection last."""
        self._upkeep.look_for_releases()
        self._run("ingest", self._ingest.run)
        self._run("upkeep", self._upkeep.run)
        for number in range(self.config.depot.threads):
            self._run(f"depot-{number}", self._depot.run)
        self._link.start()

    def stop(self) -> None:
        """Stop the connection, let the threads finish what waits, close the store."""
        self._link.stop()
        for part in (self._depot, self._ingest, self._upkeep):
            part.close()
        deadline_ns = self._clock.mono_ns() + JOIN_NS
        for thread in self._threads:
            thread.join(max(0.0, (deadline_ns - self._clock.mono_ns()) / 1e9))
        self._engine.dispose()

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
        thread = threading.Thread(target=target, name=name, daemon=True)
        self._threads.append(thread)
        thread.start()


def prepare_state(state: Path) -> None:
    """Make the state directory, for its owner only. Raises `ConfigurationError`."""
    try:
        state.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise ConfigurationError(f"cannot make {state}: {error.strerror}") from error


def operator_token(state: Path) -> str:
    """The token that orders need; made at the first start, readable by its owner only.

    Raises:
        ConfigurationError: it cannot be read or made, or others may read it.
    """
    path = state / TOKEN_NAME
    try:
        if not path.exists():
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "w") as file:
                file.write(secrets.token_urlsafe(32) + "\n")
        if path.stat().st_mode & 0o077:
            raise ConfigurationError(f"{path} may be read by others: chmod 600 it")
        token = path.read_text(encoding="utf-8").strip()
    except OSError as error:
        raise ConfigurationError(f"cannot read {path}: {error.strerror}") from error
    if len(token) < 16:
        raise ConfigurationError(f"{path} holds no token: remove it, and a new one is made")
    return token
