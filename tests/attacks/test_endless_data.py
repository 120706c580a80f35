"""More than was asked for: every reader stops at a limit that it knew before."""

import msgspec
import pytest
from tuf.api.metadata import Targets  # type: ignore[attr-defined] # public names, without an __all__

from models.errors import (
    ClaimError,
    MalformedError,
    MetadataError,
    ModelSignatureError,
    RepositoriesDisagreeError,
)
from models.release.manifest import CLAIMS_NAME, MANIFEST_NAME, MAX_MANIFEST_BYTES, manifest_from_bytes
from models.release.verify import verify
from models.trust.client import METADATA_LIMITS
from models.trust.keyset import policy_of
from models.trust.oms import MAX_BUNDLE_BYTES, check_bundle
from models.trust.policy import MAX_POLICY_BYTES, policy_from_bytes
from models.trust.source import FolderSource
from models.wire.messages import Repository
from tests.fakes.forgery import TamperingSource, forge_director, forge_image
from tests.fakes.repositories import Site, release_file, write_manifest

MIB = 1 << 20


class Counting(TamperingSource):
    """Notes the largest limit that it was asked with, and answers with one byte more."""

    largest = 0

    def metadata(self, repository: Repository, name: str, max_bytes: int) -> bytes:
        """As `MetadataSource.metadata`, endless where told."""
        self.largest = max(self.largest, max_bytes)
        if (repository, name) in self.metadata_changes:
            return b"{" * (max_bytes + 1)
        return super().metadata(repository, name, max_bytes)

    def target(self, path: str, max_bytes: int) -> bytes:
        """As `MetadataSource.target`, endless where told."""
        self.largest = max(self.largest, max_bytes)
        if path.rpartition("/")[2].partition(".")[2] in self.target_changes:
            return b"{" * (max_bytes + 1)
        return super().target(path, max_bytes)


@pytest.mark.parametrize(
    ("repository", "name"),
    [
        (Repository.DIRECTOR, "2.root.json"),
        (Repository.DIRECTOR, "timestamp.json"),
        (Repository.DIRECTOR, "1.snapshot.json"),
        (Repository.DIRECTOR, "1.targets.json"),
        (Repository.IMAGE, "2.root.json"),
        (Repository.IMAGE, "timestamp.json"),
        (Repository.IMAGE, "2.snapshot.json"),
        (Repository.IMAGE, "1.targets.json"),
        (Repository.IMAGE, "2.release.json"),
    ],
)
def test_endless_metadata_is_cut_at_its_limit(site: Site, repository: Repository, name: str) -> None:
    source = Counting(site.source("thor-1"), {(repository, name): None})
    with pytest.raises(MetadataError) as refusal:
        site.device().admit(source)
    assert refusal.value.code == "metadata"
    assert source.largest <= METADATA_LIMITS.targets_max_length


@pytest.mark.parametrize("name", ["release.json", "builders.json"])
def test_an_endless_target_is_cut_at_the_length_that_was_signed(site: Site, name: str) -> None:
    source = Counting(site.source("thor-1"), target_changes={name: None})
    with pytest.raises(MetadataError):
        site.device().admit(source)
    assert source.largest <= MAX_MANIFEST_BYTES


def test_a_release_json_signed_as_a_terabyte_is_never_asked_for(site: Site) -> None:
    def grow(targets: Targets) -> None:
        for target in targets.targets.values():
            target.length = 1 << 40

    forge_image(site, {"release": ("image-release", grow)})
    source = TamperingSource(site.source("thor-1"))
    with pytest.raises(RepositoriesDisagreeError):
        site.device().admit(source)
    assert not [name for name in source.asked if "releases" in name]


def test_a_release_json_that_both_repositories_sign_as_a_terabyte_is_never_asked_for(site: Site) -> None:
    def grow(targets: Targets) -> None:
        for target in targets.targets.values():
            target.length = 1 << 40

    forge_image(site, {"release": ("image-release", grow)})
    forge_director(site, "thor-1", grow)
    source = TamperingSource(site.source("thor-1"))
    with pytest.raises(MetadataError, match="at most"):
        site.device().admit(source)
    assert not [name for name in source.asked if "releases" in name]


def test_a_timestamp_that_is_well_signed_and_padded_above_its_limit_is_refused(site: Site) -> None:
    padding = b" " * METADATA_LIMITS.timestamp_max_length
    padded = TamperingSource(
        site.source("thor-1"), {(Repository.DIRECTOR, "timestamp.json"): lambda data: data + padding}
    )
    with pytest.raises(MetadataError, match="more than"):
        site.device().admit(padded)


def test_an_endless_chain_of_roots_ends(site: Site) -> None:
    class Endless(TamperingSource):
        def metadata(self, repository: Repository, name: str, max_bytes: int) -> bytes:
            if name.endswith(".root.json"):
                return site.anchors.director_root
            return super().metadata(repository, name, max_bytes)

    source = Endless(site.source("thor-1"))
    with pytest.raises(MetadataError):
        site.device().admit(source)
    assert METADATA_LIMITS.max_root_rotations == 32


def test_documents_above_their_limit_are_not_parsed(site: Site) -> None:
    with pytest.raises(MalformedError, match="at most"):
        manifest_from_bytes(b" " * (MAX_MANIFEST_BYTES + 1))
    with pytest.raises(MalformedError, match="at most"):
        policy_from_bytes(b" " * (MAX_POLICY_BYTES + 1))
    with pytest.raises(ModelSignatureError, match="at most"):
        check_bundle(b" " * (MAX_BUNDLE_BYTES + 1), {}, ())


def test_claims_above_their_limit_are_not_read(site: Site) -> None:
    folder = site.release_dir("1.0.0")
    (folder / CLAIMS_NAME).write_bytes((folder / CLAIMS_NAME).read_bytes() * 300)
    manifest, _ = manifest_from_bytes((folder / MANIFEST_NAME).read_bytes())
    claims = release_file(folder, CLAIMS_NAME, "claims", 1 << 16)
    changed = msgspec.structs.replace(manifest, files=(*manifest.files[:-1], claims))
    expected = write_manifest(folder, site.keys, changed)
    with pytest.raises(ClaimError, match="more than"):
        verify(folder, expected, policy_of(site.keys))


def test_a_folder_source_reads_no_more_than_one_byte_over_what_it_was_asked_for(site: Site) -> None:
    big = site.repo / "image/metadata/7.root.json"
    big.write_bytes(b"x" * MIB)
    assert len(FolderSource(site.repo).metadata(Repository.IMAGE, "7.root.json", 100)) == 101
