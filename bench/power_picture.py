"""`python -m bench power --picture FILE`: one drive of an emulated Thor in real time, and its picture.

Owns: the device, what happens to it, and what is read meanwhile. Its watts, degrees and clocks are emulated; how late its loop
is, is measured on this machine. Must not know: how a picture is drawn (`bench.picture`).

The processes are the device's own but for `manage`, whose orders to `control` this program gives. The follower is pinned to
the last core, in the real-time class where the kernel grants it, and everything else to the others.
"""

import math
import os
import platform
import sys
import tempfile
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from agent.adapters.clock import MonotonicClock
from agent.board.feed import Feed
from agent.board.layout import text_from
from agent.board.records import (
    APPLIED_RING,
    LOOP,
    LOOP_BOARD,
    POWER,
    POWER_BOARD,
    LoopRecord,
    PowerRecord,
)
from agent.power.progress import WorkersMeter
from agent.update.slots import StagedSlot
from bench.cores import followers_core, leave
from bench.offline import Changing, Offline
from bench.picture import Drive, Happening, PowerSample, svg_of_drive
from bench.power_drive import followed_s
from bench.ticks import Ticks, realtime_in
from fleet.demo.commands import Commands, Finished
from fleet.demo.processes import Processes
from models.errors import NotNowError

Figures = dict[str, object]

SECONDS = 120.0
ENVELOPE_W, LOWERED_W = 90.0, 55.0
_SETTLE_S, _TRIAL_S = 8.0, 4.0
_COMMAND_S, _DECIDED_S = 30.0, 60.0
_FOLLOWED_S = followed_s(ENVELOPE_W - LOWERED_W)
_PERIOD_NS = 10_000_000
_S = 1e9


def run(file: Path) -> Figures:
    """Drive, write the picture to `file`, and return its figures. Raises `ConfigurationError` on a single core."""
    core = followers_core()
    leave(core)
    drive, figures = driven(core)
    picture = svg_of_drive(drive)
    file.write_text(picture, encoding="utf-8")
    return {**figures, **figures_of(drive), "picture_bytes": len(picture.encode())}


def driven(core: int) -> tuple[Drive, Figures]:
    """One drive, the follower on `core`; what the loop said of itself beside it."""
    with (
        tempfile.TemporaryDirectory(prefix="roskva-bench-") as name,
        Processes(Path(name) / "logs") as processes,
    ):
        device = Offline(Path(name), processes, core, ("int8", "nvfp4"), ENVELOPE_W)
        _tell("a site, two releases, a device")
        live, other = device.start()
        with device.control(device.ours) as line:
            watch = _Watch(device.run)
            changing = Changing(device, line, watch.look)
            changing.await_driving(live)
            watch.await_decision(changing)
            changing.drive(_SETTLE_S)
            watch.begin()
            _Story(device, changing, watch, other).tell()
            found = watch.drive(), watch.figures()
            watch.close()
        return found


@dataclass
class _Watch:
    """What the boards and the ring say, from `begin` on; nobody's record is taken away from him."""

    run: Path
    clock: MonotonicClock = field(default_factory=MonotonicClock)
    happenings: list[Happening] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._power: Feed[PowerRecord] = Feed(self.run / POWER_BOARD, POWER)
        self._loop: Feed[LoopRecord] = Feed(self.run / LOOP_BOARD, LOOP)
        self._workers, self._ticks = WorkersMeter(self.run), Ticks(self.run / APPLIED_RING, frees=True)
        self._from_ns = 0
        self._seen: list[PowerSample] = []
        self._decided: list[float] = []

    @property
    def now_s(self) -> float:
        """Since the beginning."""
        return (self.clock.mono_ns() - self._from_ns) / _S

    def await_decision(self, changing: Changing) -> None:
        """Return once something was decided. Raises `NotNowError` where nothing is for long."""
        if changing.wait(lambda: self._decided or None, _DECIDED_S) is None:
            raise NotNowError(f"nothing was decided in {_DECIDED_S:.0f} s")

    def begin(self) -> None:
        """The drive begins now."""
        self.look()
        self._ticks.restart()
        self._from_ns = self.clock.mono_ns()
        self._seen.clear()
        self._decided.clear()

    def look(self) -> None:
        """See what is new: the governor's record, decisions, ticks."""
        now_ns = self.clock.mono_ns()
        if (stamped := self._power.news(now_ns)) is not None:
            self._seen.append(
                _sample(stamped.record, (stamped.mono_ns - self._from_ns) / _S, stamped.mono_ns)
            )
        self._loop.news(now_ns)
        self._decided += [(now_ns - self._from_ns) / _S] * self._workers.progress().decisions
        self._ticks.look()

    def drive(self) -> Drive:
        """All of it, once it is over."""
        ticks = [
            ((tick.due_ns - self._from_ns) / _S, (tick.mono_ns - tick.due_ns) / 1e6)
            for tick in self._ticks.seen
        ]
        return Drive(
            seconds=self.now_s,
            power=tuple(self._seen),
            decided_s=tuple(self._decided),
            ticks=tuple(ticks),
            happenings=tuple(self.happenings),
            machine=machine(),
            loop=self._realtime,
        )

    def figures(self) -> Figures:
        """Of the loop."""
        return {
            "realtime": self._realtime,
            "ticks": self._ticks.count,
            "ticks_missed": self._ticks.missed(_PERIOD_NS),
            "ticks_without_plan": self._ticks.without_plan,
            "lateness_p50_us": round(self._ticks.late_us(0.5), 1),
            "lateness_p999_us": round(self._ticks.late_us(0.999), 1),
            "lateness_max_us": round(self._ticks.late_us(1.0), 1),
        }

    @property
    def _realtime(self) -> str:
        return realtime_in(self._loop)

    def close(self) -> None:
        """Unmap."""
        for each in (self._power, self._loop, self._ticks):
            each.close()


def _sample(record: PowerRecord, at_s: float, mono_ns: int) -> PowerSample:
    return PowerSample(
        at_s=at_s,
        envelope_w=record.envelope_w,
        module_w=record.module_w,
        gpu_w=record.gpu_w,
        soc_w=record.soc_w,
        hottest_c=record.hottest_c,
        rate_hz=record.decision_rate_hz,
        is_held=record.held_until_ns > mono_ns,
        sensors=text_from(record.sensors),
    )


@dataclass(frozen=True, slots=True)
class _Story:
    """What happens on the drive, in its order."""

    device: Offline
    changing: Changing
    watch: _Watch
    other: StagedSlot

    def tell(self) -> None:
        """Let it happen."""
        with ThreadPoolExecutor(1) as beside:
            self._until(8.0)
            self._change()
            self._until(24.0)
            self._fault("VIN is missing", 8.0, beside, "missing-sensor", "--sensor", "VIN")
            self._until(40.0)
            since_s = self._command(beside, "envelope", f"{LOWERED_W:g}")
            self._until(55.0)
            self._fault("over-current bursts", 10.0, beside, "over-current-bursts")
            self._until(80.0)
            until_s = self._command(beside, "envelope", "--clear")
            self._note(f"envelope {LOWERED_W:g} W", since_s, until_s)
            self._until(90.0)
            self._fault("air of 60 °C", 20.0, beside, "hot-ambient", "--value", "60")
            self._until(SECONDS)

    def _change(self) -> None:
        """Another release takes over, and stays."""
        loading_s = self.watch.now_s
        self.changing.load(self.other)
        self._note("release in shadow", loading_s, self.watch.now_s)
        driving_s = self.watch.now_s
        self.changing.go(self.other)
        failed = self.changing.failed(_TRIAL_S) or self.changing.keep(self.other)
        self._note("on trial" if failed is None else "on trial, sent back", driving_s, self.watch.now_s)
        if failed is not None:
            self.changing.go_back(self.other)

    def _fault(self, name: str, seconds: float, beside: ThreadPoolExecutor, *words: str) -> None:
        since_s = self._command(beside, "emulate-fault", *words)
        self._until(since_s + seconds)
        self._note(name, since_s, self._command(beside, "emulate-fault", words[0], "--clear"))

    def _command(self, beside: ThreadPoolExecutor, command: str, *words: str) -> float:
        """Give one of the agent's commands while it is watched on; when it was done."""
        commands = Commands(self.device.folder, _tell)
        root = str(self.device.root)
        done = beside.submit(commands.run, "roskva-agent", command, "--root", root, *words)
        self.changing.wait(_ended(done), _COMMAND_S)
        done.result()
        return self.watch.now_s

    def _note(self, name: str, from_s: float, until_s: float) -> None:
        self.watch.happenings.append(Happening(name, from_s, until_s))

    def _until(self, at_s: float) -> None:
        self.changing.drive(max(0.0, at_s - self.watch.now_s))


def _ended(done: Future[Finished]) -> Callable[[], bool | None]:
    return lambda: done.done() or None


def figures_of(drive: Drive) -> Figures:
    """What the picture shows, in numbers; watts and degrees as the governor saw them, NaN left out."""
    over = [sample.module_w / limit_w for sample, limit_w in zip(drive.power, _judged_w(drive), strict=True)]
    lowered = [h for h in drive.happenings if h.name.startswith("envelope")]
    decided = np.array(drive.decided_s)
    low = sum(int(((decided >= h.from_s) & (decided < h.until_s)).sum()) for h in lowered)
    low_s = sum(h.until_s - h.from_s for h in lowered)
    return {
        "emulated": "watts, degrees, clocks",
        "machine": drive.machine,
        "seconds": round(drive.seconds, 1),
        "max_1s_mean_over_envelope": _largest(over),
        "decisions": len(decided),
        "decisions_per_s": round((len(decided) - low) / (drive.seconds - low_s), 2),
        "decisions_per_s_lowered": round(low / low_s, 2) if low_s else None,
        "held_share": round(float(np.mean([sample.is_held for sample in drive.power])), 3),
        "hottest_c": _largest([sample.hottest_c for sample in drive.power]),
        "sensors": sorted({sample.sensors for sample in drive.power}),
        "happenings": {h.name: [round(h.from_s, 1), round(h.until_s, 1)] for h in drive.happenings},
    }


def _judged_w(drive: Drive) -> list[float]:
    """The envelope to judge each sample by: the highest of those in force in the time that a lowering takes to be followed."""
    at_s = [sample.at_s for sample in drive.power]
    limits_w = [sample.envelope_w for sample in drive.power]
    first = np.searchsorted(at_s, np.array(at_s) - _FOLLOWED_S)
    return [max(limits_w[since : number + 1]) for number, since in enumerate(first)]


def _largest(values: list[float]) -> float | None:
    """Of those that are known; None where none is."""
    known = [round(value, 4) for value in values if math.isfinite(value)]
    return max(known, default=None)


def machine() -> str:
    """This machine in words: cores, processor, whether it is a virtual one, kernel."""
    said = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    lines = dict(line.split(":", 1) for line in said.splitlines() if ":" in line)
    words = {name.strip(): value.strip() for name, value in lines.items()}
    model, flags = words.get("model name", platform.machine()), words.get("flags", "").split()
    virtual = "virtual machine, " if "hypervisor" in flags else ""
    release = ".".join(platform.release().split(".")[:2])
    return f"{virtual}{os.cpu_count()} cores of {model}, Linux {release}"


def _tell(what: str) -> None:
    sys.stderr.write(f"power: {what}\n")
