"""What a device never goes below, kept apart from the caches."""

import pytest

from agent.update.floors import BUILDERS, FLOORS, Floors, FloorStore
from models.errors import MalformedError
from tests.fakes.disk import FakeDisk, PowerCutError

HOUR_NS = 3600 * 1_000_000_000


def test_the_counter_only_rises() -> None:
    store = FloorStore(FakeDisk())
    store.raise_counter(5)
    store.raise_counter(3)
    assert store.read().counter == 5


def test_a_clock_that_was_set_back_does_not_make_old_metadata_fresh() -> None:
    store = FloorStore(FakeDisk())
    now_ns = 500_000 * HOUR_NS
    assert store.trusted_utc_ns(now_ns) == now_ns
    assert store.trusted_utc_ns(0) == now_ns
    assert store.trusted_utc_ns(now_ns + 5) == now_ns + 5


def test_the_time_floor_is_not_written_at_every_look() -> None:
    disk = FakeDisk()
    store = FloorStore(disk)
    store.trusted_utc_ns(10 * HOUR_NS)
    before = disk.operations
    for minute in range(50):
        store.trusted_utc_ns(10 * HOUR_NS + minute * HOUR_NS // 60)
    assert disk.operations == before


def test_a_power_cut_leaves_the_old_floors_or_the_new_ones() -> None:
    for n in range(12):
        disk = FakeDisk()
        FloorStore(disk).raise_counter(4)
        disk.cut_after(n)
        try:
            FloorStore(disk).raise_counter(9)
            risen = True
        except PowerCutError:
            risen = False
        disk.reboot(seed=n)
        floor = FloorStore(disk).read().counter
        assert floor == 9 if risen else floor in (4, 9)


def test_damaged_floors_admit_nothing() -> None:
    disk = FakeDisk()
    store = FloorStore(disk)
    disk.write_at(FLOORS, 0, b"{}x")
    with pytest.raises(MalformedError):
        store.read()


def test_the_builders_are_kept_for_whoever_loads_the_release() -> None:
    disk = FakeDisk()
    store = FloorStore(disk)
    store.store_builders(b"policy")
    disk.reboot()
    assert disk.read(BUILDERS) == b"policy"
    assert store.read() == Floors()
