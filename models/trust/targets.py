"""What the two repositories say of a release, typed.

Owns: the target paths, and the signed `custom` fields that TUF carries without reading them.
Must not know: how metadata is signed, kept or fetched.
"""

from dataclasses import dataclass
from typing import Annotated, Any, TypeVar

import msgspec
from tuf.api.metadata import TargetFile  # type: ignore[attr-defined] # public names, without an __all__

from models.digest import Digest
from models.errors import HostileNameError, MetadataError
from models.release.manifest import MANIFEST_NAME, ReleaseManifest
from models.release.names import check_name

RELEASE_PATTERN = f"releases/*/*/{MANIFEST_NAME}"
RELEASE_ROLE = "release"
"""The Image repository's delegated role that signs releases."""
POLICY_ROLE = "policy"
"""The one that signs the trust policy."""
DEVICE_FIELD = "device"
"""The field of the Director's targets that names the device, at the top so that an empty file has it too."""

_Count = Annotated[int, msgspec.Meta(ge=0)]
_Hex = Annotated[str, msgspec.Meta(pattern=r"\A[0-9a-f]{64}\Z")]

T = TypeVar("T")


class SignatureFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The release's `model.oms.sig`, which cannot stand in `release.json` because it signs that file."""

    sha256: _Hex
    length: _Count


class ReleaseCustom(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The Image repository's `custom` of a release: its counter, its hardware classes, its signature file."""

    counter: _Count
    hardware: tuple[str, ...]
    signature: SignatureFile


class DirectorCustom(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The Director's `custom` of the one release that it assigns to `device`."""

    device: str
    hardware: str
    counter: _Count


@dataclass(frozen=True, slots=True)
class DirectorTarget:
    """A release as both repositories must agree on it."""

    path: str
    digest: Digest
    length_bytes: int
    counter: int


def release_path(manifest: ReleaseManifest) -> str:
    """Where the release stands in both repositories. Raises `HostileNameError` for a name that may not."""
    path = f"releases/{manifest.name}/{manifest.version}/{MANIFEST_NAME}"
    if not is_release_path(path):
        raise HostileNameError(
            f"name {manifest.name[:80]!r} and version {manifest.version[:80]!r} make no target path"
        )
    return path


def is_release_path(path: str) -> bool:
    """Whether `path` is `releases/<name>/<version>/release.json`."""
    try:
        check_name(path)
    except HostileNameError:
        return False
    parts = path.split("/")
    return len(parts) == 4 and parts[0] == "releases" and parts[3] == MANIFEST_NAME


def prefixed(path: str, digest_hex: str) -> str:
    """The path under which a target's bytes are served (TUF's consistent snapshots)."""
    folder, separator, name = path.rpartition("/")
    return f"{folder}{separator}{digest_hex}.{name}"


def sha256_of(target: TargetFile) -> Digest:
    """The digest of `target`. Raises `MetadataError` where it has another hash beside or instead of sha256."""
    if set(target.hashes) != {"sha256"}:
        raise MetadataError(
            f"target {target.path!r} has the hashes {sorted(target.hashes)}; sha256 alone is used"
        )
    return Digest("sha256:" + target.hashes["sha256"])


def custom_of(target: TargetFile, kind: type[T]) -> T:
    """The `custom` of `target` as `kind`. Raises `MetadataError` where it is not that."""
    custom: Any = target.custom
    try:
        return msgspec.convert(custom, kind, strict=True)
    except msgspec.ValidationError as error:
        raise MetadataError(f"custom of target {target.path!r}: {error}") from error


def described(target: TargetFile, custom: msgspec.Struct) -> TargetFile:
    """`target` with `custom`."""
    target.unrecognized_fields["custom"] = msgspec.to_builtins(custom)
    return target
