"""MQTT topics: `roskva/v1/<fleet>/<device>/<channel>[/<id>]`, the shape of VDA 5050.

Owns: how topics are built, parsed and subscribed to, and which ids may stand in them.
Must not know: MQTT clients, what the messages say.
"""

import re
from dataclasses import dataclass
from enum import StrEnum

from models.errors import ConfigurationError, MalformedMessageError

ROOT = "roskva/v1"
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


class Channel(StrEnum):
    """What flows where. Device → server unless said otherwise."""

    CONNECTION = "connection"
    """Retained; last will `broken`. QoS 1."""
    STATE = "state"
    """Once a second, retained, QoS 0: what the device is and does now."""
    TELEMETRY = "telemetry"
    """Batches from the spool, QoS 1, kept until the server acknowledges them."""
    REQUEST = "request"
    """Asks the depot for metadata or a range of content, QoS 1."""
    OFFER = "offer"
    """Server → device: a hint that the Director has something new; carries no authority. QoS 1."""
    REPLY = "reply"
    """Server → device, `reply/<request id>`: the raw bytes asked for. QoS 1."""
    REFUSAL = "refusal"
    """Server → device, `refusal/<request id>`: why there are no bytes. QoS 1."""
    ACK = "ack"
    """Server → device: a telemetry batch is durable on the server. QoS 1."""
    ENVELOPE = "envelope"
    """Server → device: how many watts the fleet allows it. QoS 1."""


@dataclass(frozen=True, slots=True)
class Address:
    """A parsed topic."""

    fleet: str
    device: str
    channel: Channel
    tail: str


def check_id(text: str, what: str) -> str:
    """`text`, where it may stand in a topic. Raises `ConfigurationError`."""
    if not _ID.fullmatch(text):
        raise ConfigurationError(
            f"{what} {text[:80]!r}: use 1 to 64 letters, digits, dots, dashes or underscores, letter or digit first"
        )
    return text


def topic(fleet: str, device: str, channel: Channel, tail: str = "") -> str:
    """The topic of `channel` of one device."""
    base = f"{ROOT}/{fleet}/{device}/{channel}"
    return f"{base}/{tail}" if tail else base


def address_from_topic(text: str) -> Address:
    """Parse a topic. Raises `MalformedMessageError` where it is not one of ours."""
    parts = text.split("/")
    tail = parts[5] if len(parts) == 6 else ""
    known = len(parts) in (5, 6) and "/".join(parts[:2]) == ROOT and parts[4] in set(Channel)
    if not known or not all(_ID.fullmatch(part) for part in (parts[2], parts[3], *([tail] if tail else []))):
        raise MalformedMessageError(f"not a topic of ours: {text[:200]!r}")
    return Address(parts[2], parts[3], Channel(parts[4]), tail)


def subscriptions_of_device(fleet: str, device: str) -> tuple[str, ...]:
    """What a device listens to."""
    return (
        topic(fleet, device, Channel.OFFER),
        topic(fleet, device, Channel.ACK),
        topic(fleet, device, Channel.ENVELOPE),
        topic(fleet, device, Channel.REPLY, "+"),
        topic(fleet, device, Channel.REFUSAL, "+"),
    )


def subscriptions_of_server(fleet: str = "+") -> tuple[str, ...]:
    """What the fleet server listens to."""
    heard = (Channel.CONNECTION, Channel.STATE, Channel.TELEMETRY, Channel.REQUEST)
    return tuple(topic(fleet, "+", channel) for channel in heard)
