"""The machine's clock: CLOCK_MONOTONIC to pace by, UTC to tell people, absolute sleeps.

Owns: the real `Clock`. Must not know: what is paced.
An absolute sleep does not drift with the time that the caller spent before it asked; where the C library
has no `clock_nanosleep`, a relative sleep is repeated until the time has come.
"""

import ctypes
import time

_CLOCK_MONOTONIC = 1
_TIMER_ABSTIME = 1
_NS_PER_S = 1_000_000_000


class _Timespec(ctypes.Structure):
    _fields_ = (("seconds", ctypes.c_long), ("nanoseconds", ctypes.c_long))


class MonotonicClock:
    """The `Clock` of this machine. One instance for each thread: it sleeps on a time of its own.

    It is awake `awake_ns` before the time that it is to sleep until, and waits the rest without sleeping: what a kernel takes
    to wake it, and a processor to come out of an idle state, is spent before that time and not after it.
    """

    def __init__(self, awake_ns: int = 0) -> None:
        self._awake_ns = awake_ns
        library = ctypes.CDLL(None, use_errno=False)
        self._nanosleep = getattr(library, "clock_nanosleep", None)
        self._until = _Timespec()
        self._until_at = ctypes.byref(self._until)

    def mono_ns(self) -> int:
        """CLOCK_MONOTONIC in nanoseconds."""
        return time.clock_gettime_ns(time.CLOCK_MONOTONIC)

    def utc_ns(self) -> int:
        """UTC in nanoseconds since 1970."""
        return time.time_ns()

    def sleep_until(self, mono_ns: int) -> None:
        """Return at `mono_ns`, or at once where it has passed. Signal handlers run, then the sleep goes on."""
        asleep_until_ns = mono_ns - self._awake_ns
        while self.mono_ns() < asleep_until_ns:
            if self._nanosleep is None:
                time.sleep(max(0, asleep_until_ns - self.mono_ns()) / _NS_PER_S)
                continue
            self._until.seconds, self._until.nanoseconds = divmod(asleep_until_ns, _NS_PER_S)
            self._nanosleep(_CLOCK_MONOTONIC, _TIMER_ABSTIME, self._until_at, None)
        while self.mono_ns() < mono_ns:
            pass
