"""`release.json`: the signed, immutable statement of what a release is.

Owns: its schema, its canonical bytes, and the identity of a release (the sha256 of those bytes).
Must not know: how a release is signed, fetched or run.
"""

from typing import Annotated

import msgspec

from models.contract import PolicyContract, check_sound
from models.digest import Digest, digest_from_text, digest_of
from models.errors import MalformedError

MANIFEST_NAME = "release.json"
SIGNATURE_NAME = "model.oms.sig"
CLAIMS_NAME = "claims.jsonl"
GOLDEN_NAME = "golden.safetensors"
MAX_MANIFEST_BYTES = 1 << 20
MAX_FILES = 4096
MAX_CHUNK_BYTES = 1 << 20
"""The most that a device reads in one reply."""
_CHUNK_BYTES, _CHUNKS_MAX = 1 << 16, 8192
SCHEMA = 1

_Size = Annotated[int, msgspec.Meta(ge=0, le=(1 << 63) - 1)]
_Magnitude = Annotated[float, msgspec.Meta(ge=0)]


class ReleaseFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One file: its chunks are `chunk_bytes` long, the last one shorter, each named by digest.

    `role` is one of `visual`, `reason`, `action`, `golden`, `claims`.
    """

    path: str
    role: str
    size_bytes: _Size
    digest: str
    chunk_bytes: Annotated[int, msgspec.Meta(ge=1, le=(1 << 63) - 1)]
    chunks: tuple[str, ...]


def chunk_bytes_for(release_bytes: int) -> int:
    """How long the chunks of a release's files are: 64 KiB, so that little is fetched twice after a failure, and longer,
    up to 1 MiB, where a digest for each would not leave `release.json` small. 13 GiB fit."""
    chunk_bytes = _CHUNK_BYTES
    while chunk_bytes < MAX_CHUNK_BYTES and release_bytes > chunk_bytes * _CHUNKS_MAX:
        chunk_bytes *= 2
    return chunk_bytes


class ReleaseLimits(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """What the policy promises and must be held to, on the device and by the fleet.

    `max_joules_per_decision` is of the whole module: its energy while decisions are made, by their number. It is left out
    where nothing is promised, as in all releases before it could be.
    """

    decision_p99_ms: _Magnitude
    max_speed_mps: _Magnitude
    max_lateral_mps2: _Magnitude
    max_jerk_mps3: _Magnitude
    golden_tolerance_acceleration_mps2: _Magnitude
    golden_tolerance_curvature_per_m: _Magnitude
    validated_envelope_w: tuple[_Magnitude, _Magnitude]
    max_joules_per_decision: _Magnitude | None = None


class ReleaseManifest(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What `release.json` says.

    `counter` grows with every release of a line and never falls on a device; `model_digest` names the table
    of model files (names, sizes, digests) and is the subject of the last claim; `ancestors` are the digests
    of everything that the claims name as a parent, sorted, and equal to the walk over the claims.
    """

    schema: int = SCHEMA
    name: str
    version: str
    counter: _Size
    hardware: tuple[str, ...]
    precision: str
    contract: PolicyContract
    limits: ReleaseLimits
    files: tuple[ReleaseFile, ...]
    model_digest: str
    checkpoint_digest: str
    ancestors: tuple[str, ...]
    created_utc: str

    def file_of(self, role: str) -> ReleaseFile:
        """The one file of `role`. Raises `MalformedError` where there is none or more than one."""
        found = [file for file in self.files if file.role == role]
        if len(found) != 1:
            raise MalformedError(f"release.json names {len(found)} files of role {role!r}; one is needed")
        return found[0]

    @property
    def size_bytes(self) -> int:
        """Bytes of all files together."""
        return sum(file.size_bytes for file in self.files)


def bytes_from_manifest(manifest: ReleaseManifest) -> bytes:
    """The canonical bytes: JSON with sorted keys, no spaces, one newline at the end."""
    return msgspec.json.encode(manifest, order="sorted") + b"\n"


def manifest_from_bytes(data: bytes) -> tuple[ReleaseManifest, Digest]:
    """Parse the canonical bytes of `release.json`; also returns the identity of the release.

    Raises:
        MalformedError: too long, not canonical (so no duplicate keys, no odd numbers, no second reading),
            of another schema, with a number that no device can keep, or with a contract, limits or file entries
            that contradict themselves.
    """
    if len(data) > MAX_MANIFEST_BYTES:
        raise MalformedError(f"release.json of {len(data)} bytes; at most {MAX_MANIFEST_BYTES} are read")
    try:
        manifest = msgspec.json.decode(data, type=ReleaseManifest, strict=True)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise MalformedError(f"release.json: {error}") from error
    if bytes_from_manifest(manifest) != data:
        raise MalformedError("release.json is not in canonical form (sorted keys, no spaces, no duplicates)")
    _check(manifest)
    return manifest, digest_of(data)


def _check(manifest: ReleaseManifest) -> None:
    if manifest.schema != SCHEMA:
        raise MalformedError(f"release.json has schema {manifest.schema}; this program reads {SCHEMA}")
    if len(manifest.files) > MAX_FILES:
        raise MalformedError(
            f"release.json names {len(manifest.files)} files; at most {MAX_FILES} are allowed"
        )
    check_sound(manifest.contract)
    low_w, high_w = manifest.limits.validated_envelope_w
    if low_w > high_w:
        raise MalformedError(f"release.json: the validated envelope goes from {low_w} down to {high_w} W")
    for text in (manifest.model_digest, manifest.checkpoint_digest, *manifest.ancestors):
        digest_from_text(text)
    if list(manifest.ancestors) != sorted(set(manifest.ancestors)):
        raise MalformedError("release.json: ancestors are not sorted and unique")
    for file in manifest.files:
        _check_file(file)


def _check_file(file: ReleaseFile) -> None:
    for text in (file.digest, *file.chunks):
        digest_from_text(text)
    expected = -(-file.size_bytes // file.chunk_bytes)
    if len(file.chunks) != expected:
        raise MalformedError(
            f"release.json: {file.path[:80]!r} has {len(file.chunks)} chunks; its size needs {expected}"
        )
