"""The stores of the fleet server in memory; they pass the same conformance suite as the SQL ones."""

from collections.abc import Sequence
from dataclasses import replace

from fleet.errors import StoreError
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
from models.errors import UnknownObjectError

_Key = tuple[str, str, int]


class MemoryTelemetryStore:
    """`fleet.ports.TelemetryStore`; `broken` makes every `take` fail, `poison` those with that batch sequence."""

    def __init__(self) -> None:
        self.broken = False
        self.poison: int | None = None
        self._batches: set[_Key] = set()
        self._decisions: dict[_Key, StoredDecision] = {}
        self._events: list[StoredEvent] = []
        self._rejections: list[Rejection] = []

    def take(self, parcels: Sequence[Parcel], rejections: Sequence[Rejection]) -> tuple[Receipt, ...]:
        if self.broken or self.poison in {parcel.batch.sequence for parcel in parcels}:
            raise StoreError("the disk is full")
        receipts: dict[_Key, Receipt] = {}
        for parcel in parcels:
            key = (parcel.device, parcel.batch.boot, parcel.batch.sequence)
            new = 0 if key in self._batches else self._keep(parcel)
            self._batches.add(key)
            receipts.setdefault(key, Receipt(*key, new))
        self._rejections = [*self._rejections, *rejections][-100:]
        return tuple(receipts.values())

    def decision(self, device: str, boot: str, sequence: int) -> StoredDecision:
        try:
            return self._decisions[device, boot, sequence]
        except KeyError:
            raise UnknownObjectError(f"no decision {device}:{boot}:{sequence}") from None

    def decisions(self, device: str, release_digest: str, limit: int) -> tuple[StoredDecision, ...]:
        found = [
            decision
            for decision in self._decisions.values()
            if device in ("", decision.device) and release_digest in ("", decision.record.release_digest)
        ]
        return tuple(
            sorted(found, key=lambda one: (-one.record.observed_utc_ns, -one.record.sequence))[:limit]
        )

    def drives(self, release_digests: Sequence[Digest]) -> tuple[Drive, ...]:
        times: dict[tuple[str, str], list[int]] = {}
        for decision in self._decisions.values():
            if decision.record.release_digest in release_digests:
                key = (decision.device, decision.record.release_digest)
                times.setdefault(key, []).append(decision.record.observed_utc_ns)
        drives = [Drive(*key, len(seen), min(seen), max(seen)) for key, seen in times.items()]
        return tuple(sorted(drives, key=lambda drive: (drive.device, drive.first_utc_ns)))

    def energy(self, release_digest: Digest) -> tuple[ReleaseEnergy, ...]:
        found: dict[str, list[float]] = {}
        for decision in self._decisions.values():
            record = decision.record
            if record.release_digest == release_digest and record.ticks and 0 < record.energy_j <= 100_000:
                found.setdefault(decision.device, []).append(record.energy_j)
        return tuple(
            ReleaseEnergy(device, release_digest, len(some), sum(some))
            for device, some in sorted(found.items())
        )

    def events(self, device: str, limit: int) -> tuple[StoredEvent, ...]:
        return tuple([event for event in reversed(self._events) if device in ("", event.device)][:limit])

    def rejections(self) -> tuple[Rejection, ...]:
        return tuple(reversed(self._rejections))

    def _keep(self, parcel: Parcel) -> int:
        before = len(self._decisions)
        for record in parcel.batch.decisions:
            key = (parcel.device, parcel.batch.boot, record.sequence)
            self._decisions.setdefault(key, StoredDecision(parcel.device, parcel.batch.boot, record))
        for event in parcel.batch.events:
            self._events.append(
                StoredEvent(
                    parcel.device,
                    parcel.batch.boot,
                    event.utc_ns,
                    event.kind.replace("\x00", "\ufffd"),
                    event.release_digest,
                    event.detail.replace("\x00", "\ufffd"),
                )
            )
        return len(self._decisions) - before


class MemoryInventoryStore:
    """`fleet.ports.InventoryStore`."""

    def __init__(self) -> None:
        self._devices: dict[str, StoredDevice] = {}
        self._ancestors: dict[str, set[str]] = {}
        self._assignments: list[Assignment] = []

    def put_devices(self, devices: Sequence[StoredDevice]) -> None:
        for device in devices:
            before = self._devices.get(device.device, device)
            self._devices[device.device] = replace(device, first_seen_utc_ns=before.first_seen_utc_ns)

    def devices(self) -> tuple[StoredDevice, ...]:
        return tuple(self._devices[name] for name in sorted(self._devices))

    def put_release(self, release: KnownRelease, ancestors: Sequence[Digest], seen_utc_ns: int) -> None:
        self._ancestors.setdefault(release.digest, set(ancestors))

    def descended_from(self, ancestor: Digest) -> tuple[Digest, ...]:
        return tuple(Digest(one) for one in sorted(self._ancestors) if ancestor in self._ancestors[one])

    def add_assignment(self, assignment: Assignment) -> Assignment:
        numbered = replace(assignment, number=len(self._assignments) + 1)
        self._assignments.append(numbered)
        return numbered

    def settle_assignment(self, number: int, state: AssignmentState, detail: str) -> None:
        before = self._assignments[number - 1]
        self._assignments[number - 1] = replace(before, state=state, detail=detail[:500])

    def assignments(self, limit: int) -> tuple[Assignment, ...]:
        return tuple(reversed(self._assignments))[:limit]

    def assignment_of(self, device: str) -> Assignment | None:
        return {order.device: order for order in self.current_assignments()}.get(device)

    def current_assignments(self) -> tuple[Assignment, ...]:
        signed = {one.device: one for one in self._assignments if one.state is AssignmentState.SIGNED}
        return tuple(signed[device] for device in sorted(signed))


class MemoryEnvelopeStore:
    """`fleet.ports.EnvelopeStore`; `broken` makes it keep nothing."""

    def __init__(self) -> None:
        self.broken = False
        self._orders: list[StoredEnvelope] = []

    def add_envelopes(self, orders: Sequence[StoredEnvelope]) -> tuple[StoredEnvelope, ...]:
        if self.broken:
            raise StoreError("the disk is full")
        first = len(self._orders) + 1
        added = [replace(order, number=first + place) for place, order in enumerate(orders)]
        self._orders += added
        return tuple(added)

    def envelopes(self, limit: int) -> tuple[StoredEnvelope, ...]:
        return tuple(reversed(self._orders))[:limit]

    def current_envelopes(self) -> tuple[StoredEnvelope, ...]:
        latest = {order.device: order for order in self._orders}
        return tuple(latest[device] for device in sorted(latest))
