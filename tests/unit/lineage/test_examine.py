"""Examining a release by its small files: findings name what is wrong, and a manifest's own claims are checked."""

from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from models.digest import digest_of
from models.errors import ClaimError, ModelSignatureError
from models.lineage.examine import SmallFiles, examine
from models.release.manifest import (
    CLAIMS_NAME,
    MANIFEST_NAME,
    SIGNATURE_NAME,
    ReleaseManifest,
    manifest_from_bytes,
)
from models.trust.keyset import KeyDirectory, init_development_keys, policy_of
from tests.fakes.repositories import make_release, write_manifest


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> KeyDirectory:
    """A development key set."""
    return init_development_keys(tmp_path_factory.mktemp("site") / "keys")


@pytest.fixture
def release(keys: KeyDirectory, tmp_path: Path) -> Path:
    """A complete signed release."""
    make_release(tmp_path, keys)
    return tmp_path


def read(release: Path) -> tuple[ReleaseManifest, SmallFiles]:
    """What an auditor downloads."""
    manifest, _ = manifest_from_bytes((release / MANIFEST_NAME).read_bytes())
    return manifest, SmallFiles((release / SIGNATURE_NAME).read_bytes(), (release / CLAIMS_NAME).read_bytes())


def test_a_sound_release_is_verified_without_its_model_files(keys: KeyDirectory, release: Path) -> None:
    findings = examine(*read(release), policy_of(keys))
    findings.insist()
    assert (findings.publisher, findings.reasons) == ("publisher", ())
    assert len(findings.verdicts) == 4


CHANGES: dict[str, Callable[[ReleaseManifest], ReleaseManifest]] = {
    "an ancestor left out": lambda m: msgspec.structs.replace(m, ancestors=m.ancestors[1:]),
    "an ancestor made up": lambda m: msgspec.structs.replace(
        m, ancestors=tuple(sorted((*m.ancestors, digest_of(b"nobody"))))
    ),
    "another checkpoint": lambda m: msgspec.structs.replace(m, checkpoint_digest=digest_of(b"nobody")),
    "a checkpoint that is a dataset": lambda m: msgspec.structs.replace(
        m, checkpoint_digest=digest_of(b"drives")
    ),
    "another model": lambda m: msgspec.structs.replace(m, model_digest=digest_of(b"nobody")),
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_publisher_cannot_sign_a_release_that_misstates_its_lineage(
    keys: KeyDirectory, release: Path, name: str
) -> None:
    manifest, _ = read(release)
    write_manifest(release, keys, CHANGES[name](manifest))
    findings = examine(*read(release), policy_of(keys))
    assert findings.signature_reason == ""
    with pytest.raises(ClaimError):
        findings.insist()


def test_a_signature_over_other_files_is_found(keys: KeyDirectory, release: Path, tmp_path: Path) -> None:
    manifest, files = read(release)
    make_release(tmp_path / "other", keys, "2.0.0", 2)
    other = (tmp_path / "other" / SIGNATURE_NAME).read_bytes()
    findings = examine(manifest, SmallFiles(other, files.claims), policy_of(keys))
    assert findings.lineage_reason == ""
    with pytest.raises(ModelSignatureError, match="another digest"):
        findings.insist()


@pytest.mark.parametrize("junk", [b"", b"\n", b"{}", b"\xff" * 100, b"[" * 5000 + b"\n"])
def test_junk_in_place_of_small_files_is_reported_and_never_raises(
    keys: KeyDirectory, release: Path, junk: bytes
) -> None:
    manifest, files = read(release)
    assert not examine(manifest, SmallFiles(junk, files.claims), policy_of(keys)).verified
    assert not examine(manifest, SmallFiles(files.signature, junk), policy_of(keys)).verified
