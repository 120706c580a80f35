"""The machine's clocks. Implements `fleet.ports.Clock`."""

import time


class SystemClock:
    """UTC and monotonic time of this machine."""

    def utc_ns(self) -> int:
        """UTC in nanoseconds."""
        return time.time_ns()

    def mono_ns(self) -> int:
        """Monotonic nanoseconds."""
        return time.monotonic_ns()
