"""Links, extra files and swaps in a directory that someone else can write to."""

import os
from pathlib import Path

import pytest

from models.digest import Digest
from models.errors import DigestMismatchError, DirectoryMismatchError, HostileNameError, VerificationError
from models.release.files import open_file, open_folder, scan
from models.release.manifest import CLAIMS_NAME, MANIFEST_NAME, SIGNATURE_NAME
from models.release.verify import VerifiedRelease, verify
from models.trust.keyset import policy_of
from models.trust.oms import sign
from tests.fakes.open_files import open_below
from tests.fakes.repositories import Site


def _verify(site: Site, digest: Digest) -> VerifiedRelease:
    return verify(site.release_dir("1.0.0"), digest, policy_of(site.keys))


def _refused(site: Site, digest: Digest, kind: type[VerificationError] = DirectoryMismatchError) -> None:
    with pytest.raises(kind) as refusal:
        _verify(site, digest)
    assert refusal.value.code == kind.code
    assert open_below(site.release_dir("1.0.0")) == [], "a refusal left files open"


EVERY_FILE = (MANIFEST_NAME, SIGNATURE_NAME, CLAIMS_NAME, "golden.safetensors", "model/visual.onnx")


@pytest.mark.parametrize("name", EVERY_FILE)
def test_a_file_replaced_by_a_symbolic_link_to_the_same_bytes_is_refused(
    site: Site, digest: Digest, name: str, tmp_path: Path
) -> None:
    path = site.release_dir("1.0.0") / name
    path.rename(tmp_path / "elsewhere")
    path.symlink_to(tmp_path / "elsewhere")
    _refused(site, digest)


@pytest.mark.parametrize("name", EVERY_FILE)
def test_a_file_with_a_second_name_is_refused(site: Site, digest: Digest, name: str, tmp_path: Path) -> None:
    os.link(site.release_dir("1.0.0") / name, tmp_path / "second")
    _refused(site, digest)


@pytest.mark.parametrize("name", EVERY_FILE)
def test_a_missing_file_is_refused(site: Site, digest: Digest, name: str) -> None:
    (site.release_dir("1.0.0") / name).unlink()
    _refused(site, digest)


def test_a_folder_replaced_by_a_link_is_refused(site: Site, digest: Digest, tmp_path: Path) -> None:
    model = site.release_dir("1.0.0") / "model"
    model.rename(tmp_path / "elsewhere")
    model.symlink_to(tmp_path / "elsewhere")
    _refused(site, digest)


def test_a_slot_that_is_itself_a_link_is_refused(site: Site, digest: Digest, tmp_path: Path) -> None:
    (tmp_path / "slot").symlink_to(site.release_dir("1.0.0"))
    with pytest.raises(DirectoryMismatchError):
        verify(tmp_path / "slot", digest, policy_of(site.keys))


@pytest.mark.parametrize(
    "name", ["extra.bin", "model/extra.onnx", "model/visual.onnx.bak", "model/external.data"]
)
def test_an_extra_file_is_refused(site: Site, digest: Digest, name: str) -> None:
    (site.release_dir("1.0.0") / name).write_bytes(b"\x80\x04evil")
    _refused(site, digest)


@pytest.mark.parametrize("name", [".git/evil.so", ".github/a", ".gitattributes", "model/.hidden"])
def test_files_that_public_tools_ignore_are_refused(site: Site, digest: Digest, name: str) -> None:
    path = site.release_dir("1.0.0") / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(b"evil")
    _refused(site, digest, HostileNameError)


@pytest.mark.parametrize("name", ["empty", "model/empty", ".git"])
def test_an_empty_extra_folder_is_refused(site: Site, digest: Digest, name: str) -> None:
    (site.release_dir("1.0.0") / name).mkdir()
    _refused(site, digest)


def test_a_pipe_in_place_of_a_file_is_refused_and_nobody_waits_for_it(site: Site, digest: Digest) -> None:
    path = site.release_dir("1.0.0") / "model/visual.onnx"
    path.unlink()
    os.mkfifo(path)
    _refused(site, digest)


def test_folders_nested_without_end_are_refused(site: Site, digest: Digest) -> None:
    (site.release_dir("1.0.0") / "/".join(["model", *"abcdefghijkl"])).mkdir(parents=True)
    _refused(site, digest)


def test_a_file_grown_to_a_terabyte_is_refused_without_being_read(site: Site, digest: Digest) -> None:
    os.truncate(site.release_dir("1.0.0") / "model/visual.onnx", 1 << 40)
    _refused(site, digest, DigestMismatchError)


@pytest.mark.parametrize("name", [MANIFEST_NAME, SIGNATURE_NAME])
def test_a_small_file_grown_to_a_terabyte_is_refused_at_its_limit(
    site: Site, digest: Digest, name: str
) -> None:
    os.truncate(site.release_dir("1.0.0") / name, 1 << 40)
    with pytest.raises(VerificationError) as refusal:
        _verify(site, digest)
    assert refusal.value.code == "malformed"


def test_a_file_swapped_after_verification_is_not_what_is_read(site: Site, digest: Digest) -> None:
    path = site.release_dir("1.0.0") / "model/action.onnx"
    good = path.read_bytes()
    with _verify(site, digest) as release:
        path.rename(path.with_name("gone"))
        path.write_bytes(b"evil")
        assert release.read("action") == good


def test_a_file_overwritten_in_place_after_verification_is_found_when_read(
    site: Site, digest: Digest
) -> None:
    path = site.release_dir("1.0.0") / "model/action.onnx"
    with _verify(site, digest) as release:
        with path.open("r+b") as file:
            file.write(b"evil")
        with pytest.raises(DigestMismatchError, match="after it was verified"):
            release.read("action")
        assert release.read("visual")


def test_a_file_cut_short_after_verification_is_found_when_read(site: Site, digest: Digest) -> None:
    with _verify(site, digest) as release:
        os.truncate(site.release_dir("1.0.0") / "model/action.onnx", 10)
        with pytest.raises(DigestMismatchError):
            release.read("action")


def test_nobody_but_verify_makes_a_verified_release(site: Site, digest: Digest) -> None:
    with _verify(site, digest) as release, pytest.raises(TypeError):
        VerifiedRelease(object(), release.manifest, "publisher", release._files)


def test_a_directory_with_a_link_is_not_signed(site: Site, tmp_path: Path) -> None:
    folder = site.release_dir("1.0.0")
    before = (folder / SIGNATURE_NAME).read_bytes()
    (folder / "model/link.onnx").symlink_to(tmp_path)
    with pytest.raises(DirectoryMismatchError):
        sign(folder, site.keys.private_key("publisher"))
    assert (folder / SIGNATURE_NAME).read_bytes() == before


def test_a_scan_follows_no_link_out_of_its_directory(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("s")
    (tmp_path / "checkpoint").mkdir()
    (tmp_path / "checkpoint/model.safetensors").symlink_to(tmp_path / "secret")
    with pytest.raises(DirectoryMismatchError):
        scan(tmp_path / "checkpoint")


def test_a_file_turned_into_a_link_between_listing_and_opening_is_not_opened(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("s")
    (tmp_path / "model").mkdir()
    (tmp_path / "model/a").symlink_to(tmp_path / "secret")
    (tmp_path / "linked").symlink_to(tmp_path / "model")
    with open_folder(tmp_path) as folder:
        for path in ("model/a", "linked/a", "model", "absent"):
            with pytest.raises(DirectoryMismatchError):
                open_file(folder, path)
