"""Admission: from two repositories that anyone may serve to a release that this device may fetch.

Owns: the agreement of Director and Image repository, and every check that stands on their signed `custom` fields.
Must not know: transports, slots, or the release's content beyond `release.json`.

The Director alone can order, the Image repository alone can vouch: a stolen Director key can at worst order
another published release for this hardware that is not below the floor.
"""

import shutil
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from tuf.api.metadata import TargetFile  # type: ignore[attr-defined] # public names, without an __all__

from models.digest import Digest, short
from models.errors import (
    DeviceClassMismatchError,
    DowngradeError,
    MetadataError,
    RepositoriesDisagreeError,
    UnknownObjectError,
    WrongDeviceError,
    disk_error,
)
from models.release.manifest import MAX_MANIFEST_BYTES, ReleaseManifest, manifest_from_bytes
from models.trust.client import Anchor, RepositoryClient
from models.trust.oms import MAX_BUNDLE_BYTES
from models.trust.policy import MAX_POLICY_BYTES, POLICY_PATH, TrustPolicy, policy_from_bytes
from models.trust.source import MetadataSource, RecordedSource
from models.trust.targets import (
    DEVICE_FIELD,
    RELEASE_ROLE,
    DirectorCustom,
    ReleaseCustom,
    custom_of,
    is_release_path,
    release_path,
    sha256_of,
)
from models.wire.messages import Repository

__all__ = [
    "AdmittedRelease",
    "DeviceIdentity",
    "MetadataSource",
    "TrustAnchors",
    "admit",
    "read_release",
]

_MAKER = object()
_ANY_RELEASE = "releases/any/any/release.json"


@dataclass(frozen=True)
class TrustAnchors:
    """The two root files that the device was born with."""

    image_root: bytes
    director_root: bytes


@dataclass(frozen=True)
class DeviceIdentity:
    """Who asks: its id in the fleet, and its hardware class."""

    device: str
    hardware: str


@dataclass(frozen=True)
class AdmittedRelease:
    """A release that may be fetched: what is signed for it, nothing of its content yet.

    Only `admit` and `read_release` make one.
    """

    digest: Digest
    manifest: ReleaseManifest = field(repr=False)
    manifest_bytes: bytes = field(repr=False)
    signature_digest: Digest
    signature_size_bytes: int
    policy: TrustPolicy = field(repr=False)
    policy_bytes: bytes = field(repr=False)
    maker: object = field(repr=False, compare=False)

    def __post_init__(self) -> None:
        """Raise `TypeError` for anyone but this module."""
        if self.maker is not _MAKER:
            raise TypeError("only models.trust.admit makes an AdmittedRelease")


def admit(
    source: MetadataSource,
    anchors: TrustAnchors,
    identity: DeviceIdentity,
    state: Path,
    floor_counter: int,
    now: datetime,
) -> AdmittedRelease | None:
    """Ask both repositories what `identity` is ordered to run, and whether it may; `None` where nothing is ordered.

    Order: the Director's chain and the device it names; the Image chain; that both say the same; hardware; floor;
    then `release.json` itself, and the trust policy. Nothing but `state` is written. `now` is the trusted UTC time.

    Raises:
        WrongDeviceError: the Director's metadata is another device's.
        DeviceClassMismatchError: the release, or the order, is for other hardware.
        DowngradeError: the counter is below `floor_counter`.
        RepositoriesDisagreeError: the Image repository does not know the release, or knows it otherwise.
        ExpiredMetadataError, MetadataError: see `models.trust.client.RepositoryClient`.
        MalformedError: `release.json` or the policy does not parse though it is signed.
        TransferError, NoSpaceError, DiskError: no answer, or no place to keep what was seen.
    """
    order = _ask_director(source, Anchor(Repository.DIRECTOR, anchors.director_root, now), identity, state)
    if order is None:
        return None
    image = RepositoryClient(source, Anchor(Repository.IMAGE, anchors.image_root, now), state / "image")
    target = _agreed_target(image, order)
    _check_allowed(target, order, identity, floor_counter)
    return _read(image, target)


def read_release(
    source: MetadataSource, image_root: bytes, digest: Digest, state: Path, now: datetime
) -> AdmittedRelease:
    """The release `digest` as the Image repository vouches for it, whoever asks.

    Raises:
        UnknownObjectError: no such release is published.
        ExpiredMetadataError, MetadataError, MalformedError, TransferError, NoSpaceError, DiskError: as `admit`.
    """
    image = RepositoryClient(source, Anchor(Repository.IMAGE, image_root, now), state / "image")
    for target in image.delegated(RELEASE_ROLE, _ANY_RELEASE).targets.values():
        if is_release_path(target.path) and sha256_of(target) == digest:
            return _read(image, target)
    raise UnknownObjectError(f"release {short(digest)} is not in the Image repository")


def _ask_director(
    source: MetadataSource, anchor: Anchor, identity: DeviceIdentity, state: Path
) -> TargetFile | None:
    # All devices' metadata is signed by one key. Another device's, accepted into our cache, could have higher
    # versions than ours ever get: a replay would then lock us out. So everything is tried on a copy first.
    recorded, rehearsal = RecordedSource(source), state / "rehearsal"
    shutil.rmtree(rehearsal, ignore_errors=True)
    try:
        if (state / "director").exists():
            shutil.copytree(state / "director", rehearsal, symlinks=True, copy_function=_copy)
        _order_of(RepositoryClient(recorded, anchor, rehearsal), identity)
    except OSError as error:
        raise disk_error(error, "no place to try the Director's metadata") from error
    finally:
        shutil.rmtree(rehearsal, ignore_errors=True)
    return _order_of(RepositoryClient(recorded, anchor, state / "director"), identity)


def _copy(source: str, target: str) -> None:
    """As `shutil.copyfile`; `copytree` would keep only the text of an `OSError`."""
    try:
        shutil.copyfile(source, target)
    except OSError as error:
        raise disk_error(error, "no place to try the Director's metadata") from error


def _order_of(director: RepositoryClient, identity: DeviceIdentity) -> TargetFile | None:
    targets = director.targets
    if targets.delegations is not None:
        raise MetadataError("the Director delegates; it must sign every order itself")
    named = targets.unrecognized_fields.get(DEVICE_FIELD)
    if named != identity.device:
        raise WrongDeviceError(
            f"the Director's metadata is for device {named!r}, and this is {identity.device!r}"
        )
    if len(targets.targets) > 1:
        raise MetadataError(f"the Director orders {len(targets.targets)} releases at once")
    for target in targets.targets.values():
        if not is_release_path(target.path):
            raise MetadataError(f"the Director orders {target.path[:80]!r}, which is no release")
        return target
    return None


def _agreed_target(image: RepositoryClient, order: TargetFile) -> TargetFile:
    target = image.find(order.path)
    if target is None:
        raise RepositoriesDisagreeError(
            f"the Director orders {order.path}, which the Image repository does not know"
        )
    if sha256_of(target) != sha256_of(order) or target.length != order.length:
        raise RepositoriesDisagreeError(
            f"the Director orders {order.path} with other content than was published"
        )
    ordered, published = custom_of(order, DirectorCustom), custom_of(target, ReleaseCustom)
    if ordered.counter != published.counter:
        raise RepositoriesDisagreeError(
            f"{order.path}: the Director says counter {ordered.counter}, the Image repository {published.counter}"
        )
    return target


def _check_allowed(
    target: TargetFile, order: TargetFile, identity: DeviceIdentity, floor_counter: int
) -> None:
    ordered, published = custom_of(order, DirectorCustom), custom_of(target, ReleaseCustom)
    if ordered.device != identity.device:
        raise WrongDeviceError(f"the order is for device {ordered.device!r}, and this is {identity.device!r}")
    if ordered.hardware != identity.hardware:
        raise DeviceClassMismatchError(
            f"the order is for {ordered.hardware!r}, and this is {identity.hardware!r}"
        )
    if identity.hardware not in published.hardware:
        raise DeviceClassMismatchError(
            f"{order.path} is for {published.hardware}, and this is {identity.hardware!r}"
        )
    if published.counter < floor_counter:
        raise DowngradeError(
            f"{order.path} has counter {published.counter}; this device is at {floor_counter}"
        )


def _read(image: RepositoryClient, target: TargetFile) -> AdmittedRelease:
    custom = custom_of(target, ReleaseCustom)
    data = image.fetch(target, MAX_MANIFEST_BYTES)
    manifest, digest = manifest_from_bytes(data)
    stated = (custom.counter, custom.hardware, target.path)
    if stated != (manifest.counter, manifest.hardware, release_path(manifest)):
        raise RepositoriesDisagreeError(
            f"{target.path}: release.json and the metadata about it do not say the same"
        )
    if custom.signature.length > MAX_BUNDLE_BYTES:
        raise MetadataError(f"{target.path}: a model signature of {custom.signature.length} bytes")
    policy_target = image.find(POLICY_PATH)
    if policy_target is None:
        raise MetadataError("the Image repository has no trust policy")
    policy_bytes = image.fetch(policy_target, MAX_POLICY_BYTES)
    return AdmittedRelease(
        digest=digest,
        manifest=manifest,
        manifest_bytes=data,
        signature_digest=Digest("sha256:" + custom.signature.sha256),
        signature_size_bytes=custom.signature.length,
        policy=policy_from_bytes(policy_bytes),
        policy_bytes=policy_bytes,
        maker=_MAKER,
    )
