"""The main job, end to end: real processes, a real Mosquitto, one emulated Thor.

One journey is driven for the whole module: a first release is installed, then a second is fetched slowly while the
first drives, `manage` is killed in the middle of it and started again, the second takes over, and the auditor asks.
"""

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from agent.board.change import UPDATE, UPDATE_BOARD, UpdateRecord
from agent.board.layout import text_from
from agent.board.records import LOOP, LOOP_BOARD, LoopRecord
from agent.board.seqlock import BoardReader
from agent.control.worker import DECISIONS_PER_EPOCH
from bench.misses import Misses
from fleet.demo.commands import Commands
from fleet.demo.journey import Journey, Settings
from fleet.demo.processes import Processes, mosquitto, pause
from fleet.demo.server import SeenDecision
from fleet.demo.site import CHASSIS_SERIAL, BuiltRelease
from models.release.manifest import CLAIMS_NAME

pytestmark = [
    pytest.mark.broker,
    pytest.mark.slow,
    pytest.mark.timeout(300),
    pytest.mark.skipif(mosquitto() is None, reason="Mosquitto is not installed"),
]

RATE_BYTES_PER_S = 150_000
WINDOW = 2
CHUNK_BYTES = 1 << 16
PATIENCE_S = 60.0


@dataclass
class Drive:
    """What was seen on the way."""

    journey: Journey
    first: BuiltRelease
    second: BuiltRelease
    commands: list[str] = field(default_factory=list)
    at_kill: UpdateRecord | None = None
    after_restart: UpdateRecord | None = None
    loop_before: LoopRecord | None = None
    loop_after: LoopRecord | None = None
    misses: Misses | None = None
    sent_before_bytes: int = 0
    sent_after_bytes: int = 0
    decisions: list[SeenDecision] = field(default_factory=list)

    def look(self) -> None:
        """Watch the loop for missed ticks."""
        if self.misses is not None:
            self.misses.look()


@pytest.fixture(scope="module")
def drive(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Drive]:
    folder = tmp_path_factory.mktemp("journey")
    typed: list[str] = []
    with Processes(folder / "logs") as processes:
        settings = Settings(devices=1, trial_s=3.0, max_bytes_per_s=RATE_BYTES_PER_S, window=WINDOW)
        journey = Journey(folder, processes, settings, Commands(folder, typed.append))
        journey.site.record()
        first = journey.site.release("int8", "1.0.0", 1)
        second = journey.site.release("nvfp4", "1.1.0", 2)
        journey.start_server()
        journey.start_witnesses()
        journey.start_devices()
        seen = Drive(journey, first, second, typed)
        journey.assign(first)
        journey.await_driving(first.digest, PATIENCE_S)
        _interrupted_change(seen, processes)
        journey.await_driving(second.digest, PATIENCE_S, lambda _: seen.look())
        journey.drive(3.0, lambda _: seen.look())
        seen.loop_after = _loop(journey)
        seen.sent_after_bytes = journey.server.get("health")["content_sent_bytes"]
        seen.decisions = journey.server.decisions(limit=1000)
        yield seen


def test_killing_manage_in_a_download_costs_the_loop_no_tick(drive: Drive) -> None:
    assert drive.loop_before is not None
    assert drive.loop_after is not None
    assert drive.loop_after.ticks > drive.loop_before.ticks + 500
    assert drive.misses is not None
    if text_from(drive.loop_after.realtime).startswith("fifo"):
        machine = drive.journey.testimony()
        assert drive.misses.unexplained(machine) == 0, drive.misses.told(machine)


def test_the_download_goes_on_from_where_it_was(drive: Drive) -> None:
    assert drive.at_kill is not None
    assert drive.after_restart is not None
    window_bytes = WINDOW * CHUNK_BYTES
    assert drive.after_restart.bytes_done >= drive.at_kill.bytes_done - window_bytes
    fetched_bytes = drive.sent_after_bytes - drive.sent_before_bytes
    assert fetched_bytes <= drive.second.size_bytes + 2 * window_bytes


def test_every_decision_that_was_numbered_is_in_the_store_and_was_executed(drive: Drive) -> None:
    releases = {decision.record.release_digest for decision in drive.decisions}
    assert releases == {drive.first.digest, drive.second.digest}
    assert sum(d.record.ticks for d in drive.decisions) > 500
    for epoch in {d.record.sequence // DECISIONS_PER_EPOCH for d in drive.decisions}:
        numbers = sorted(
            d.record.sequence % DECISIONS_PER_EPOCH
            for d in drive.decisions
            if d.record.sequence // DECISIONS_PER_EPOCH == epoch
        )
        assert numbers == list(range(numbers[0], numbers[0] + len(numbers))), (
            "a decision is missing, although manage was killed"
        )


def test_no_two_plans_of_a_drive_are_the_same_script(drive: Drive) -> None:
    plans = {decision.record.plan for decision in drive.decisions}
    assert len(plans) == len(drive.decisions)


def test_a_decision_traces_to_the_rack_with_every_claim_verified(drive: Drive) -> None:
    decision = next(
        d for d in drive.decisions if d.record.ticks and d.record.release_digest == drive.second.digest
    )
    done = drive.journey.commands.run("roskva", "trace", decision.id, "--json", *_where(drive))
    found = json.loads(done.output)
    assert found["verified"] is True
    assert [c["step"] for c in found["claims"]] == ["bundle", "quantise", "convert", "pretrain"]
    assert all(c["verified"] and c["signer"] for c in found["claims"])
    assert found["rack"]["chassis_serial"] == CHASSIS_SERIAL
    assert found["rack"]["emulated"] is True


def test_a_checkpoint_leads_to_the_device_that_drives_with_its_descendant(drive: Drive) -> None:
    checkpoint = drive.second.manifest.checkpoint_digest
    done = drive.journey.commands.run("roskva", "trace", checkpoint, *_where(drive))
    assert drive.journey.devices[0].id in done.output


def test_an_unknown_decision_is_said_to_be_unknown(drive: Drive) -> None:
    device = drive.journey.devices[0].id
    drive.journey.commands.run("roskva", "trace", f"{device}:no-such-boot:1", *_where(drive), expect=2)


def test_one_changed_byte_of_a_claim_is_named_and_ends_with_4(drive: Drive) -> None:
    """Last: it changes what the server holds."""
    decision = next(d for d in drive.decisions if d.record.release_digest == drive.second.digest)
    claims = next(f for f in drive.second.manifest.files if f.path == CLAIMS_NAME)
    stored = drive.journey.site.repo / "content" / claims.digest.removeprefix("sha256:")
    honest = stored.read_bytes()
    stored.chmod(0o644)
    stored.write_bytes(_with_one_byte_changed(honest))
    try:
        done = drive.journey.commands.run("roskva", "trace", decision.id, "--json", *_where(drive), expect=4)
    finally:
        stored.write_bytes(honest)
    found = json.loads(done.output)
    assert found["verified"] is False
    assert [c["step"] for c in found["claims"] if not c["verified"]], "no claim is named"


def _interrupted_change(seen: Drive, processes: Processes) -> None:
    """Order the second release, kill `manage` in the middle of its download, start it again."""
    journey, device = seen.journey, seen.journey.devices[0]
    seen.loop_before, seen.misses = _loop(journey), Misses([_run(journey) / LOOP_BOARD])
    seen.sent_before_bytes = journey.server.get("health")["content_sent_bytes"]
    journey.assign(seen.second)
    half = seen.second.size_bytes // 2
    seen.at_kill = _await_update(journey, lambda u: text_from(u.phase) == "fetching" and u.bytes_done > half)
    seen.look()
    processes.kill(f"{device.id}-manage")
    pause(1.0)
    seen.look()
    device.start_part("manage", processes)
    generation = _update_generation(journey)
    seen.after_restart = _await_update(
        journey,
        lambda u: (
            text_from(u.phase) == "fetching" and u.bytes_done > 0 and _update_generation(journey) > generation
        ),
    )


def _await_update(journey: Journey, holds: object) -> UpdateRecord:
    assert callable(holds)
    deadline_s = time.monotonic() + PATIENCE_S
    with BoardReader(_run(journey) / UPDATE_BOARD, UPDATE) as board:
        while time.monotonic() < deadline_s:
            stamped = board.read()
            if stamped is not None and holds(stamped.record):
                return stamped.record
            pause(0.02)
    raise AssertionError("the update never came to what is awaited")


def _update_generation(journey: Journey) -> int:
    with BoardReader(_run(journey) / UPDATE_BOARD, UPDATE) as board:
        return board.generation


def _loop(journey: Journey) -> LoopRecord:
    with BoardReader(_run(journey) / LOOP_BOARD, LOOP) as board:
        stamped = board.read()
    assert stamped is not None
    return stamped.record


def _run(journey: Journey) -> Path:
    return journey.devices[0].root / "run/roskva"


def _where(drive: Drive) -> tuple[str | Path, ...]:
    return ("--server", drive.journey.server.url, "--trust", drive.journey.site.trust)


def _with_one_byte_changed(claims: bytes) -> bytes:
    """The first claim's payload, one character of it another."""
    at = claims.index(b'"payload":"') + 60
    other = b"A" if claims[at : at + 1] != b"A" else b"B"
    return claims[:at] + other + claims[at + 1 :]
