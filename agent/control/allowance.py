"""What a candidate may take of the machine beside the driver, and what it was kept waiting for that.

Owns: the system calls. Must not know: when a candidate becomes the driver. Linux; elsewhere nothing is known or limited.
"""

from contextlib import suppress
from pathlib import Path

_SCHEDSTAT = Path("/proc/thread-self/schedstat")


def kept_waiting_ns() -> int:
    """How long the calling thread was ready to run and another one ran instead, since it began; 0 where that isn't told.

    The second figure of `/proc/<pid>/schedstat` (Documentation/scheduler/sched-stats.rst in Linux).
    """
    with suppress(OSError, ValueError, IndexError):
        return int(_SCHEDSTAT.read_bytes().split()[1])
    return 0
