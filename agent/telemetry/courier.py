"""Sending the spool, oldest first, until the server says that it has each batch.

Owns: the window of unacknowledged batches and when they are sent again. A batch is deleted only after its
acknowledgement. Must not know: what batches say, MQTT clients.
"""

from collections import deque
from dataclasses import dataclass

from agent.ports import Clock, Transport
from agent.telemetry.spool import Spool, SpooledBatch
from models.errors import MalformedMessageError, TransferError
from models.wire.messages import MAX_TELEMETRY_BYTES, BatchAck, TelemetryBatch, decode
from models.wire.topics import Channel

_WINDOW = 8
_RESEND_NS = 10_000_000_000
_ACKS_MAX = 1024


@dataclass(frozen=True, slots=True)
class _Sent:
    boot: str
    sent_ns: int


class Courier:
    """`tick` on the telemetry thread; `acknowledged` from the transport's."""

    def __init__(self, spool: Spool, transport: Transport, clock: Clock) -> None:
        self._spool, self._transport, self._clock = spool, transport, clock
        self._sent: dict[int, _Sent] = {}
        self._acks: deque[BatchAck] = deque(maxlen=_ACKS_MAX)
        self.unreadable = 0
        """Batches that a power cut left in pieces."""

    def acknowledged(self, ack: BatchAck) -> None:
        """The server has a batch."""
        self._acks.append(ack)

    def tick(self) -> None:
        """Delete what is acknowledged, send what fits the window, send again what stays unanswered."""
        self._take_acks()
        if not self._transport.connected:
            self._sent.clear()
            return
        now_ns = self._clock.mono_ns()
        for entry in self._spool.oldest(_WINDOW):
            sent = self._sent.get(entry.sequence)
            due = sent is None or now_ns - sent.sent_ns > _RESEND_NS
            if due and not self._send(entry, now_ns):
                return

    def _take_acks(self) -> None:
        while self._acks:
            ack = self._acks.popleft()
            sent = self._sent.get(ack.sequence)
            if sent is not None and sent.boot == ack.boot:
                del self._sent[ack.sequence]
                self._spool.remove(ack.sequence)

    def _send(self, entry: SpooledBatch, now_ns: int) -> bool:
        data = self._spool.read(entry)
        try:
            batch = decode(data or b"", TelemetryBatch, MAX_TELEMETRY_BYTES)
        except MalformedMessageError:
            self.unreadable += 1
            self._spool.remove(entry.sequence)
            return True
        try:
            self._transport.publish(Channel.TELEMETRY, data or b"")
        except TransferError:
            return False
        self._sent[entry.sequence] = _Sent(batch.boot, now_ns)
        return True
