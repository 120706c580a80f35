"""Fetching over a broker in memory: it resumes, retries, believes no answer, and stays in its window."""

import random
import threading
from dataclasses import dataclass
from pathlib import Path

import pytest

from agent.adapters.files import FileDisk
from agent.app.inbox import Inbox, Receivers
from agent.ports import Disk
from agent.telemetry.events import EventLog
from agent.update.depot import Depot, Patience
from agent.update.fetch import FetchWorld, fetch
from agent.update.slots import SlotStore, StagedSlot
from agent.update.window import FetchLimits
from models.errors import DigestMismatchError, TransferError, UnknownObjectError
from models.wire.messages import RangeRequest, Refusal, RefusalCode, Repository
from models.wire.topics import Channel, topic
from tests.fakes.broker import FakeBroker, FakeTransport, Subscriber, Weather
from tests.fakes.clock import FakeClock
from tests.fakes.depot import DepotResponder, PlainRelease, PlainStore, plain_release
from tests.fakes.disk import FakeDisk, PowerCutError

WINDOW = 4


class RunningClock(FakeClock):
    """A millisecond passes whenever somebody looks."""

    def mono_ns(self) -> int:
        self.advance(0.001)
        return super().mono_ns()


@dataclass
class Rig:
    broker: FakeBroker
    transport: FakeTransport
    responder: DepotResponder
    depot: Depot
    world: FetchWorld


def rig(release: PlainRelease, weather: Weather | None = None, stall_s: float = 60) -> Rig:
    """A broker, a depot that holds `release`, and a device that may fetch from it."""
    broker = FakeBroker(weather)
    responder = DepotResponder(PlainStore(release.contents), broker.publish)
    broker.subscribe(Subscriber(("roskva/v1/#",), responder.hear))
    transport, clock = FakeTransport(broker), RunningClock()
    depot = Depot(transport, Patience(timeout_s=0.02, attempts=3, pause_s=0.001))
    receivers = Receivers(lambda _: None, lambda _: None, depot.answered, lambda _: None)
    transport.start(Inbox(receivers, EventLog(clock)).deliver)
    limits = FetchLimits(WINDOW, timeout_ns=5_000_000, stall_ns=int(stall_s * 1e9))
    return Rig(broker, transport, responder, depot, FetchWorld(depot, clock, limits, draw=random.Random(1)))


def fetch_into(disk: Disk, release: PlainRelease, one: Rig) -> StagedSlot:
    staging = SlotStore(disk).stage(release.wanted.digest, release.wanted.files())
    return fetch(release.wanted, staging, one.world)


def is_whole(disk: Disk, slot: StagedSlot, release: PlainRelease) -> bool:
    wanted = release.wanted
    pairs = [(file.path, file.digest) for file in wanted.manifest.files]
    pairs.append(("model.oms.sig", wanted.signature_digest))
    found = {path: disk.read(f"{slot.slot.directory}/{path}") for path, _ in pairs}
    manifest = disk.read(f"{slot.slot.directory}/release.json")
    contents = {str(digest): data for digest, data in release.contents.items()}
    return manifest == wanted.manifest_bytes and all(
        found[path] == contents[digest] for path, digest in pairs
    )


@pytest.mark.parametrize("kind", ["fake", "real"])
def test_a_release_arrives_whole(kind: str, tmp_path: Path) -> None:
    disk: Disk = FakeDisk() if kind == "fake" else FileDisk(tmp_path)
    release = plain_release()
    one = rig(release)
    slot = fetch_into(disk, release, one)
    assert is_whole(disk, slot, release)
    assert one.responder.bytes_served == release.wanted.size_bytes


def test_progress_ends_at_the_whole() -> None:
    release, seen = plain_release(), list[tuple[int, int]]()
    one = rig(release)
    world = FetchWorld(one.depot, one.world.clock, one.world.limits, progress=lambda *step: seen.append(step))
    fetch(release.wanted, SlotStore(FakeDisk()).stage(release.wanted.digest, release.wanted.files()), world)
    assert seen[0] == (0, release.wanted.size_bytes)
    assert seen[-1] == (release.wanted.size_bytes,) * 2
    assert seen == sorted(seen)


def test_answers_that_come_twice_and_out_of_order_change_nothing() -> None:
    release, disk = plain_release(sizes=(2000, 700)), FakeDisk()
    one = rig(release, Weather(duplicated=0.3, delayed=0.3))
    assert is_whole(disk, fetch_into(disk, release, one), release)


def test_answers_that_never_come_are_asked_for_again() -> None:
    release, disk = plain_release(sizes=(1000,)), FakeDisk()
    one, draw = rig(release), random.Random(3)
    one.responder.mangle = lambda _ask, data: None if draw.random() < 0.3 else data
    assert is_whole(disk, fetch_into(disk, release, one), release)


def test_a_busy_depot_is_asked_again_until_it_has_time() -> None:
    release, disk = plain_release(sizes=(1000,)), FakeDisk()
    one, draw = rig(release), random.Random(3)
    one.responder.mangle = lambda _ask, data: Refusal(RefusalCode.BUSY) if draw.random() < 0.5 else data
    assert is_whole(disk, fetch_into(disk, release, one), release)


def test_one_false_answer_is_dropped_and_asked_for_again() -> None:
    release, disk, lies = plain_release(), FakeDisk(), iter([b"lie"])
    one = rig(release)
    one.responder.mangle = lambda _ask, data: next(lies, data)
    assert is_whole(disk, fetch_into(disk, release, one), release)


def test_a_depot_that_goes_on_lying_ends_the_fetch_and_no_lie_is_stored() -> None:
    release, disk = plain_release(), FakeDisk()
    one = rig(release)
    one.responder.mangle = lambda _ask, data: bytes(len(data))
    with pytest.raises(DigestMismatchError):
        fetch_into(disk, release, one)
    assert not any(disk.read("slots/a/model/part0"))


def test_a_depot_that_does_not_know_the_content_ends_the_fetch_for_now() -> None:
    release = plain_release()
    one = rig(PlainRelease(release.wanted, {}))
    with pytest.raises(TransferError, match="refuses"):
        fetch_into(FakeDisk(), release, one)


def test_a_depot_that_says_nothing_ends_the_fetch_for_now() -> None:
    release = plain_release()
    one = rig(release, stall_s=0.05)
    one.responder.mangle = lambda _ask, _data: None
    with pytest.raises(TransferError, match="nothing has arrived"):
        fetch_into(FakeDisk(), release, one)


def test_what_arrived_before_the_stop_is_not_fetched_again() -> None:
    release, disk = plain_release(sizes=(3000,)), FakeDisk()
    one, stop = rig(release), threading.Event()
    world = FetchWorld(one.depot, one.world.clock, one.world.limits, stop)

    def stop_halfway(_ask: RangeRequest, data: bytes) -> bytes:
        if len(one.responder.ranges) == 20:
            stop.set()
        return data

    one.responder.mangle = stop_halfway
    staging = SlotStore(disk).stage(release.wanted.digest, release.wanted.files())
    with pytest.raises(TransferError, match="told to stop"):
        fetch(release.wanted, staging, world)
    assert is_whole(disk, fetch_into(disk, release, one), release)
    again = one.responder.bytes_served - release.wanted.size_bytes
    assert again <= WINDOW * 64


def test_an_outage_in_mid_fetch_is_waited_out() -> None:
    release, disk = plain_release(sizes=(2000,)), FakeDisk()
    one = rig(release)
    timer = threading.Timer(0.1, one.broker.come_back)

    def cut(_ask: RangeRequest, data: bytes) -> bytes:
        if len(one.responder.ranges) == 10:
            one.broker.disconnect_all()
            timer.start()
        return data

    one.responder.mangle = cut
    assert is_whole(disk, fetch_into(disk, release, one), release)
    timer.join()


def test_after_any_power_cut_at_most_one_window_is_fetched_again() -> None:
    release = plain_release(sizes=(900, 300))
    whole = FakeDisk()
    fetch_into(whole, release, rig(release))
    for n in range(whole.operations):
        disk, one = FakeDisk(), rig(release)
        disk.cut_after(n)
        with pytest.raises(PowerCutError):
            fetch_into(disk, release, one)
        disk.reboot(seed=n)
        slot = fetch_into(disk, release, one)
        assert is_whole(disk, slot, release)
        # In flight and not yet durable: a window each; what is counted here is what the depot served.
        assert one.responder.bytes_served - release.wanted.size_bytes <= 2 * WINDOW * 64


def test_metadata_and_targets_say_unknown_apart_from_unreachable() -> None:
    one = rig(plain_release())
    with pytest.raises(UnknownObjectError):
        one.depot.metadata(Repository.IMAGE, "9.root.json", 1000)
    one.broker.disconnect_all()
    with pytest.raises(TransferError):
        one.depot.target("policy/x.builders.json", 1000)


def test_answers_that_nobody_asked_for_are_counted_and_dropped() -> None:
    one = rig(plain_release())
    for n in range(100):
        one.broker.publish(topic("yard", "thor-1", Channel.REPLY, f"guess.{n}"), b"x")
    assert one.depot.unasked == 100
