"""The catalogue: the releases that lie in the repository.

Owns: finding them, and their digests, sizes and signatures by name. Must not know: signing, MQTT, HTTP.
What it reads was published by the release key; devices verify all of it again, so the catalogue only reads.
"""

import logging
import threading
from pathlib import Path

import msgspec

from fleet.adapters.repository import read_whole
from fleet.records import KnownRelease
from models.digest import Digest, hex_of
from models.errors import RoskvaError, UnknownObjectError
from models.release.manifest import MAX_MANIFEST_BYTES, manifest_from_bytes

_TARGETS = Path("image/targets")
_METADATA = Path("image/metadata")
_MAX_METADATA_BYTES = 16 << 20
_log = logging.getLogger(__name__)


class _Signature(msgspec.Struct, frozen=True):
    sha256: str = ""
    length: int = 0


class _Custom(msgspec.Struct, frozen=True):
    signature: _Signature = _Signature()


class _Target(msgspec.Struct, frozen=True):
    custom: _Custom | None = None


class _Signed(msgspec.Struct, frozen=True):
    targets: dict[str, _Target] = {}


class _Metadata(msgspec.Struct, frozen=True):
    """What of a TUF targets file the catalogue looks at; other fields are left to TUF."""

    signed: _Signed


class Catalogue:
    """Known releases by digest; `refresh` looks again. Safe from several threads."""

    def __init__(self, repo: Path) -> None:
        self._repo = repo
        self._lock = threading.Lock()
        self._by_digest: dict[Digest, KnownRelease] = {}
        self._seen: set[Path] = set()

    def refresh(self) -> tuple[KnownRelease, ...]:
        """Look for new releases; returns those. A file that the release metadata does not name is not one yet."""
        with self._lock:
            paths = set((self._repo / _TARGETS / "releases").glob("*/*/*.release.json"))
            found = {path: self._read(path) for path in sorted(paths - self._seen)}
            new = {path: release for path, release in found.items() if release is not None}
            self._seen |= set(new)
            self._by_digest |= {release.digest: release for release in new.values()}
            return tuple(new.values())

    def releases(self) -> tuple[KnownRelease, ...]:
        """All, newest counter first."""
        with self._lock:
            return tuple(sorted(self._by_digest.values(), key=lambda known: -known.manifest.counter))

    def release(self, digest: str) -> KnownRelease:
        """One release. Raises `UnknownObjectError`."""
        with self._lock:
            if (known := self._by_digest.get(Digest(digest))) is not None:
                return known
        raise UnknownObjectError(f"no release {digest[:80]} in the repository")

    def _read(self, path: Path) -> KnownRelease | None:
        try:
            data = read_whole(path, MAX_MANIFEST_BYTES)
            manifest, digest = manifest_from_bytes(data)
        except RoskvaError as error:
            _log.warning("%s is not a release: %s", path, error)
            return None
        if path.name != f"{hex_of(digest)}.release.json":
            _log.warning("%s does not have the digest of its name", path)
            return None
        name = path.relative_to(self._repo / _TARGETS).with_name("release.json").as_posix()
        if not (signature := self._signature_of(name)):
            return None
        return KnownRelease(digest, name, len(data), manifest, signature)

    def _signature_of(self, target: str) -> str:
        """The digest of the release's signature, as the newest release metadata names it, or nothing."""
        versions = (self._repo / _METADATA).glob("*.release.json")
        newest = max(versions, key=_version, default=None)
        if newest is None:
            return ""
        try:
            metadata = msgspec.json.decode(read_whole(newest, _MAX_METADATA_BYTES), type=_Metadata)
        except (msgspec.DecodeError, RecursionError, RoskvaError) as error:
            _log.warning("%s is not metadata: %s", newest, error)
            return ""
        entry = metadata.signed.targets.get(target)
        text = entry.custom.signature.sha256 if entry and entry.custom else ""
        return f"sha256:{text.removeprefix('sha256:')}" if text else ""


def _version(path: Path) -> int:
    number = path.name.split(".", 1)[0]
    return int(number) if number.isdecimal() else -1
