"""Emulated time: a clock that goes on when it is told to, and work beside a loop that is done at once.

Owns: determinism where a real loop is driven in steps. Must not know: what is driven.
"""

from collections.abc import Callable
from concurrent.futures import Executor, Future
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")
START_UTC_NS = 1_760_000_000_000_000_000


class SteppedClock:
    """An `agent.ports.Clock`; `step` is time passing. UTC runs along from `utc_ns` on."""

    def __init__(self, mono_ns: int, utc_ns: int = START_UTC_NS) -> None:
        self._mono_ns = mono_ns
        self._utc_offset_ns = utc_ns - mono_ns

    def mono_ns(self) -> int:
        """Now."""
        return self._mono_ns

    def utc_ns(self) -> int:
        """Now, for people."""
        return self._mono_ns + self._utc_offset_ns

    def sleep_until(self, mono_ns: int) -> None:
        """Jump to `mono_ns`, or stay where it has passed."""
        self._mono_ns = max(self._mono_ns, mono_ns)

    def step(self, nanoseconds: int) -> None:
        """Let time pass."""
        self._mono_ns += nanoseconds


class AtOnce(Executor):
    """Without threads: what is submitted is done before anyone asks for it."""

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """The result, or the error, stands in the future that is returned."""
        future: Future[T] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as error:  # noqa: BLE001 an executor keeps whatever it was
            future.set_exception(error)
        return future
