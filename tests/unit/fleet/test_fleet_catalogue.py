"""The catalogue knows what the release metadata names, and nothing that lies beside it."""

from pathlib import Path

import pytest

from fleet.catalogue import Catalogue
from models.digest import digest_of
from models.errors import UnknownObjectError
from models.release.manifest import bytes_from_manifest
from tests.fakes.fleet_messages import manifest
from tests.fakes.fleet_world import SIGNATURE, catalogue_of, list_releases, publish_release


def test_a_published_release_is_known_with_its_signature(tmp_path: Path) -> None:
    release = catalogue_of(tmp_path, 1).releases()[0]
    assert release.digest == digest_of(bytes_from_manifest(release.manifest))
    assert release.target_path == "releases/mini/1.0.1/release.json"
    assert release.signature_digest == digest_of(SIGNATURE)


def test_a_release_is_known_only_once_the_metadata_names_it(tmp_path: Path) -> None:
    made = publish_release(tmp_path, 1)
    catalogue = Catalogue(tmp_path)
    assert catalogue.refresh() == ()
    list_releases(tmp_path, made)
    assert [one.manifest.counter for one in catalogue.refresh()] == [1]
    assert catalogue.refresh() == ()


def test_the_newest_metadata_counts_by_number_and_not_by_name(tmp_path: Path) -> None:
    first = publish_release(tmp_path, 1)
    for _ in range(10):
        list_releases(tmp_path, first)
    second = publish_release(tmp_path, 2)
    list_releases(tmp_path, first, second)
    catalogue = Catalogue(tmp_path)
    catalogue.refresh()
    assert [one.manifest.counter for one in catalogue.releases()] == [2, 1]


@pytest.mark.parametrize("data", [b"not json", b"{}", b"\xff" * 10])
def test_damaged_files_are_left_out(tmp_path: Path, data: bytes) -> None:
    folder = tmp_path / "image/targets/releases/mini/1.0.1"
    folder.mkdir(parents=True)
    (folder / f"{'0' * 64}.release.json").write_bytes(data)
    list_releases(tmp_path, manifest(1))
    assert Catalogue(tmp_path).refresh() == ()


def test_a_file_whose_name_lies_about_its_digest_is_left_out(tmp_path: Path) -> None:
    made = publish_release(tmp_path, 1)
    list_releases(tmp_path, made)
    (path,) = tmp_path.glob("image/targets/releases/*/*/*.release.json")
    path.rename(path.with_name(f"{'0' * 64}.release.json"))
    assert Catalogue(tmp_path).refresh() == ()


def test_an_unknown_digest_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UnknownObjectError):
        Catalogue(tmp_path).release("sha256:" + "0" * 64)
