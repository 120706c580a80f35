"""The control loop of an emulated device that drives, beside cyclictest on the same core at the same priority and rate.

Owns: the workload and the figures. Must not know: how the device is set up (`fleet.demo.journey`).

The follower is pinned to the last core and everything else, this program included, to the others. cyclictest wakes up half
a period after each tick, for as long, so that both meet the same moments of the machine. `lateness_p999_us` is when a tick
began after it was due, from the follower's own record; `lateness_p999_vs_cyclictest` is that over cyclictest's; both need
a real-time class of the kernel. `ticks_missed` are deadlines that no tick was for; `ticks_missed_unexplained` those that no
standstill of another core explains (a bare loop on the follower's own would be in its way): where its core alone stood still,
`cyclictest_max_us` tells of it.

Phases: `idle`, the device drives and nothing is sent to it; `loaded`, it also fetches, hashes and stages a release of 1 GiB
from a broker and a server on this machine (`bench.load`), again and again, at least once as a whole. Then `overhead`
(`bench.overhead`): `decision_overhead_p50` and `_p99` are the worker's time from observation to plan over that of the same
graphs in a bare loop. On a device of their own, hot swaps while driving and releases that break in trial (`bench.swaps`).
And `faults` (`bench.faults`): what a drive becomes when the worker fails, in virtual time.
"""

import argparse
import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench import faults, lateness, overhead, swaps
from bench.cores import followers_core, leave
from bench.lateness import realtime_of
from bench.load import Load, build_large, check_room, withdraw_publisher
from bench.variants import CHECKPOINT
from fleet.demo.commands import Commands
from fleet.demo.journey import Journey, Settings
from fleet.demo.processes import Processes
from fleet.demo.site import BuiltRelease
from models.errors import UsageError

Figures = dict[str, object]

_ORDER = ("faults", "idle", "loaded", "overhead", "swaps")
"""Faults first: they want every core, and from the next on one is left to the loop."""
_DRIVEN = ("idle", "loaded", "overhead")
"""Parts over one device that drives."""
PARTS = {"lateness": ("idle", "loaded"), **{part: (part,) for part in _ORDER}}
"""What `--only` takes, and which parts that is."""
_DECISION_HZ = 10.0
_READY_S = 120.0
_SETTLE_S = 5.0
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
    parser.add_argument("--swaps", type=int, default=50, help="changes of release while driving")
    parser.add_argument("--breaches", type=int, default=20, help="releases that break in trial")
    parser.add_argument("--seeds", type=int, default=100, help="drives with each fault of the worker")
    parser.add_argument("--jobs", type=int, default=2, help="processes that drive these")
    parser.add_argument("--only", default=",".join(_ORDER), help=f"parts of {', '.join(PARTS)}, by comma")
    options = parser.parse_args(arguments)
    parts, found = parts_from(options.only), {}
    if "faults" in parts:
        _tell("faults")
        found["faults"] = faults.measure(faults.Plan(CHECKPOINT, options.seeds, options.jobs))
    with tempfile.TemporaryDirectory(prefix="roskva-bench-") as name:
        return found | _timed(Path(name), parts, options)


def _timed(folder: Path, parts: Sequence[str], options: argparse.Namespace) -> Figures:
    """The parts that the machine decides."""
    if parts == ("faults",):
        return {}
    core = followers_core()
    found: Figures = {"core": core}
    if set(_DRIVEN) & set(parts):
        found |= _driven(folder / "loop", core, parts, options)
    if "swaps" in parts:
        _tell("swaps")
        leave(core)
        found |= swaps.measure(folder / "swaps", core, options.swaps, options.breaches)
    return found


def _driven(folder: Path, core: int, parts: Sequence[str], options: argparse.Namespace) -> Figures:
    """The parts over one device that drives."""
    folder.mkdir()
    with _driving(folder, core, parts, options) as driving:
        found: Figures = {"realtime": realtime_of(driving.journey)}
        for part in (part for part in parts if part in _DRIVEN):
            _tell(part)
            found[part] = _part(part, driving, options)
        return found


def parts_from(text: str) -> tuple[str, ...]:
    """The parts that `text` names, in their order. Raises `UsageError` for a word that is none."""
    words = [word.strip() for word in text.split(",")]
    if unknown := sorted(set(words) - PARTS.keys()):
        raise UsageError(f"no such part: {', '.join(unknown)}; there are {', '.join(PARTS)}")
    return tuple(part for part in _ORDER if any(part in PARTS[word] for word in words))


def _part(part: str, driving: _Driving, options: argparse.Namespace) -> Figures:
    if part == "overhead":
        return _overhead(driving.journey, driving.core, options.blocks)
    if part == "idle":
        return lateness.measure(driving.journey, driving.core, options.seconds)
    assert driving.large is not None
    withdraw_publisher(driving.journey.site)
    load = Load(driving.journey, driving.large, driving.release.digest)
    return {**lateness.measure(driving.journey, driving.core, options.seconds, load), **load.figures()}


def _overhead(journey: Journey, core: int, blocks: int) -> Figures:
    """With nothing else running: the worker of the release that drove, and a bare loop."""
    journey.processes.stop_all(keep_memory=True)
    device, beside = journey.devices[0], min(os.sched_getaffinity(0))
    return overhead.measure(overhead.Place(device.root, journey.site.checkpoint, beside, core), blocks)


@contextmanager
def _driving(
    folder: Path, core: int, parts: Sequence[str], options: argparse.Namespace
) -> Iterator[_Driving]:
    """One device that drives with a release; what it may be loaded with is published before it starts."""
    with Processes(folder / "logs") as processes:
        settings = Settings(devices=1, core=core, decision_hz=_DECISION_HZ)
        journey = Journey(folder, processes, settings, Commands(folder, lambda _: None, _BUILD_S))
        journey.site.record()
        release = journey.site.release(options.precision, "1.0.0", 1)
        large = _large(journey, options.load_mib << 20) if "loaded" in parts else None
        leave(core)
        journey.start_server()
        journey.start_witnesses()
        journey.start_devices()
        journey.assign(release)
        journey.await_driving(release.digest, _READY_S)
        journey.drive(_SETTLE_S)
        yield _Driving(journey, core, release, large)


def _large(journey: Journey, size_bytes: int) -> BuiltRelease:
    """The release to load with, on the disk before anything is measured."""
    check_room(journey.folder, size_bytes)
    large = build_large(journey.site, size_bytes, _tell)
    os.sync()
    return large


def _tell(what: str) -> None:
    sys.stderr.write(f"control: {what}\n")
