"""Where messages from the broker are sorted: the one place that reads untrusted topics and payload lengths.

Owns: the limits by channel, and who gets what. Everything that is malformed is reported, nothing is raised.
Must not know: what receivers do; it hands over parsed messages and raw content only.
"""

from collections.abc import Callable
from dataclasses import dataclass

from agent.ports import Inbound
from agent.telemetry.events import EventLog
from models.errors import MalformedMessageError
from models.wire.messages import MAX_RANGE_BYTES, BatchAck, EnvelopeOrder, Refusal, ReleaseOffer, decode
from models.wire.topics import Address, Channel, address_from_topic


@dataclass(frozen=True, slots=True)
class Receivers:
    """Who takes offers, acknowledgements, answers (by request id), and envelope orders."""

    offer: Callable[[ReleaseOffer], None]
    acknowledged: Callable[[BatchAck], None]
    answered: Callable[[str, bytes | Refusal], None]
    envelope: Callable[[EnvelopeOrder], None]


class Inbox:
    """Sorts; called on the transport's thread."""

    def __init__(self, receivers: Receivers, events: EventLog) -> None:
        self._receivers, self._events = receivers, events
        self.malformed = 0

    def deliver(self, message: Inbound) -> None:
        """Parse and hand over, or count and report."""
        try:
            self._sort(address_from_topic(message.topic), message.payload)
        except MalformedMessageError as error:
            self.malformed += 1
            self._events.record(error.code, f"on {message.topic[-80:]}: {error}")

    def _sort(self, address: Address, payload: bytes) -> None:
        if address.channel is Channel.REPLY:
            if len(payload) > MAX_RANGE_BYTES:
                raise MalformedMessageError(
                    f"reply of {len(payload)} bytes; at most {MAX_RANGE_BYTES} are read"
                )
            self._receivers.answered(address.tail, payload)
        elif address.channel is Channel.REFUSAL:
            self._receivers.answered(address.tail, decode(payload, Refusal))
        elif address.channel is Channel.OFFER:
            self._receivers.offer(decode(payload, ReleaseOffer))
        elif address.channel is Channel.ACK:
            self._receivers.acknowledged(decode(payload, BatchAck))
        elif address.channel is Channel.ENVELOPE:
            self._receivers.envelope(decode(payload, EnvelopeOrder))
