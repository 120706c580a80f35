"""Sending the spool, oldest first, until the server says that it has each batch.

Owns: the window of unacknowledged batches, when they are sent again, and when one is set aside. A batch leaves
the spool after its acknowledgement, or, set aside on this disk, after the server took others and passed it over
again and again; a server that takes nothing is waited for, however long.
Must not know: what batches say, MQTT clients.
"""

from collections import deque
from dataclasses import dataclass

from agent.ports import Clock, Transport
from agent.telemetry.events import EventLog
from agent.telemetry.spool import Spool, SpooledBatch
from models.errors import MalformedMessageError, TransferError
from models.wire.messages import MAX_TELEMETRY_BYTES, BatchAck, TelemetryBatch, decode
from models.wire.topics import Channel

_WINDOW = 8
_RESEND_NS = 10_000_000_000
_PASSED_OVER_MAX = 5
"""Rounds in which the server took what was sent with or after a batch, and not the batch."""
_ACKS_MAX = 1024


@dataclass(slots=True)
class _Sent:
    """A batch on its way; `passed_over`: something sent no earlier has been acknowledged since."""

    boot: str
    sent_ns: int
    passed_over: bool = False


class Courier:
    """`tick` on the telemetry thread; `acknowledged` from the transport's."""

    def __init__(self, spool: Spool, transport: Transport, clock: Clock, events: EventLog) -> None:
        self._spool, self._transport, self._clock, self._events = spool, transport, clock, events
        self._sent: dict[int, _Sent] = {}
        self._rounds: dict[int, int] = {}
        """How many rounds each batch of the window was passed over."""
        self._acks: deque[BatchAck] = deque(maxlen=_ACKS_MAX)

    def acknowledged(self, ack: BatchAck) -> None:
        """The server has a batch."""
        self._acks.append(ack)

    def tick(self) -> None:
        """Delete what is acknowledged, send what fits the window, send again what stays unanswered."""
        self._take_acks()
        if not self._transport.connected:
            self._sent.clear()
            return
        now_ns, stalled = self._clock.mono_ns(), False
        window = self._spool.oldest(_WINDOW)
        self._forget_all_but(window)
        for entry in window:
            sent = self._sent.get(entry.sequence)
            if sent is None:
                if not self._send(entry, now_ns):
                    return
            elif now_ns - sent.sent_ns > _RESEND_NS:
                stalled = True
                if not self._again(entry, sent, now_ns):
                    return
        if stalled:
            self._probe(window, now_ns)

    def _take_acks(self) -> None:
        while self._acks:
            ack = self._acks.popleft()
            sent = self._sent.get(ack.sequence)
            if sent is not None and sent.boot == ack.boot:
                del self._sent[ack.sequence]
                self._rounds.pop(ack.sequence, None)
                self._spool.remove(ack.sequence)
                for other in self._sent.values():
                    other.passed_over |= other.sent_ns <= sent.sent_ns

    def _again(self, entry: SpooledBatch, sent: _Sent, now_ns: int) -> bool:
        """Send a batch that was not acknowledged in time once more, or set it aside; False where nothing can be sent."""
        rounds = self._rounds.get(entry.sequence, 0) + int(sent.passed_over)
        if rounds < _PASSED_OVER_MAX:
            self._rounds[entry.sequence] = rounds
            return self._send(entry, now_ns)
        self._spool.set_aside(entry)
        self._events.record(
            "telemetry-set-aside",
            f"the server passes over batch {entry.sequence} ({entry.decisions} decisions, {entry.events} events); "
            f"it is kept as {entry.name_aside}; {self._spool.aside} batches are",
        )
        return True

    def _probe(self, window: list[SpooledBatch], now_ns: int) -> None:
        """Where the window does not move, the newest batch shows whether the server takes anything at all."""
        newest = self._spool.newest()
        if newest is not None and newest not in window:
            self._send(newest, now_ns)

    def _forget_all_but(self, window: list[SpooledBatch]) -> None:
        """Of batches that left the spool by other ways, and of old probes, nothing is kept."""
        inside = {entry.sequence for entry in window}
        latest_probe = max(self._sent, default=0)
        for sequence in [s for s in self._sent if s not in inside and s != latest_probe]:
            del self._sent[sequence]
        for sequence in [s for s in self._rounds if s not in inside]:
            del self._rounds[sequence]

    def _send(self, entry: SpooledBatch, now_ns: int) -> bool:
        data = self._spool.read(entry)
        try:
            batch = decode(data or b"", TelemetryBatch, MAX_TELEMETRY_BYTES)
        except MalformedMessageError:
            self._spool.lose(entry)
            self._events.record(
                "telemetry-unreadable",
                f"batch {entry.sequence} ({entry.decisions} decisions, {entry.events} events) was in pieces",
            )
            return True
        try:
            self._transport.publish(Channel.TELEMETRY, data or b"")
        except TransferError:
            return False
        self._sent[entry.sequence] = _Sent(batch.boot, now_ns)
        return True
