"""The desk: questions about the fleet and their answers, as views.

Owns: the joins of registry, catalogue and store that REST and console both show. Must not know: HTTP, HTML.
"""

from dataclasses import asdict, dataclass

from fleet.api import views
from fleet.catalogue import Catalogue
from fleet.depot import check_metadata_name, check_path
from fleet.director import Director
from fleet.envelopes import Envelopes, is_kept
from fleet.lineage import uses
from fleet.ports import Content, InventoryStore, TelemetryStore
from fleet.records import Assignment, KnownRelease, Presence, StoredDecision, StoredEnvelope
from fleet.registry import DeviceSight, Registry
from models.digest import Digest, digest_from_text
from models.errors import UnknownObjectError, UsageError
from models.release.manifest import CLAIMS_NAME, MANIFEST_NAME, SIGNATURE_NAME

MAX_LIMIT = 1000


@dataclass(frozen=True, slots=True)
class Desk:
    """Everything that a question needs."""

    registry: Registry
    catalogue: Catalogue
    telemetry: TelemetryStore
    inventory: InventoryStore
    director: Director
    content: Content
    envelopes: Envelopes

    def devices(self) -> tuple[views.DeviceView, ...]:
        """All devices by name."""
        assigned = {order.device: order.release_digest for order in self.inventory.current_assignments()}
        limits, utc_ns = self.envelopes.current(), self.envelopes.utc_ns()
        return tuple(
            device_view(sight, assigned.get(sight.device, ""), limits.get(sight.device), utc_ns)
            for sight in self.registry.sights()
        )

    def device(self, device: str) -> views.DeviceView:
        """One device. Raises `UnknownObjectError`."""
        sight, order = self.registry.sight(device), self.inventory.assignment_of(device)
        limit, utc_ns = self.envelopes.current().get(device), self.envelopes.utc_ns()
        return device_view(sight, order.release_digest if order else "", limit, utc_ns)

    def releases(self) -> tuple[views.ReleaseView, ...]:
        """All releases, newest counter first."""
        live = self._live()
        return tuple(release_view(release, live) for release in self.catalogue.releases())

    def release(self, digest: str) -> views.ReleaseView:
        """One release. Raises `UnknownObjectError`."""
        return release_view(self.catalogue.release(digest), self._live())

    def release_energy(self, digest: str) -> views.ReleaseEnergyView:
        """What the decisions of a release took; it need not be published any more."""
        asked = digest_from_text(digest)
        parts = self.telemetry.energy(asked)
        decisions, energy_j = sum(one.decisions for one in parts), sum(one.energy_j for one in parts)
        return views.ReleaseEnergyView(
            digest=asked,
            decisions=decisions,
            energy_j=energy_j,
            joules_per_decision=energy_j / decisions if decisions else None,
            devices=tuple(
                views.DeviceEnergyView(device=one.device, decisions=one.decisions, energy_j=one.energy_j)
                for one in parts
            ),
        )

    def release_file(self, digest: str, path: str) -> bytes:
        """One of the small files that a verifier needs. Raises `UnknownObjectError`."""
        release = self.catalogue.release(digest)
        if path == MANIFEST_NAME:
            folder, _, name = release.target_path.rpartition("/")
            return self.content.target(f"{folder}/{digest.removeprefix('sha256:')}.{name}")
        if path == SIGNATURE_NAME:
            return self.content.whole_content(Digest(release.signature_digest))
        if path == CLAIMS_NAME:
            return self.content.whole_content(Digest(release.manifest.file_of("claims").digest))
        raise UnknownObjectError(f"only {MANIFEST_NAME}, {SIGNATURE_NAME} and {CLAIMS_NAME} are served here")

    def image_metadata(self, name: str) -> bytes:
        """A metadata file of the Image repository."""
        return self.content.image_metadata(check_metadata_name(name))

    def image_target(self, path: str) -> bytes:
        """A target of the Image repository."""
        return self.content.target(check_path(path))

    def assign(self, wanted: views.AssignmentRequest) -> views.AssignmentView:
        """Order that a device runs a release."""
        digest = digest_from_text(wanted.release_digest)
        return assignment_view(self.director.assign(wanted.device, digest))

    def assignments(self, limit: int) -> tuple[views.AssignmentView, ...]:
        """The latest orders, newest first."""
        return tuple(assignment_view(order) for order in self.inventory.assignments(_limit(limit)))

    def order_envelope(self, wanted: views.EnvelopeRequest) -> tuple[views.EnvelopeView, ...]:
        """Order how many watts devices may take at most."""
        orders = self.envelopes.order(wanted.devices, wanted.envelope_w, wanted.expires_utc_ns)
        return tuple(self._envelope_view(order) for order in orders)

    def envelope_orders(self, limit: int) -> tuple[views.EnvelopeView, ...]:
        """The latest envelope orders, newest first."""
        return tuple(self._envelope_view(order) for order in self.envelopes.latest(_limit(limit)))

    def _envelope_view(self, order: StoredEnvelope) -> views.EnvelopeView:
        try:
            kept = is_kept(self.registry.sight(order.device), order)
        except UnknownObjectError:
            kept = False
        return views.EnvelopeView(kept=kept, **asdict(order))

    def decisions(self, device: str, release: str, limit: int) -> tuple[views.DecisionView, ...]:
        """The latest decisions, newest first."""
        if release:
            digest_from_text(release)
        found = self.telemetry.decisions(device, release, _limit(limit))
        return tuple(decision_view(decision) for decision in found)

    def decision(self, identity: str) -> views.DecisionView:
        """The decision named `device:boot:sequence`. Raises `UsageError`, `UnknownObjectError`."""
        device, boot, sequence = [*identity.split(":"), "", "", ""][:3]
        if (
            identity.count(":") != 2
            or not (sequence.isascii() and sequence.isdecimal())
            or len(sequence) > 18
        ):
            raise UsageError(f"not a decision id: {identity[:100]!r} (expected device:boot:sequence)")
        return decision_view(self.telemetry.decision(device, boot, int(sequence)))

    def events(self, device: str, limit: int) -> tuple[views.EventView, ...]:
        """The latest events, newest first."""
        return tuple(
            views.EventView(
                device=event.device,
                boot=event.boot,
                utc_ns=event.utc_ns,
                kind=event.kind,
                release_digest=event.release_digest,
                detail=event.detail,
            )
            for event in self.telemetry.events(device, _limit(limit))
        )

    def rejections(self) -> tuple[views.RejectionView, ...]:
        """The last messages that could not be read, newest first."""
        return tuple(
            views.RejectionView(
                utc_ns=rejection.utc_ns,
                device=rejection.device,
                topic=rejection.topic,
                reason=rejection.reason,
                size_bytes=rejection.size_bytes,
                head_hex=rejection.head.hex(),
            )
            for rejection in self.telemetry.rejections()
        )

    def lineage(self, digest: str) -> views.LineageView:
        """What descends from a checkpoint, a dataset or any other digest of a lineage."""
        asked = digest_from_text(digest)
        found = self.inventory.descended_from(asked)
        live = self._live()
        known = {release.digest: release for release in self.catalogue.releases()}
        return views.LineageView(
            digest=asked,
            releases=tuple(release_view(known[one], live) for one in found if one in known),
            devices=tuple(
                views.DeviceUseView(
                    device=use.device,
                    release_digest=use.release_digest,
                    decisions=use.decisions,
                    first_utc_ns=use.first_utc_ns,
                    last_utc_ns=use.last_utc_ns,
                    live_now=use.live_now,
                )
                for use in uses(found, self.telemetry.drives(found), live)
            ),
        )

    def _live(self) -> dict[str, str]:
        return {
            sight.device: sight.state.live_digest
            for sight in self.registry.sights()
            if sight.state is not None and sight.presence is Presence.ONLINE
        }


def device_view(
    sight: DeviceSight, assigned_digest: str, limit: StoredEnvelope | None, utc_ns: int
) -> views.DeviceView:
    """A device with its orders as they stand at `utc_ns`."""
    stored, over = sight.stored, limit is not None and 0 < limit.expires_utc_ns <= utc_ns
    return views.DeviceView(
        device=sight.device,
        connection=sight.connection.value,
        presence=sight.presence.value,
        hardware=stored.hardware,
        agent_version=stored.agent_version,
        boot=stored.boot,
        first_seen_utc_ns=stored.first_seen_utc_ns,
        last_seen_utc_ns=stored.last_seen_utc_ns,
        decision_rate_hz=sight.decision_rate_hz,
        messages_malformed=sight.malformed,
        assigned_digest=assigned_digest,
        ordered_envelope_w=None if limit is None or over else limit.envelope_w,
        envelope_kept=limit is not None and is_kept(sight, limit),
        state=sight.state,
    )


def release_view(release: KnownRelease, live: dict[str, str]) -> views.ReleaseView:
    """A release with the devices that run it."""
    manifest = release.manifest
    return views.ReleaseView(
        digest=release.digest,
        name=manifest.name,
        version=manifest.version,
        counter=manifest.counter,
        precision=manifest.precision,
        hardware=manifest.hardware,
        size_bytes=manifest.size_bytes,
        model_digest=manifest.model_digest,
        checkpoint_digest=manifest.checkpoint_digest,
        signature_digest=release.signature_digest,
        ancestors=manifest.ancestors,
        created_utc=manifest.created_utc,
        live_on=tuple(device for device, digest in sorted(live.items()) if digest == release.digest),
    )


def assignment_view(order: Assignment) -> views.AssignmentView:
    """An order."""
    return views.AssignmentView(
        number=order.number,
        device=order.device,
        release_digest=order.release_digest,
        ordered_utc_ns=order.ordered_utc_ns,
        state=order.state.value,
        detail=order.detail,
    )


def decision_view(decision: StoredDecision) -> views.DecisionView:
    """A decision with its id."""
    return views.DecisionView(
        id=decision.id, device=decision.device, boot=decision.boot, record=decision.record
    )


def _limit(limit: int) -> int:
    if not 1 <= limit <= MAX_LIMIT:
        raise UsageError(f"limit {limit}: 1 to {MAX_LIMIT} may be asked for")
    return limit
