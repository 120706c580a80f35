"""A clock that stands still until it is told otherwise.

Owns: what tests ask of the emulator's clock besides: how long was slept, and a UTC that somebody sets.
"""

from agent.emulator.stepped import START_UTC_NS, SteppedClock


class FakeClock(SteppedClock):
    """Times in nanoseconds. `sleeps` are the instants that were slept until; `jump_utc` is an operator or NTP setting UTC."""

    def __init__(self, mono_ns: int = 1_000_000_000, utc_ns: int = START_UTC_NS) -> None:
        super().__init__(mono_ns, utc_ns)
        self.sleeps: list[int] = []

    def sleep_until(self, mono_ns: int) -> None:
        """Jump to `mono_ns`, or stay where it has passed."""
        self.sleeps.append(mono_ns)
        super().sleep_until(mono_ns)

    def advance(self, seconds: float) -> None:
        """Let `seconds` pass."""
        self.step(round(seconds * 1e9))

    def jump_utc(self, seconds: float) -> None:
        """Set UTC `seconds` ahead (or back); the monotonic clock does not notice."""
        self._utc_offset_ns += round(seconds * 1e9)
