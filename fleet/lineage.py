"""Lineage on the server: which releases descend from a digest, and which devices drove with them. Pure.

Owns: what counts as ancestry of a release, and the join of releases, drives and live devices.
Must not know: claims and signatures (the auditor's command verifies those), SQL, HTTP.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from fleet.records import Drive, KnownRelease
from models.digest import Digest


@dataclass(frozen=True, slots=True)
class DeviceUse:
    """One device and one release of the lineage; `decisions` is 0 where it is live and has not driven."""

    device: str
    release_digest: str
    decisions: int
    first_utc_ns: int
    last_utc_ns: int
    live_now: bool


def ancestry(release: KnownRelease) -> tuple[Digest, ...]:
    """Everything that a question about this release's origin may name: itself, its model, its ancestors."""
    manifest = release.manifest
    own = {release.digest, manifest.model_digest, manifest.checkpoint_digest}
    return tuple(Digest(text) for text in sorted(own | set(manifest.ancestors)))


def uses(
    releases: Iterable[Digest], drives: Iterable[Drive], live: Mapping[str, str]
) -> tuple[DeviceUse, ...]:
    """Devices that drove with one of `releases`, or have it live now.

    Args:
        releases: the releases of the lineage.
        drives: what devices did; those with other releases are left out.
        live: the live release by device, of devices that are there now.
    """
    wanted = set(releases)
    found = {
        (drive.device, drive.release_digest): DeviceUse(
            drive.device,
            drive.release_digest,
            drive.decisions,
            drive.first_utc_ns,
            drive.last_utc_ns,
            live.get(drive.device) == drive.release_digest,
        )
        for drive in drives
        if drive.release_digest in wanted
    }
    for device, digest in live.items():
        if digest in wanted:
            found.setdefault((device, digest), DeviceUse(device, digest, 0, 0, 0, live_now=True))
    return tuple(found[key] for key in sorted(found))
