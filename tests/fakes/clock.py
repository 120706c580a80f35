"""A clock that stands still until it is told otherwise.

Owns: the fake `Clock`. `sleep_until` moves it at once; `advance` is time passing by itself.
"""


class FakeClock:
    """Times in nanoseconds. UTC runs along with the monotonic clock; `jump_utc` is an operator or NTP setting it."""

    def __init__(self, mono_ns: int = 1_000_000_000, utc_ns: int = 1_760_000_000_000_000_000) -> None:
        self._mono_ns = mono_ns
        self._utc_offset_ns = utc_ns - mono_ns
        self.sleeps: list[int] = []

    def mono_ns(self) -> int:
        """Now."""
        return self._mono_ns

    def utc_ns(self) -> int:
        """Now, for people."""
        return self._mono_ns + self._utc_offset_ns

    def sleep_until(self, mono_ns: int) -> None:
        """Jump to `mono_ns`, or stay where it has passed."""
        self.sleeps.append(mono_ns)
        self._mono_ns = max(self._mono_ns, mono_ns)

    def advance(self, seconds: float) -> None:
        """Let `seconds` pass."""
        self._mono_ns += round(seconds * 1e9)

    def jump_utc(self, seconds: float) -> None:
        """Set UTC `seconds` ahead (or back); the monotonic clock does not notice."""
        self._utc_offset_ns += round(seconds * 1e9)
