"""Orders for another device or another hardware class; the Director signs for all devices with one key."""

import pytest
from tuf.api.metadata import Targets  # type: ignore[attr-defined] # public names, without an __all__

from models.digest import Digest
from models.errors import DeviceClassMismatchError, WrongDeviceError
from models.trust.targets import DirectorCustom, custom_of, described
from tests.fakes.forgery import forge_director
from tests.fakes.repositories import Recipe, Site


def test_another_devices_orders_replayed_to_this_one_are_refused(site: Site, digest: Digest) -> None:
    site.assign("thor-2", digest)
    with pytest.raises(WrongDeviceError) as refusal:
        site.device("thor-1").admit(site.source("thor-2"))
    assert refusal.value.code == "wrong-device"


def test_another_devices_empty_orders_cannot_hide_that_this_one_has_some(site: Site) -> None:
    site.director.refresh("thor-2", site.now)
    with pytest.raises(WrongDeviceError):
        site.device("thor-1").admit(site.source("thor-2"))


def test_a_replay_of_a_device_with_higher_versions_does_not_lock_this_one_out(
    site: Site, digest: Digest
) -> None:
    for _ in range(20):
        site.assign("thor-2", digest)
    device = site.device("thor-1")
    assert device.admit() is not None
    kept = {path.name: path.read_bytes() for path in (device.state / "director").glob("*.json")}
    with pytest.raises(WrongDeviceError):
        device.admit(site.source("thor-2"))
    assert {path.name: path.read_bytes() for path in (device.state / "director").glob("*.json")} == kept
    assert not (device.state / "rehearsal").exists()
    assert device.admit() is not None


def test_a_new_device_that_first_hears_a_replay_is_not_locked_out(site: Site, digest: Digest) -> None:
    for _ in range(20):
        site.assign("thor-2", digest)
    device = site.device("thor-1")
    with pytest.raises(WrongDeviceError):
        device.admit(site.source("thor-2"))
    assert not (device.state / "director").exists()
    assert device.admit() is not None


def test_an_order_whose_target_names_another_device_than_its_file_is_refused(site: Site) -> None:
    def rename(targets: Targets) -> None:
        [target] = targets.targets.values()
        old = custom_of(target, DirectorCustom)
        described(target, DirectorCustom("thor-2", old.hardware, old.counter))

    forge_director(site, "thor-1", rename)
    with pytest.raises(WrongDeviceError):
        site.device("thor-1").admit()


def test_orders_that_name_no_device_are_refused(site: Site) -> None:
    forge_director(site, "thor-1", lambda targets: targets.unrecognized_fields.clear())
    with pytest.raises(WrongDeviceError):
        site.device("thor-1").admit()


def test_an_order_for_another_hardware_class_is_refused(site: Site, digest: Digest) -> None:
    site.assign("thor-1", digest, hardware="orin-agx")
    with pytest.raises(DeviceClassMismatchError) as refusal:
        site.device("thor-1").admit()
    assert refusal.value.code == "device-class-mismatch"


def test_a_director_that_lies_about_hardware_is_stopped_by_the_image_repository(site: Site) -> None:
    for_orin = site.publish("2.0.0", counter=6, recipe=Recipe(hardware=("orin-agx",)))
    site.assign("thor-1", for_orin.digest, hardware="thor-t5000")
    with pytest.raises(DeviceClassMismatchError):
        site.device("thor-1").admit()
