"""What the REST interface says: one frozen message type for each answer.

Owns: the fields and their meaning. Must not know: routes, stores.
They are msgspec structs like the wire, so that a decision is the same bytes of JSON on both sides.
"""

import msgspec

from models.wire.messages import DecisionRecord, DeviceState, EnvelopeWatts


class View(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Root of all answers."""


class HealthView(View, frozen=True):
    """Whether the server does its work. `status` is `ok`, or `degraded` where the broker is gone or the store failed."""

    status: str
    fleet: str
    broker_connected: bool
    devices: int
    devices_online: int
    releases: int
    messages: int
    messages_malformed: int
    messages_refused: int
    batches: int
    decisions: int
    content_sent_bytes: int
    sends_dropped: int
    store_failures: int


class DeviceView(View, frozen=True):
    """One device. `presence` is `connection`, or `silent` where a connected device says nothing for 10 s."""

    device: str
    connection: str
    presence: str
    hardware: str
    agent_version: str
    boot: str
    first_seen_utc_ns: int
    last_seen_utc_ns: int
    decision_rate_hz: float
    messages_malformed: int
    assigned_digest: str
    ordered_envelope_w: float | None
    """What the fleet ordered at last, in watts; None where nothing is ordered, or no longer."""
    envelope_kept: bool
    """Whether the device says that it keeps the latest order."""
    state: DeviceState | None


class ReleaseView(View, frozen=True):
    """One published release."""

    digest: str
    name: str
    version: str
    counter: int
    precision: str
    hardware: tuple[str, ...]
    size_bytes: int
    model_digest: str
    checkpoint_digest: str
    signature_digest: str
    ancestors: tuple[str, ...]
    created_utc: str
    live_on: tuple[str, ...]
    """Devices that run it now."""


class AssignmentRequest(View, frozen=True):
    """The order that `device` runs `release_digest`."""

    device: str
    release_digest: str


class AssignmentView(View, frozen=True):
    """An order and what became of it: `ordered`, `signed` or `failed`."""

    number: int
    device: str
    release_digest: str
    ordered_utc_ns: int
    state: str
    detail: str


class EnvelopeRequest(View, frozen=True):
    """The order that each of `devices` takes `envelope_w` at most, 40 to 130 W; null takes the order back."""

    devices: tuple[str, ...]
    envelope_w: EnvelopeWatts | None
    expires_utc_ns: int = 0
    """When devices forget it; 0 is never."""


class EnvelopeView(View, frozen=True):
    """An envelope order; `kept` once its device says that it keeps it. A device takes the lower of it and its own."""

    number: int
    device: str
    envelope_w: float | None
    expires_utc_ns: int
    ordered_utc_ns: int
    sequence: int
    kept: bool


class DeviceEnergyView(View, frozen=True):
    """What one device took with one release, for the decisions that drove."""

    device: str
    decisions: int
    energy_j: float


class ReleaseEnergyView(View, frozen=True):
    """The module energy of the decisions of a release that drove; `joules_per_decision` is null before the first."""

    digest: str
    decisions: int
    energy_j: float
    joules_per_decision: float | None
    devices: tuple[DeviceEnergyView, ...]


class DecisionView(View, frozen=True):
    """One decision; `id` is `device:boot:sequence`."""

    id: str
    device: str
    boot: str
    record: DecisionRecord


class EventView(View, frozen=True):
    """Something that happened once on a device."""

    device: str
    boot: str
    utc_ns: int
    kind: str
    release_digest: str
    detail: str


class RejectionView(View, frozen=True):
    """A message that could not be read; `head_hex` is its first bytes."""

    utc_ns: int
    device: str
    topic: str
    reason: str
    size_bytes: int
    head_hex: str


class DeviceUseView(View, frozen=True):
    """What one device did with one release of the lineage."""

    device: str
    release_digest: str
    decisions: int
    first_utc_ns: int
    last_utc_ns: int
    live_now: bool


class LineageView(View, frozen=True):
    """Everything that descends from `digest`: releases, and the devices that drove with them."""

    digest: str
    releases: tuple[ReleaseView, ...]
    devices: tuple[DeviceUseView, ...]


class ProblemView(View, frozen=True):
    """Why there is no answer: a stable `code`, and one sentence for people."""

    code: str
    detail: str


ALL: tuple[type[View], ...] = (
    HealthView,
    DeviceView,
    ReleaseView,
    AssignmentRequest,
    AssignmentView,
    EnvelopeRequest,
    EnvelopeView,
    DeviceEnergyView,
    ReleaseEnergyView,
    DecisionView,
    EventView,
    RejectionView,
    DeviceUseView,
    LineageView,
    ProblemView,
)
