"""Every JSON message of the MQTT contract, both directions, and the bounds on its size.

Owns: the message types, strict decoding (unknown fields, wrong types and excess length are refused).
Must not know: who sends them, over what.
Times that leave a device are UTC nanoseconds (`utc_ns`); monotonic times never do.
"""

from enum import StrEnum
from typing import Annotated, TypeVar

import msgspec

from models.errors import MalformedMessageError

MAX_CONTROL_BYTES = 64 << 10
"""Offers, acknowledgements, requests, refusals, connection and state."""
MAX_TELEMETRY_BYTES = 1 << 20
MAX_RANGE_BYTES = 1 << 20
"""The most content that one request may ask for."""

Whole = Annotated[int, msgspec.Meta(ge=-(1 << 63), le=(1 << 63) - 1)]
"""A whole number that every reader and every store can keep: 64 bits, signed."""
LOWEST_ENVELOPE_W, HIGHEST_ENVELOPE_W = 40.0, 130.0
"""A module limit below the first leaves no room to decide; the second is what a T5000 may take."""
EnvelopeWatts = Annotated[float, msgspec.Meta(ge=LOWEST_ENVELOPE_W, le=HIGHEST_ENVELOPE_W)]
MAX_SEQUENCE = 1 << 62
"""Of envelope orders; as UTC nanoseconds it lies in the year 2116."""


class Message(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Root of all messages."""


class ConnectionKind(StrEnum):
    """Whether the device is there; `broken` is its last will."""

    ONLINE = "online"
    OFFLINE = "offline"
    BROKEN = "broken"


class Connection(Message, frozen=True):
    """Retained on `connection`."""

    kind: ConnectionKind
    boot: str
    hardware: str
    agent_version: str


class UpdatePhase(StrEnum):
    """Where the update machine stands, for people and rollouts."""

    IDLE = "idle"
    ADMITTING = "admitting"
    FETCHING = "fetching"
    VERIFYING = "verifying"
    WARMING = "warming"
    SWITCHING = "switching"
    TRIAL = "trial"
    RETURNING = "returning"


class UpdateStatus(Message, frozen=True):
    """The update under way, or how the last one ended (`reason` is an error code, empty where it went well)."""

    phase: UpdatePhase
    release_digest: str = ""
    bytes_done: Whole = 0
    bytes_total: Whole = 0
    reason: str = ""
    detail: str = ""


class LoopFigures(Message, frozen=True, omit_defaults=True):
    """The control loop since its start. Lateness: wake-up after the absolute deadline."""

    state: str
    ticks: Whole
    ticks_missed: Whole
    lateness_p50_ns: Whole
    lateness_p99_ns: Whole
    lateness_max_ns: Whole
    gate_interventions: Whole
    speed_mps: float
    plan_age_ns: Whole
    realtime: str
    """What was achieved: for example `fifo:50 mlock core:1`, or `none`."""
    odometer_m: float | None = None
    """Distance since the plant began."""


class PowerFigures(Message, frozen=True, omit_defaults=True):
    """What the governor sees and commands; `module_w` is the 1 s mean. None is what no sensor says now.

    `joules_per_decision` and `joules_per_m` are module energy over the last minute, by decisions made and metres driven;
    None where there were none.
    """

    envelope_w: float
    module_w: float | None
    hottest_c: float | None
    gpu_max_freq_hz: Whole
    decision_rate_hz: float
    energy_j: float
    """Since this boot, as far as the power process ran."""
    sensors: str
    """`ok`, or which sensor fails and what is assumed for it; then how far a wish for a power mode is."""
    envelope_source: str = ""
    """Whose limit `envelope_w` is: `configuration`, `fleet` or `local`."""
    joules_per_decision: float | None = None
    joules_per_m: float | None = None
    power_mode: str = ""
    """The power mode in force, as the device's maker names it."""


class PolicyFigures(Message, frozen=True, omit_defaults=True):
    """The policy worker since its start.

    Latencies are of its last 256 decisions since it drives, whole and by stage; `queue` is how long the observation waited for the decision.
    """

    release_digest: str
    version: str
    precision: str
    decisions: Whole
    decisions_dropped: Whole
    latency_p50_ns: Whole
    latency_p99_ns: Whole
    reasoning: str
    queue_p50_ns: Whole = 0
    queue_p99_ns: Whole = 0
    visual_p50_ns: Whole = 0
    visual_p99_ns: Whole = 0
    reason_p50_ns: Whole = 0
    reason_p99_ns: Whole = 0
    action_p50_ns: Whole = 0
    action_p99_ns: Whole = 0


class HostFigures(Message, frozen=True, omit_defaults=True):
    """The machine beside the policy, every few seconds; shares are 0 to 1, `gpu_share` is NVML's."""

    cpu_share: float
    memory_used_bytes: Whole
    memory_total_bytes: Whole
    disk_free_bytes: Whole
    gpu_share: float | None = None


class DeviceState(Message, frozen=True, omit_defaults=True):
    """What the device is and does now; on `state`, once a second, retained."""

    utc_ns: Whole
    boot: str
    hardware: str
    live_digest: str
    fallback_digest: str
    on_trial: bool
    update: UpdateStatus
    loop: LoopFigures | None
    power: PowerFigures | None
    policy: PolicyFigures | None
    emulated: bool = False
    """Whether there is no such hardware: watts and temperatures are then a model's."""
    envelope_sequence: Whole = 0
    """Of the latest envelope order that the device keeps; 0 where it never had one."""
    host: HostFigures | None = None


class DecisionRecord(Message, frozen=True, omit_defaults=True):
    """One decision and what became of it. `queue_ns` is how long the observation waited for the decision to begin.

    `plan` is [[acceleration m/s², curvature 1/m], …], one row a waypoint from `observed_utc_ns` on.
    `ticks` counts the ticks that executed it; `applied_*` is what the gate let through at the first of them.
    `energy_j` is module power integrated over the period that this decision drove. The plan is the medoid of
    `plan_samples` plans.
    """

    sequence: Whole
    release_digest: str
    observed_utc_ns: Whole
    latency_ns: Whole
    visual_ns: Whole
    reason_ns: Whole
    action_ns: Whole
    tokens: Whole
    reasoning: str
    plan: tuple[tuple[float, float], ...]
    flow_steps: Whole
    seed: Whole
    ticks: Whole
    first_tick_utc_ns: Whole
    applied_acceleration_mps2: float
    applied_curvature_per_m: float
    interventions: Whole
    energy_j: float
    queue_ns: Whole = 0
    plan_samples: Annotated[int, msgspec.Meta(ge=1, le=256)] = 1


class EventRecord(Message, frozen=True):
    """Something that happened once: `kind` is stable, `detail` is for people."""

    utc_ns: Whole
    kind: str
    release_digest: str = ""
    detail: str = ""


class TelemetryBatch(Message, frozen=True):
    """A piece of the spool; (device, boot, sequence) names it, and the server takes each once."""

    boot: str
    sequence: Whole
    utc_ns: Whole
    decisions: tuple[DecisionRecord, ...] = ()
    events: tuple[EventRecord, ...] = ()
    loop: LoopFigures | None = None
    power: PowerFigures | None = None
    decisions_lost: Whole = 0
    """Decisions that were dropped before the spool had them, since boot."""


class BatchAck(Message, frozen=True):
    """The server has this batch in its store."""

    boot: str
    sequence: Whole


class ReleaseOffer(Message, frozen=True):
    """A hint: the Director assigned this release. Untrusted; the device asks the repositories itself."""

    release_digest: str
    note: str = ""


class EnvelopeOrder(Message, frozen=True):
    """The fleet's limit on the 1 s mean of module power; None takes it back. It lowers what the device is configured for,
    and never lifts it.

    Of two orders the one with the higher `sequence` counts, in whatever order they come. From `expires_utc_ns` on the
    device forgets the limit; 0 is never.
    """

    sequence: Annotated[int, msgspec.Meta(ge=1, le=MAX_SEQUENCE)]
    envelope_w: EnvelopeWatts | None
    expires_utc_ns: Annotated[int, msgspec.Meta(ge=0, le=MAX_SEQUENCE)] = 0


class Repository(StrEnum):
    """The two TUF repositories."""

    IMAGE = "image"
    DIRECTOR = "director"


class MetadataRequest(Message, frozen=True, tag="metadata"):
    """One metadata file by its name in the repository, for example `2.root.json` or `timestamp.json`."""

    repository: Repository
    name: str


class TargetRequest(Message, frozen=True, tag="target"):
    """One small TUF target of the Image repository by its path, for example `policy/<sha256>.builders.json`."""

    path: str


class RangeRequest(Message, frozen=True, tag="range"):
    """`length_bytes` of the content named `digest`, from `offset_bytes` on."""

    digest: str
    offset_bytes: Whole
    length_bytes: Whole


class ContentRequest(Message, frozen=True):
    """Asks the depot; the answer comes on `reply/<id>` as raw bytes or on `refusal/<id>`."""

    id: str
    ask: MetadataRequest | TargetRequest | RangeRequest


class RefusalCode(StrEnum):
    """Why the depot has no bytes."""

    UNKNOWN = "unknown"
    """No such object: TUF reads this as the end of the root chain."""
    MALFORMED = "malformed"
    BUSY = "busy"
    FAILED = "failed"


class Refusal(Message, frozen=True):
    """On `refusal/<id>`."""

    code: RefusalCode
    detail: str = ""


M = TypeVar("M", bound=Message)


def encode(message: Message) -> bytes:
    """`message` as JSON."""
    return msgspec.json.encode(message)


def decode(data: bytes | bytearray | memoryview, kind: type[M], max_bytes: int = MAX_CONTROL_BYTES) -> M:
    """`data` as a message of `kind`.

    Raises:
        MalformedMessageError: longer than `max_bytes`, not JSON, a field unknown, missing or of another type.
    """
    if len(data) > max_bytes:
        raise MalformedMessageError(f"{kind.__name__} of {len(data)} bytes; at most {max_bytes} are read")
    try:
        return msgspec.json.decode(data, type=kind, strict=True)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise MalformedMessageError(f"{kind.__name__}: {error}") from error
