"""Admission when nobody attacks; what is refused stands in tests/attacks."""

import resource
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from models.digest import digest_of
from models.errors import ConfigurationError, NoSpaceError, UnknownObjectError
from models.release.manifest import MANIFEST_NAME, SIGNATURE_NAME
from models.release.verify import verify
from models.trust.admit import read_release
from models.trust.keyset import policy_of
from models.trust.source import FolderSource
from models.trust.targets import prefixed
from tests.fakes.repositories import NOW, Site


@pytest.fixture
def site(tmp_path: Path) -> Site:
    """Release 1.0.0 published and assigned to thor-1."""
    made = Site(tmp_path)
    made.assign("thor-1", made.publish().digest)
    return made


def test_an_assigned_release_is_admitted_with_all_that_the_next_steps_need(site: Site) -> None:
    folder = site.release_dir("1.0.0")
    admitted = site.device().admit()
    assert admitted is not None
    assert admitted.manifest_bytes == (folder / MANIFEST_NAME).read_bytes()
    assert admitted.digest == digest_of(admitted.manifest_bytes)
    signature = (folder / SIGNATURE_NAME).read_bytes()
    assert (admitted.signature_digest, admitted.signature_size_bytes) == (
        digest_of(signature),
        len(signature),
    )
    assert admitted.policy == policy_of(site.keys)
    verify(folder, admitted.digest, admitted.policy).close()


def test_a_device_without_an_order_is_told_so(site: Site) -> None:
    site.director.refresh("thor-2", NOW)
    assert site.device("thor-2").admit() is None


def test_an_order_taken_back_is_gone(site: Site) -> None:
    device = site.device()
    assert device.admit() is not None
    site.director.assign("thor-1", "thor-t5000", None, NOW)
    assert device.admit() is None
    assert site.director.assignment("thor-1") is None


def test_asking_again_gives_the_same_answer_and_writes_only_below_the_state_folder(site: Site) -> None:
    device = site.device()
    first = device.admit()
    outside = {path for path in site.root.rglob("*") if device.state not in path.parents}
    assert device.admit() == first
    assert {path for path in site.root.rglob("*") if device.state not in path.parents} == outside
    assert sorted(path.name for path in device.state.iterdir()) == ["director", "image"]


def test_the_next_release_follows_the_first(site: Site) -> None:
    device = site.device()
    assert device.admit() is not None
    device.floor_counter = 1
    site.assign("thor-1", site.publish("1.1.0", counter=2).digest)
    admitted = device.admit()
    assert admitted is not None
    assert admitted.manifest.version == "1.1.0"


def test_an_order_survives_the_restart_of_the_server(site: Site) -> None:
    ordered = site.director.assignment("thor-1")
    assert ordered is not None
    assert site.open_director().assignment("thor-1") == ordered


def test_a_director_that_is_kept_fresh_admits_for_weeks(site: Site) -> None:
    device = site.device()
    for day in range(0, 28, 7):
        now = NOW + timedelta(days=day)
        site.director.refresh("thor-1", now)
        site.image.refresh_online(now)
        assert device.admit(now=now) is not None


def test_refreshing_what_is_fresh_signs_nothing(site: Site) -> None:
    assert not site.director.refresh("thor-1", NOW + timedelta(hours=11))
    assert site.director.refresh("thor-1", NOW + timedelta(hours=13))


@pytest.mark.parametrize("device", ["", "..", "a/b", "#", "+", "x" * 65])
def test_a_device_id_that_could_leave_its_folder_or_topic_is_refused(site: Site, device: str) -> None:
    with pytest.raises(ConfigurationError):
        site.director.refresh(device, NOW)


def test_an_admitted_release_cannot_be_made_up(site: Site) -> None:
    admitted = site.device().admit()
    assert admitted is not None
    with pytest.raises(TypeError):
        replace(admitted, digest=digest_of(b"other"), maker=object())


def test_anyone_can_read_what_the_image_repository_vouches_for(site: Site, tmp_path: Path) -> None:
    published = site.image.releases()[0]
    found = read_release(
        FolderSource(site.repo), site.anchors.image_root, published.digest, tmp_path / "state", NOW
    )
    assert found.digest == published.digest
    with pytest.raises(UnknownObjectError):
        read_release(
            FolderSource(site.repo), site.anchors.image_root, digest_of(b"x"), tmp_path / "state", NOW
        )


@pytest.mark.parametrize(
    "path",
    ["../keys/publisher.pem", "/etc/passwd", "policy", "policy/none.json", "releases//release.json", ""],
)
def test_a_folder_source_answers_for_nothing_outside_its_targets(site: Site, path: str) -> None:
    with pytest.raises(UnknownObjectError):
        FolderSource(site.repo).target(path, 1 << 20)


def test_a_target_without_a_folder_is_served_without_one() -> None:
    assert prefixed("release.json", "ab") == "ab.release.json"
    assert prefixed("releases/drive/1/release.json", "ab") == "releases/drive/1/ab.release.json"


@contextmanager
def no_room() -> Iterator[None]:
    """The kernel refuses this process every file of more than 10 bytes, as a full disk would."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("seen_before", [False, True])
def test_a_full_disk_is_named_and_the_device_admits_once_there_is_room(
    site: Site, *, seen_before: bool
) -> None:
    device = site.device()
    if seen_before:
        device.admit()
    with no_room(), pytest.raises(NoSpaceError):
        device.admit()
    assert device.admit() is not None
