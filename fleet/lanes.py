"""A bounded lane between threads: what does not fit is refused, so that a flood cannot eat the memory.

Owns: the bound, by count, bytes and share of one sender. Must not know: what travels.
"""

import threading
from collections import Counter, deque
from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class LaneLimits:
    """How much may wait: items and bytes in all, and items of one sender."""

    items: int
    size_bytes: int
    items_per_sender: int


@dataclass(frozen=True, slots=True)
class _Waiting(Generic[T]):
    sender: str
    size_bytes: int
    item: T


class Lane(Generic[T]):
    """First in, first out, many threads on both sides; never blocks the side that offers."""

    def __init__(self, limits: LaneLimits) -> None:
        self._limits = limits
        self._waiting: deque[_Waiting[T]] = deque()
        self._by_sender: Counter[str] = Counter()
        self._size_bytes = 0
        self._closed = False
        self._changed = threading.Condition()
        self.refused = 0

    def offer(self, sender: str, size_bytes: int, item: T) -> bool:
        """Put `item` in, or say False where the lane is full, `sender` has its share, or it is closed."""
        with self._changed:
            limits = self._limits
            full = len(self._waiting) >= limits.items or self._size_bytes + size_bytes > limits.size_bytes
            if full or self._closed or self._by_sender[sender] >= limits.items_per_sender:
                self.refused += 1
                return False
            self._waiting.append(_Waiting(sender, size_bytes, item))
            self._by_sender[sender] += 1
            self._size_bytes += size_bytes
            self._changed.notify()
            return True

    def take(self, most: int = 1) -> list[T] | None:
        """Wait for something; then at once up to `most` items. None once closed and empty."""
        with self._changed:
            while not self._waiting and not self._closed:
                self._changed.wait()
            if not self._waiting:
                return None
            return [self._next() for _ in range(min(most, len(self._waiting)))]

    def close(self) -> None:
        """Refuse what comes; let the takers finish."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def _next(self) -> T:
        waiting = self._waiting.popleft()
        self._size_bytes -= waiting.size_bytes
        self._by_sender[waiting.sender] -= 1
        if not self._by_sender[waiting.sender]:
            del self._by_sender[waiting.sender]
        return waiting.item
