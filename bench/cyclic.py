"""Debian's cyclictest, as a peer of the follower: on its core, at its priority and period, half a period away.

Owns: its arguments, and its histogram. Must not know: what it is compared with.

Both wake up by CLOCK_MONOTONIC, so both see what the machine does to a core; `--default-system` leaves the machine's idle
states as the follower has them.
"""

import shutil
import subprocess
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np

from models.errors import ConfigurationError, MalformedError, RoskvaError

_WIDEST_US = 100_000
"""Of the histogram; what is later is counted as that late, and told."""
_ENDS_S = 5.0


class PeerDiedError(RoskvaError):
    """cyclictest could not run beside the loop."""

    code = "peer-died"


@dataclass(frozen=True, slots=True)
class Pace:
    """Where and how often to wake up; `phase_us` is that of the wake-ups after a full second."""

    core: int
    priority: int
    period_us: int
    phase_us: int


class _Thread(msgspec.Struct):
    histogram: dict[str, int]
    cycles: int
    max: int


class _Report(msgspec.Struct):
    thread: dict[str, _Thread]


@dataclass(frozen=True, slots=True)
class Cyclic:
    """How late its wake-ups were, in whole microseconds."""

    late_us: Mapping[int, int]
    max_us: int

    @property
    def wakeups(self) -> int:
        """How many there were."""
        return sum(self.late_us.values())

    def quantile_us(self, share: float) -> float:
        """The lateness that `share` (0 to 1) of the wake-ups did not exceed."""
        counts = list(self.late_us.values())
        return float(np.quantile(list(self.late_us), share, weights=counts, method="inverted_cdf"))


def cyclic_from_json(report: bytes) -> Cyclic:
    """What cyclictest wrote with `--json`. Raises `MalformedError` where that is not the report of one thread."""
    try:
        (thread,) = msgspec.json.decode(report, type=_Report).thread.values()
        counts = Counter({int(late_us): count for late_us, count in thread.histogram.items()})
    except (msgspec.DecodeError, ValueError) as error:
        raise MalformedError(f"cyclictest's report is of another form: {error}") from error
    beyond = thread.cycles - counts.total()
    if beyond > 0:
        counts[max(thread.max, _WIDEST_US)] += beyond
    return Cyclic(counts, thread.max)


def start(pace: Pace, report: Path) -> "subprocess.Popen[bytes]":
    """Start it until `stop`; raises `ConfigurationError` where it is not installed."""
    path = shutil.which("cyclictest")
    if path is None:
        raise ConfigurationError(
            "cyclictest is not installed: on Debian and Ubuntu, apt-get install rt-tests"
        )
    argv = [
        *(path, "--quiet", "--mlockall", "--threads=1", "--default-system", f"--affinity={pace.core}"),
        *(f"--priority={pace.priority}", "--policy=fifo", f"--interval={pace.period_us}"),
        *(f"--secaligned={pace.phase_us}", f"--histogram={_WIDEST_US}", f"--json={report}"),
    ]
    return subprocess.Popen(
        argv,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        process_group=0,  # Ctrl-C asks the bench
    )


def stop(peer: "subprocess.Popen[bytes]", report: Path) -> Cyclic:
    """Have it end, and read its report. Raises `PeerDiedError` where it had ended by itself, or left none."""
    ran = peer.poll() is None
    peer.terminate()
    status = peer.wait(_ENDS_S)
    if not ran or not report.exists():
        raise PeerDiedError(f"cyclictest ended with {status}, {'without a report' if ran else 'too early'}")
    return cyclic_from_json(report.read_bytes())
