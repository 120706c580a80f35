"""The fleet server's world without a network: a clock that is set, a publisher that records, a signer that obeys."""

from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from fleet.catalogue import Catalogue
from fleet.records import KnownRelease
from models.digest import digest_of, hex_of
from models.errors import MetadataError
from models.release.manifest import ReleaseFile, ReleaseManifest, bytes_from_manifest
from tests.fakes.fleet_messages import START_UTC_NS, manifest

SIGNATURE = b"a model signature"
CLAIMS = b'{"a": "claim"}\n'


@dataclass
class SetClock:
    """Both clocks of `fleet.ports.Clock`, moved by hand."""

    utc: int = START_UTC_NS
    mono: int = 1_000_000_000

    def utc_ns(self) -> int:
        return self.utc

    def mono_ns(self) -> int:
        return self.mono

    def pass_s(self, seconds: float) -> None:
        """Let time pass."""
        self.utc += int(seconds * 1e9)
        self.mono += int(seconds * 1e9)


@dataclass
class SentMessages:
    """`fleet.ports.Publisher` that keeps what was sent."""

    sent: list[tuple[str, bytes]] = field(default_factory=list)

    def publish(self, topic: str, payload: bytes) -> bool:
        self.sent.append((topic, payload))
        return True

    def topics(self) -> list[str]:
        """Where to."""
        return [topic for topic, _ in self.sent]


@dataclass
class ObedientSigner:
    """`fleet.ports.DirectorSigner`; `broken` makes it refuse, `image_broken` to renew the Image repository."""

    assigned: list[tuple[str, str]] = field(default_factory=list)
    refreshed: list[str] = field(default_factory=list)
    image_refreshes: int = 0
    broken: bool = False
    image_broken: bool = False

    def assign(self, device: str, hardware: str, release: KnownRelease, now: datetime) -> None:
        self._check()
        self.assigned.append((device, release.digest))

    def refresh(self, device: str, now: datetime) -> None:
        self._check()
        self.refreshed.append(device)

    def refresh_image(self, now: datetime) -> None:
        if self.image_broken:
            raise MetadataError("the repository is gone")
        self.image_refreshes += 1

    def _check(self) -> None:
        if self.broken:
            raise MetadataError("the key is gone")


def publish_release(repo: Path, counter: int = 1, ancestors: tuple[str, ...] = ()) -> ReleaseManifest:
    """Lay a release out in `repo` as the Image repository does, with metadata that names it and nobody signed."""
    digest = digest_of(CLAIMS)
    claims = ReleaseFile("claims.jsonl", "claims", len(CLAIMS), digest, 65536, (digest,))
    made = manifest(counter, (claims,), ancestors)
    folder = repo / "image" / "targets" / "releases" / made.name / made.version
    folder.mkdir(parents=True)
    data = bytes_from_manifest(made)
    (folder / f"{hex_of(digest_of(data))}.release.json").write_bytes(data)
    for content in (CLAIMS, SIGNATURE):
        path = repo / "content" / hex_of(digest_of(content))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return made


def list_releases(repo: Path, *manifests: ReleaseManifest) -> None:
    """Write the release metadata that names `manifests`."""
    signature = f'{{"sha256": "{hex_of(digest_of(SIGNATURE))}", "length": {len(SIGNATURE)}}}'
    custom = f'{{"counter": 1, "hardware": [], "signature": {signature}}}'
    entries = ", ".join(
        f'"releases/{one.name}/{one.version}/release.json": {{"custom": {custom}, "length": 1}}'
        for one in manifests
    )
    folder = repo / "image" / "metadata"
    folder.mkdir(parents=True, exist_ok=True)
    number = len(list(folder.glob("*.release.json"))) + 1
    text = f'{{"signed": {{"_type": "targets", "targets": {{{entries}}}}}, "signatures": []}}'
    (folder / f"{number}.release.json").write_text(text)


def catalogue_of(repo: Path, *counters: int) -> Catalogue:
    """A catalogue over published releases with these counters."""
    list_releases(repo, *(publish_release(repo, counter) for counter in counters))
    catalogue = Catalogue(repo)
    catalogue.refresh()
    return catalogue
