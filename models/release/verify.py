"""`verify`: from a directory that anyone may have written to a release that may be loaded.

Owns: the only maker of `VerifiedRelease`, and the order of its checks.
Must not know: who wants the release, how it came here, how its graphs are run.
What is loaded is what was verified: files are opened once, hashed through their descriptors, and read again through
the same descriptors, never by name.
"""

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path, PurePosixPath
from types import TracebackType
from typing import Self

from models.digest import Digest, digest_of, hex_of
from models.errors import (
    ClaimError,
    DigestMismatchError,
    DirectoryMismatchError,
    MalformedError,
    disk_error,
)
from models.lineage.chain import MAX_CHAIN_BYTES, verify_chain
from models.release.files import (
    FileEntry,
    Listing,
    blocks,
    digest_of_descriptor,
    list_files,
    open_file,
    open_folder,
    table_digest,
)
from models.release.manifest import (
    CLAIMS_NAME,
    MANIFEST_NAME,
    MAX_FILES,
    MAX_MANIFEST_BYTES,
    SIGNATURE_NAME,
    ReleaseFile,
    ReleaseManifest,
    manifest_from_bytes,
)
from models.release.names import check_names
from models.trust.oms import MAX_BUNDLE_BYTES, check_bundle
from models.trust.policy import TrustPolicy

MODEL_ROLES = frozenset({"visual", "reason", "action", "golden"})
ROLES = MODEL_ROLES | {"claims"}
CHECKS = ("files", "identity", "directory", "digests", "signature", "lineage")
"""The names of the checks, in the order in which they are made."""

_MAKER = object()


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that held: its name, and what was seen, for people."""

    name: str
    detail: str


Witness = Callable[[Check], None]


class VerifiedRelease:
    """A release whose every byte was checked; keeps its files open until `close`.

    Only `verify` makes one.
    """

    def __init__(self, maker: object, manifest: ReleaseManifest, signer: str, files: "_OpenFiles") -> None:
        """For `verify` alone. Raises `TypeError` for anyone else."""
        if maker is not _MAKER:
            raise TypeError("only models.release.verify.verify makes a VerifiedRelease")
        self._manifest, self._signer, self._files = manifest, signer, files

    @property
    def manifest(self) -> ReleaseManifest:
        """What `release.json` says."""
        return self._manifest

    @property
    def digest(self) -> Digest:
        """The identity of the release."""
        return self._files.entries[MANIFEST_NAME].digest

    @property
    def signer(self) -> str:
        """The name of the publisher whose model signature holds."""
        return self._signer

    @property
    def entries(self) -> tuple[FileEntry, ...]:
        """All files, `release.json` and the signature included, sorted by path."""
        return tuple(sorted(self._files.entries.values(), key=lambda entry: entry.path))

    def read(self, role: str) -> bytes:
        """The bytes of the file of `role`, hashed once more as they are read.

        Raises:
            MalformedError: there is no such role.
            DigestMismatchError: the file was changed after it was verified.
            DiskError: the disk does not read it.
        """
        return self.read_path(self._manifest.file_of(role).path)

    def read_path(self, path: str) -> bytes:
        """The bytes of the file `path`; raises `DigestMismatchError` as `read`, `MalformedError` if not of the release."""
        return self._files.read(path)

    def checked_blocks(self, path: str) -> Iterator[bytes]:
        """The file `path` piece by piece, hashed as it passes; raises as `read_path`, at the end for a changed file."""
        return self._files.checked_blocks(path)

    def close(self) -> None:
        """Close all files; reading is an error from then on."""
        self._files.close()

    def __enter__(self) -> Self:
        """The release itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close it."""
        self.close()


class _OpenFiles:
    """The descriptors of a release's files, and the size and digest that each had when it was hashed."""

    def __init__(self) -> None:
        self.entries: dict[str, FileEntry] = {}
        self._descriptors: dict[str, int] = {}

    def open(self, folder: int, paths: tuple[str, ...]) -> None:
        for path in paths:
            self._descriptors[path] = open_file(folder, path)

    def size_bytes(self, path: str) -> int:
        return os.fstat(self._descriptors[path]).st_size

    def take(self, path: str, max_bytes: int) -> bytes:
        """Read a small file whole and note the digest of these very bytes."""
        data = b"".join(blocks(self._descriptors[path], max_bytes + 1))
        if len(data) > max_bytes:
            raise MalformedError(f"{path} has more than {max_bytes} bytes")
        self.entries[path] = FileEntry(path, len(data), digest_of(data))
        return data

    def hash(self, file: ReleaseFile) -> None:
        digest = digest_of_descriptor(self._descriptors[file.path], file.size_bytes, file.path)
        if digest != file.digest:
            raise DigestMismatchError(
                f"{file.path!r} has digest {digest}, and {file.digest} was signed for it"
            )
        self.entries[file.path] = FileEntry(file.path, file.size_bytes, digest)

    def read(self, path: str) -> bytes:
        return b"".join(self.checked_blocks(path))

    def checked_blocks(self, path: str) -> Iterator[bytes]:
        if path not in self._descriptors:
            raise MalformedError(f"the release has no open file {path[:80]!r}")
        entry, hasher = self.entries[path], sha256()
        with _disk_errors(path):
            for block in blocks(self._descriptors[path], entry.size_bytes):
                hasher.update(block)
                yield block
        if hasher.hexdigest() != hex_of(entry.digest):
            raise DigestMismatchError(f"{path!r} was changed after it was verified")

    def close(self) -> None:
        for descriptor in self._descriptors.values():
            os.close(descriptor)
        self._descriptors.clear()


@contextmanager
def _disk_errors(what: str) -> Iterator[None]:
    """A disk that fails says nothing about the release: no refusal, but no release now."""
    try:
        yield
    except OSError as error:
        raise disk_error(error, f"{what!r} cannot be read") from error


def verify(
    directory: Path, expected: Digest, policy: TrustPolicy, witness: Witness = lambda _: None
) -> VerifiedRelease:
    """Check everything about the release in `directory` and keep its files open.

    In this order: only regular files, each with one name; `release.json` is the one `expected`; the directory holds
    exactly the files that it names; sizes and digests; the model signature by a publisher of `policy`; the claims by
    builders of `policy`, from the model files back to the checkpoint, naming exactly the manifest's ancestors.
    `witness` is told of each check that held.

    Raises:
        HostileNameError, DirectoryMismatchError: names, links, extra or missing files.
        DigestMismatchError: other bytes than the ones signed for.
        MalformedError: `release.json` does not parse, or contradicts itself.
        ModelSignatureError, ClaimError: as `models.trust.oms.check_bundle` and `models.lineage.chain.verify_chain`.
        DiskError: the disk does not read; nothing is said about the release.
    """
    files = _OpenFiles()
    try:
        with _disk_errors(directory.name):
            with open_folder(directory) as folder:
                listing = list_files(folder, max_files=MAX_FILES * 2)
                files.open(folder, listing.files)
            witness(Check("files", f"{len(listing.files)} regular files, one name each"))
            manifest = _check_identity(files, listing, expected, witness)
            _check_content(files, manifest, witness)
            signer = _check_signature(files, policy, witness)
            _check_lineage(files, manifest, policy, witness)
    except BaseException:
        files.close()
        raise
    return VerifiedRelease(_MAKER, manifest, signer, files)


def _check_identity(
    files: _OpenFiles, listing: Listing, expected: Digest, witness: Witness
) -> ReleaseManifest:
    if MANIFEST_NAME not in listing.files:
        raise DirectoryMismatchError(f"there is no {MANIFEST_NAME}: this is no release")
    data = files.take(MANIFEST_NAME, MAX_MANIFEST_BYTES)
    found = digest_of(data)
    if found != expected:
        raise DigestMismatchError(f"{MANIFEST_NAME} has digest {found}, and {expected} was expected")
    manifest, _ = manifest_from_bytes(data)
    witness(Check("identity", f"{manifest.name} {manifest.version} is {found}"))
    _check_roles(manifest)
    _check_listing(manifest, listing)
    witness(Check("directory", f"exactly the {len(listing.files)} files of the release"))
    return manifest


def _check_roles(manifest: ReleaseManifest) -> None:
    paths = [file.path for file in manifest.files]
    check_names([*paths, MANIFEST_NAME, SIGNATURE_NAME])
    roles = sorted(file.role for file in manifest.files)
    if roles != sorted(ROLES):
        raise MalformedError(f"{MANIFEST_NAME} has the roles {roles}; {sorted(ROLES)} are needed, each once")
    if manifest.file_of("claims").path != CLAIMS_NAME:
        raise MalformedError(f"{MANIFEST_NAME}: the claims are not in {CLAIMS_NAME}")


def _check_listing(manifest: ReleaseManifest, listing: Listing) -> None:
    named = {file.path for file in manifest.files} | {MANIFEST_NAME, SIGNATURE_NAME}
    found = set(listing.files)
    if named != found:
        name = min(named ^ found)
        raise DirectoryMismatchError(
            f"file {name!r} {'is missing' if name in named else 'is not of the release'}"
        )
    needed = {str(parent) for path in named for parent in PurePosixPath(path).parents} - {"."}
    if listing.folders != needed:
        raise DirectoryMismatchError(f"folder {min(listing.folders ^ needed)!r} is not of the release")


def _check_content(files: _OpenFiles, manifest: ReleaseManifest, witness: Witness) -> None:
    # Sizes first: they cost nothing, and a file of another size is not read at all.
    for file in manifest.files:
        if files.size_bytes(file.path) != file.size_bytes:
            raise DigestMismatchError(
                f"{file.path!r} has {files.size_bytes(file.path)} bytes, and {file.size_bytes} were signed for it"
            )
    for file in manifest.files:
        files.hash(file)
    rows = _model_rows(files.entries, manifest)
    if table_digest(rows) != manifest.model_digest:
        raise DigestMismatchError(f"{MANIFEST_NAME}: model_digest is not that of the model files")
    witness(Check("digests", f"{manifest.size_bytes} bytes in {len(manifest.files)} files"))


def _model_rows(entries: Mapping[str, FileEntry], manifest: ReleaseManifest) -> list[FileEntry]:
    return [entries[file.path] for file in manifest.files if file.role in MODEL_ROLES]


def _check_signature(files: _OpenFiles, policy: TrustPolicy, witness: Witness) -> str:
    data = files.take(SIGNATURE_NAME, MAX_BUNDLE_BYTES)
    digests = {path: entry.digest for path, entry in files.entries.items() if path != SIGNATURE_NAME}
    signer = check_bundle(data, digests, policy.publishers)
    witness(Check("signature", f"by {signer}, over {len(digests)} files"))
    return signer


def _check_lineage(
    files: _OpenFiles, manifest: ReleaseManifest, policy: TrustPolicy, witness: Witness
) -> None:
    if manifest.file_of("claims").size_bytes > MAX_CHAIN_BYTES:
        raise ClaimError(f"{CLAIMS_NAME} has more than {MAX_CHAIN_BYTES} bytes")
    chain = verify_chain(files.read(CLAIMS_NAME), policy, Digest(manifest.model_digest))
    if chain.ancestors != frozenset(manifest.ancestors):
        odd = min(chain.ancestors ^ frozenset(manifest.ancestors))
        raise ClaimError(f"the ancestors in {MANIFEST_NAME} are not those that the claims name: {odd}")
    if manifest.checkpoint_digest not in chain.ancestors:
        raise ClaimError(f"no claim leads to the checkpoint {manifest.checkpoint_digest}")
    witness(Check("lineage", f"{len(chain.claims)} claims back to {manifest.checkpoint_digest}"))
