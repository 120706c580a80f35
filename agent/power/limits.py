"""How many watts the device may take now: the lowest of what it is configured for, the fleet allows and a person here set.

Owns: which of the three counts, and what is no limit at all. Whoever takes over the server, the broker or `manage` can
so slow a device down, and never lift it above its own configuration.
Must not know: the governor, who wrote the boards.
"""

import math
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from agent.board.feed import Feed
from agent.board.records import ENVELOPE, FLEET_ENVELOPE_BOARD, LOCAL_ENVELOPE_BOARD, EnvelopeRecord
from models.wire.messages import HIGHEST_ENVELOPE_W, LOWEST_ENVELOPE_W


class LimitSource(StrEnum):
    """Whose limit is in force."""

    CONFIGURATION = "configuration"
    FLEET = "fleet"
    LOCAL = "local"


@dataclass(frozen=True, slots=True)
class Limit:
    """The limit on the 1 s mean of module power, and whose it is."""

    watts: float
    source: LimitSource


@dataclass(frozen=True, slots=True)
class Ordered:
    """What the two boards say, in watts; None for no limit. `sequence` is that of the fleet's order, 0 for none."""

    fleet_w: float | None = None
    local_w: float | None = None
    sequence: int = 0


def limit_in_force(config_w: float, fleet_w: float | None, local_w: float | None) -> Limit:
    """The lowest of the three; of equal ones the first. What is no envelope (40 to 130 W) counts as not there."""
    limit = Limit(config_w, LimitSource.CONFIGURATION)
    for watts, source in ((fleet_w, LimitSource.FLEET), (local_w, LimitSource.LOCAL)):
        if watts is not None and is_envelope(watts) and watts < limit.watts:
            limit = Limit(watts, source)
    return limit


def is_envelope(watts: float) -> bool:
    """Whether `watts` can be an envelope; NaN and infinity cannot."""
    return math.isfinite(watts) and LOWEST_ENVELOPE_W <= watts <= HIGHEST_ENVELOPE_W


class Limits:
    """Reads both boards below `run`, whenever their writers come and go; a limit once read stands until another is written."""

    def __init__(self, run: Path, config_w: float) -> None:
        """`config_w` is the configuration's envelope, in watts."""
        self._config_w = config_w
        self._fleet: Feed[EnvelopeRecord] = Feed(run / FLEET_ENVELOPE_BOARD, ENVELOPE)
        self._local: Feed[EnvelopeRecord] = Feed(run / LOCAL_ENVELOPE_BOARD, ENVELOPE)

    def limit(self, mono_ns: int) -> Limit:
        """The limit in force; call it once a governing turn. Never raises."""
        ordered = self.ordered(mono_ns)
        return limit_in_force(self._config_w, ordered.fleet_w, ordered.local_w)

    def ordered(self, mono_ns: int) -> Ordered:
        """The two orders as they stand."""
        fleet, local = _latest(self._fleet, mono_ns), _latest(self._local, mono_ns)
        return Ordered(
            None if fleet is None else _watts(fleet),
            None if local is None else _watts(local),
            0 if fleet is None else fleet.sequence,
        )

    def close(self) -> None:
        """Unmap; the limits read last stay."""
        self._fleet.close()
        self._local.close()


def _latest(feed: Feed[EnvelopeRecord], mono_ns: int) -> EnvelopeRecord | None:
    feed.news(mono_ns)
    return feed.latest.record if feed.latest else None


def _watts(record: EnvelopeRecord) -> float | None:
    return record.limit_w if is_envelope(record.limit_w) else None
