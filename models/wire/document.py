"""The written form of the wire: `docs/wire.md`, generated from the message types and the rules below.

Owns: the numbered rules of the MQTT contract, each with the test that holds it.
Must not know: brokers, clients.
`python -m models.wire.document` prints the page; a test asserts that the committed one is the same.
"""

import sys
from dataclasses import dataclass
from typing import get_args

import msgspec

from models.wire import messages
from models.wire.topics import ROOT, Channel


@dataclass(frozen=True, slots=True)
class Rule:
    """One normative sentence and the test that fails where it is broken."""

    sentence: str
    test: str


@dataclass(frozen=True, slots=True)
class Flow:
    """One channel: who publishes, how, and what."""

    channel: Channel
    sender: str
    qos: int
    retained: bool
    payload: str


FLOWS = (
    Flow(Channel.CONNECTION, "device", 1, True, "Connection"),
    Flow(Channel.STATE, "device", 0, True, "DeviceState"),
    Flow(Channel.TELEMETRY, "device", 1, False, "TelemetryBatch"),
    Flow(Channel.REQUEST, "device", 1, False, "ContentRequest"),
    Flow(Channel.OFFER, "server", 1, False, "ReleaseOffer"),
    Flow(Channel.REPLY, "server", 1, False, "raw bytes; the request's id is the topic's last level"),
    Flow(Channel.REFUSAL, "server", 1, False, "Refusal; the request's id is the topic's last level"),
    Flow(Channel.ACK, "server", 1, False, "BatchAck"),
)

_WIRE = "tests/unit/wire/test_wire_contract.py"

RULES = (
    Rule(
        f"A topic is `{ROOT}/<fleet>/<device>/<channel>`, or that and one more level, the request's id.",
        f"{_WIRE}::test_a_topic_reads_back_as_the_address_it_was_built_from",
    ),
    Rule(
        "A fleet, device or request id is 1 to 64 letters, digits, dots, dashes or underscores, and begins with a "
        "letter or digit; so no wildcard and no level separator can stand in it.",
        f"{_WIRE}::test_an_id_that_could_change_the_topic_is_refused",
    ),
    Rule(
        "Control messages are JSON objects in UTF-8; an unknown field, a missing field or a field of another type "
        "makes the message malformed as a whole.",
        f"{_WIRE}::test_a_message_with_an_unknown_a_missing_or_a_mistyped_field_is_refused",
    ),
    Rule(
        f"A control message is at most {messages.MAX_CONTROL_BYTES} bytes, a telemetry batch at most "
        f"{messages.MAX_TELEMETRY_BYTES}, a content reply at most {messages.MAX_RANGE_BYTES}; a longer one is not parsed.",
        f"{_WIRE}::test_a_message_longer_than_its_bound_is_refused_before_it_is_parsed",
    ),
    Rule(
        "Every message that is valid when sent reads back equal.",
        f"{_WIRE}::test_every_message_reads_back_as_it_was_sent",
    ),
    Rule(
        "Times are UTC nanoseconds in fields whose names end in `utc_ns`; a monotonic time never leaves a device.",
        f"{_WIRE}::test_no_message_carries_a_monotonic_time",
    ),
    Rule(
        "Commands are never retained; only `connection` and `state` are.",
        f"{_WIRE}::test_only_identity_and_state_are_retained",
    ),
    Rule(
        "A device subscribes to its own channels only.",
        f"{_WIRE}::test_a_device_hears_only_what_is_addressed_to_it",
    ),
)


def _type_name(kind: object) -> str:
    """A short name of a field's type, for people."""
    arguments = get_args(kind)
    if not arguments:
        return getattr(kind, "__name__", str(kind))
    names = [_type_name(argument) for argument in arguments if argument is not Ellipsis]
    if getattr(kind, "__origin__", None) is tuple:
        same = len(set(names)) == 1 and Ellipsis in arguments
        return f"[{names[0]}, …]" if same else f"[{', '.join(names)}]"
    return " or ".join("null" if name == "NoneType" else name for name in names)


def message_kinds() -> tuple[type[messages.Message], ...]:
    """Every message type, in the order of the module."""
    found = (value for value in vars(messages).values() if isinstance(value, type))
    return tuple(k for k in found if issubclass(k, messages.Message) and k is not messages.Message)


def _flow_lines() -> list[str]:
    head = ["| channel | sender | QoS | retained | payload |", "|---|---|---|---|---|"]
    rows = (
        f"| `{f.channel}` | {f.sender} | {f.qos} | {'yes' if f.retained else 'no'} | {f.payload} |"
        for f in FLOWS
    )
    return [*head, *rows]


def _message_lines(kind: type[messages.Message]) -> list[str]:
    """One message: its docstring, then a row a field."""
    documentation = " ".join((kind.__doc__ or "").split())
    lines = [f"### {kind.__name__}", "", documentation, ""]
    if kind.__struct_config__.tag is not None:
        lines += [f'Carries `"type": "{kind.__struct_config__.tag}"`.', ""]
    lines += ["| field | type | default |", "|---|---|---|"]
    for field in msgspec.structs.fields(kind):
        default = "required" if field.required else f"`{msgspec.json.encode(field.default).decode()}`"
        lines.append(f"| `{field.encode_name}` | {_type_name(field.type)} | {default} |")
    return [*lines, ""]


def document() -> str:
    """The whole page."""
    lines = [
        "# The wire",
        "",
        "The MQTT contract between a device and the fleet server, generated from `models/wire` by",
        "`python -m models.wire.document > docs/wire.md`. MQTT 3.1.1 is enough.",
        "",
        f"Topics: `{ROOT}/<fleet>/<device>/<channel>`.",
        "",
        *_flow_lines(),
        "",
        "## Rules",
        "",
        *(f"{n}. {rule.sentence}<br>held by `{rule.test}`" for n, rule in enumerate(RULES, 1)),
        "",
        "## Messages",
        "",
    ]
    for kind in message_kinds():
        lines += _message_lines(kind)
    return "\n".join(lines).rstrip() + "\n"


if __name__ == "__main__":
    sys.stdout.write(document())
