"""Asking the kernel for real time, and saying in words what it gave.

Owns: scheduling class, memory locking, core affinity, the garbage collector, and death with the parent.
Must not know: what runs. Every step is tried; none is assumed: what is said is read back from the kernel.
"""

import ctypes
import gc
import os
import signal
from contextlib import suppress
from pathlib import Path

_MCL_CURRENT, _MCL_FUTURE = 1, 2
_PR_SET_PDEATHSIG = 1
_RESET_ON_FORK = getattr(os, "SCHED_RESET_ON_FORK", 0)
_STATUS, _KERNEL = Path("/proc/self/status"), Path("/sys/kernel/realtime")


def become_realtime(priority: int, core: int) -> str:
    """Take what can be had, for example `fifo:50 mlock core:1 gc:frozen preempt-rt`; call it when all is loaded.

    A `priority` of 0 asks for no real-time class, a `core` of -1 for no affinity.
    """
    if core >= 0:
        with suppress(OSError):
            os.sched_setaffinity(0, {core})
    with suppress(OSError, AttributeError):  # another kernel than Linux has neither
        ctypes.CDLL(None).mlockall(_MCL_CURRENT | _MCL_FUTURE)  # so that a tick never waits for the disk
    gc.collect()
    gc.freeze()
    gc.disable()
    if priority > 0:
        with suppress(OSError):
            os.sched_setscheduler(0, os.SCHED_FIFO | _RESET_ON_FORK, os.sched_param(priority))
    return " ".join(word for word in _achieved(priority, core) if word)


def stay_off(core: int) -> None:
    """Leave `core` to the follower: neither this process nor its children run there, where there is another core.

    A `core` of -1 is nobody's.
    """
    others = os.sched_getaffinity(0) - {core}
    if others:
        with suppress(OSError):
            os.sched_setaffinity(0, others)


def _achieved(priority: int, core: int) -> tuple[str, ...]:
    """What the kernel says of this process, as far as it was asked for."""
    has_priority = os.sched_getscheduler(0) & ~_RESET_ON_FORK == os.SCHED_FIFO
    given = os.sched_getparam(0).sched_priority if has_priority else 0
    return (
        _or_no(given == priority, f"fifo:{priority}", "no-fifo") if priority > 0 else "",
        _or_no(_locked_kib() > 0, "mlock", "no-mlock"),
        _or_no(os.sched_getaffinity(0) == {core}, f"core:{core}", "no-core") if core >= 0 else "",
        "" if gc.isenabled() else "gc:frozen",
        "preempt-rt" if _is_realtime_kernel() else "",
    )


def _or_no(holds: bool, word: str, denial: str) -> str:
    return word if holds else denial


def _locked_kib() -> int:
    """How much memory of this process is locked, in KiB; 0 where the kernel doesn't say."""
    with suppress(OSError, ValueError):
        for line in _STATUS.read_text(encoding="ascii", errors="replace").splitlines():
            if line.startswith("VmLck:"):
                return int(line.split()[1])
    return 0


def _is_realtime_kernel() -> bool:
    with suppress(OSError):
        return _KERNEL.read_text(encoding="ascii", errors="replace").strip() == "1"
    return False


def die_with(parent_pid: int) -> bool:
    """Have the kernel kill this process when its parent dies; False where the parent is gone already.

    A `parent_pid` of 0 means that nobody's death matters.
    """
    if parent_pid == 0:
        return True
    try:
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    except (OSError, AttributeError):
        return (
            os.getppid() == parent_pid
        )  # another kernel than Linux: the supervisor ends its children itself
    return os.getppid() == parent_pid
