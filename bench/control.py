"""The control loop of an emulated device that drives, beside cyclictest on the same core at the same priority and rate.

Owns: the workload and the figures. Must not know: how the device is set up (`fleet.demo.journey`).

The follower is pinned to the last core and everything else, this program included, to the others. cyclictest wakes up half
a period after each tick, for as long, so that both meet the same moments of the machine. `lateness_p999_us` is when a tick
began after it was due, from the follower's own record; `lateness_p999_vs_cyclictest` is that over cyclictest's, null where
the kernel gave no real-time class. `ticks_missed` are deadlines that no tick was for. Then `overhead` (`bench.overhead`):
`decision_overhead_p50` and `_p99` are the worker's time from observation to plan over that of the same graphs in a bare loop.
"""

import argparse
import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from agent.board.records import APPLIED_RING
from agent.config import ControlSection
from bench import cyclic, overhead
from bench.ticks import Ticks
from fleet.demo.commands import Commands
from fleet.demo.journey import Journey, Settings
from fleet.demo.processes import Processes
from fleet.demo.server import DeviceStatus
from models.errors import ConfigurationError

Figures = dict[str, object]

_LOOP = ControlSection()
_PERIOD_US = round(1e6 / _LOOP.tick_hz)
_DECISION_HZ = 10.0
_READY_S = 120.0
_SETTLE_S = 5.0


def run(arguments: Sequence[str]) -> Figures:
    """Measure; returns the figures. Raises `ConfigurationError` on a single core, or without cyclictest."""
    parser = argparse.ArgumentParser(prog="python -m bench control", description=__doc__)
    parser.add_argument("--seconds", type=float, default=180.0, help="of each phase")
    parser.add_argument("--precision", default="int8", help="of the release that drives")
    parser.add_argument(
        "--blocks", type=int, default=12, help="of 50 decisions of the worker, and as many of a bare loop"
    )
    options = parser.parse_args(arguments)
    core = _leave_a_core()
    with (
        tempfile.TemporaryDirectory(prefix="roskva-bench-") as name,
        _driving(Path(name), core, options) as journey,
    ):
        found: Figures = {"core": core, "realtime": _realtime(journey)}
        if options.seconds > 0:
            found["idle"] = _phase(journey, core, options.seconds)
        if options.blocks > 0:
            found["overhead"] = _overhead(journey, core, options.blocks)
        return found


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
def _driving(folder: Path, core: int, options: argparse.Namespace) -> Iterator[Journey]:
    """One device that drives with a release."""
    with Processes(folder / "logs") as processes:
        settings = Settings(devices=1, core=core, decision_hz=_DECISION_HZ)
        journey = Journey(folder, processes, settings, Commands(folder, lambda _: None))
        journey.site.record()
        release = journey.site.release(options.precision, "1.0.0", 1)
        journey.start_server()
        journey.start_devices()
        journey.assign(release)
        journey.await_driving(release.digest, _unwatched, _READY_S)
        journey.drive(_SETTLE_S, _unwatched)
        yield journey


def _phase(journey: Journey, core: int, seconds: float) -> Figures:
    """Ticks and cyclictest over the same seconds."""
    ticks = Ticks(journey.devices[0].root / "run/roskva" / APPLIED_RING)
    journey.drive(1.0, _unwatched)
    ticks.look()
    phase_us = (ticks.phase_us(_PERIOD_US) + _PERIOD_US // 2) % _PERIOD_US
    report = journey.folder / "cyclictest.json"
    peer = cyclic.start(cyclic.Pace(core, _LOOP.priority, _PERIOD_US, phase_us), seconds, report)
    try:
        while peer.poll() is None:
            journey.drive(0.5, lambda _: ticks.look())
    finally:
        peer.kill()
        peer.wait()
        ticks.close()
    return figures(ticks, cyclic.cyclic_from_json(report.read_bytes()), _realtime(journey))


def figures(ticks: Ticks, peer: cyclic.Cyclic, realtime: str) -> Figures:
    """What is printed of a phase."""
    p999_us, peer_p999_us = ticks.late_us(0.999), peer.quantile_us(0.999)
    is_realtime = realtime.startswith("fifo")
    return {
        "ticks": ticks.count,
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


def _unwatched(_: list[DeviceStatus]) -> None:
    """Nobody looks."""
