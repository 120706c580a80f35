"""Documents that two parsers would read as two things."""

import base64
import json
import sys
from collections.abc import Callable

import msgspec
import pytest

from models.digest import digest_of
from models.errors import MalformedError, ModelSignatureError
from models.release.manifest import MANIFEST_NAME, SIGNATURE_NAME, bytes_from_manifest, manifest_from_bytes
from models.trust.keyset import policy_of
from models.trust.oms import bundle_bytes, check_bundle
from models.trust.policy import bytes_from_policy, policy_from_bytes
from models.trust.strict_json import decode_strict
from tests.fakes.repositories import Site

Trap = Callable[[bytes], bytes]


def _pretty(data: bytes) -> bytes:
    return json.dumps(json.loads(data), indent=1).encode()


def _reversed_keys(data: bytes) -> bytes:
    tree = json.loads(data)
    return json.dumps(dict(reversed(tree.items())), separators=(",", ":")).encode() + b"\n"


CANONICAL_TRAPS: dict[str, Trap] = {
    "nothing": lambda _: b"",
    "null": lambda _: b"null\n",
    "a list": lambda _: b"[]\n",
    "no newline": lambda data: data.rstrip(b"\n"),
    "two newlines": lambda data: data + b"\n",
    "carriage return": lambda data: data.replace(b"\n", b"\r\n"),
    "leading space": lambda data: b" " + data,
    "byte-order mark": lambda data: b"\xef\xbb\xbf" + data,
    "utf-16": lambda data: data.decode().encode("utf-16"),
    "not utf-8": lambda data: data.replace(b'"schema"', b'"schem\xff"'),
    "pretty": _pretty,
    "other key order": _reversed_keys,
    "a second document": lambda data: data + data,
    "cut short": lambda data: data[: len(data) // 2],
    "duplicate key, first": lambda data: b'{"schema":2,' + data[1:],
    "duplicate key, last": lambda data: data.rstrip(b"}\n") + b',"schema":1}\n',
    "unknown key": lambda data: b'{"admin":true,' + data[1:],
    "escaped key": lambda data: data.replace(b'"schema"', b'"\\u0073chema"'),
    "comment": lambda data: b"/* */" + data,
    "schema NaN": lambda data: data.replace(b'"schema":1', b'"schema":NaN'),
    "schema Infinity": lambda data: data.replace(b'"schema":1', b'"schema":Infinity'),
    "schema 1e999": lambda data: data.replace(b'"schema":1', b'"schema":1e999'),
    "schema 1.0": lambda data: data.replace(b'"schema":1', b'"schema":1.0'),
    "schema text": lambda data: data.replace(b'"schema":1', b'"schema":"1"'),
    "schema true": lambda data: data.replace(b'"schema":1', b'"schema":true'),
    "schema of the future": lambda data: data.replace(b'"schema":1', b'"schema":2'),
    "schema enormous": lambda data: data.replace(b'"schema":1', b'"schema":' + b"9" * 5000),
    "deep nesting": lambda _: b"[" * 100_000 + b"]" * 100_000,
    "deep nesting in a field": lambda data: data.replace(
        b'"schema":1', b'"schema":' + b'{"a":' * 50_000 + b"1" + b"}" * 50_000
    ),
}


@pytest.mark.parametrize("trap", CANONICAL_TRAPS)
def test_a_release_json_with_two_readings_is_refused(shared_site: Site, trap: str) -> None:
    data = (shared_site.release_dir("1.0.0") / MANIFEST_NAME).read_bytes()
    assert bytes_from_manifest(manifest_from_bytes(data)[0]) == data
    with pytest.raises(MalformedError) as refusal:
        manifest_from_bytes(CANONICAL_TRAPS[trap](data))
    assert refusal.value.code == "malformed"


@pytest.mark.parametrize("trap", CANONICAL_TRAPS)
def test_a_builders_json_with_two_readings_is_refused(shared_site: Site, trap: str) -> None:
    data = bytes_from_policy(policy_of(shared_site.keys))
    assert bytes_from_policy(policy_from_bytes(data)) == data
    with pytest.raises(MalformedError) as refusal:
        policy_from_bytes(CANONICAL_TRAPS[trap](data))
    assert refusal.value.code == "malformed"


@pytest.mark.parametrize(
    "number",
    ["NaN", "-NaN", "Infinity", "-Infinity", "1e999", "-1e999", "0x10", "01", "+1", "1.", ".5", "9" * 5000],
)
def test_odd_numbers_in_a_manifest_are_refused(shared_site: Site, number: str) -> None:
    data = (shared_site.release_dir("1.0.0") / MANIFEST_NAME).read_bytes()
    field = b'"max_speed_mps":15.0'
    assert field in data
    with pytest.raises(MalformedError):
        manifest_from_bytes(data.replace(field, b'"max_speed_mps":' + number.encode()))


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("a key not on its name", lambda tree: tree["publishers"][0].update(keyid="0" * 64)),
        ("no PEM", lambda tree: tree["publishers"][0].update(public_pem="x")),
        ("a key twice", lambda tree: tree["builders"].append(dict(tree["builders"][0], name="other"))),
        ("a name twice", lambda tree: tree["builders"].append(dict(tree["builders"][1], name="trainer"))),
        ("a name that no file could have", lambda tree: tree["builders"][0].update(name="../x")),
        ("a step that is no word", lambda tree: tree["builders"][0].update(steps=["pretrain\n"])),
        ("too many keys", lambda tree: tree.update(publishers=tree["publishers"] * 65)),
    ],
)
def test_a_trust_policy_that_contradicts_itself_is_refused(
    shared_site: Site, name: str, change: Callable[[dict[str, object]], None]
) -> None:
    tree = json.loads(bytes_from_policy(policy_of(shared_site.keys)))
    change(tree)
    with pytest.raises(MalformedError):
        policy_from_bytes(msgspec.json.encode(tree, order="sorted") + b"\n")


def test_a_key_on_another_curve_is_refused(shared_site: Site) -> None:
    from cryptography.hazmat.primitives.asymmetric.ec import SECP384R1, generate_private_key

    from models.trust.keys import keyid_of, pem_of

    key = generate_private_key(SECP384R1()).public_key()
    tree = json.loads(bytes_from_policy(policy_of(shared_site.keys)))
    tree["publishers"][0].update(public_pem=pem_of(key), keyid=keyid_of(key))
    with pytest.raises(MalformedError, match="P-256"):
        policy_from_bytes(msgspec.json.encode(tree, order="sorted") + b"\n")


class _Small(msgspec.Struct, forbid_unknown_fields=True):
    a: int
    b: dict[str, float] = {}


@pytest.mark.parametrize(
    "text",
    [
        '{"a":1,"a":2}',
        '{"a":1,"b":{"x":1,"x":2}}',
        '{"a":1,"\\u0061":2}',
        '{"a":NaN}',
        '{"a":1,"b":{"x":Infinity}}',
        '{"a":1,"b":{"x":1e999}}',
        '{"a":1.5}',
        '{"a":"1"}',
        '{"a":1}{"a":2}',
        '{"a":1,"c":2}',
        '\ufeff{"a":1}',
        "[" * (sys.getrecursionlimit() * 50),
        '{"a":' + "9" * 5000 + "}",
    ],
)
def test_documents_in_formats_of_others_have_one_reading_or_none(text: str) -> None:
    with pytest.raises(MalformedError):
        decode_strict(text.encode(), _Small, "document", 1 << 20)


@pytest.mark.parametrize(
    "trap",
    [
        lambda text: text.replace('"mediaType"', '"mediaType":"x","mediaType"', 1),
        lambda text: text.replace('"signatures"', '"signatures":[],"signatures"', 1),
        lambda text: "\ufeff" + text,
        lambda text: text + text,
        lambda text: text.replace('"keyid":""', '"keyid":"","cert":""', 1),
        lambda text: "[" * 100_000,
    ],
)
def test_a_model_signature_with_two_readings_is_refused(
    shared_site: Site, trap: Callable[[str], str]
) -> None:
    text = (shared_site.release_dir("1.0.0") / SIGNATURE_NAME).read_text()
    with pytest.raises(ModelSignatureError):
        check_bundle(trap(text).encode(), {}, policy_of(shared_site.keys).publishers)


def test_base64_with_stray_bytes_is_refused_in_a_model_signature(shared_site: Site) -> None:
    folder = shared_site.release_dir("1.0.0")
    text = (folder / SIGNATURE_NAME).read_text()
    payload = json.loads(text)["dsseEnvelope"]["payload"]
    assert base64.b64decode(payload)
    for stray in ("\\n" + payload, payload + "!", "é" + payload, payload + "===="):
        with pytest.raises(ModelSignatureError):
            check_bundle(
                text.replace(payload, stray).encode(),
                {"x": digest_of(b"")},
                policy_of(shared_site.keys).publishers,
            )


def test_the_same_signature_in_other_base64_is_refused(shared_site: Site) -> None:
    publishers = policy_of(shared_site.keys).publishers
    digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    for size in range(
        3
    ):  # one of the three paddings leaves bits that decoders ignore, whatever the signature's length
        digests = {"x" * (size + 1): digest_of(b"")}
        bundle = json.loads(bundle_bytes("m", digests, shared_site.keys.private_key("publisher")))
        text = bundle["dsseEnvelope"]["payload"]
        if not text.endswith("="):
            continue
        end = len(text.rstrip("="))
        other = text[: end - 1] + digits[digits.index(text[end - 1]) + 1] + text[end:]
        assert base64.b64decode(other) == base64.b64decode(text)
        assert check_bundle(json.dumps(bundle).encode(), digests, publishers)
        bundle["dsseEnvelope"]["payload"] = other
        with pytest.raises(ModelSignatureError, match="base64"):
            check_bundle(json.dumps(bundle).encode(), digests, publishers)
        return
    pytest.fail("no padding was tried")
