"""The agent's configuration: one TOML file, every key known, every value bounded.

Owns: the schema, the defaults and where things lie. Must not know: who reads which part.
All paths are taken below the device's root directory (`/` on hardware; an emulated Thor has its own).
"""

import tomllib
from pathlib import Path
from typing import Annotated

import msgspec

from agent.power.modes import MODE_NAME
from models.errors import ConfigurationError
from models.wire.topics import check_id

CONFIG_PATH = "etc/roskva/agent.toml"

WORKER_NICE = 5
"""How nice the driver's worker is; the unit of `control` allows no less."""
MANAGE_NICE = 10
"""How nice `manage` is: fetching and hashing take what deciding leaves."""
_Port = Annotated[int, msgspec.Meta(ge=1, le=65535)]


class DeviceSection(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Who this device is. `hardware` is the device class that releases name, for example `thor-t5000`."""

    id: str
    fleet: str
    hardware: str = "thor-t5000"


class MqttSection(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The broker. An absent broker is normal: the agent keeps trying with full jitter up to the cap."""

    host: str = "127.0.0.1"
    port: _Port = 1883
    keepalive_s: Annotated[int, msgspec.Meta(ge=2, le=3600)] = 20
    reconnect_cap_s: Annotated[float, msgspec.Meta(gt=0, le=3600)] = 60.0


class PathsSection(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Directories below the root: durable state, boards, the pinned trust roots."""

    state: str = "var/lib/roskva"
    run: str = "run/roskva"
    trust: str = "etc/roskva/trust"


class ControlSection(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The loop. `core` -1 pins nothing; a priority of 0 asks for no real-time class.

    Until it drives, a candidate may take `candidate_memory_bytes`, and `candidate_memory_ratio` times the bytes of its
    release; a ratio of 0 is no limit.
    """

    tick_hz: Annotated[float, msgspec.Meta(ge=50, le=200)] = 100.0
    decision_hz: Annotated[float, msgspec.Meta(gt=0, le=30)] = 10.0
    priority: Annotated[int, msgspec.Meta(ge=0, le=90)] = 50
    core: Annotated[int, msgspec.Meta(ge=-1, le=1023)] = -1
    threads: Annotated[int, msgspec.Meta(ge=1, le=14)] = 1
    candidate_nice: Annotated[int, msgspec.Meta(ge=WORKER_NICE, le=19)] = 15
    candidate_memory_bytes: Annotated[int, msgspec.Meta(ge=1 << 28)] = 2 << 30
    candidate_memory_ratio: Annotated[float, msgspec.Meta(ge=0, le=64)] = 4.0


class LimitsSection(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What this vehicle can or may do, whatever a release says of itself; the follower's own limits are the most."""

    max_acceleration_mps2: Annotated[float, msgspec.Meta(gt=0, le=4)] = 4.0
    max_braking_mps2: Annotated[float, msgspec.Meta(ge=3, le=8)] = 8.0
    max_jerk_mps3: Annotated[float, msgspec.Meta(gt=0, le=40)] = 40.0
    max_curvature_per_m: Annotated[float, msgspec.Meta(gt=0, le=0.25)] = 0.25
    max_curvature_rate_per_ms: Annotated[float, msgspec.Meta(gt=0, le=0.5)] = 0.5
    max_lateral_mps2: Annotated[float, msgspec.Meta(gt=0, le=3)] = 3.0
    max_speed_mps: Annotated[float, msgspec.Meta(gt=0, le=40)] = 40.0


class PowerSection(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The envelope that the device must stay inside, as the 1 s mean of module power, and how its load may move.

    `burst_w` is the largest step of load of others, other programs and what hangs on the module, that the envelope has to
    bear: the more, the more is kept in reserve. `mode` is the name of the power mode that is wished, empty for none.
    """

    envelope_w: Annotated[float, msgspec.Meta(ge=40, le=130)] = 120.0
    sample_hz: Annotated[float, msgspec.Meta(ge=10, le=20)] = 10.0
    burst_w: Annotated[float, msgspec.Meta(ge=0, le=60)] = 15.0
    up_w_per_s: Annotated[float, msgspec.Meta(ge=15, le=200)] = 30.0
    down_w_per_s: Annotated[float, msgspec.Meta(ge=15, le=200)] = 40.0
    mode: Annotated[str, msgspec.Meta(pattern=rf"^\Z|{MODE_NAME}")] = ""


class UpdateSection(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Fetching and trials. `max_bytes_per_s` 0 means no limit."""

    window: Annotated[int, msgspec.Meta(ge=1, le=64)] = 16
    request_timeout_s: Annotated[float, msgspec.Meta(gt=0, le=600)] = 5.0
    max_bytes_per_s: Annotated[int, msgspec.Meta(ge=0)] = 0
    trial_s: Annotated[float, msgspec.Meta(ge=1, le=86400)] = 30.0
    poll_s: Annotated[float, msgspec.Meta(ge=1, le=86400)] = 300.0


class TelemetrySection(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The spool: what is dropped when it is full is counted and reported."""

    batch_s: Annotated[float, msgspec.Meta(ge=0.1, le=60)] = 0.5
    spool_max_bytes: Annotated[int, msgspec.Meta(ge=1 << 20)] = 256 << 20


class AgentConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`agent.toml`."""

    device: DeviceSection
    mqtt: MqttSection = MqttSection()
    paths: PathsSection = PathsSection()
    control: ControlSection = ControlSection()
    limits: LimitsSection = LimitsSection()
    power: PowerSection = PowerSection()
    update: UpdateSection = UpdateSection()
    telemetry: TelemetrySection = TelemetrySection()


def config_from_text(text: str) -> AgentConfig:
    """Parse `agent.toml`. Raises `ConfigurationError` naming the key that is unknown, missing or out of range."""
    try:
        config = msgspec.convert(tomllib.loads(text), type=AgentConfig, strict=True)
    except (tomllib.TOMLDecodeError, msgspec.ValidationError) as error:
        raise ConfigurationError(f"{CONFIG_PATH}: {error}") from error
    check_id(config.device.id, "device.id")
    check_id(config.device.fleet, "device.fleet")
    check_id(config.device.hardware, "device.hardware")
    return config


def load_config(root: Path) -> AgentConfig:
    """Read the configuration of the device whose root directory is `root`. Raises `ConfigurationError`."""
    path = root / CONFIG_PATH
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"cannot read {path}: {error}") from error
    return config_from_text(text)
