"""The control loop of an emulated device that drives, beside cyclictest on the same core at the same priority and rate.

Owns: the workload and the figures. Must not know: how the device is set up (`fleet.demo.journey`).

The follower is pinned to the last core and everything else, this program included, to the others. cyclictest wakes up half
a period after each tick, for as long, so that both meet the same moments of the machine. `lateness_p999_us` is when a tick
began after it was due, from the follower's own record; `lateness_p999_vs_cyclictest` is that over cyclictest's, null where
the kernel gave no real-time class. `ticks_missed` are deadlines that no tick was for; `ticks_missed_unexplained` those that no
standstill of another core explains (a bare loop on the follower's own would be in its way): where its core alone stood still,
`cyclictest_max_us` tells of it.

Phases: `idle`, the device drives and nothing is sent to it; `loaded`, it also fetches, hashes and stages a release of 1 GiB
from a broker and a server on this machine (`bench.load`), again and again, at least once as a whole. Then `overhead`
(`bench.overhead`): `decision_overhead_p50` and `_p99` are the worker's time from observation to plan over that of the same
graphs in a bare loop.
"""

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from agent.board.records import APPLIED_RING, LOOP_BOARD
from agent.config import ControlSection
from bench import cyclic, overhead
from bench.load import Load, build_large, check_room, withdraw_publisher
from bench.misses import Misses
from bench.ticks import Ticks
from fleet.demo.commands import Commands
from fleet.demo.journey import Journey, Settings
from fleet.demo.processes import Processes
from fleet.demo.server import DeviceStatus
from fleet.demo.site import BuiltRelease
from models.errors import ConfigurationError, NotNowError

Figures = dict[str, object]

PARTS = {"lateness": ("idle", "loaded"), "idle": ("idle",), "loaded": ("loaded",), "overhead": ("overhead",)}
"""What `--only` takes, and which parts that is."""
_LOOP = ControlSection()
_PERIOD_US = round(1e6 / _LOOP.tick_hz)
_DECISION_HZ = 10.0
_READY_S = 120.0
_SETTLE_S = 5.0
_LOOK_S = 0.5
_WHOLE_S = 1200.0
"""How long one load may take before the phase is given up."""
_BUILD_S = 1800.0


@dataclass(frozen=True, slots=True)
class _Driving:
    """A device that drives with `release`; `large` is what it can be loaded with."""

    journey: Journey
    core: int
    release: BuiltRelease
    large: BuiltRelease | None


def run(arguments: Sequence[str]) -> Figures:
    """Measure; returns the figures. Raises `ConfigurationError` on a single core, or without cyclictest."""
    parser = argparse.ArgumentParser(prog="python -m bench control", description=__doc__)
    parser.add_argument("--seconds", type=float, default=180.0, help="of each phase, at least")
    parser.add_argument("--precision", default="int8", help="of the release that drives")
    parser.add_argument(
        "--load-mib", type=int, default=1024, help="of weights in the release that is fetched"
    )
    parser.add_argument(
        "--blocks", type=int, default=12, help="of 50 decisions of the worker, and as many of a bare loop"
    )
    parser.add_argument("--only", type=parts_from, default="lateness,overhead", help=_ONLY)
    options = parser.parse_args(arguments)
    core = _leave_a_core()
    with (
        tempfile.TemporaryDirectory(prefix="roskva-bench-") as name,
        _driving(Path(name), core, options) as driving,
    ):
        found: Figures = {"core": core, "realtime": _realtime(driving.journey)}
        for part in options.only:
            _tell(part)
            found[part] = _part(part, driving, options)
        return found


_ONLY = f"parts to run, of {', '.join(PARTS)}, with commas between them"


def parts_from(text: str) -> tuple[str, ...]:
    """The parts that `text` names, in their order. Raises `ValueError` for a word that is none."""
    wanted = {part for word in text.split(",") for part in PARTS.get(word.strip(), (word,))}
    every = dict.fromkeys(part for parts in PARTS.values() for part in parts)
    if not wanted <= every.keys():
        raise ValueError(f"no parts of this bench: {sorted(wanted - every.keys())}")
    return tuple(part for part in every if part in wanted)


def _part(part: str, driving: _Driving, options: argparse.Namespace) -> Figures:
    if part == "overhead":
        return _overhead(driving.journey, driving.core, options.blocks)
    if part == "idle":
        return _phase(driving, options.seconds, None)
    assert driving.large is not None
    withdraw_publisher(driving.journey.site)
    load = Load(driving.journey, driving.large, driving.release.digest)
    return {**_phase(driving, options.seconds, load), **load.figures()}


def _overhead(journey: Journey, core: int, blocks: int) -> Figures:
    """With nothing else running: the worker of the release that drove, and a bare loop."""
    journey.processes.stop_all(keep_memory=True)
    device, beside = journey.devices[0], min(os.sched_getaffinity(0))
    return overhead.measure(overhead.Place(device.root, journey.site.checkpoint, beside, core), blocks)


def _leave_a_core() -> int:
    """Leave the last core to the follower and its peer; returns it."""
    cores = os.sched_getaffinity(0)
    if len(cores) < 2:
        raise ConfigurationError("one core only: the loop and what surrounds it need one each")
    os.sched_setaffinity(0, cores - {max(cores)})
    return max(cores)


@contextmanager
def _driving(folder: Path, core: int, options: argparse.Namespace) -> Iterator[_Driving]:
    """One device that drives with a release; what it may be loaded with is published before it starts."""
    with Processes(folder / "logs") as processes:
        settings = Settings(devices=1, core=core, decision_hz=_DECISION_HZ)
        journey = Journey(folder, processes, settings, Commands(folder, lambda _: None, _BUILD_S))
        journey.site.record()
        release = journey.site.release(options.precision, "1.0.0", 1)
        large = _large(journey, options.load_mib << 20) if "loaded" in options.only else None
        journey.start_server()
        journey.start_witnesses()
        journey.start_devices()
        journey.assign(release)
        journey.await_driving(release.digest, _unwatched, _READY_S)
        journey.drive(_SETTLE_S, _unwatched)
        yield _Driving(journey, core, release, large)


def _large(journey: Journey, size_bytes: int) -> BuiltRelease:
    """The release to load with, on the disk before anything is measured."""
    check_room(journey.folder, size_bytes)
    large = build_large(journey.site, size_bytes, _tell)
    os.sync()
    return large


def _phase(driving: _Driving, seconds: float, load: Load | None) -> Figures:
    """Ticks and cyclictest over the same seconds, more of them where one whole load takes longer."""
    journey, run = driving.journey, driving.journey.devices[0].root / "run/roskva"
    ticks, misses = Ticks(run / APPLIED_RING), Misses([run / LOOP_BOARD])
    journey.drive(1.0, _unwatched)
    ticks.look()
    phase_us = (ticks.phase_us(_PERIOD_US) + _PERIOD_US // 2) % _PERIOD_US
    report = journey.folder / "cyclictest.json"
    report.unlink(missing_ok=True)
    peer = cyclic.start(cyclic.Pace(driving.core, _LOOP.priority, _PERIOD_US, phase_us), report)
    began_s = time.monotonic()

    def look(_: list[DeviceStatus]) -> None:
        ticks.look()
        misses.look()
        if load is not None:
            load.look()

    try:
        while not _is_over(time.monotonic() - began_s, seconds, load):
            journey.drive(_LOOK_S, look)
        took_s = time.monotonic() - began_s
        late = cyclic.stop(peer, report)
    finally:
        peer.kill()
        peer.wait()
        ticks.close()
    return {
        "seconds": round(took_s, 1),
        **figures(ticks, late, _realtime(journey)),
        "ticks_missed_unexplained": misses.unexplained(journey.testimony()),
    }


def _is_over(passed_s: float, seconds: float, load: Load | None) -> bool:
    if passed_s < seconds or load is None or load.rounds:
        return passed_s >= seconds
    if passed_s > seconds + _WHOLE_S:
        raise NotNowError(f"not once fetched, hashed and staged in {passed_s:.0f} s: {load.status}")
    return False


def figures(ticks: Ticks, peer: cyclic.Cyclic, realtime: str) -> Figures:
    """What is printed of a phase."""
    p999_us, peer_p999_us = ticks.late_us(0.999), peer.quantile_us(0.999)
    is_realtime = realtime.startswith("fifo")
    return {
        "ticks": ticks.count,
        "ticks_unrecorded": ticks.unrecorded,
        "ticks_missed": ticks.missed(_PERIOD_US * 1000),
        "lateness_p50_us": round(ticks.late_us(0.5), 1),
        "lateness_p999_us": round(p999_us, 1),
        "lateness_max_us": round(ticks.late_us(1.0), 1),
        "cyclictest_wakeups": peer.wakeups,
        "cyclictest_p50_us": peer.quantile_us(0.5),
        "cyclictest_p999_us": peer_p999_us,
        "cyclictest_max_us": peer.max_us,
        "lateness_p999_vs_cyclictest": round(p999_us / peer_p999_us, 3)
        if is_realtime and peer_p999_us
        else None,
    }


def _realtime(journey: Journey) -> str:
    states = [device.state for device in journey.server.devices()]
    return states[0].loop.realtime if states and states[0] and states[0].loop else "none"


def _tell(what: str) -> None:
    sys.stderr.write(f"control: {what}\n")


def _unwatched(_: list[DeviceStatus]) -> None:
    """Nobody looks."""
