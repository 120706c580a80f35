"""Releases whose claims do not carry them, though publisher and repositories signed everything.

What a single claim or a chain may say is tested with the lineage; here it is the release that lies about it.
"""

from pathlib import Path

import msgspec
import pytest

from models.digest import Digest, digest_of
from models.errors import ClaimError, DigestMismatchError, MalformedError, VerificationError
from models.release.manifest import CLAIMS_NAME, MANIFEST_NAME, ReleaseManifest, manifest_from_bytes
from models.release.verify import verify
from models.trust.keyset import init_development_keys, policy_of
from models.trust.policy import TrustPolicy
from tests.fakes.repositories import Site, make_release, release_file, write_manifest


@pytest.fixture
def folder(site: Site) -> Path:
    """A signed release that the test may change and sign again: the publisher is the liar."""
    return site.release_dir("1.0.0")


def _manifest(folder: Path) -> ReleaseManifest:
    return manifest_from_bytes((folder / MANIFEST_NAME).read_bytes())[0]


def _refused(
    site: Site, folder: Path, manifest: ReleaseManifest, kind: type[VerificationError] = ClaimError
) -> str:
    expected = write_manifest(folder, site.keys, manifest)
    with pytest.raises(kind) as refusal:
        verify(folder, expected, policy_of(site.keys))
    assert refusal.value.code == kind.code
    return str(refusal.value)


def _with_claims(folder: Path, lines: list[bytes]) -> ReleaseManifest:
    (folder / CLAIMS_NAME).write_bytes(b"".join(lines))
    manifest = _manifest(folder)
    claims = release_file(folder, CLAIMS_NAME, "claims")
    return msgspec.structs.replace(
        manifest, files=(*(file for file in manifest.files if file.role != "claims"), claims)
    )


def _lines(folder: Path) -> list[bytes]:
    return (folder / CLAIMS_NAME).read_bytes().splitlines(keepends=True)


@pytest.mark.parametrize("index", range(5))
def test_an_ancestor_left_out_of_the_manifest_is_found(site: Site, folder: Path, index: int) -> None:
    manifest = _manifest(folder)
    kept = manifest.ancestors[:index] + manifest.ancestors[index + 1 :]
    assert manifest.ancestors[index] in _refused(
        site, folder, msgspec.structs.replace(manifest, ancestors=kept)
    )


def test_an_ancestor_made_up_in_the_manifest_is_found(site: Site, folder: Path) -> None:
    manifest = _manifest(folder)
    more = tuple(sorted([*manifest.ancestors, digest_of(b"famous model")]))
    _refused(site, folder, msgspec.structs.replace(manifest, ancestors=more))


def test_a_checkpoint_that_no_claim_leads_to_is_found(site: Site, folder: Path) -> None:
    changed = msgspec.structs.replace(_manifest(folder), checkpoint_digest=digest_of(b"famous model"))
    assert "checkpoint" in _refused(site, folder, changed)


def test_a_model_digest_that_is_not_of_these_files_is_found(site: Site, folder: Path) -> None:
    changed = msgspec.structs.replace(_manifest(folder), model_digest=digest_of(b"other"))
    _refused(site, folder, changed, DigestMismatchError)


@pytest.mark.parametrize("index", range(4))
def test_a_claim_left_out_is_found(site: Site, folder: Path, index: int) -> None:
    lines = _lines(folder)
    _refused(site, folder, _with_claims(folder, lines[:index] + lines[index + 1 :]))


def test_no_claims_at_all_are_refused(site: Site, folder: Path) -> None:
    _refused(site, folder, _with_claims(folder, []))


def test_the_claims_of_another_release_are_refused(site: Site, folder: Path, tmp_path: Path) -> None:
    make_release(tmp_path / "other", site.keys, "2.0.0", 9)
    _refused(site, folder, _with_claims(folder, _lines(tmp_path / "other")))


def test_claims_by_the_builders_of_another_site_are_refused(site: Site, tmp_path: Path) -> None:
    strangers = init_development_keys(tmp_path / "strangers")
    mixed = TrustPolicy(publishers=policy_of(strangers).publishers, builders=policy_of(site.keys).builders)
    expected = make_release(tmp_path / "other", strangers)
    with pytest.raises(ClaimError, match="no builder"):
        verify(tmp_path / "other", expected, mixed)


def test_a_builder_that_lost_its_step_is_no_longer_believed(site: Site, folder: Path) -> None:
    policy = policy_of(site.keys)
    without = tuple(
        msgspec.structs.replace(builder, steps=("evaluate",)) if builder.name == "quantiser" else builder
        for builder in policy.builders
    )
    digest: Digest = digest_of((folder / MANIFEST_NAME).read_bytes())
    with pytest.raises(ClaimError, match="may not sign"):
        verify(folder, digest, msgspec.structs.replace(policy, builders=without))


@pytest.mark.parametrize("role", ["visual", "reason", "action", "golden", "claims"])
def test_a_manifest_that_lacks_a_role_is_refused(site: Site, folder: Path, role: str) -> None:
    manifest = _manifest(folder)
    (folder / manifest.file_of(role).path).unlink()
    fewer = msgspec.structs.replace(
        manifest, files=tuple(file for file in manifest.files if file.role != role)
    )
    _refused(site, folder, fewer, MalformedError)


def test_a_manifest_with_a_role_that_we_do_not_know_is_refused(site: Site, folder: Path) -> None:
    (folder / "plugin.so").write_bytes(b"\x7fELF")
    manifest = _manifest(folder)
    more = (*manifest.files, release_file(folder, "plugin.so", "plugin"))
    _refused(site, folder, msgspec.structs.replace(manifest, files=more), MalformedError)


def test_files_of_two_valid_releases_do_not_mix(site: Site, folder: Path) -> None:
    newer = site.publish("1.1.0", counter=6)
    mixed = site.release_dir("1.1.0")
    (mixed / "model/action.onnx").write_bytes((folder / "model/action.onnx").read_bytes())
    with pytest.raises(DigestMismatchError):
        verify(mixed, newer.digest, policy_of(site.keys))


def test_another_valid_release_in_place_of_the_expected_one_is_refused(site: Site, folder: Path) -> None:
    newer = site.publish("1.1.0", counter=6)
    with pytest.raises(DigestMismatchError, match="was expected"):
        verify(folder, newer.digest, policy_of(site.keys))
