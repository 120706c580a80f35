"""The Director: orders that a device runs a release, and keeps every device's signed metadata fresh.

Owns: which orders make sense, their rows, and the offers that hint at them.
Must not know: keys and TUF (`DirectorSigner`), MQTT clients. A device obeys the signed metadata, never the offer.
"""

import logging
import threading
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from fleet.catalogue import Catalogue
from fleet.ports import Clock, DirectorSigner, InventoryStore, Publisher
from fleet.records import Assignment, AssignmentState, KnownRelease
from fleet.registry import Registry
from models.errors import DeviceClassMismatchError, NotNowError, RoskvaError
from models.wire.messages import ReleaseOffer, encode
from models.wire.topics import Channel, topic

REFRESH_AFTER_NS = 6 * 3600 * 1_000_000_000
"""Online metadata lives a day at most; a quarter of it leaves time to repair the server."""
IMAGE_EVERY_NS = 3600 * 1_000_000_000
RETRY_AFTER_NS = 60 * 1_000_000_000
_LATEST = 1000
"""Orders among which those of a server that ended in the middle are looked for."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class DirectorParts:
    """What the Director works with."""

    store: InventoryStore
    catalogue: Catalogue
    registry: Registry
    signer: DirectorSigner
    publisher: Publisher
    clock: Clock


class Director:
    """One per fleet; signing is serial."""

    def __init__(self, fleet: str, parts: DirectorParts) -> None:
        self._fleet = fleet
        self._parts = parts
        self._lock = threading.Lock()
        self._due_mono_ns: dict[str, int] = {}
        self._image_due_mono_ns = 0

    def assign(self, device: str, release_digest: str) -> Assignment:
        """Order that `device` runs a release: write it down, sign it, offer it.

        Raises:
            UnknownObjectError: no such device or release.
            DeviceClassMismatchError: the release is not for this hardware.
            RoskvaError: the Director could not sign; the order is kept as failed.
        """
        hardware, release = self._checked(device, release_digest)
        order = Assignment(0, device, release.digest, self._parts.clock.utc_ns(), AssignmentState.ORDERED, "")
        with self._lock:  # of two orders for a device, the later one is also signed later
            signed = self._sign(self._parts.store.add_assignment(order), hardware, release)
        self._offer(device, release.digest)
        return signed

    def finish_interrupted(self) -> None:
        """Sign the orders that a server wrote down and did not live to settle; those overtaken have failed.

        Nobody knows whether such an order was signed before the end, so only signing it makes the row true.
        """
        for order in self._parts.store.assignments(_LATEST):
            if order.state is AssignmentState.ORDERED:
                self._finish(order)

    def _finish(self, order: Assignment) -> None:
        current = self._parts.store.assignment_of(order.device)
        if current is not None and current.number > order.number:
            self._parts.store.settle_assignment(order.number, AssignmentState.FAILED, "a later order holds")
            return
        try:
            hardware, release = self._checked(order.device, order.release_digest)
            with self._lock:
                self._sign(order, hardware, release)
        except RoskvaError as error:
            _log.warning("order %d for %s is not finished: %s", order.number, order.device, error)
            self._parts.store.settle_assignment(order.number, AssignmentState.FAILED, str(error))

    def _checked(self, device: str, release_digest: str) -> tuple[str, KnownRelease]:
        """The device's hardware, and the release, which is made for it."""
        hardware = self._parts.registry.sight(device).stored.hardware
        release = self._parts.catalogue.release(release_digest)
        if hardware not in release.manifest.hardware:
            allowed = ", ".join(release.manifest.hardware)
            raise DeviceClassMismatchError(
                f"{device} is {hardware or 'unknown'}; the release is for {allowed}"
            )
        return hardware, release

    def greet(self, device: str) -> None:
        """A device came online: it needs metadata for its first question, and a hint where it has an order."""
        self._due_mono_ns.setdefault(device, 0)
        self.refresh_due()
        order = self._parts.store.assignment_of(device)
        if order is not None:
            self._offer(device, order.release_digest)

    def refresh_due(self) -> None:
        """Sign anew the metadata of every known device whose turn it is."""
        now_ns = self._parts.clock.mono_ns()
        if now_ns >= self._image_due_mono_ns:
            self._refresh_image(now_ns)
        for sight in self._parts.registry.sights():
            if now_ns >= self._due_mono_ns.get(sight.device, 0):
                self._refresh(sight.device, now_ns)

    def _refresh_image(self, now_ns: int) -> None:
        try:
            with self._lock:
                self._parts.signer.refresh_image(self._now())
            self._image_due_mono_ns = now_ns + IMAGE_EVERY_NS
        except RoskvaError as error:
            _log.warning("the Image metadata is not refreshed: %s", error)
            self._image_due_mono_ns = now_ns + RETRY_AFTER_NS

    def _refresh(self, device: str, now_ns: int) -> None:
        try:
            with self._lock:
                self._parts.signer.refresh(device, self._now())
            self._due_mono_ns[device] = now_ns + REFRESH_AFTER_NS
        except RoskvaError as error:
            _log.warning("the Director metadata of %s is not refreshed: %s", device, error)
            self._due_mono_ns[device] = now_ns + RETRY_AFTER_NS

    def _sign(self, order: Assignment, hardware: str, release: KnownRelease) -> Assignment:
        settle = self._parts.store.settle_assignment
        try:
            self._parts.signer.assign(order.device, hardware, release, self._now())
        except (RoskvaError, OSError) as error:
            settle(order.number, AssignmentState.FAILED, str(error))
            if isinstance(error, RoskvaError):
                raise
            raise NotNowError(f"the Director cannot write its metadata: {error.strerror}") from error
        settle(order.number, AssignmentState.SIGNED, "")
        self._due_mono_ns[order.device] = self._parts.clock.mono_ns() + REFRESH_AFTER_NS
        return replace(order, state=AssignmentState.SIGNED)

    def _offer(self, device: str, release_digest: str) -> None:
        payload = encode(ReleaseOffer(release_digest))
        self._parts.publisher.publish(topic(self._fleet, device, Channel.OFFER), payload)

    def _now(self) -> datetime:
        return datetime.fromtimestamp(self._parts.clock.utc_ns() / 1e9, tz=UTC)
