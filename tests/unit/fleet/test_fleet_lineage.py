"""The lineage of a release holds all its parents, and its devices are joined and never guessed."""

from fleet.lineage import DeviceUse, ancestry, uses
from fleet.records import Drive
from models.digest import digest_of
from tests.fakes.fleet_messages import known_release

ONE, TWO = known_release(1), known_release(2)


def test_a_release_is_found_by_itself_its_model_its_checkpoint_and_every_ancestor() -> None:
    dataset = digest_of(b"dataset")
    release = known_release(1, (dataset,))
    manifest = release.manifest
    expected = {release.digest, manifest.model_digest, manifest.checkpoint_digest, dataset}
    assert set(ancestry(release)) == expected


def test_devices_are_those_that_drove_with_it_and_those_that_run_it_now() -> None:
    drives = [Drive("thor-1", ONE.digest, 5, 10, 20), Drive("thor-2", TWO.digest, 7, 10, 20)]
    live = {"thor-1": TWO.digest, "thor-3": ONE.digest}
    assert uses([ONE.digest], drives, live) == (
        DeviceUse("thor-1", ONE.digest, 5, 10, 20, live_now=False),
        DeviceUse("thor-3", ONE.digest, 0, 0, 0, live_now=True),
    )
