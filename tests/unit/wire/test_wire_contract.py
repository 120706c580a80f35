"""The MQTT contract: what both ends promise each other, rule by rule (docs/wire.md)."""

import json
from enum import EnumType
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.errors import ConfigurationError, MalformedMessageError
from models.wire import document, messages
from models.wire.messages import (
    MAX_CONTROL_BYTES,
    BatchAck,
    ContentRequest,
    EnvelopeOrder,
    MetadataRequest,
    RangeRequest,
    ReleaseOffer,
    Repository,
    TargetRequest,
    decode,
    encode,
)
from models.wire.topics import (
    Address,
    Channel,
    address_from_topic,
    check_id,
    subscriptions_of_device,
    subscriptions_of_server,
    topic,
)

IDS = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", fullmatch=True)
ROOT = Path(__file__).parents[3]


@given(fleet=IDS, device=IDS, channel=st.sampled_from(Channel), tail=IDS)
def test_a_topic_reads_back_as_the_address_it_was_built_from(
    fleet: str, device: str, channel: Channel, tail: str
) -> None:
    assert address_from_topic(topic(fleet, device, channel)) == Address(fleet, device, channel, "")
    assert address_from_topic(topic(fleet, device, channel, tail)) == Address(fleet, device, channel, tail)


@pytest.mark.parametrize(
    "text", ["", "+", "#", "a/b", "$share", ".hidden", "a b", "a\0", "ü", "a" * 65, "a\n"]
)
def test_an_id_that_could_change_the_topic_is_refused(text: str) -> None:
    with pytest.raises(ConfigurationError):
        check_id(text, "device.id")
    with pytest.raises(MalformedMessageError):
        address_from_topic(f"roskva/v1/{text}/thor-1/state")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "roskva/v1/f/d",
        "roskva/v2/f/d/state",
        "roskva/v1/f/d/unknown",
        "roskva/v1/f/d/reply/a/b",
        "roskva/v1/f/d/reply/+",
        "$SYS/broker/version",
    ],
)
def test_a_topic_that_is_not_ours_is_malformed(text: str) -> None:
    with pytest.raises(MalformedMessageError):
        address_from_topic(text)


@pytest.mark.parametrize(
    "data",
    [
        b'{"boot":"b","sequence":1,"extra":0}',
        b'{"boot":"b"}',
        b'{"boot":"b","sequence":"1"}',
        b'{"boot":"b","sequence":1.5}',
        b'{"boot":"b","sequence":1e999}',
        b'["b",1]',
        b"",
        b"\xff\xfe",
        b'{"boot":"b","sequence":NaN}',
        b"[" * 60_000,
        "not json".encode("utf-16"),
    ],
)
def test_a_message_with_an_unknown_a_missing_or_a_mistyped_field_is_refused(data: bytes) -> None:
    with pytest.raises(MalformedMessageError):
        decode(data, BatchAck)


@pytest.mark.parametrize("number", [1 << 63, -(1 << 63) - 1, 10**400])
def test_a_number_that_no_store_can_keep_is_refused(number: int) -> None:
    with pytest.raises(MalformedMessageError):
        decode(b'{"boot":"b","sequence":%d}' % number, BatchAck)
    edge = decode(b'{"boot":"b","sequence":%d}' % ((1 << 63) - 1), BatchAck)
    assert edge.sequence == (1 << 63) - 1


@pytest.mark.parametrize(
    "watts", ["39.99", "0", "-70", "130.01", "1e9", "1e999", "NaN", "Infinity", '"70"', "true", "[]"]
)
def test_an_absurd_envelope_is_refused(watts: str) -> None:
    with pytest.raises(MalformedMessageError):
        decode(f'{{"sequence":1,"envelope_w":{watts}}}'.encode(), EnvelopeOrder)
    assert decode(b'{"sequence":1,"envelope_w":40}', EnvelopeOrder).envelope_w == 40.0
    assert decode(b'{"sequence":1,"envelope_w":null}', EnvelopeOrder).envelope_w is None


@pytest.mark.parametrize("number", [0, -1, (1 << 62) + 1])
def test_an_envelope_order_whose_number_no_later_one_could_pass_is_refused(number: int) -> None:
    with pytest.raises(MalformedMessageError):
        decode(b'{"sequence":%d,"envelope_w":70.0}' % number, EnvelopeOrder)


def test_a_message_longer_than_its_bound_is_refused_before_it_is_parsed() -> None:
    valid = encode(BatchAck(boot="b", sequence=1))
    padded = valid + b" " * (MAX_CONTROL_BYTES - len(valid))
    assert decode(padded, BatchAck).sequence == 1
    with pytest.raises(MalformedMessageError, match="65537 bytes"):
        decode(padded + b" ", BatchAck)
    with pytest.raises(MalformedMessageError, match="10485760 bytes"):
        decode(bytes(10 << 20), ReleaseOffer)


ASKS = st.one_of(
    st.builds(MetadataRequest, repository=st.sampled_from(Repository), name=st.text(max_size=20)),
    st.builds(TargetRequest, path=st.text(max_size=40)),
    st.builds(
        RangeRequest,
        digest=st.text(max_size=80),
        offset_bytes=st.integers(0, 1 << 40),
        length_bytes=st.integers(1, messages.MAX_RANGE_BYTES),
    ),
)


@given(st.builds(ContentRequest, id=IDS, ask=ASKS))
def test_a_request_keeps_what_it_asks_for(request: ContentRequest) -> None:
    assert decode(encode(request), ContentRequest) == request


@pytest.mark.parametrize("kind", document.message_kinds())
def test_every_message_reads_back_as_it_was_sent(kind: type[messages.Message]) -> None:
    example = _example(kind)
    assert decode(encode(example), kind, messages.MAX_TELEMETRY_BYTES) == example


@pytest.mark.parametrize("kind", document.message_kinds())
def test_no_message_carries_a_monotonic_time(kind: type[messages.Message]) -> None:
    names = [field.name for field in msgspec.structs.fields(kind)]
    assert not [name for name in names if "mono" in name]
    spans = ("lateness_", "latency_", "plan_age_", "queue_", "visual_", "reason_", "action_")
    durations = {name for name in names if name.startswith(spans)}
    times = {name for name in names if name.endswith("_ns")} - durations
    assert all(name.endswith("utc_ns") for name in times)


def test_only_identity_and_state_are_retained() -> None:
    assert {flow.channel for flow in document.FLOWS if flow.retained} == {Channel.CONNECTION, Channel.STATE}
    assert {flow.channel for flow in document.FLOWS} == set(Channel)


def test_a_device_hears_only_what_is_addressed_to_it() -> None:
    assert all(t.startswith("roskva/v1/fleet/thor-1/") for t in subscriptions_of_device("fleet", "thor-1"))
    assert not {t.split("/")[4] for t in subscriptions_of_device("fleet", "thor-1")} & {
        t.split("/")[4] for t in subscriptions_of_server("fleet")
    }


def test_the_written_wire_is_the_wire_that_runs() -> None:
    assert (ROOT / "docs/wire.md").read_text(encoding="utf-8") == document.document()


@pytest.mark.parametrize("rule", document.RULES, ids=lambda rule: rule.test.split("::")[1])
def test_every_rule_of_the_wire_names_a_test_that_exists(rule: document.Rule) -> None:
    path, name = rule.test.split("::")
    assert f"def {name}(" in (ROOT / path).read_text(encoding="utf-8")


def _example(kind: type[messages.Message]) -> messages.Message:
    """A message of `kind` with a plausible value in every required field."""
    values = {f.name: _value(f.type) for f in msgspec.structs.fields(kind) if f.required}
    converted: messages.Message = msgspec.convert(
        json.loads(json.dumps(values)) | _tag(kind), type=kind, strict=True
    )
    return converted


def _tag(kind: type[messages.Message]) -> dict[str, Any]:
    tag = kind.__struct_config__.tag
    return {} if tag is None else {"type": tag}


def _value(kind: Any) -> Any:
    """A JSON value that fits the type `kind`."""
    if hasattr(kind, "__metadata__"):
        return max(_value(kind.__origin__), *(meta.ge for meta in kind.__metadata__))
    if isinstance(kind, type) and issubclass(kind, messages.Message):
        return msgspec.to_builtins(_example(kind))
    simple = {str: "text", int: 7, float: 1.5, bool: True}
    if kind in simple:
        return simple[kind]
    if isinstance(kind, EnumType):
        return next(iter(kind)).value
    arguments = [a for a in kind.__args__ if a is not type(None)]
    if getattr(kind, "__origin__", None) is tuple:
        repeated = Ellipsis in kind.__args__
        return [_value(a) for a in (arguments[:1] if repeated else arguments)]
    return _value(arguments[0])
