"""The fleet server's configuration: one TOML file, every key known, every value bounded.

Owns: the schema, the defaults, and how command line options lie over the file.
Must not know: who reads which part.
"""

import tomllib
from pathlib import Path
from typing import Annotated

import msgspec

from fleet.store.connect import sqlite_url
from models.errors import ConfigurationError
from models.wire.topics import check_id

_Port = Annotated[int, msgspec.Meta(ge=0, le=65535)]


class ServerSection(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Whose fleet, and where things lie: own state, published releases, the Director's online key."""

    fleet: str
    state: str
    repo: str
    keys: str


class MqttSection(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The broker."""

    host: str = "127.0.0.1"
    port: Annotated[int, msgspec.Meta(ge=1, le=65535)] = 1883


class HttpSection(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The REST interface and the console; port 0 takes a free one. Beyond loopback, put TLS in front.

    `names` are what browsers call this server, beside its addresses and `localhost`.
    """

    host: str = "127.0.0.1"
    port: _Port = 8080
    names: tuple[str, ...] = ()


class StoreSection(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The database: empty means SQLite in the state directory; else a SQLAlchemy URL."""

    url: str = ""


class DepotSection(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How many threads read content."""

    threads: Annotated[int, msgspec.Meta(ge=1, le=32)] = 2


class FleetConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`fleet.toml`."""

    server: ServerSection
    mqtt: MqttSection = MqttSection()
    http: HttpSection = HttpSection()
    store: StoreSection = StoreSection()
    depot: DepotSection = DepotSection()

    @property
    def state(self) -> Path:
        """Where the server keeps what it must not lose."""
        return Path(self.server.state)

    @property
    def store_url(self) -> str:
        """The database's URL."""
        return self.store.url or sqlite_url(self.state / "fleet.sqlite")


class Overrides(msgspec.Struct, frozen=True):
    """Options of the command line; None leaves the file's value."""

    state: str | None = None
    repo: str | None = None
    keys: str | None = None
    fleet: str | None = None
    mqtt_host: str | None = None
    mqtt_port: int | None = None
    http_host: str | None = None
    http_port: int | None = None

    def sections(self) -> dict[str, dict[str, str | int]]:
        """The options that were given, by section of the file."""
        given: dict[str, dict[str, str | int | None]] = {
            "server": {"state": self.state, "repo": self.repo, "keys": self.keys, "fleet": self.fleet},
            "mqtt": {"host": self.mqtt_host, "port": self.mqtt_port},
            "http": {"host": self.http_host, "port": self.http_port},
        }
        return {
            section: {key: value for key, value in values.items() if value is not None}
            for section, values in given.items()
        }


def config_from_text(text: str, overrides: Overrides) -> FleetConfig:
    """Parse `fleet.toml` and lay `overrides` over it.

    Raises:
        ConfigurationError: naming the key that is unknown, missing or out of range.
    """
    try:
        merged: dict[str, object] = tomllib.loads(text)
        for section, values in overrides.sections().items():
            before = merged.get(section, {})
            merged[section] = before | values if isinstance(before, dict) else before
        config = msgspec.convert(merged, type=FleetConfig, strict=True)
    except (tomllib.TOMLDecodeError, msgspec.ValidationError) as error:
        raise ConfigurationError(f"fleet configuration: {error}") from error
    check_id(config.server.fleet, "server.fleet")
    return config


def load_config(path: Path | None, overrides: Overrides) -> FleetConfig:
    """Read the file at `path`, if any, and lay `overrides` over it. Raises `ConfigurationError`."""
    try:
        text = path.read_text(encoding="utf-8") if path is not None else ""
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"cannot read {path}: {error}") from error
    return config_from_text(text, overrides)
