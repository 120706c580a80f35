"""What an attacker can do to a site's repositories: tamper on the way, and sign with a stolen key.

Every function says which key, if any, the attacker has. Nothing here is imported by shipped code.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta

from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from tuf.api.metadata import Targets  # type: ignore[attr-defined] # public names, without an __all__

from models.errors import UnknownObjectError
from models.trust.director import LIFE, DirectorRepository
from models.trust.image import SNAPSHOT_LIFE, TIMESTAMP_LIFE, director_root
from models.trust.metadata import MetadataFolder, OnlineSigning, expiry
from models.trust.source import MetadataSource
from models.wire.messages import Repository
from tests.fakes.repositories import Site

Change = Callable[[bytes], bytes]
MONTHS = timedelta(days=60)


@dataclass
class TamperingSource:
    """Changes, withholds (`None`) or replaces files on their way; needs no key. Names are those of the repository."""

    honest: MetadataSource
    metadata_changes: Mapping[tuple[Repository, str], Change | None] = field(default_factory=dict)
    target_changes: Mapping[str, Change | None] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)

    def metadata(self, repository: Repository, name: str, max_bytes: int) -> bytes:
        """As `MetadataSource.metadata`."""
        self.asked.append(f"{repository}/{name}")
        change = self.metadata_changes.get((repository, name), _unchanged)
        if change is None:
            raise UnknownObjectError(f"{name} is withheld")
        return change(_or_empty(lambda: self.honest.metadata(repository, name, max_bytes), change))

    def target(self, path: str, max_bytes: int) -> bytes:
        """As `MetadataSource.target`."""
        self.asked.append(path)
        name = path.rpartition("/")[2].partition(".")[2]
        change = self.target_changes.get(name, _unchanged)
        if change is None:
            raise UnknownObjectError(f"{name} is withheld")
        return change(self.honest.target(path, max_bytes))


def flip(position: int) -> Change:
    """Flips the lowest bit of the byte at `position`, counted from the end where it is negative."""

    def change(data: bytes) -> bytes:
        changed = bytearray(data)
        changed[position] ^= 1
        return bytes(changed)

    return change


def flip_at(place: float) -> Change:
    """Flips the lowest bit of the byte at `place`, a part of the length from 0 to below 1."""
    return lambda data: flip(int(place * len(data)))(data)


def replaced_by(other: bytes) -> Change:
    """Serves `other` instead."""
    return lambda _: other


def forge_director(site: Site, device: str, change: Callable[[Targets], None]) -> None:
    """The attacker has `director-online`: sign any targets for `device`."""
    folder = MetadataFolder(site.director.metadata_of(device))
    targets = folder.targets()
    targets.version += 1
    change(targets)
    signer = site.keys.signer("director-online")
    folder.commit({Targets.type: (targets, signer)}, OnlineSigning(signer, signer, LIFE, LIFE), site.now)


def forge_image(site: Site, roles: Mapping[str, tuple[str, Callable[[Targets], None]]]) -> None:
    """The attacker has the Image repository's online keys, and for each role the key named beside it."""
    folder = MetadataFolder(site.repo / "image" / "metadata")
    changed = {}
    for role, (key, change) in roles.items():
        targets = folder.targets(role)
        targets.version += 1
        targets.expires = expiry(site.now, MONTHS)
        change(targets)
        changed[role] = (targets, site.keys.signer(key))
    online = OnlineSigning(
        site.keys.signer("image-snapshot"), site.keys.signer("image-timestamp"), SNAPSHOT_LIFE, TIMESTAMP_LIFE
    )
    folder.commit(changed, online, site.now)


def replace_director_key(site: Site, version: int) -> None:
    """Not an attack but its cure: the operator makes a new online key and a new Director root for it."""
    fresh = generate_private_key(SECP256R1())
    pem = fresh.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (site.keys.path / "director-online.pem").write_bytes(pem)
    root = director_root(site.keys, site.now, version)
    site.director = DirectorRepository(site.root / "server", site.keys, root)


def _unchanged(data: bytes) -> bytes:
    return data


def _or_empty(read: Callable[[], bytes], change: Change) -> bytes:
    """What is there, or nothing for a file that the attacker makes up."""
    try:
        return read()
    except UnknownObjectError:
        if change is _unchanged:
            raise
        return b""
