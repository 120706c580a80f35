"""The main job, timed: a 60 s drive of emulated devices that contains a change of release.

Owns: the workload and the figures. Must not know: how the steps are done (`fleet.demo.journey`).

Figures: `seconds_offer_to_live` is the slowest device's, from the order at the API to decisions of the new release
that drive; `ticks`, `ticks_missed` are over all devices in the 60 s; `decisions` counts what the workers numbered,
`decisions_traced` those of them that the server has and whose release verifies, claim by claim, down to the rack.
The peer in the same run is `bare_loop_*`: a loop of the same class that does no work, on each core; its `stalls` are
wake-ups late by 5 ms or more: the machine held everybody up. `ticks_missed_unexplained` are those of `ticks_missed`
that no standstill of a core explains (`bench.misses`).
"""

import argparse
import tempfile
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

from agent.board.records import LOOP_BOARD
from agent.control.worker import DECISIONS_PER_EPOCH
from bench.misses import Misses
from fleet.adapters.api_client import ApiClient
from fleet.cli.trace import Auditor
from fleet.demo.commands import Commands
from fleet.demo.journey import Journey, Settings, Watch
from fleet.demo.processes import Processes
from fleet.demo.server import DeviceStatus, SeenDecision
from fleet.demo.site import CHASSIS_SERIAL, BuiltRelease
from models.digest import digest_from_text
from models.lineage.examine import Findings
from models.trust.metadata import utc_now
from models.wire.messages import LoopFigures

_BEFORE_S = 15.0
_FLUSH_S = 3.0
_ALL = 1000
_READY_S = 90.0


def run(arguments: Sequence[str]) -> dict[str, object]:
    """Run the journey; returns the figures."""
    parser = argparse.ArgumentParser(prog="python -m bench journey")
    parser.add_argument("--devices", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=60.0)
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="roskva-bench-") as name:
        folder = Path(name)
        with Processes(folder / "logs") as processes:
            journey = Journey(
                folder, processes, Settings(devices=options.devices), Commands(folder, lambda _: None)
            )
            return _measured(journey, options.seconds)


def _measured(journey: Journey, seconds: float) -> dict[str, object]:
    journey.site.record()
    first = journey.site.release("int8", "1.0.0", 1)
    second = journey.site.release("nvfp4", "1.1.0", 2)
    journey.start_server()
    journey.start_witnesses()
    journey.start_devices()
    journey.assign(first)
    journey.await_driving(first.digest, _READY_S)
    misses = Misses([device.root / "run/roskva" / LOOP_BOARD for device in journey.devices])
    before, bare_before, started_s = _loops(journey), journey.testimony(), time.monotonic()

    def watch(_: list[DeviceStatus]) -> None:
        misses.look()

    journey.drive(_BEFORE_S, watch)
    to_live_s = _change(journey, second, watch)
    journey.drive(max(0.0, seconds - (time.monotonic() - started_s)), watch)
    after, drove_s = _loops(journey), time.monotonic() - started_s
    misses.look()
    journey.drive(_FLUSH_S)
    bare = journey.testimony()
    return {
        "seconds_offer_to_live": round(to_live_s, 2),
        "seconds_driven": round(drove_s, 1),
        "devices": len(journey.devices),
        "ticks": sum(after[d].ticks - before[d].ticks for d in after),
        "ticks_missed": misses.missed,
        "ticks_missed_unexplained": misses.unexplained(bare),
        "bare_loop_ticks": bare.ticks - bare_before.ticks,
        "bare_loop_stalls": bare.stalls - bare_before.stalls,
        "bare_loop_late_max_us": round(bare.late_max_us, 1),
        "lateness_p99_us": round(max(loop.lateness_p99_ns for loop in after.values()) / 1e3, 1),
        "lateness_max_us": round(max(loop.lateness_max_ns for loop in after.values()) / 1e3, 1),
        "realtime": sorted({loop.realtime for loop in after.values()}),
        "broker": journey.broker,
        **_decisions(journey),
    }


def _change(journey: Journey, release: BuiltRelease, watch: Watch) -> float:
    """Order the release and wait until decisions of it drive every device; returns the seconds."""
    ordered_s = time.monotonic()
    journey.assign(release)

    def is_live(device: DeviceStatus) -> bool:
        state = device.state
        drives = (
            state is not None and state.policy is not None and state.policy.release_digest == release.digest
        )
        return drives and state is not None and state.live_digest == release.digest

    journey.await_all(is_live, f"live with {release.manifest.version}", _READY_S, watch)
    return time.monotonic() - ordered_s


def _decisions(journey: Journey) -> dict[str, object]:
    """How many decisions were made, how many the server has, how many of those trace to the rack."""
    found = [d for device in journey.devices for d in journey.server.decisions(device.id, limit=_ALL)]
    findings = _verified(journey, {decision.record.release_digest for decision in found})
    traced = [d for d in found if _leads_to_rack(findings[d.record.release_digest])]
    return {"decisions": _numbered(found), "decisions_stored": len(found), "decisions_traced": len(traced)}


def _verified(journey: Journey, digests: Iterable[str]) -> dict[str, Findings]:
    """Each release's signature and claims, checked from the pinned root as `roskva trace` does."""
    root = (journey.site.trust / "image-root.json").read_bytes()
    state = journey.folder / "audit"
    state.mkdir()
    with ApiClient(journey.server.url) as client:
        auditor = Auditor(client, root, state, utc_now())
        return {digest: auditor.release(digest_from_text(digest)) for digest in digests}


def _leads_to_rack(findings: Findings) -> bool:
    if not findings.verified or findings.chain is None:
        return False
    racks = [claim.claim.internal.rack for claim in findings.chain.claims]
    return CHASSIS_SERIAL in {rack.chassis_serial for rack in racks if rack is not None}


def _numbered(found: Iterable[SeenDecision]) -> int:
    """Decisions that the workers numbered while they drove: within an epoch they count from the first to the last."""
    numbers: dict[tuple[str, int], list[int]] = {}
    for decision in found:
        epoch, number = divmod(decision.record.sequence, DECISIONS_PER_EPOCH)
        numbers.setdefault((decision.device, epoch), []).append(number)
    return sum(max(seen) - min(seen) + 1 for seen in numbers.values())


def _loops(journey: Journey) -> dict[str, LoopFigures]:
    return {d.id: d.state.loop for d in journey.server.devices() if d.state and d.state.loop}
