"""The fleet's envelope order on this device: kept on disk, said on `envelope.board`, forgotten when it expires.

Owns: `envelope.json`, written by rename after a sync, and which of two orders counts.
Must not know: MQTT, what the governor does with a limit. `take` comes from the transport's thread, all else from one other.
"""

import math
import threading

import msgspec

from agent.board.records import EnvelopeRecord
from agent.board.seqlock import BoardWriter
from agent.ports import Clock, Disk
from agent.telemetry.events import EventLog
from models.errors import NoSpaceError
from models.wire.messages import EnvelopeOrder

ENVELOPE_FILE = "envelope.json"
_FRESH = ENVELOPE_FILE + ".new"


class OrderedEnvelope:
    """What the fleet allows. Of orders that come in a burst only the last is written: flash wears."""

    def __init__(
        self, disk: Disk, board: BoardWriter[EnvelopeRecord], clock: Clock, events: EventLog
    ) -> None:
        """Read the order that is kept and put it on `board` at once, before there is any network."""
        self._disk, self._board, self._clock, self._events = disk, board, clock, events
        self._lock = threading.Lock()
        self._waiting: EnvelopeOrder | None = None
        self._unsaved = self._said_unsaved = False
        self.order = self._read()
        self._publish()

    def take(self, order: EnvelopeOrder) -> None:
        """The fleet ordered; `tick` puts it in force."""
        with self._lock:
            if self._waiting is None or order.sequence > self._waiting.sequence:
                self._waiting = order

    def tick(self) -> None:
        """Put in force what came and let expire what has expired; call it about once a second."""
        with self._lock:
            order, self._waiting = self._waiting, None
        if order is not None:
            self._consider(order)
        if self._unsaved:
            self._save()
        self._publish()

    def _consider(self, order: EnvelopeOrder) -> None:
        kept = self.order
        if kept is not None and order.sequence <= kept.sequence:
            if order != kept:
                self._events.record("envelope-stale", f"order {order.sequence} came after {kept.sequence}")
            return
        self.order, self._unsaved = order, True
        self._events.record("envelope-ordered", _said(order))

    def _publish(self) -> None:
        order, now_ns = self.order, self._clock.mono_ns()
        limit_w = math.nan if order is None or self._is_over(order) else order.envelope_w
        record = EnvelopeRecord(math.nan if limit_w is None else limit_w, order.sequence if order else 0)
        self._board.write(record, now_ns)

    def _is_over(self, order: EnvelopeOrder) -> bool:
        return 0 < order.expires_utc_ns <= self._clock.utc_ns()

    def _read(self) -> EnvelopeOrder | None:
        """The order kept; none where the file is damaged: the configuration's limit holds without it."""
        try:
            return msgspec.json.decode(self._disk.read(ENVELOPE_FILE), type=EnvelopeOrder, strict=True)
        except FileNotFoundError:
            return None
        except (OSError, msgspec.DecodeError, UnicodeDecodeError) as error:
            self._events.record("envelope-damaged", f"{ENVELOPE_FILE}: {error}; the fleet has to order again")
            return None

    def _save(self) -> None:
        """Make the order durable; it is in force without that, and is tried again."""
        if self.order is None:
            return
        try:
            self._disk.remove(_FRESH)
            self._disk.write_at(_FRESH, 0, msgspec.json.encode(self.order))
            self._disk.sync(_FRESH)
            self._disk.rename(_FRESH, ENVELOPE_FILE)
            self._disk.sync_directory("")
        except (NoSpaceError, OSError) as error:
            if not self._said_unsaved:
                self._events.record(
                    "envelope-unsaved", f"order {self.order.sequence} is in memory only: {error}"
                )
            self._said_unsaved = True
            return
        self._unsaved = self._said_unsaved = False


def _said(order: EnvelopeOrder) -> str:
    if order.envelope_w is None:
        return f"order {order.sequence}: taken back"
    until = f" until {order.expires_utc_ns} ns UTC" if order.expires_utc_ns else ""
    return f"order {order.sequence}: {order.envelope_w:g} W{until}"
