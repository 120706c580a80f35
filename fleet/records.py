"""What the fleet server keeps: one frozen record for each kind of row.

Owns: the records that cross the store's border. Must not know: SQL, HTTP, MQTT.
All times are UTC nanoseconds.
"""

from dataclasses import dataclass
from enum import StrEnum

from models.digest import Digest
from models.release.manifest import ReleaseManifest
from models.wire.messages import DecisionRecord, DeviceState, TelemetryBatch


class Presence(StrEnum):
    """Whether a device is there. `silent`: its connection stands, but no state came for 10 s."""

    ONLINE = "online"
    SILENT = "silent"
    OFFLINE = "offline"
    BROKEN = "broken"


@dataclass(frozen=True, slots=True)
class Parcel:
    """One telemetry batch of one device, decoded and checked; `decisions_json` matches `batch.decisions`."""

    device: str
    received_utc_ns: int
    batch: TelemetryBatch
    decisions_json: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Rejection:
    """A message that could not be read, set aside for people; `head` is its beginning."""

    utc_ns: int
    device: str
    topic: str
    reason: str
    size_bytes: int
    head: bytes


@dataclass(frozen=True, slots=True)
class Receipt:
    """What became of a parcel: `new_decisions` is 0 where the batch was there already."""

    device: str
    boot: str
    sequence: int
    new_decisions: int


@dataclass(frozen=True, slots=True)
class StoredDecision:
    """A decision with the device and boot that make its id."""

    device: str
    boot: str
    record: DecisionRecord

    @property
    def id(self) -> str:
        """`device:boot:sequence`, unique in the fleet."""
        return f"{self.device}:{self.boot}:{self.record.sequence}"


@dataclass(frozen=True, slots=True)
class StoredEvent:
    """Something that happened once on a device."""

    device: str
    boot: str
    utc_ns: int
    kind: str
    release_digest: str
    detail: str


@dataclass(frozen=True, slots=True)
class Drive:
    """What one device did with one release, over all boots."""

    device: str
    release_digest: str
    decisions: int
    first_utc_ns: int
    last_utc_ns: int


@dataclass(frozen=True, slots=True)
class StoredDevice:
    """A device as last seen; `state` is None until its first `state` message."""

    device: str
    hardware: str
    agent_version: str
    boot: str
    presence: Presence
    first_seen_utc_ns: int
    last_seen_utc_ns: int
    state: DeviceState | None


@dataclass(frozen=True, slots=True)
class KnownRelease:
    """A published release; `signature_digest` names its `model.oms.sig`."""

    digest: Digest
    target_path: str
    size_bytes: int
    manifest: ReleaseManifest
    signature_digest: str


class AssignmentState(StrEnum):
    """`ordered`: written down, not yet signed. `failed`: the Director could not sign it."""

    ORDERED = "ordered"
    SIGNED = "signed"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Assignment:
    """The order that a device runs a release; `number` is 0 until the store has given one."""

    number: int
    device: str
    release_digest: str
    ordered_utc_ns: int
    state: AssignmentState
    detail: str


@dataclass(frozen=True, slots=True)
class StoredEnvelope:
    """The order that a device takes `envelope_w` at most, or, where that is None, that an earlier one no longer counts.

    `number` is 0 until the store has given one; `sequence` is what the device compares; `expires_utc_ns` is 0 for never.
    """

    number: int
    device: str
    envelope_w: float | None
    expires_utc_ns: int
    ordered_utc_ns: int
    sequence: int


@dataclass(frozen=True, slots=True)
class ReleaseEnergy:
    """What one device took for the decisions of one release that drove, over all boots."""

    device: str
    release_digest: str
    decisions: int
    energy_j: float
