"""A real manage process, a real broker, a depot over a real site: updates, outages, and kills."""

import resource
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import msgspec
import pytest

from agent.board.change import SwapOrder
from agent.board.records import raw_from_digest
from agent.update.slots import Pointer
from models.wire.messages import RangeRequest, ReleaseOffer, encode
from tests.fakes.control import FakeControl
from tests.fakes.manage import (
    CHUNK,
    DEVICE,
    SETTINGS,
    Rig,
    large,
)
from tests.fakes.mosquitto import PROGRAM, wait_until
from tests.fakes.repositories import Recipe, small_contract

pytestmark = [
    pytest.mark.broker,
    pytest.mark.skipif(PROGRAM is None, reason="mosquitto is not installed"),
]


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    made = Rig(tmp_path)
    yield made
    made.close()


def test_an_assigned_release_is_fetched_verified_tried_and_kept(rig: Rig) -> None:
    release = rig.site.publish()
    with FakeControl(rig.device.run) as control:
        rig.device.start()
        wait_until(lambda: bool(rig.server.states), what="first state")
        rig.site.assign(DEVICE, release.digest)
        rig.server.offer()
        rig.wait_for_event("update-passed")
        pointer = rig.pointer()
        assert (pointer.live_digest, pointer.trial) == (release.digest, False)
        assert control.live == raw_from_digest(release.digest)
        assert control.orders[:2] == [SwapOrder.LOAD, SwapOrder.GO]
        wait_until(lambda: control.orders[-1] is SwapOrder.KEEP, what="keep")
        wait_until(lambda: rig.server.states[-1].live_digest == release.digest, what="state says so")
    floors = msgspec.json.decode((rig.device.state / "trust/floors.json").read_bytes())
    assert floors["counter"] == release.counter


def test_a_release_that_fails_its_trial_is_returned_from_and_quarantined(rig: Rig) -> None:
    good, bad = rig.site.publish("1.0.0", 1), rig.site.publish("1.1.0", 2)
    with FakeControl(rig.device.run) as control:
        rig.site.assign(DEVICE, good.digest)
        rig.device.start()
        rig.wait_for_event("update-passed")
        control.fails_in_trial = "worker-contract"
        rig.site.assign(DEVICE, bad.digest)
        rig.server.offer()
        rig.wait_for_event("update-returned")
        pointer = rig.pointer()
        assert (pointer.live_digest, pointer.quarantined) == (good.digest, (bad.digest,))
        assert control.live == raw_from_digest(good.digest)
        rig.server.offer()
        rig.wait_for_event("update-refused")
        assert any("[quarantined]" in reason for reason in rig.server.reasons())


@pytest.mark.parametrize("reason", ["golden-mismatch", "latency-admission", "memory-limit"])
def test_a_release_that_control_refuses_never_becomes_live_and_is_quarantined(rig: Rig, reason: str) -> None:
    release = rig.site.publish()
    rig.site.assign(DEVICE, release.digest)
    with FakeControl(rig.device.run, refuses=reason):
        rig.device.start()
        rig.wait_for_event("update-refused")
    assert rig.pointer().live is None
    assert rig.pointer().quarantined == (release.digest,)
    assert any(f"[{reason}]" in said for said in rig.server.reasons())


def test_the_fleet_learns_how_a_candidates_plans_in_shadow_differed(rig: Rig) -> None:
    rig.site.assign(DEVICE, rig.site.publish().digest)
    with FakeControl(rig.device.run):
        rig.device.start()
        rig.wait_for_event("update-trial")
    assert any(
        said.startswith("12 plans in shadow; rms differences 0.00 m/s²") for said in rig.server.reasons()
    )


@pytest.mark.parametrize("reason", ["board", "disk", "not-now"])
def test_a_candidate_that_could_not_be_tried_for_want_of_a_plant_a_disk_or_sight_is_not_quarantined(
    rig: Rig, reason: str
) -> None:
    release = rig.site.publish()
    rig.site.assign(DEVICE, release.digest)
    with FakeControl(rig.device.run, refuses=reason) as control:
        rig.device.start()
        rig.wait_for_event("update-put-off")
        assert any(f"[{reason}]" in said for said in rig.server.reasons())
        assert rig.pointer() == Pointer()
        control.refuses = ""
        rig.server.offer()
        rig.wait_for_event("update-passed")
    assert rig.pointer().live_digest == release.digest


def test_a_download_goes_on_where_a_kill_stopped_it(tmp_path: Path) -> None:
    rig = Rig(tmp_path, SETTINGS.replace("[update]\n", "[update]\nmax_bytes_per_s = 200000\n"))
    release = rig.site.publish(recipe=large())
    rig.site.assign(DEVICE, release.digest)
    try:
        with FakeControl(rig.device.run):
            rig.device.start()
            wait_until(lambda: rig.server.depot.bytes_served > 200_000, 20, "half of it served")
            rig.device.kill()
            before = rig.server.depot.bytes_served
            rig.device.start()
            rig.wait_for_event("update-passed")
        total = sum(
            file.stat().st_size for file in rig.site.release_dir("1.0.0").rglob("*") if file.is_file()
        )
        total -= (rig.site.release_dir("1.0.0") / "release.json").stat().st_size
        # In flight and not yet durable when it was killed: a window each.
        assert rig.server.depot.bytes_served - total <= 2 * 8 * CHUNK
        assert before < rig.server.depot.bytes_served
    finally:
        rig.close()


def test_a_trial_cut_short_by_a_kill_goes_on_after_the_start(tmp_path: Path) -> None:
    rig = Rig(tmp_path, SETTINGS.replace("trial_s = 1.0", "trial_s = 3.0"))
    release = rig.site.publish()
    rig.site.assign(DEVICE, release.digest)
    try:
        with FakeControl(rig.device.run):
            rig.device.start()
            rig.wait_for_event("update-trial")
            rig.device.kill()
            assert rig.pointer().trial
            rig.device.start()
            rig.wait_for_event("update-passed")
        assert not rig.pointer().trial
        assert rig.pointer().live_digest == release.digest
    finally:
        rig.close()


def test_killed_before_the_switch_it_goes_on_waiting_for_the_same_switch(rig: Rig) -> None:
    release = rig.site.publish()
    rig.site.assign(DEVICE, release.digest)
    with FakeControl(rig.device.run) as control:
        control.safe.clear()
        rig.device.start()
        rig.wait_for_event("update-switching")
        rig.device.kill()
        rig.device.start()
        wait_until(lambda: rig.server.events().count("update-switching") == 2, 20, "switching again")
        control.safe.set()
        rig.wait_for_event("update-passed")
    assert control.orders.count(SwapOrder.LOAD) == 1, "control has it loaded: nothing is loaded twice"


def test_killed_while_control_warms_it_up_nothing_has_changed_and_the_next_process_ends_it(rig: Rig) -> None:
    release = rig.site.publish()
    rig.site.assign(DEVICE, release.digest)
    rig.device.start()
    rig.wait_for_event("update-warming")
    rig.device.kill()
    assert rig.pointer() == Pointer()
    served = rig.server.depot.bytes_served
    with FakeControl(rig.device.run):
        rig.device.start()
        rig.wait_for_event("update-passed")
    assert rig.pointer().live_digest == release.digest
    assert rig.server.depot.bytes_served == served, "nothing is fetched twice"


def test_control_started_anew_in_a_trial_is_told_again_and_the_trial_goes_on(tmp_path: Path) -> None:
    rig = Rig(tmp_path, SETTINGS.replace("trial_s = 1.0", "trial_s = 3.0"))
    release = rig.site.publish()
    rig.site.assign(DEVICE, release.digest)
    try:
        with FakeControl(rig.device.run):
            rig.device.start()
            rig.wait_for_event("update-trial")
        with FakeControl(rig.device.run, live=raw_from_digest(release.digest)):
            rig.wait_for_event("update-passed")
    finally:
        rig.close()


def test_a_device_that_starts_again_and_again_on_trial_goes_back(rig: Rig) -> None:
    good, bad = rig.site.publish("1.0.0", 1), rig.site.publish("1.1.0", 2)
    rig.site.assign(DEVICE, good.digest)
    with FakeControl(rig.device.run) as control:
        rig.device.start()
        rig.wait_for_event("update-passed")
        control.safe.clear()
        rig.site.assign(DEVICE, bad.digest)
        rig.server.offer()
        rig.wait_for_event("update-switching", 20)
        wait_until(lambda: rig.pointer().trial, what="on trial")
        boot = rig.device.root / "proc/sys/kernel/random/boot_id"

        def counted(starts: int) -> bool:
            return rig.pointer().trial_boots == starts or not rig.pointer().trial

        for start in range(4):
            rig.device.kill()
            boot.write_text(f"1111111{start}-0000-0000-0000-000000000000\n")
            rig.device.start()
            wait_until(partial(counted, start + 1), 20, "this start is counted")
        rig.wait_for_event("update-returned")
    assert rig.pointer().live_digest == good.digest
    assert rig.pointer().quarantined == (bad.digest,)
    assert any("[trial-boots]" in reason for reason in rig.server.reasons())


def test_a_release_for_another_plant_is_refused_before_anything_is_fetched(rig: Rig) -> None:
    contract = msgspec.structs.replace(small_contract(), instructions=("turn around",))
    release = rig.site.publish(recipe=Recipe(contract=contract))
    rig.site.assign(DEVICE, release.digest)
    with FakeControl(rig.device.run):
        rig.device.start()
        rig.wait_for_event("update-refused")
    assert any("[contract-mismatch]" in reason for reason in rig.server.reasons())
    assert rig.server.depot.bytes_served == 0


def test_a_release_whose_publisher_is_trusted_no_more_never_reaches_control(rig: Rig) -> None:
    """Both repositories name it and every byte is as it should be: only `verify` can refuse it."""
    release = rig.site.publish()
    rig.site.assign(DEVICE, release.digest)
    rig.site.image.publish_policy(msgspec.structs.replace(rig.site.image.policy(), publishers=()))
    with FakeControl(rig.device.run) as control:
        rig.device.start()
        rig.wait_for_event("update-refused")
        assert control.orders == []
    assert any("[model-signature]" in reason for reason in rig.server.reasons())
    assert rig.pointer().live is None
    assert not list((rig.device.state / "slots").glob("a/*")), "what was refused is not kept"


def test_a_disk_without_room_is_named_the_old_release_drives_and_with_room_it_goes_on(rig: Rig) -> None:
    old, new = rig.site.publish(), rig.site.publish("2.0.0", 2, large())
    rig.site.assign(DEVICE, old.digest)
    with FakeControl(rig.device.run) as control:
        rig.device.start()
        rig.wait_for_event("update-passed")
        pointer = rig.pointer()
        assert rig.device.process is not None
        # The kernel refuses every file of more than 200 kB to this process, as a full disk would.
        pid, (soft, hard) = rig.device.process.pid, resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (200_000, hard))
        rig.site.assign(DEVICE, new.digest)
        rig.server.offer()
        rig.wait_for_event("update-put-off")
        assert any("[no-space]" in reason for reason in rig.server.reasons())
        assert (rig.pointer().live, rig.pointer().live_digest) == (pointer.live, old.digest)
        assert control.live == raw_from_digest(old.digest)
        assert not list((rig.device.state / "slots/b").rglob("*")), "the room is given back"
        assert rig.server.depot.bytes_served < 100_000, "nothing of it was fetched"
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (soft, hard))
        rig.server.offer()
        wait_until(lambda: rig.server.events().count("update-passed") == 2, 30, "passed with room")
        assert rig.pointer().live_digest == new.digest


def test_a_switch_waits_for_the_vehicle_to_say_that_it_is_safe(rig: Rig) -> None:
    release = rig.site.publish()
    rig.site.assign(DEVICE, release.digest)
    with FakeControl(rig.device.run) as control:
        control.safe.clear()
        rig.device.start()
        rig.wait_for_event("update-switching")
        states = len(rig.server.states)
        wait_until(lambda: len(rig.server.states) > states + 1, what="two more seconds")
        assert "update-trial" not in rig.server.events()
        control.safe.set()
        rig.wait_for_event("update-passed")


def test_hostile_messages_are_reported_and_nothing_stops(rig: Rig) -> None:
    with FakeControl(rig.device.run):
        rig.device.start()
        wait_until(lambda: bool(rig.server.states), what="first state")
        for payload in (b"", b"{", b"\xff" * 100, b'{"release_digest":1}', bytes(10_000_000)):
            rig.server.offer(payload)
        rig.wait_for_event("malformed-message")
        states = len(rig.server.states)
        wait_until(lambda: len(rig.server.states) > states, what="still alive")


def test_an_offer_of_what_the_director_did_not_assign_changes_nothing(rig: Rig) -> None:
    ordered, other = rig.site.publish("1.0.0", 1), rig.site.publish("2.0.0", 2)
    rig.site.assign(DEVICE, ordered.digest)
    with FakeControl(rig.device.run):
        rig.device.start()
        rig.wait_for_event("update-passed")
        asked = rig.server.depot.timestamps
        rig.server.offer(encode(ReleaseOffer(other.digest, "from nobody")))
        wait_until(lambda: rig.server.depot.timestamps > asked, what="asked the repositories")
        states = len(rig.server.states)
        wait_until(lambda: len(rig.server.states) > states + 2, what="three states")
    assert rig.pointer().live_digest == ordered.digest
    assert rig.server.events().count("update-passed") == 1
    assert not {state.update.release_digest for state in rig.server.states} - {"", ordered.digest}


def test_a_flood_of_offers_makes_the_device_ask_once_a_second_at_most(rig: Rig) -> None:
    with FakeControl(rig.device.run):
        rig.device.start()
        wait_until(lambda: bool(rig.server.states), what="first state")
        states, asked = len(rig.server.states), rig.server.depot.timestamps
        for _ in range(500):
            rig.server.offer()
        wait_until(lambda: len(rig.server.states) >= states + 4, what="four seconds")
        assert rig.server.depot.timestamps - asked <= 6


def test_a_lying_depot_is_found_out_and_named(rig: Rig) -> None:
    release = rig.site.publish()
    rig.site.assign(DEVICE, release.digest)

    def lie(_ask: RangeRequest, data: bytes) -> bytes:
        return bytes(len(data))

    rig.server.depot.mangle = lie
    with FakeControl(rig.device.run):
        rig.device.start()
        rig.wait_for_event("update-refused")
    assert any("[digest-mismatch]" in reason for reason in rig.server.reasons())
    assert rig.pointer().live is None
