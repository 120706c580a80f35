"""What a drive becomes when its policy worker fails: 100 drives a fault in the reference world, in virtual time.

Owns: which drives are made and by how many processes, what a fault may lead to, the figures. Must not know: how a drive is
made (`bench.rig`).

Each seed is a scenario of one of the twelve classes, an instant in the first half of its time, and how long everything takes;
the faults are put into the same drives, and so is none. The vehicle drives on, or is stopped; either is safe where the
referee sees neither a collision nor the vehicle off its way. `virtual time`: see `bench.rig`.
"""

import os
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import msgspec

from bench.fault_drives import FaultDrive
from bench.progress import progress
from bench.worker_faults import Fault
from models.errors import PolicyFailedError, UsageError
from models.reference.world.referee import Fault as Complaint
from models.threads import single_threaded

Figures = dict[str, object]

SEQUENCES = {
    Fault.NONE: r"OK",
    Fault.KILLED: r"OK( DEGRADED OK)?",
    Fault.HUNG: r"OK DEGRADED( MINIMAL_RISK)?( SAFE_STOP)? OK",
    Fault.NOT_FINITE: r"OK( DEGRADED OK)?",
    Fault.PAST: r"OK( DEGRADED OK)?",
    Fault.SLOW: r"OK",
    Fault.LAGGING: r"OK( DEGRADED( MINIMAL_RISK)?( SAFE_STOP)? OK)?",
}
"""The states of the loop from the fault on, as regular expressions; docs/how-the-loop-fails.md tells them to people."""
_UNSAFE = (Complaint.COLLIDED, Complaint.OFF_ROAD)
_LISTED = 20


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be driven: the first `seeds` courses with each of `faults`, by `jobs` processes."""

    checkpoint: Path
    seeds: int
    jobs: int
    faults: tuple[Fault, ...] = tuple(Fault)


def measure(plan: Plan) -> Figures:
    """Drive all of it. Raises `UsageError` where that is nothing, `PolicyFailedError` where a process ends early."""
    if plan.seeds < 1 or plan.jobs < 1:
        raise UsageError(f"{plan.seeds} seeds in {plan.jobs} jobs: one of each is the least")
    with progress("failing", plan.seeds * len(plan.faults)) as tell:
        return figures(
            _driven(plan, lambda one: tell("" if _is_as_promised(one) else f"{one.fault:12} {_told(one)}"))
        )


def figures(drives: Sequence[FaultDrive]) -> Figures:
    """The summary by fault; that of the drives without one, `none`, stands first."""
    by_fault = {fault: [each for each in drives if each.fault is fault] for fault in Fault}
    summaries = {str(fault): _figures(found) for fault, found in by_fault.items() if found}
    return {"clock": "virtual time", **summaries}


def _figures(drives: Sequence[FaultDrive]) -> Figures:
    safe = [each for each in drives if is_safe(each)]
    waits_s = sorted(each.well_after_s for each in drives if each.recovered)
    return {
        "seeds": len(drives),
        "collisions": _complained(drives, Complaint.COLLIDED),
        "off_road": _complained(drives, Complaint.OFF_ROAD),
        "stopped_safely": sum(each.stopped for each in safe),
        "drove_on": sum(not each.stopped for each in safe),
        "sequence_as_documented": sum(map(is_documented, drives)),
        "recovered": len(waits_s),
        "recovery_s_p50": waits_s[len(waits_s) // 2] if waits_s else None,
        "recovery_s_max": waits_s[-1] if waits_s else None,
        "complaints": dict(
            Counter(complaint for each in drives for complaint in each.complaints).most_common()
        ),
        "sequences": dict(Counter(" ".join(each.states) for each in drives).most_common()),
        "by_class": _by_class(drives),
        "not_as_promised": [_told(each) for each in drives if not _is_as_promised(each)][:_LISTED],
    }


def is_safe(drive: FaultDrive) -> bool:
    """Whether nothing was touched, and the vehicle stayed on its way."""
    return not any(complaint in drive.complaints for complaint in _UNSAFE)


def is_documented(drive: FaultDrive) -> bool:
    """Whether the loop's states were as the table says for this fault."""
    return re.fullmatch(SEQUENCES[drive.fault], " ".join(drive.states)) is not None


def _is_as_promised(drive: FaultDrive) -> bool:
    return not drive.complaints and is_documented(drive) and drive.recovered


def _told(drive: FaultDrive) -> str:
    return (
        f"{drive.seed} {drive.scenarios} {drive.fault_s:.1f} s: {', '.join(drive.complaints) or 'nothing hit'}; "
        f"{' '.join(drive.states)}; {'recovered' if drive.recovered else 'not recovered'}"
    )


def _complained(drives: Sequence[FaultDrive], of: Complaint) -> int:
    return sum(of in each.complaints for each in drives)


def _by_class(drives: Sequence[FaultDrive]) -> dict[str, str]:
    """Of each class: drives that were safe, of how many."""
    names = sorted({each.scenarios for each in drives})
    of = {name: [each for each in drives if each.scenarios == name] for name in names}
    return {name: f"{sum(map(is_safe, each))} of {len(each)}" for name, each in of.items()}


def _driven(plan: Plan, tell: Callable[[FaultDrive], None]) -> list[FaultDrive]:
    """All drives, by processes that share the seeds among them; they end where this ends early."""
    seeds = [range(first, plan.seeds, plan.jobs) for first in range(min(plan.jobs, plan.seeds))]
    # The processes end first: who reads of them then comes to an end too.
    with ThreadPoolExecutor(len(seeds)) as readers, _processes(plan, seeds) as processes:
        found = list(readers.map(lambda process: _told_by(process, tell), processes))
    drives = [each for some in found for each in some]
    if len(drives) < plan.seeds * len(plan.faults):
        raise PolicyFailedError("some drives ended early; what they said stands above")
    return sorted(drives, key=lambda each: each.seed)


@contextmanager
def _processes(plan: Plan, seeds: Sequence[range]) -> Iterator[list["subprocess.Popen[bytes]"]]:
    """A process for each of `seeds`, none of which outlives the block; each tidies up after itself."""
    words = [sys.executable, "-m", "bench.fault_drives", str(plan.checkpoint), ",".join(plan.faults)]
    environment = single_threaded(os.environ)
    processes: list[subprocess.Popen[bytes]] = []
    try:
        for some in seeds:
            argv = [*words, *map(str, some)]
            processes.append(
                subprocess.Popen(
                    argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, process_group=0, env=environment
                )
            )
        yield processes
    finally:
        for process in processes:
            process.terminate()
        for process in processes:
            process.wait()


def _told_by(process: "subprocess.Popen[bytes]", tell: Callable[[FaultDrive], None]) -> list[FaultDrive]:
    """The drives of one process, each told as it ends."""
    assert process.stdout is not None
    found = []
    for line in process.stdout:
        found.append(msgspec.json.decode(line, type=FaultDrive))
        tell(found[-1])
    return found
