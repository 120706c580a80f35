"""The written form of the wire: `docs/wire.md`, generated from the message types and the rules below.

Owns: the numbered rules of the MQTT contract, each with the test that holds it.
Must not know: brokers, clients.
`python -m models.wire.document` prints the page; a test asserts that the committed one is the same.
"""

import sys
from dataclasses import dataclass
from typing import Annotated, get_args, get_origin

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
    Flow(Channel.ENVELOPE, "server", 1, False, "EnvelopeOrder"),
)

_WIRE = "tests/unit/wire/test_wire_contract.py"
_SPOOL = "tests/unit/telemetry/test_spool.py"
_FETCH = "tests/unit/update/test_fetch.py"
_DEPOT = "tests/unit/fleet/test_fleet_depot.py"
_INGEST = "tests/unit/fleet/test_fleet_ingest.py"
_ROUTER = "tests/unit/fleet/test_fleet_router.py"
_STORE = "tests/conformance/test_store.py"
_TRANSPORT = "tests/conformance/test_transport.py"
_MANAGE = "tests/device/test_manage_process.py"
_MANAGE_LIFE = "tests/device/test_manage_life.py"
_SERVER = "tests/device/test_fleet_server.py"
_LIMITS = "tests/unit/power/test_limits.py"
_ORDERED = "tests/unit/power/test_ordered_envelope.py"
_ENVELOPES = "tests/unit/fleet/test_fleet_envelopes.py"

FORM = (
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
        "A whole number fits into 64 bits, signed; a larger one makes the message malformed.",
        f"{_WIRE}::test_a_number_that_no_store_can_keep_is_refused",
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
    Rule(
        "Version 1 is frozen: every message that was once sent is decoded for ever, and encoded to the same bytes.",
        "tests/golden/test_golden_entries.py::test_a_message_that_was_once_sent_reads_back_byte_for_byte",
    ),
)

PRESENCE = (
    Rule(
        "A device says `online` when its connection stands and `offline` before it goes by itself.",
        f"{_TRANSPORT}::test_a_device_says_online_when_it_comes_and_offline_when_it_goes",
    ),
    Rule(
        "The last will on `connection` is `broken`: the broker says it for a device that died.",
        f"{_MANAGE_LIFE}::test_a_killed_process_is_said_to_be_broken",
    ),
    Rule(
        "A retained `state` is what was, not what is: it makes no silent device look alive.",
        "tests/unit/fleet/test_fleet_registry.py"
        "::test_a_state_that_the_broker_kept_does_not_make_a_dead_device_look_alive",
    ),
)

TELEMETRY = (
    Rule(
        "A device keeps a batch until the server acknowledges it.",
        f"{_SPOOL}::test_a_batch_is_deleted_only_after_its_acknowledgement",
    ),
    Rule(
        "Only a full spool drops a batch earlier: the oldest without events first, and what was lost is counted.",
        f"{_SPOOL}::test_a_full_spool_drops_the_oldest_without_events_first_and_counts",
    ),
    Rule(
        "A batch without an acknowledgement is sent again, after a while and after each outage.",
        f"{_SPOOL}::test_what_is_not_acknowledged_is_sent_again_later_and_after_an_outage_at_once",
    ),
    Rule(
        "A batch that the server passes over again and again, while it acknowledges others, is set aside on the device.",
        f"{_SPOOL}::test_a_batch_that_the_server_passes_over_is_set_aside_on_disk_and_reported",
    ),
    Rule(
        "A batch's number is never used twice in a boot, whenever the process is killed.",
        f"{_SPOOL}::test_a_killed_process_never_used_a_number_that_the_next_one_uses_again",
    ),
    Rule(
        "An acknowledgement counts only for its own boot and number.",
        f"{_SPOOL}::test_an_acknowledgement_of_another_boot_deletes_nothing",
    ),
    Rule(
        "The server acknowledges a batch once it is in the store, and nothing while the store fails.",
        f"{_INGEST}::test_nothing_is_acknowledged_while_the_store_fails",
    ),
    Rule(
        "What is acknowledged survives the server being killed.",
        f"{_SERVER}::test_telemetry_is_acknowledged_found_by_id_and_survives_a_killed_server",
    ),
    Rule(
        "The same batch twice is acknowledged twice and counted once.",
        f"{_STORE}::test_a_batch_that_comes_twice_is_kept_once_and_acknowledged_twice",
    ),
    Rule(
        "A batch that cannot be read is set aside, not acknowledged, and holds up no other.",
        f"{_INGEST}::test_a_bad_message_is_set_aside_and_the_good_ones_beside_it_are_kept",
    ),
)

UPDATES = (
    Rule(
        "An offer carries no authority: the device asks the repositories, whatever release the offer names.",
        f"{_MANAGE}::test_an_offer_of_what_the_director_did_not_assign_changes_nothing",
    ),
    Rule(
        "A flood of offers makes a device ask once a second at most.",
        f"{_MANAGE}::test_a_flood_of_offers_makes_the_device_ask_once_a_second_at_most",
    ),
    Rule(
        "The Director's metadata is served to the device that it is for and to no other.",
        f"{_DEPOT}::test_what_is_not_there_for_this_device_is_unknown",
    ),
    Rule(
        f"A range is 1 to {messages.MAX_RANGE_BYTES} bytes and lies inside its file; any other is malformed.",
        f"{_DEPOT}::test_hostile_names_and_impossible_ranges_are_malformed",
    ),
    Rule(
        "Only content that was published is served.",
        f"{_SERVER}::test_content_comes_in_ranges_and_what_is_not_published_is_unknown",
    ),
    Rule(
        "An answer goes to the device that asked, under the id that it chose.",
        f"{_DEPOT}::test_answers_and_refusals_go_to_the_device_that_asked",
    ),
    Rule(
        "An answer that nobody asked for is counted and dropped.",
        f"{_FETCH}::test_answers_that_nobody_asked_for_are_counted_and_dropped",
    ),
    Rule(
        "A device that asks for too much at once is told `busy`, and the others are served.",
        f"{_DEPOT}::test_a_device_that_asks_too_much_is_told_busy_and_others_are_served",
    ),
    Rule(
        "`unknown` ends the chain of root metadata; a depot that says nothing does not.",
        f"{_FETCH}::test_metadata_and_targets_say_unknown_apart_from_unreachable",
    ),
)

ENVELOPE = (
    Rule(
        "An envelope order is 40 to 130 W, or takes the limit back; any other makes the message malformed.",
        f"{_WIRE}::test_an_absurd_envelope_is_refused",
    ),
    Rule(
        "The lowest of the configuration, the fleet's order and the local one is in force: an order lifts nothing.",
        f"{_LIMITS}::test_a_fleet_order_above_the_configuration_changes_nothing",
    ),
    Rule(
        "An order with a lower number than the one that the device keeps is ignored and reported.",
        f"{_ORDERED}::test_an_order_with_a_stale_sequence_is_ignored",
    ),
    Rule(
        "A device keeps the fleet's order on its disk and holds it without a network.",
        f"{_ORDERED}::test_a_device_that_restarts_offline_still_holds_the_fleets_lower_envelope",
    ),
    Rule(
        "The server sends an order again until the device's state carries its number.",
        f"{_ENVELOPES}::test_an_order_is_sent_again_until_the_device_says_that_it_keeps_it",
    ),
)

HOSTILE = (
    Rule(
        "A malformed message is counted and set aside, and never ends the server.",
        f"{_ROUTER}::test_the_unreadable_is_set_aside_and_never_raises",
    ),
    Rule(
        "A malformed message is reported and never ends a device's process.",
        f"{_MANAGE}::test_hostile_messages_are_reported_and_nothing_stops",
    ),
    Rule(
        "A flood of garbage, ten megabytes in one message included, leaves the server working.",
        f"{_SERVER}::test_a_flood_of_garbage_and_ten_megabytes_leave_the_server_working",
    ),
)

CHAPTERS = {
    "What messages look like": FORM,
    "Who is there": PRESENCE,
    "From the spool to the store": TELEMETRY,
    "From the offer to the content": UPDATES,
    "How many watts": ENVELOPE,
    "What neither side falls over": HOSTILE,
}
RULES = tuple(rule for chapter in CHAPTERS.values() for rule in chapter)
"""All of them; a rule's number is its place here."""


def _type_name(kind: object) -> str:
    """A short name of a field's type, for people."""
    arguments = get_args(kind)
    if get_origin(kind) is Annotated:
        return _type_name(arguments[0])
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


def _rule_lines() -> list[str]:
    """All rules under their chapters, numbered through."""
    lines: list[str] = []
    for title, chapter in CHAPTERS.items():
        lines += [f"### {title}", ""]
        lines += [f"{RULES.index(rule) + 1}. {rule.sentence}<br>held by `{rule.test}`" for rule in chapter]
        lines.append("")
    return lines


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
        *_rule_lines(),
        "## Messages",
        "",
    ]
    for kind in message_kinds():
        lines += _message_lines(kind)
    return "\n".join(lines).rstrip() + "\n"


if __name__ == "__main__":
    sys.stdout.write(document())
