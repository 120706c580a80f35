"""The fleet server is lost, its online key with it: what it can order, and what it cannot."""

import pytest
from tuf.api.metadata import (  # type: ignore[attr-defined] # public names, without an __all__
    DelegatedRole,
    Delegations,
    TargetFile,
    Targets,
)

from models.digest import digest_of, hex_of
from models.errors import DowngradeError, MetadataError, RepositoriesDisagreeError
from models.trust.targets import DirectorCustom, described
from tests.fakes.forgery import forge_director, forge_image
from tests.fakes.repositories import HARDWARE, Site

EVIL = b'{"evil":true}\n'


def _order(path: str, data: bytes, counter: int) -> TargetFile:
    target = TargetFile(len(data), {"sha256": hex_of(digest_of(data))}, path)
    return described(target, DirectorCustom("thor-1", HARDWARE, counter))


def _only(targets: Targets) -> TargetFile:
    [target] = targets.targets.values()
    assert isinstance(target, TargetFile)
    return target


def test_content_that_was_never_published_is_refused(site: Site) -> None:
    def swap(targets: Targets) -> None:
        path = _only(targets).path
        targets.targets = {path: _order(path, EVIL, 5)}

    forge_director(site, "thor-1", swap)
    with pytest.raises(RepositoriesDisagreeError, match="other content") as refusal:
        site.device().admit()
    assert refusal.value.code == "repositories-disagree"


def test_a_release_that_was_never_published_is_refused(site: Site) -> None:
    path = "releases/drive/9.9.9/release.json"

    def swap(targets: Targets) -> None:
        targets.targets = {path: _order(path, EVIL, 9)}

    forge_director(site, "thor-1", swap)
    with pytest.raises(RepositoriesDisagreeError, match="does not know"):
        site.device().admit()


@pytest.mark.parametrize(
    "path",
    ["policy/builders.json", "releases/drive/release.json", "../release.json", "releases/a/b/c/release.json"],
)
def test_an_order_for_something_that_is_no_release_is_refused(site: Site, path: str) -> None:
    def swap(targets: Targets) -> None:
        targets.targets = {path: _order(path, EVIL, 5)}

    forge_director(site, "thor-1", swap)
    with pytest.raises(MetadataError, match="no release"):
        site.device().admit()


def test_a_published_release_below_the_floor_is_refused(site: Site) -> None:
    device = site.device()
    device.floor_counter = 6
    with pytest.raises(DowngradeError) as refusal:
        device.admit()
    assert refusal.value.code == "downgrade"


def test_a_release_at_the_floor_is_admitted_again(site: Site) -> None:
    device = site.device()
    device.floor_counter = 5
    assert device.admit() is not None


def test_a_counter_raised_by_the_director_does_not_lift_an_old_release_over_the_floor(site: Site) -> None:
    def lift(targets: Targets) -> None:
        described(_only(targets), DirectorCustom("thor-1", HARDWARE, 99))

    forge_director(site, "thor-1", lift)
    device = site.device()
    device.floor_counter = 6
    with pytest.raises(RepositoriesDisagreeError, match="counter"):
        device.admit()


def test_delegations_in_the_director_are_refused(site: Site) -> None:
    key = site.keys.signer("image-release").public_key

    def delegate(targets: Targets) -> None:
        role = DelegatedRole("evil", [key.keyid], 1, True, ["releases/*/*/release.json"])
        targets.delegations = Delegations({key.keyid: key}, {"evil": role})

    forge_director(site, "thor-1", delegate)
    with pytest.raises(MetadataError, match="delegates"):
        site.device().admit()


def test_two_orders_at_once_are_refused(site: Site) -> None:
    path = "releases/drive/2.0.0/release.json"
    forge_director(site, "thor-1", lambda targets: targets.targets.update({path: _order(path, EVIL, 9)}))
    with pytest.raises(MetadataError, match="2 releases at once"):
        site.device().admit()


def test_a_hash_that_we_do_not_use_cannot_stand_in_for_ours(site: Site) -> None:
    def swap(targets: Targets) -> None:
        _only(targets).hashes = {"sha512": "00" * 64, "sha256": _only(targets).hashes["sha256"]}

    forge_director(site, "thor-1", swap)
    with pytest.raises(MetadataError, match="sha256 alone"):
        site.device().admit()


@pytest.mark.parametrize(
    "custom",
    [
        None,
        {},
        [],
        {"device": "thor-1"},
        {"device": "thor-1", "hardware": HARDWARE, "counter": "5"},
        {"device": "thor-1", "hardware": HARDWARE, "counter": 5, "force": True},
    ],
)
def test_an_order_without_exactly_the_signed_fields_is_refused(site: Site, custom: object) -> None:
    forge_director(site, "thor-1", lambda targets: _only(targets).unrecognized_fields.update(custom=custom))
    with pytest.raises(MetadataError, match="custom"):
        site.device().admit()


def test_the_directors_key_signs_nothing_in_the_image_repository(site: Site) -> None:
    def add(targets: Targets) -> None:
        targets.targets["releases/drive/6.6.6/release.json"] = _order(
            "releases/drive/6.6.6/release.json", EVIL, 66
        )

    forge_image(site, {"release": ("director-online", add)})
    with pytest.raises(MetadataError) as refusal:
        site.device().admit()
    assert refusal.value.code == "metadata"
