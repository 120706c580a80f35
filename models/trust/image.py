"""The Image repository: what the offline keys say may run anywhere.

Owns: its roles and their lifetimes, publishing a verified release, and the content store beside it.
Must not know: devices and their assignments (`director`), how devices check (`admit`).

REPO/image/metadata, REPO/image/targets: TUF. REPO/content/<sha256>: every file of every release.
REPO/trust: the two roots that devices and command lines are born with.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from fcntl import LOCK_EX, flock
from pathlib import Path

from securesystemslib.signer import Key, Signer  # type: ignore[attr-defined] # public names, without an __all__
from tuf.api.metadata import (  # type: ignore[attr-defined] # public names, without an __all__
    DelegatedRole,
    Delegations,
    Role,
    Root,
    Snapshot,
    TargetFile,
    Targets,
    Timestamp,
)

from models.digest import Digest, digest_of, hex_of, short
from models.errors import DigestMismatchError, UnknownObjectError, UsageError
from models.release.files import FileEntry
from models.release.manifest import MANIFEST_NAME, MAX_MANIFEST_BYTES, SIGNATURE_NAME, ReleaseManifest
from models.release.verify import VerifiedRelease, verify
from models.trust.atomic import write_atomically
from models.trust.keyset import IMAGE_ROOTS, KeyDirectory, policy_of
from models.trust.metadata import MetadataFolder, OnlineSigning, expiry, is_due, signed_bytes, utc_now
from models.trust.policy import POLICY_PATH, TrustPolicy, bytes_from_policy, policy_from_bytes
from models.trust.targets import (
    POLICY_ROLE,
    RELEASE_PATTERN,
    RELEASE_ROLE,
    DirectorTarget,
    ReleaseCustom,
    SignatureFile,
    custom_of,
    described,
    prefixed,
    release_path,
    sha256_of,
)

ROOT_THRESHOLD = 2
ROOT_LIFE = timedelta(days=365)
TARGETS_LIFE = timedelta(days=180)
RELEASE_LIFE = timedelta(days=90)
POLICY_LIFE = timedelta(days=90)
SNAPSHOT_LIFE = timedelta(days=7)
TIMESTAMP_LIFE = timedelta(days=1)
IMAGE_ROOT_NAME = "image-root.json"
DIRECTOR_ROOT_NAME = "director-root.json"


@dataclass(frozen=True, slots=True)
class PublishedRelease:
    """A release that the Image repository knows."""

    digest: Digest
    target_path: str
    counter: int


class ImageRepository:
    """One Image repository on a disk. Writers take turns by a lock file; readers need none."""

    def __init__(self, repo: Path, keys: KeyDirectory) -> None:
        """For `init` and `open`."""
        self.repo = repo
        self._keys = keys
        self._metadata = MetadataFolder(repo / "image" / "metadata")

    @classmethod
    def init(cls, repo: Path, keys: KeyDirectory, now: datetime | None = None) -> "ImageRepository":
        """Make a repository without releases, and the roots of both repositories; `now` is the wall clock unless given.

        Raises:
            UsageError: there is one already.
            UnknownObjectError: a key is missing.
        """
        now = now or utc_now()
        made = cls(repo, keys)
        if not made._metadata.is_empty:
            raise UsageError(f"{repo} is an Image repository already")
        for folder in ("image/targets", "content", "trust"):
            (repo / folder).mkdir(parents=True, exist_ok=True)
        with made._writing():
            image_root = made._image_root(now)
            made._metadata.write_root(1, image_root)
            write_atomically(repo / "trust" / IMAGE_ROOT_NAME, [image_root])
            write_atomically(repo / "trust" / DIRECTOR_ROOT_NAME, [director_root(keys, now)])
            made._commit_first(now)
        return made

    @classmethod
    def open(cls, repo: Path, keys: KeyDirectory) -> "ImageRepository":
        """The repository in `repo`; keys are read when something is signed. Raises `UnknownObjectError` if there is none."""
        found = cls(repo, keys)
        if found._metadata.is_empty:
            raise UnknownObjectError(f"{repo} is no Image repository (publishing a release makes one)")
        return found

    def policy(self) -> TrustPolicy:
        """The trust policy that the repository hands out."""
        return policy_from_bytes(self._target_bytes(self._metadata.targets(POLICY_ROLE).targets[POLICY_PATH]))

    def releases(self) -> tuple[PublishedRelease, ...]:
        """All published releases, by line and counter."""
        targets = self._metadata.targets(RELEASE_ROLE).targets.values()
        found = [
            PublishedRelease(sha256_of(target), target.path, custom_of(target, ReleaseCustom).counter)
            for target in targets
        ]
        return tuple(sorted(found, key=lambda release: (_line_of(release.target_path), release.counter)))

    def director_target(self, digest: Digest) -> DirectorTarget:
        """What a Director must say of the release `digest`. Raises `UnknownObjectError` where it is not published."""
        for target in self._metadata.targets(RELEASE_ROLE).targets.values():
            if sha256_of(target) == digest:
                return DirectorTarget(
                    target.path, digest, target.length, custom_of(target, ReleaseCustom).counter
                )
        raise UnknownObjectError(f"release {short(digest)} is not published in this repository")

    def publish(self, release_dir: Path, now: datetime | None = None) -> PublishedRelease:
        """Verify the release as a device would, store its files, and sign it into the `release` role.

        Publishing the same release twice changes nothing.

        Raises:
            UsageError: its version is taken by another release, or its counter is not above its line's highest.
            VerificationError: as `models.release.verify.verify`.
        """
        now = now or utc_now()
        digest = _digest_of_manifest(release_dir)
        with self._writing(), verify(release_dir, digest, self.policy()) as release:
            path = release_path(release.manifest)
            published = PublishedRelease(digest, path, release.manifest.counter)
            if not self._is_published(published):
                self._store(release, path)
                self._add(_target_of(release, path), now)
        return published

    def publish_policy(self, policy: TrustPolicy, now: datetime | None = None) -> None:
        """Replace the trust policy: from then on devices believe its keys and no others."""
        now = now or utc_now()
        with self._writing():
            targets = self._metadata.targets(POLICY_ROLE)
            targets.version += 1
            targets.expires = expiry(now, POLICY_LIFE)
            targets.targets = {POLICY_PATH: self._write_policy(policy)}
            self._commit({POLICY_ROLE: targets}, now)

    def refresh_online(self, now: datetime) -> bool:
        """Renew snapshot and timestamp where less than half of their life is left; whether anything was signed."""
        with self._writing():
            if is_due(self._metadata.snapshot(), now, SNAPSHOT_LIFE):
                self._metadata.commit({}, self._online(), now)
            elif is_due(self._metadata.timestamp(), now, TIMESTAMP_LIFE):
                self._metadata.renew_timestamp(self._online(), now)
            else:
                return False
        return True

    @contextmanager
    def _writing(self) -> Iterator[None]:
        with (self.repo / "image" / ".lock").open("w") as lock:
            flock(lock, LOCK_EX)
            yield

    def _commit_first(self, now: datetime) -> None:
        policy = self._write_policy(policy_of(self._keys))
        roles = {
            Targets.type: Targets(1, expires=expiry(now, TARGETS_LIFE), delegations=self._delegations()),
            RELEASE_ROLE: Targets(1, expires=expiry(now, RELEASE_LIFE)),
            POLICY_ROLE: Targets(1, expires=expiry(now, POLICY_LIFE), targets={POLICY_PATH: policy}),
        }
        self._commit(roles, now)

    def _commit(self, roles: dict[str, Targets], now: datetime) -> None:
        names = {Targets.type: "image-targets", RELEASE_ROLE: "image-release", POLICY_ROLE: "image-policy"}
        changed = {role: (targets, self._keys.signer(names[role])) for role, targets in roles.items()}
        self._metadata.commit(changed, self._online(), now)

    def _online(self) -> OnlineSigning:
        return OnlineSigning(
            self._keys.signer("image-snapshot"),
            self._keys.signer("image-timestamp"),
            SNAPSHOT_LIFE,
            TIMESTAMP_LIFE,
        )

    def _image_root(self, now: datetime) -> bytes:
        roots: list[Signer] = [self._keys.signer(name) for name in IMAGE_ROOTS]
        signing: dict[str, tuple[list[Signer], int]] = {
            Root.type: (roots, ROOT_THRESHOLD),
            Targets.type: ([self._keys.signer("image-targets")], 1),
            Snapshot.type: ([self._keys.signer("image-snapshot")], 1),
            Timestamp.type: ([self._keys.signer("image-timestamp")], 1),
        }
        return signed_bytes(_root(signing, now), roots)

    def _delegations(self) -> Delegations:
        release, policy = (
            self._keys.signer("image-release").public_key,
            self._keys.signer("image-policy").public_key,
        )
        roles = {
            RELEASE_ROLE: DelegatedRole(RELEASE_ROLE, [release.keyid], 1, True, [RELEASE_PATTERN]),
            POLICY_ROLE: DelegatedRole(POLICY_ROLE, [policy.keyid], 1, True, ["policy/*"]),
        }
        return Delegations({release.keyid: release, policy.keyid: policy}, roles)

    def _is_published(self, wanted: PublishedRelease) -> bool:
        for known in self.releases():
            if known == wanted:
                return True
            if known.target_path == wanted.target_path:
                raise UsageError(
                    f"{wanted.target_path} is published already with other content: use a new version"
                )
            if (
                _line_of(known.target_path) == _line_of(wanted.target_path)
                and known.counter >= wanted.counter
            ):
                raise UsageError(
                    f"counter {wanted.counter} is not above {known.counter} of {known.target_path}: "
                    "devices would refuse it as a downgrade"
                )
        return False

    def _store(self, release: VerifiedRelease, path: str) -> None:
        for entry in release.entries:
            self._store_content(release, entry)
        served = self.repo / "image" / "targets" / prefixed(path, hex_of(release.digest))
        served.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(served, [release.read_path(MANIFEST_NAME)])

    def _store_content(self, release: VerifiedRelease, entry: FileEntry) -> None:
        path = self.repo / "content" / hex_of(entry.digest)
        write_atomically(path, release.checked_blocks(entry.path))

    def _add(self, target: TargetFile, now: datetime) -> None:
        targets = self._metadata.targets(RELEASE_ROLE)
        targets.version += 1
        targets.expires = expiry(now, RELEASE_LIFE)
        targets.targets[target.path] = target
        self._commit({RELEASE_ROLE: targets, **self._due_offline(now)}, now)

    def _due_offline(self, now: datetime) -> dict[str, Targets]:
        """The other offline roles, where they would soon expire: the keys are at hand now."""
        due: dict[str, Targets] = {}
        for role, life in ((Targets.type, TARGETS_LIFE), (POLICY_ROLE, POLICY_LIFE)):
            targets = self._metadata.targets(role)
            if is_due(targets, now, life):
                targets.version += 1
                targets.expires = expiry(now, life)
                due[role] = targets
        return due

    def _write_policy(self, policy: TrustPolicy) -> TargetFile:
        data = bytes_from_policy(policy)
        policy_from_bytes(data)
        served = self.repo / "image" / "targets" / prefixed(POLICY_PATH, hex_of(digest_of(data)))
        served.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(served, [data])
        return TargetFile.from_data(POLICY_PATH, data, ["sha256"])

    def _target_bytes(self, target: TargetFile) -> bytes:
        digest = sha256_of(target)
        data = (self.repo / "image" / "targets" / prefixed(target.path, hex_of(digest))).read_bytes()
        if digest_of(data) != digest:
            raise DigestMismatchError(f"{target.path} in {self.repo} was changed after it was signed")
        return data


def director_root(keys: KeyDirectory, now: datetime, version: int = 1) -> bytes:
    """The Director's root: one key for everything that is signed for a device, online on the fleet server.

    A higher `version` with a new key takes over from a stolen one, and restarts all counting.
    """
    root, online = keys.signer("director-root"), keys.signer("director-online")
    signing: dict[str, tuple[list[Signer], int]] = {Root.type: ([root], 1)}
    signing |= {role: ([online], 1) for role in (Targets.type, Snapshot.type, Timestamp.type)}
    return signed_bytes(_root(signing, now, version), [root])


def _root(signing: dict[str, tuple[list[Signer], int]], now: datetime, version: int = 1) -> Root:
    keys: dict[str, Key] = {}
    roles: dict[str, Role] = {}
    for role, (signers, threshold) in signing.items():
        keys |= {signer.public_key.keyid: signer.public_key for signer in signers}
        roles[role] = Role([signer.public_key.keyid for signer in signers], threshold)
    return Root(version, expires=expiry(now, ROOT_LIFE), keys=keys, roles=roles, consistent_snapshot=True)


def _target_of(release: VerifiedRelease, path: str) -> TargetFile:
    manifest: ReleaseManifest = release.manifest
    signature = next(entry for entry in release.entries if entry.path == SIGNATURE_NAME)
    custom = ReleaseCustom(
        manifest.counter, manifest.hardware, SignatureFile(hex_of(signature.digest), signature.size_bytes)
    )
    return described(TargetFile.from_data(path, release.read_path(MANIFEST_NAME), ["sha256"]), custom)


def _line_of(target_path: str) -> str:
    return target_path.split("/")[1]


def _digest_of_manifest(release_dir: Path) -> Digest:
    try:
        with (release_dir / MANIFEST_NAME).open("rb") as file:
            return digest_of(file.read(MAX_MANIFEST_BYTES + 1))
    except OSError as error:
        raise UsageError(
            f"{release_dir} holds no {MANIFEST_NAME} ({error.strerror}): build a release first"
        ) from error
