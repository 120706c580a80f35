"""Time: metadata past its expiry, files withheld, clocks turned. None of it may pass as news."""

import shutil
from datetime import UTC, datetime, timedelta
from importlib.metadata import version
from pathlib import Path

import pytest

from models.errors import ExpiredMetadataError, MetadataError, TransferError
from models.trust.director import LIFE
from models.trust.image import (
    POLICY_LIFE,
    RELEASE_LIFE,
    ROOT_LIFE,
    SNAPSHOT_LIFE,
    TARGETS_LIFE,
    TIMESTAMP_LIFE,
)
from models.trust.metadata import MetadataFolder, OnlineSigning
from models.trust.source import FolderSource
from models.wire.messages import Repository
from tests.fakes.forgery import TamperingSource, replace_director_key
from tests.fakes.repositories import Site

HOUR = timedelta(hours=1)


def _keep_director(site: Site, now: datetime) -> None:
    site.director.refresh("thor-1", now)


def _keep_image(site: Site, now: datetime, *, snapshot: bool = True) -> None:
    folder = MetadataFolder(site.repo / "image/metadata")
    online = OnlineSigning(
        site.keys.signer("image-snapshot"), site.keys.signer("image-timestamp"), SNAPSHOT_LIFE, TIMESTAMP_LIFE
    )
    if snapshot:
        folder.commit({}, online, now)
    else:
        folder.renew_timestamp(online, now)


def _refused(site: Site, now: datetime, what: str) -> None:
    with pytest.raises(ExpiredMetadataError, match=what) as refusal:
        site.device().admit(now=now)
    assert refusal.value.code == "metadata-expired"


def test_a_director_that_stands_still_is_noticed_after_a_day(site: Site) -> None:
    _refused(site, site.now + LIFE + HOUR, "director repository: timestamp")


def test_an_image_timestamp_past_its_expiry_is_refused(site: Site) -> None:
    now = site.now + TIMESTAMP_LIFE + HOUR
    _keep_director(site, now)
    _refused(site, now, "image repository: timestamp")


def test_an_image_snapshot_past_its_expiry_is_refused(site: Site) -> None:
    now = site.now + SNAPSHOT_LIFE + HOUR
    _keep_director(site, now)
    _keep_image(site, now, snapshot=False)
    _refused(site, now, "image repository: snapshot")


@pytest.mark.parametrize(
    ("life", "what"),
    [(min(RELEASE_LIFE, POLICY_LIFE), "release"), (TARGETS_LIFE, "targets"), (ROOT_LIFE, "root")],
)
def test_an_offline_role_past_its_expiry_is_refused_though_the_online_ones_are_kept_fresh(
    site: Site, life: timedelta, what: str
) -> None:
    now = site.now + life + HOUR
    if life < ROOT_LIFE:
        _keep_director(site, now)
    _keep_image(site, now)
    _refused(site, now, what)


def test_expiry_is_judged_by_the_time_passed_in_and_not_by_the_wall_clock(site: Site) -> None:
    assert version("tuf") == "7.0.1", "client.py sets a private field of this very version"
    long_ago = datetime(2001, 1, 1, tzinfo=UTC)
    far = datetime(2199, 1, 1, tzinfo=UTC)
    assert site.device("thor-1").admit(now=long_ago) is not None
    with pytest.raises(ExpiredMetadataError):
        site.device("thor-1").admit(now=far)


def test_a_refusal_for_expiry_forgets_nothing_and_ends_with_fresh_metadata(site: Site) -> None:
    now = site.now + LIFE + HOUR
    device = site.device()
    assert device.admit() is not None
    with pytest.raises(ExpiredMetadataError):
        device.admit(now=now)
    _keep_director(site, now)
    site.image.refresh_online(now)
    assert device.admit(now=now) is not None


@pytest.mark.parametrize("repository", list(Repository))
def test_a_withheld_timestamp_is_no_news_and_not_a_verdict(site: Site, repository: Repository) -> None:
    tampering = TamperingSource(site.source("thor-1"), {(repository, "timestamp.json"): None})
    with pytest.raises(TransferError) as refusal:
        site.device().admit(tampering)
    assert refusal.value.code == "transfer"
    assert refusal.value.exit_code == 5


@pytest.mark.parametrize("name", ["release.json", "builders.json"])
def test_a_withheld_target_is_not_a_verdict(site: Site, name: str) -> None:
    with pytest.raises(TransferError):
        site.device().admit(TamperingSource(site.source("thor-1"), target_changes={name: None}))


def test_silence_does_not_pass_for_the_end_of_the_root_chain(site: Site) -> None:
    class Silent(TamperingSource):
        def metadata(self, repository: Repository, name: str, max_bytes: int) -> bytes:
            if name == "2.root.json":
                raise TransferError("no answer in time")
            return super().metadata(repository, name, max_bytes)

    with pytest.raises(TransferError, match="no answer"):
        site.device().admit(Silent(site.source("thor-1")))


def test_an_error_of_the_transport_that_nobody_foresaw_is_a_refusal_and_no_crash(site: Site) -> None:
    class Broken(TamperingSource):
        def metadata(self, repository: Repository, name: str, max_bytes: int) -> bytes:
            raise TimeoutError("socket")

    with pytest.raises(TransferError):
        site.device().admit(Broken(site.source("thor-1")))


def test_a_director_that_counts_from_one_again_is_refused_until_a_new_root_says_so(site: Site) -> None:
    device = site.device()
    for _ in range(3):
        site.director.refresh("thor-1", site.now)
        site.assign("thor-1", site.image.releases()[0].digest)
    assert device.admit() is not None
    shutil.rmtree(site.root / "server")
    site.assign("thor-1", site.image.releases()[0].digest)
    with pytest.raises(MetadataError):
        device.admit()

    replace_director_key(site, 2)
    site.assign("thor-1", site.image.releases()[0].digest)
    assert device.admit() is not None


def test_after_a_new_director_root_the_stolen_key_orders_nothing(site: Site) -> None:
    stolen = shutil.copytree(site.root / "server", site.root / "stolen")
    device = site.device()
    replace_director_key(site, 2)
    site.assign("thor-1", site.image.releases()[0].digest)
    assert device.admit() is not None
    with pytest.raises(MetadataError):
        device.admit(FolderSource(site.repo, Path(stolen) / "director/thor-1/metadata"))
    assert device.admit() is not None
