"""What the agent's cores ask of the world: clock, disk, transport.

Owns: the ports. Must not know: the adapters behind them.
Each has a real adapter in `agent/adapters`, a fake in `tests/fakes`, and one conformance suite for both.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from models.wire.topics import Channel


@dataclass(frozen=True, slots=True)
class Inbound:
    """A message as it came: nothing about it is believed yet."""

    topic: str
    payload: bytes


class Clock(Protocol):
    """Time. `mono_ns` never jumps and never leaves the device; `utc_ns` is for people and the server."""

    def mono_ns(self) -> int:
        """CLOCK_MONOTONIC in nanoseconds."""
        ...

    def utc_ns(self) -> int:
        """UTC in nanoseconds since 1970."""
        ...

    def sleep_until(self, mono_ns: int) -> None:
        """Return at the absolute time `mono_ns`, or at once where it has passed."""
        ...


class Disk(Protocol):
    """Durable storage below one directory, in names with `/`; what is not synced may be lost at a power cut.

    Every operation raises `models.errors.NoSpaceError` where there is no room and `FileNotFoundError` where
    the name does not exist.
    """

    def read(self, name: str) -> bytes:
        """The whole file."""
        ...

    def read_range(self, name: str, offset_bytes: int, length_bytes: int) -> bytes:
        """At most `length_bytes` from `offset_bytes` on."""
        ...

    def write_at(self, name: str, offset_bytes: int, data: bytes) -> None:
        """Write in place, making the file where it is absent; not durable until `sync`."""
        ...

    def append(self, name: str, data: bytes) -> None:
        """Write at the end, making the file where it is absent; not durable until `sync`."""
        ...

    def sync(self, name: str) -> None:
        """Make the file's content durable."""
        ...

    def sync_directory(self, name: str) -> None:
        """Make the names in a directory durable: creations, renames, removals."""
        ...

    def rename(self, source: str, target: str) -> None:
        """Atomically give `source` the name `target`, replacing it; durable after `sync_directory`."""
        ...

    def remove(self, name: str) -> None:
        """Remove a file; absent is fine; durable after `sync_directory`."""
        ...

    def remove_tree(self, name: str) -> None:
        """Remove a directory and all below it; absent is fine."""
        ...

    def make_directory(self, name: str) -> None:
        """Make a directory and its parents; present is fine."""
        ...

    def list(self, name: str) -> list[str]:
        """Names in a directory, sorted; empty where it is absent."""
        ...

    def exists(self, name: str) -> bool:
        """Whether the file or directory is there."""
        ...

    def size(self, name: str) -> int:
        """Bytes of a file."""
        ...

    def reserve(self, name: str, size_bytes: int) -> None:
        """Make room for a file of `size_bytes` now (`posix_fallocate`), or raise `NoSpaceError`."""
        ...

    def free_bytes(self) -> int:
        """Room left for us."""
        ...


class Transport(Protocol):
    """The device's own topics on a broker that may be absent, slow, or hostile.

    A retained `connection` message says `online` from each connect on, `offline` after `stop`, and `broken`
    (the last will) where the connection just ended. Messages come at least once where `sure`, perhaps twice.
    """

    @property
    def connected(self) -> bool:
        """Whether the broker takes messages now."""
        ...

    def start(self, deliver: Callable[[Inbound], None]) -> None:
        """Connect, now or when the broker is there, and hand every message to `deliver`, on another thread."""
        ...

    def publish(
        self, channel: Channel, payload: bytes, tail: str = "", *, sure: bool = True, retain: bool = False
    ) -> None:
        """Send on one of our channels; `sure` is QoS 1. Raises `TransferError` where it cannot be sent now."""
        ...

    def stop(self) -> None:
        """Say `offline` and close; takes at most a second or so."""
        ...
