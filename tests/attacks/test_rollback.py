"""Old metadata, once true, shown again; and a device that lost what it had seen."""

import shutil

import pytest

from models.digest import Digest
from models.errors import DowngradeError, MetadataError
from models.trust.source import FolderSource
from models.wire.messages import Repository
from tests.fakes.forgery import TamperingSource, replace_director_key, replaced_by
from tests.fakes.repositories import FakeDevice, Site


@pytest.fixture
def past(site: Site) -> FolderSource:
    """The site as it was, before release 1.1.0 was published and assigned; the device has seen the new one."""
    old = site.root / "past"
    shutil.copytree(site.repo, old / "repo")
    shutil.copytree(site.director.metadata_of("thor-1"), old / "director")
    site.assign("thor-1", site.publish("1.1.0", counter=6).digest)
    admitted = site.device().admit()
    assert admitted is not None
    assert admitted.manifest.version == "1.1.0"
    return FolderSource(old / "repo", old / "director")


def _serves_past_of(past: FolderSource, site: Site, repository: Repository, *names: str) -> TamperingSource:
    changes = {
        (repository, name): replaced_by(past.metadata(repository, old, 1 << 20))
        for name, old in (pair.split("<-") for pair in names)
    }
    return TamperingSource(site.source("thor-1"), changes)


def _still_well(device: FakeDevice) -> None:
    admitted = device.admit()
    assert admitted is not None
    assert admitted.manifest.version == "1.1.0"


def test_both_repositories_rolled_back_are_refused(site: Site, past: FolderSource) -> None:
    with pytest.raises(MetadataError) as refusal:
        site.device().admit(past)
    assert refusal.value.code == "metadata"
    _still_well(site.device())


@pytest.mark.parametrize("repository", list(Repository))
def test_one_repository_rolled_back_is_refused(
    site: Site, past: FolderSource, repository: Repository
) -> None:
    tampering = _serves_past_of(past, site, repository, "timestamp.json<-timestamp.json")
    with pytest.raises(MetadataError) as refusal:
        site.device().admit(tampering)
    assert refusal.value.code == "metadata"
    _still_well(site.device())


@pytest.mark.parametrize(
    ("repository", "swap"),
    [
        (Repository.IMAGE, "3.snapshot.json<-2.snapshot.json"),
        (Repository.IMAGE, "3.release.json<-2.release.json"),
        (Repository.DIRECTOR, "2.snapshot.json<-1.snapshot.json"),
        (Repository.DIRECTOR, "2.targets.json<-1.targets.json"),
    ],
)
def test_an_old_file_under_a_new_name_is_refused_by_a_device_that_starts_anew(
    site: Site, past: FolderSource, repository: Repository, swap: str
) -> None:
    shutil.rmtree(site.device().state)
    with pytest.raises(MetadataError) as refusal:
        site.device().admit(_serves_past_of(past, site, repository, swap))
    assert refusal.value.code == "metadata"


def test_a_device_that_lost_its_whole_state_still_keeps_the_counter_floor(
    site: Site, past: FolderSource
) -> None:
    device = site.device()
    shutil.rmtree(device.state)
    device.floor_counter = 6
    with pytest.raises(DowngradeError) as refusal:
        device.admit(past)
    assert refusal.value.code == "downgrade"


@pytest.mark.parametrize("damage", [b"", b"{", b"\0" * 600])
def test_a_cache_damaged_by_a_power_cut_does_not_forget_what_was_seen(
    site: Site, past: FolderSource, damage: bytes
) -> None:
    device = site.device()
    for repository in ("image", "director"):
        for name in ("timestamp.json", "snapshot.json", "targets.json"):
            (device.state / repository / name).write_bytes(damage)
    with pytest.raises(MetadataError, match="older than one accepted before"):
        device.admit(past)
    _still_well(device)


def test_damaged_version_floors_do_not_stop_honest_updates(site: Site, past: FolderSource) -> None:
    device = site.device()
    for path in device.state.glob("*/versions.floor"):
        path.write_bytes(b"\0\0\0")
    _still_well(device)


def test_the_fleet_server_restarted_goes_on_with_higher_versions(site: Site, digest: Digest) -> None:
    device = site.device()
    assert device.admit() is not None
    site.director = site.open_director()
    site.assign("thor-1", digest)
    admitted = device.admit()
    assert admitted is not None
    assert admitted.digest == digest


def test_a_root_that_was_replaced_does_not_return_with_a_lost_cache(site: Site, digest: Digest) -> None:
    device, before = site.device(), site.root / "before"
    shutil.copytree(site.director.metadata_of("thor-1"), before)
    replace_director_key(site, 2)
    site.assign("thor-1", digest)
    assert device.admit() is not None
    for path in (device.state / "director").iterdir():
        if path.name != "versions.floor":
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    with pytest.raises(MetadataError, match="root"):
        device.admit(FolderSource(site.repo, before))
    assert device.admit() is not None
