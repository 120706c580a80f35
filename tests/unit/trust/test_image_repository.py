"""Publishing: what lands where, what is refused, and what a crash leaves."""

import json
from datetime import timedelta
from pathlib import Path

import pytest

from models.digest import digest_of
from models.errors import UnknownObjectError, UsageError
from models.trust.image import ImageRepository
from models.trust.keyset import policy_of
from models.trust.policy import TrustPolicy
from tests.fakes.repositories import NOW, Recipe, Site, make_release


@pytest.fixture
def site(tmp_path: Path) -> Site:
    """Nothing published yet."""
    return Site(tmp_path)


def _versions(site: Site) -> tuple[int, int]:
    metadata = site.repo / "image/metadata"
    timestamp = json.loads((metadata / "timestamp.json").read_bytes())["signed"]
    return timestamp["version"], timestamp["meta"]["snapshot.json"]["version"]


def test_every_file_of_a_published_release_is_in_the_content_store_under_its_digest(site: Site) -> None:
    site.publish()
    stored = {path.name: path.read_bytes() for path in (site.repo / "content").iterdir()}
    for path in site.release_dir("1.0.0").rglob("*"):
        if path.is_file():
            data = path.read_bytes()
            assert stored.pop(digest_of(data).removeprefix("sha256:")) == data
    assert not stored


def test_publishing_twice_changes_nothing(site: Site) -> None:
    first = site.publish()
    before = _versions(site)
    assert site.image.publish(site.release_dir("1.0.0"), site.now) == first
    assert _versions(site) == before


def test_a_version_is_published_once_and_for_all(site: Site, tmp_path: Path) -> None:
    site.publish("1.0.0", counter=1)
    make_release(tmp_path / "other", site.keys, "1.0.0", 2, Recipe(precision="nvfp4"))
    with pytest.raises(UsageError, match="new version"):
        site.image.publish(tmp_path / "other", site.now)


@pytest.mark.parametrize("counter", [0, 4, 5])
def test_a_counter_that_does_not_grow_is_refused(site: Site, counter: int) -> None:
    site.publish("1.0.0", counter=5)
    with pytest.raises(UsageError, match="downgrade"):
        site.publish("1.1.0", counter=counter)


def test_another_line_counts_for_itself(site: Site) -> None:
    site.publish("1.0.0", counter=5)
    site.publish("0.1.0", counter=1, recipe=Recipe(name="park"))
    assert [(release.target_path, release.counter) for release in site.image.releases()] == [
        ("releases/drive/1.0.0/release.json", 5),
        ("releases/park/0.1.0/release.json", 1),
    ]


def test_a_repository_opened_again_knows_its_releases_and_goes_on(site: Site) -> None:
    first = site.publish("1.0.0", counter=1)
    site.image = ImageRepository.open(site.repo, site.keys)
    second = site.publish("1.1.0", counter=2)
    assert site.image.releases() == (first, second)
    assert site.image.director_target(second.digest).counter == 2


def test_a_crash_before_the_timestamp_leaves_the_old_repository_whole(site: Site) -> None:
    site.publish("1.0.0", counter=1)
    timestamp = (site.repo / "image/metadata/timestamp.json").read_bytes()
    site.publish("1.1.0", counter=2)
    (site.repo / "image/metadata/timestamp.json").write_bytes(timestamp)
    again = ImageRepository.open(site.repo, site.keys)
    assert [release.counter for release in again.releases()] == [1]
    site.image = again
    third = site.image.publish(site.release_dir("1.1.0"), site.now)
    site.assign("thor-1", third.digest)
    assert site.device().admit() is not None


def test_online_roles_are_renewed_only_when_half_of_their_life_is_gone(site: Site) -> None:
    before = _versions(site)
    assert not site.image.refresh_online(NOW + timedelta(hours=11))
    assert _versions(site) == before
    assert site.image.refresh_online(NOW + timedelta(hours=13))
    assert _versions(site) == (before[0] + 1, before[1])
    assert site.image.refresh_online(NOW + timedelta(days=4))
    assert _versions(site) == (before[0] + 2, before[1] + 1)


def test_a_server_without_the_offline_keys_keeps_the_online_roles_fresh(site: Site) -> None:
    for name in (
        "image-root-1",
        "image-root-2",
        "image-root-3",
        "image-targets",
        "image-release",
        "image-policy",
    ):
        (site.keys.path / f"{name}.pem").unlink()
    assert ImageRepository.open(site.repo, site.keys).refresh_online(NOW + timedelta(days=5))
    with pytest.raises(UnknownObjectError):
        site.publish()


def test_a_new_policy_reaches_devices_with_the_next_admission(site: Site) -> None:
    site.assign("thor-1", site.publish().digest)
    policy = policy_of(site.keys)
    site.image.publish_policy(
        TrustPolicy(publishers=policy.publishers, builders=policy.builders[:1]), site.now
    )
    admitted = site.device().admit()
    assert admitted is not None
    assert [builder.name for builder in admitted.policy.builders] == ["trainer"]


def test_old_metadata_is_cleared_away_and_roots_stay(site: Site) -> None:
    for day in range(1, 15):
        site.image.refresh_online(NOW + timedelta(days=5 * day))
    names = {path.name for path in (site.repo / "image/metadata").iterdir()}
    assert "1.root.json" in names
    assert "1.targets.json" in names
    assert len([name for name in names if name.endswith(".snapshot.json")]) == 8


def test_there_is_one_repository_in_a_folder_and_none_in_an_empty_one(site: Site, tmp_path: Path) -> None:
    with pytest.raises(UsageError):
        ImageRepository.init(site.repo, site.keys, NOW)
    with pytest.raises(UnknownObjectError):
        ImageRepository.open(tmp_path / "nowhere", site.keys)
