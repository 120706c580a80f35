"""The fleet's order on the device: the latest counts, it outlives the network and the process, and it lifts nothing."""

from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.adapters.files import FileDisk
from agent.app.ordered import ENVELOPE_FILE, OrderedEnvelope
from agent.board.records import ENVELOPE, FLEET_ENVELOPE_BOARD, EnvelopeRecord
from agent.board.seqlock import BoardWriter
from agent.power.limits import Limit, Limits, LimitSource
from agent.telemetry.events import EventLog
from models.wire.messages import EnvelopeOrder
from tests.fakes.clock import FakeClock
from tests.fakes.disk import FakeDisk, PowerCutError
from tests.fakes.memory import directory_in_memory

CONFIG_W = 90.0


class Device:
    """What of `manage` concerns the envelope, over a disk; each one is a start of the process."""

    def __init__(self, run: Path, disk: FakeDisk | FileDisk, clock: FakeClock) -> None:
        self.clock, self.events = clock, EventLog(clock)
        self.board: BoardWriter[EnvelopeRecord] = BoardWriter(run / FLEET_ENVELOPE_BOARD, ENVELOPE)
        self.envelope = OrderedEnvelope(disk, self.board, clock, self.events)
        self._limits = Limits(run, CONFIG_W)

    def hears(self, *orders: EnvelopeOrder) -> None:
        for order in orders:
            self.envelope.take(order)
        self.envelope.tick()

    @property
    def limit(self) -> Limit:
        return self._limits.limit(self.clock.mono_ns())

    def kinds(self) -> list[str]:
        return [event.kind for event in self.events.drain()]


def test_an_order_is_in_force_at_the_next_tick_and_can_be_taken_back(tmp_path: Path) -> None:
    device = Device(tmp_path, FakeDisk(), FakeClock())
    device.hears(EnvelopeOrder(10, 60.0))
    assert device.limit == Limit(60.0, LimitSource.FLEET)
    device.hears(EnvelopeOrder(11, None))
    assert device.limit == Limit(CONFIG_W, LimitSource.CONFIGURATION)
    assert device.kinds() == ["envelope-ordered", "envelope-ordered"]


def test_an_order_with_a_stale_sequence_is_ignored(tmp_path: Path) -> None:
    device = Device(tmp_path, FakeDisk(), FakeClock())
    device.hears(EnvelopeOrder(10, 60.0))
    device.hears(EnvelopeOrder(9, None))
    device.hears(EnvelopeOrder(10, 80.0))
    assert device.limit.watts == 60.0
    assert device.kinds() == ["envelope-ordered", "envelope-stale", "envelope-stale"]
    device.hears(EnvelopeOrder(12, 50.0), EnvelopeOrder(11, 70.0))
    assert device.limit.watts == 50.0


@given(
    st.lists(st.tuples(st.integers(1, 20), st.one_of(st.none(), st.floats(40, 130))), min_size=1),
    st.lists(st.booleans(), min_size=1),
)
def test_in_whatever_order_orders_come_the_one_with_the_highest_number_counts(
    said: list[tuple[int, float | None]], ticks: list[bool]
) -> None:
    by_number = dict(said)
    with directory_in_memory() as run:
        device = Device(run, FakeDisk(), FakeClock())
        for place, number in enumerate(sequence for sequence, _ in said):
            device.envelope.take(EnvelopeOrder(number, by_number[number]))
            if ticks[place % len(ticks)]:
                device.envelope.tick()
        device.envelope.tick()
        last = by_number[max(by_number)]
        assert device.limit.watts == (CONFIG_W if last is None else min(last, CONFIG_W))
        assert device.envelope.order == EnvelopeOrder(max(by_number), last)


def test_an_order_that_comes_twice_is_no_news(tmp_path: Path) -> None:
    disk = FakeDisk()
    device = Device(tmp_path, disk, FakeClock())
    device.hears(EnvelopeOrder(10, 60.0))
    before = disk.operations
    device.hears(EnvelopeOrder(10, 60.0))
    assert (disk.operations, device.kinds()) == (before, ["envelope-ordered"])


def test_a_device_that_restarts_offline_still_holds_the_fleets_lower_envelope(tmp_path: Path) -> None:
    disk, clock = FakeDisk(), FakeClock()
    Device(tmp_path, disk, clock).hears(EnvelopeOrder(10, 60.0))
    disk.reboot()
    (tmp_path / FLEET_ENVELOPE_BOARD).unlink()  # memory is empty after a boot
    restarted = Device(tmp_path, disk, clock)
    assert restarted.limit == Limit(60.0, LimitSource.FLEET)
    restarted.hears(EnvelopeOrder(9, None))
    assert restarted.limit.watts == 60.0


def test_a_power_cut_at_any_moment_leaves_the_order_before_or_the_new_one(tmp_path: Path) -> None:
    for cut in range(8):
        for seed in range(8):
            disk, clock = FakeDisk(), FakeClock()
            Device(tmp_path, disk, clock).hears(EnvelopeOrder(10, 60.0))
            device = Device(tmp_path, disk, clock)
            disk.cut_after(cut)
            with suppress(PowerCutError):
                device.hears(EnvelopeOrder(11, 50.0))
            disk.reboot(seed)
            restarted = Device(tmp_path, disk, clock)
            assert restarted.limit.watts in {50.0, 60.0}
            assert restarted.kinds() == []


def test_an_order_expires_by_the_devices_own_clock_also_without_a_network(tmp_path: Path) -> None:
    disk, clock = FakeDisk(), FakeClock()
    device = Device(tmp_path, disk, clock)
    device.hears(EnvelopeOrder(10, 60.0, clock.utc_ns() + 60_000_000_000))
    clock.advance(59)
    device.envelope.tick()
    assert device.limit.watts == 60.0
    clock.advance(2)
    device.envelope.tick()
    assert device.limit.watts == CONFIG_W
    assert Device(tmp_path, disk, clock).limit.watts == CONFIG_W
    device.hears(EnvelopeOrder(9, 50.0))
    assert device.kinds()[-1] == "envelope-stale", "an order that expired still outdates the ones before it"


@pytest.mark.parametrize(
    "damage", [b"", b"{", b"\xff", b'{"sequence":10}', b'{"sequence":10,"envelope_w":5.0}', b"null"]
)
def test_a_damaged_file_is_reported_and_the_next_order_counts(tmp_path: Path, damage: bytes) -> None:
    disk = FakeDisk()
    disk.write_at(ENVELOPE_FILE, 0, damage)
    device = Device(tmp_path, disk, FakeClock())
    assert device.limit.watts == CONFIG_W
    assert device.kinds() == ["envelope-damaged"]
    device.hears(EnvelopeOrder(1, 60.0))
    assert device.limit.watts == 60.0
    assert Device(tmp_path, disk, FakeClock()).limit.watts == 60.0


def test_an_order_that_finds_no_room_on_the_disk_is_in_force_and_is_kept_once_there_is(
    tmp_path: Path,
) -> None:
    disk, clock = FakeDisk(capacity_bytes=100), FakeClock()
    disk.write_at("full", 0, bytes(100))
    device = Device(tmp_path, disk, clock)
    device.hears(EnvelopeOrder(10, 60.0))
    assert device.limit.watts == 60.0
    device.envelope.tick()
    assert device.kinds() == ["envelope-ordered", "envelope-unsaved"], "said once, however long it lasts"
    disk.remove("full")
    device.envelope.tick()
    assert Device(tmp_path, disk, clock).limit.watts == 60.0


def test_on_a_real_disk_the_order_is_kept_too(tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    Device(run, FileDisk(tmp_path / "state"), FakeClock()).hears(EnvelopeOrder(10, 62.5))
    device = Device(run, FileDisk(tmp_path / "state"), FakeClock())
    assert device.limit.watts == 62.5
