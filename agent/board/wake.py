"""Waking the readers of a board when it is written: a futex on the low half of its generation.

Owns: the two system calls and the address that they need. Must not know: records.

A reader of a writer that wakes nobody, or on a system without futexes, comes back when its time is over. Linux lets a
process wait on memory that it may only read (futex(2)); a writer's wake costs one system call.
"""

import ctypes
import mmap
import platform
import sys

import numpy as np

_SYSTEM_CALLS = {"x86_64": 202, "aarch64": 98}
"""The number of futex(2), by machine (linux/arch/x86/entry/syscalls/syscall_64.tbl, include/uapi/asm-generic/unistd.h)."""
_WAKE, _WAIT_BITSET = 1, 9
_EVERYBODY, _ANY = 2**31 - 1, 0xFFFFFFFF
_S = 1_000_000_000


class _Timespec(ctypes.Structure):
    _fields_ = (("seconds", ctypes.c_long), ("nanoseconds", ctypes.c_long))


class Doorbell:
    """The 32-bit word at `offset` of `memory`, which all processes that map the same file share."""

    def __init__(self, memory: mmap.mmap, offset: int) -> None:
        self._word = np.frombuffer(memory, np.uint32, 1, offset)
        self._address = ctypes.c_void_p(self._word.ctypes.data)
        self._number = _SYSTEM_CALLS.get(platform.machine()) if sys.platform == "linux" else None
        self._call = ctypes.CDLL(None).syscall
        self._until = _Timespec()

    @property
    def works(self) -> bool:
        """Whether this system has futexes."""
        return self._number is not None

    def ring(self) -> None:
        """Wake all who wait."""
        if self._number is not None:
            self._call(self._number, self._address, _WAKE, _EVERYBODY, None, None, 0)

    def wait(self, expected: int, until_ns: int) -> None:
        """Return once the word is not the low half of `expected`, at CLOCK_MONOTONIC `until_ns`, or at a signal."""
        if self._number is None:
            return
        self._until.seconds, self._until.nanoseconds = divmod(until_ns, _S)
        self._call(
            *(self._number, self._address, _WAIT_BITSET, ctypes.c_uint32(expected & _ANY)),
            *(ctypes.byref(self._until), None, ctypes.c_uint32(_ANY)),
        )

    def close(self) -> None:
        """Let go of the memory, so that it can be unmapped."""
        del self._word, self._address
