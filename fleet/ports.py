"""The ports of the fleet server: what its cores need from the world.

Owns: small protocols, one for each need. Must not know: which adapter answers.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Protocol

from fleet.records import (
    Assignment,
    AssignmentState,
    Drive,
    KnownRelease,
    Parcel,
    Receipt,
    Rejection,
    ReleaseEnergy,
    StoredDecision,
    StoredDevice,
    StoredEnvelope,
    StoredEvent,
)
from models.digest import Digest


class Clock(Protocol):
    """Two clocks that never mix."""

    def utc_ns(self) -> int:
        """UTC in nanoseconds, for what is written down."""

    def mono_ns(self) -> int:
        """Monotonic nanoseconds, for ages and deadlines."""


class Publisher(Protocol):
    """Sends to devices."""

    def publish(self, topic: str, payload: bytes) -> bool:
        """Queue `payload` at QoS 1; False where the queue is full or no broker is there."""


class TelemetryStore(Protocol):
    """What devices reported, each thing once."""

    def take(self, parcels: Sequence[Parcel], rejections: Sequence[Rejection]) -> tuple[Receipt, ...]:
        """Keep all of it in one transaction; on return it survives a power cut.

        A batch that is there already changes nothing and has a receipt all the same.

        Raises:
            StoreError: nothing was kept.
        """

    def decision(self, device: str, boot: str, sequence: int) -> StoredDecision:
        """One decision. Raises `UnknownObjectError`."""

    def decisions(self, device: str, release_digest: str, limit: int) -> tuple[StoredDecision, ...]:
        """The latest decisions, newest first; an empty `device` or `release_digest` means any."""

    def drives(self, release_digests: Sequence[Digest]) -> tuple[Drive, ...]:
        """Which devices drove with any of these releases."""

    def energy(self, release_digest: Digest) -> tuple[ReleaseEnergy, ...]:
        """What each device took with this release, by device."""

    def events(self, device: str, limit: int) -> tuple[StoredEvent, ...]:
        """The latest events, newest first; an empty `device` means any."""

    def rejections(self) -> tuple[Rejection, ...]:
        """The last messages set aside, newest first; at most 100 are kept."""


class InventoryStore(Protocol):
    """Devices, releases and orders."""

    def put_devices(self, devices: Sequence[StoredDevice]) -> None:
        """Insert or replace; the first sight of a device is kept."""

    def devices(self) -> tuple[StoredDevice, ...]:
        """All devices by name."""

    def put_release(self, release: KnownRelease, ancestors: Sequence[Digest], seen_utc_ns: int) -> None:
        """Insert a release with everything it descends from; no-op where it is there."""

    def descended_from(self, ancestor: Digest) -> tuple[Digest, ...]:
        """Releases whose ancestry holds `ancestor`, in the order of their digests."""

    def add_assignment(self, assignment: Assignment) -> Assignment:
        """Write an order down and number it."""

    def settle_assignment(self, number: int, state: AssignmentState, detail: str) -> None:
        """Say what became of an order."""

    def assignments(self, limit: int) -> tuple[Assignment, ...]:
        """The latest orders, newest first."""

    def assignment_of(self, device: str) -> Assignment | None:
        """The latest signed order of a device."""

    def current_assignments(self) -> tuple[Assignment, ...]:
        """The latest signed order of every device, by device."""


class EnvelopeStore(Protocol):
    """Envelope orders, all that ever were."""

    def add_envelopes(self, orders: Sequence[StoredEnvelope]) -> tuple[StoredEnvelope, ...]:
        """Write orders down, all or none, and number them."""

    def envelopes(self, limit: int) -> tuple[StoredEnvelope, ...]:
        """The latest orders, newest first."""

    def current_envelopes(self) -> tuple[StoredEnvelope, ...]:
        """The latest order of every device, by device."""


class Content(Protocol):
    """What the depot may hand out. All raise `UnknownObjectError` where there is nothing of that name."""

    def image_metadata(self, name: str) -> bytes:
        """A metadata file of the Image repository."""

    def director_metadata(self, device: str, name: str) -> bytes:
        """A metadata file of this device's Director repository."""

    def target(self, path: str) -> bytes:
        """A small target of the Image repository."""

    def content(self, digest: Digest, offset_bytes: int, length_bytes: int) -> bytes:
        """A range of published content. Raises `MalformedMessageError` where it leaves the content."""

    def whole_content(self, digest: Digest) -> bytes:
        """Published content of at most 1 MiB, all of it."""


class DirectorSigner(Protocol):
    """Signs the Director's metadata."""

    def assign(self, device: str, hardware: str, release: KnownRelease, now: datetime) -> None:
        """Sign that `device` runs `release`."""

    def refresh(self, device: str, now: datetime) -> None:
        """See that the device's metadata is there and fresh; it is an empty order where it has none."""

    def refresh_image(self, now: datetime) -> None:
        """Keep the Image repository's online roles fresh, where this server holds their keys."""
