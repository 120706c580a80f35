"""What others may take of the machine beside the driver, a candidate above all, and what it was kept waiting for that.

Owns: the system calls. Must not know: what the limits are, when a candidate becomes the driver. Not Linux: nothing is limited.

Niceness is each thread's own (setpriority(2), BUGS). Memory is what the process alone may write, mapped or not
(RLIMIT_DATA, getrlimit(2)): graphics drivers reserve addresses by the terabyte, so addresses are not limited.
"""

import os
import resource
from contextlib import suppress
from pathlib import Path

_SCHEDSTAT = Path("/proc/thread-self/schedstat")


def give_way(nice: int) -> None:
    """Be at least so nice, children included: what is less nice goes first. A unit that forbids it has its own `Nice=`.

    Call it before there are threads.
    """
    with suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, 0, max(nice, os.getpriority(os.PRIO_PROCESS, 0)))


def confine(nice: int, memory_bytes: int) -> None:
    """Give way, and hold this process to `memory_bytes` of its own; 0 is no limit.

    The limit is soft: whoever is the same user can lift it.
    """
    give_way(nice)
    most_bytes = resource.getrlimit(resource.RLIMIT_DATA)[1]
    if memory_bytes and (most_bytes == resource.RLIM_INFINITY or memory_bytes < most_bytes):
        resource.setrlimit(resource.RLIMIT_DATA, (memory_bytes, most_bytes))


def promote(pid: int, nice: int) -> bool:
    """Give all threads of `pid` this `nice` and lift its limit of memory; whether the kernel allowed both.

    A lower niceness takes RLIMIT_NICE of 20 - `nice` at least, or CAP_SYS_NICE. A `pid` of 0 is nobody.
    """
    if pid <= 0:  # to the kernel it would be whoever calls
        return False
    try:
        most_bytes = resource.prlimit(pid, resource.RLIMIT_DATA)[1]
        resource.prlimit(pid, resource.RLIMIT_DATA, (most_bytes, most_bytes))
        for thread in Path(f"/proc/{pid}/task").iterdir():
            with suppress(ProcessLookupError):
                os.setpriority(os.PRIO_PROCESS, int(thread.name), nice)
    except (OSError, AttributeError):
        return False
    return True


def is_confined() -> bool:
    """Whether this process may take less memory than it could be given."""
    soft, most = resource.getrlimit(resource.RLIMIT_DATA)
    return soft != most


def kept_waiting_ns() -> int:
    """How long the calling thread was ready to run and another one ran instead, since it began; 0 where that isn't told.

    The second figure of `/proc/<pid>/schedstat` (Documentation/scheduler/sched-stats.rst in Linux).
    """
    with suppress(OSError, ValueError, IndexError):
        return int(_SCHEDSTAT.read_bytes().split()[1])
    return 0
