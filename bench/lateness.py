"""How late ticks begin and which are missed, beside cyclictest on the same core at the same priority and rate.

Owns: one phase, and its figures. Must not know: how the device came to drive, what else it is given to do.

cyclictest wakes up half a period after each tick, for as long, so that both meet the same moments of the machine.
"""

import time
from typing import Any

from agent.board.records import APPLIED_RING, LOOP_BOARD
from agent.config import ControlSection
from bench import cyclic
from bench.load import Load
from bench.misses import Misses
from bench.ticks import Ticks
from fleet.demo.journey import Journey
from fleet.demo.server import DeviceStatus
from models.errors import NotNowError

Figures = dict[str, object]

_LOOP = ControlSection()
_PERIOD_US = round(1e6 / _LOOP.tick_hz)
_LOOK_S = 0.5
_WHOLE_S = 1200.0
"""How long one load may take before the phase is given up."""


def measure(journey: Journey, core: int, seconds: float, load: Load | None = None) -> Figures:
    """Ticks and cyclictest over the same seconds, more of them where one whole load takes longer."""
    run = journey.devices[0].root / "run/roskva"
    ticks = Ticks(run / APPLIED_RING)
    journey.drive(1.0)
    ticks.look()
    phase_us = (ticks.phase_us(_PERIOD_US) + _PERIOD_US // 2) % _PERIOD_US
    report = journey.folder / "cyclictest.json"
    report.unlink(missing_ok=True)
    if load is not None:
        load.begin()
    peer = cyclic.start(cyclic.Pace(core, _LOOP.priority, _PERIOD_US, phase_us), report)
    ticks.restart()
    misses = Misses([run / LOOP_BOARD])
    began_s, before = time.monotonic(), journey.server.get("health")

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
        **figures(ticks, late, realtime_of(journey)),
        "ticks_missed_unexplained": misses.unexplained(journey.testimony()),
        **arrived(before, journey.server.get("health")),
    }


def _is_over(passed_s: float, seconds: float, load: Load | None) -> bool:
    if load is not None and not load.rounds and passed_s >= seconds:
        if passed_s > seconds + _WHOLE_S:
            raise NotNowError(f"not once fetched, hashed and staged in {passed_s:.0f} s: {load.status}")
        return False
    return passed_s >= seconds


def figures(ticks: Ticks, peer: cyclic.Cyclic, realtime: str) -> Figures:
    """What is printed of a phase."""
    p999_us, peer_p999_us = ticks.late_us(0.999), peer.quantile_us(0.999)
    is_realtime = realtime.startswith("fifo")
    return {
        "ticks": ticks.count,
        "ticks_unrecorded": ticks.unrecorded,
        "ticks_missed": ticks.missed(_PERIOD_US * 1000),
        "ticks_without_plan": ticks.without_plan,
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


def arrived(before: dict[str, Any], after: dict[str, Any]) -> Figures:
    """What telemetry the server kept between two counts of its own."""
    return {f"telemetry_{what}": after[what] - before[what] for what in ("batches", "decisions")}


def realtime_of(journey: Journey) -> str:
    """What the kernel granted the follower of the one device, in its own words."""
    states = [device.state for device in journey.server.devices()]
    return states[0].loop.realtime if states and states[0] and states[0].loop else "none"
