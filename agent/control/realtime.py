"""Asking the kernel for real time, and saying in words what it gave.

Owns: scheduling class, memory locking, core affinity, the garbage collector, and death with the parent.
Must not know: what runs. Every step is tried; none is assumed.
"""

import ctypes
import gc
import os
import signal

_MCL_CURRENT, _MCL_FUTURE = 1, 2
_PR_SET_PDEATHSIG = 1


def become_realtime(priority: int, core: int) -> str:
    """Take what can be had, for example `fifo:50 mlock core:1 gc:frozen`; call it when all is loaded.

    A `priority` of 0 asks for no real-time class, a `core` of -1 for no affinity.
    """
    achieved = (_fifo(priority), _locked(), _pinned(core), _gc_frozen())
    return " ".join(word for word in achieved if word)


def _fifo(priority: int) -> str:
    if priority <= 0:
        return ""
    try:
        os.sched_setscheduler(
            0, os.SCHED_FIFO | getattr(os, "SCHED_RESET_ON_FORK", 0), os.sched_param(priority)
        )
    except OSError:
        return "no-fifo"
    return f"fifo:{priority}"


def _locked() -> str:
    """Keep all pages in memory, so that a tick never waits for the disk."""
    try:
        failed = ctypes.CDLL(None).mlockall(_MCL_CURRENT | _MCL_FUTURE)
    except (OSError, AttributeError):
        return "no-mlock"
    return "no-mlock" if failed else "mlock"


def _pinned(core: int) -> str:
    if core < 0:
        return ""
    try:
        os.sched_setaffinity(0, {core})
    except OSError:
        return "no-core"
    return f"core:{core}"


def _gc_frozen() -> str:
    gc.collect()
    gc.freeze()
    gc.disable()
    return "gc:frozen"


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
