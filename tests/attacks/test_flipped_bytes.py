"""One bit, anywhere in what is fetched: the mirror, the broker and the server need not be honest."""

from collections.abc import Iterator

import pytest

from models.digest import Digest, digest_of
from models.errors import (
    ClaimError,
    DigestMismatchError,
    MetadataError,
    ModelSignatureError,
    VerificationError,
)
from models.release.manifest import CLAIMS_NAME, MANIFEST_NAME, SIGNATURE_NAME, manifest_from_bytes
from models.release.verify import verify
from models.trust.keyset import policy_of
from models.wire.messages import Repository
from tests.fakes.forgery import TamperingSource, flip, flip_at, replaced_by
from tests.fakes.repositories import PATHS, Site, release_file, write_manifest

IMAGE_FILES = ("timestamp.json", "1.targets.json", "2.snapshot.json", "2.release.json", "1.policy.json")
DIRECTOR_FILES = ("timestamp.json", "1.targets.json", "1.snapshot.json")
EVERYWHERE = (0.0, 0.1, 0.25, 0.4, 0.5, 0.6, 0.75, 0.9, 0.999)
"""Places in a file, as parts of its length."""


def _flipped(data: bytes) -> Iterator[bytes]:
    for place in EVERYWHERE:
        yield flip_at(place)(data)


@pytest.mark.parametrize("name", [MANIFEST_NAME, CLAIMS_NAME, *PATHS.values()])
def test_a_flipped_bit_in_a_file_of_a_release_is_found(site: Site, digest: Digest, name: str) -> None:
    folder, policy = site.release_dir("1.0.0"), policy_of(site.keys)
    for changed in _flipped((folder / name).read_bytes()):
        (folder / name).write_bytes(changed)
        with pytest.raises(DigestMismatchError) as refusal:
            verify(folder, digest, policy)
        assert refusal.value.code == "digest-mismatch"


def test_a_flipped_bit_in_the_model_signature_is_found(site: Site, digest: Digest) -> None:
    folder, policy = site.release_dir("1.0.0"), policy_of(site.keys)
    for changed in _flipped((folder / SIGNATURE_NAME).read_bytes()):
        (folder / SIGNATURE_NAME).write_bytes(changed)
        with pytest.raises(ModelSignatureError) as refusal:
            verify(folder, digest, policy)
        assert refusal.value.code == "model-signature"


@pytest.mark.parametrize("line", range(4))
def test_a_flipped_bit_in_a_claim_is_found_though_the_publisher_signed_it(site: Site, line: int) -> None:
    folder = site.release_dir("1.0.0")
    lines = (folder / CLAIMS_NAME).read_bytes().splitlines(keepends=True)
    lines[line] = flip(len(lines[line]) // 2)(lines[line])
    (folder / CLAIMS_NAME).write_bytes(b"".join(lines))
    manifest, _ = manifest_from_bytes((folder / MANIFEST_NAME).read_bytes())
    claims = release_file(folder, CLAIMS_NAME, "claims")
    others = tuple(file for file in manifest.files if file.role != "claims")
    changed = type(manifest)(
        **{name: getattr(manifest, name) for name in manifest.__struct_fields__ if name != "files"},
        files=(*others, claims),
    )
    expected = write_manifest(folder, site.keys, changed)
    with pytest.raises(ClaimError, match=f"claim {line + 1}") as refusal:
        verify(folder, expected, policy_of(site.keys))
    assert refusal.value.code == "claim"


@pytest.mark.parametrize(
    ("repository", "name"),
    [(Repository.IMAGE, name) for name in IMAGE_FILES]
    + [(Repository.DIRECTOR, name) for name in DIRECTOR_FILES],
)
def test_a_flipped_bit_in_metadata_is_found_and_does_no_lasting_harm(
    site: Site, digest: Digest, repository: Repository, name: str
) -> None:
    honest, device = site.source("thor-1"), site.device()
    for changed in _flipped(honest.metadata(repository, name, 1 << 20)):
        tampering = TamperingSource(honest, {(repository, name): replaced_by(changed)})
        with pytest.raises(MetadataError) as refusal:
            device.admit(tampering)
        assert refusal.value.code == "metadata"
    admitted = device.admit()
    assert admitted is not None
    assert admitted.digest == digest


@pytest.mark.parametrize("name", ["release.json", "builders.json"])
def test_a_flipped_bit_in_a_target_is_found(site: Site, name: str) -> None:
    for place in EVERYWHERE:
        tampering = TamperingSource(site.source("thor-1"), target_changes={name: flip_at(place)})
        with pytest.raises(MetadataError) as refusal:
            site.device().admit(tampering)
        assert refusal.value.code == "metadata"


def test_every_flipped_bit_of_the_content_store_changes_the_name_of_the_content(site: Site) -> None:
    for path in (site.repo / "content").iterdir():
        data = path.read_bytes()
        assert digest_of(data) == f"sha256:{path.name}"
        assert digest_of(flip(len(data) // 2)(data)) != f"sha256:{path.name}"


def test_a_release_whose_files_were_changed_cannot_be_published(site: Site) -> None:
    folder = site.release_dir("1.0.0")
    action = folder / "model/action.onnx"
    action.write_bytes(flip(7)(action.read_bytes()))
    before = sorted(path.name for path in (site.repo / "content").iterdir())
    with pytest.raises(VerificationError):
        site.image.publish(folder, site.now)
    assert sorted(path.name for path in (site.repo / "content").iterdir()) == before
