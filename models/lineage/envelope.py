"""DSSE envelopes: bytes with exactly one ECDSA P-256 signature over them, as one JSON line.

Owns: the pre-authentication encoding, signing, strict reading of an envelope, strict JSON.
Must not know: what the payload says, or whose key may say it.

Format: secure-systems-lab/dsse v1, `envelope.md` and `protocol.md`.
"""

import base64
import binascii
import json
from dataclasses import dataclass
from typing import Annotated, TypeVar

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from models.digest import digest_of, hex_of
from models.errors import ClaimError

MAX_LINE_BYTES = 256 << 10
PAYLOAD_TYPE = "application/vnd.in-toto+json"
_ECDSA = ec.ECDSA(hashes.SHA256())

T = TypeVar("T")


class _Signature(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    keyid: Annotated[str, msgspec.Meta(pattern=r"\A[0-9a-f]{64}\Z")]
    sig: str


class _Envelope(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    payload: str
    payload_type: str
    signatures: Annotated[tuple[_Signature, ...], msgspec.Meta(min_length=1, max_length=1)]


@dataclass(frozen=True)
class Sealed:
    """An envelope taken apart, nothing verified yet: payload bytes, who is said to have signed, and how."""

    payload: bytes
    keyid: str
    signature: bytes


def pae(payload: bytes, payload_type: str = PAYLOAD_TYPE) -> bytes:
    """DSSE's pre-authentication encoding: what is signed."""
    kind = payload_type.encode()
    return b"DSSEv1 %d %s %d %s" % (len(kind), kind, len(payload), payload)


def keyid_of(key: ec.EllipticCurvePublicKey) -> str:
    """SHA-256 of the DER SubjectPublicKeyInfo, in hexadecimal."""
    der = key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    return hex_of(digest_of(der))


def seal(payload: bytes, key: ec.EllipticCurvePrivateKey) -> bytes:
    """`payload` signed by `key`, as one line that ends in a newline.

    Raises:
        ClaimError: the key is not on P-256, or the line would be too long to be read again.
    """
    _require_p256(key.curve)
    signature = _Signature(keyid_of(key.public_key()), _text(key.sign(pae(payload), _ECDSA)))
    line = msgspec.json.encode(_Envelope(_text(payload), PAYLOAD_TYPE, (signature,)), order="sorted")
    if len(line) >= MAX_LINE_BYTES:
        raise ClaimError(f"a claim of {len(line)} bytes; at most {MAX_LINE_BYTES} are read")
    return line + b"\n"


def take_apart(line: bytes) -> Sealed:
    """The parts of the envelope in `line` (with or without its newline); verifies nothing.

    Raises:
        ClaimError: too long, not strict JSON, another payload type, not exactly one signature, or bytes
            beside the envelope.
    """
    if len(line) > MAX_LINE_BYTES:
        raise ClaimError(f"a line of {len(line)} bytes; at most {MAX_LINE_BYTES} are read")
    body = line.removesuffix(b"\n")
    if body != body.strip():
        raise ClaimError("the envelope has white space around it")
    envelope = strict_json(body, _Envelope, "the envelope")
    if envelope.payload_type != PAYLOAD_TYPE:
        raise ClaimError(f"payload type {envelope.payload_type[:80]!r}; only {PAYLOAD_TYPE} is read")
    [signature] = envelope.signatures
    return Sealed(_raw(envelope.payload, "payload"), signature.keyid, _raw(signature.sig, "signature"))


def check_signature(sealed: Sealed, public_pem: str | bytes) -> None:
    """Check the signature on `sealed` by the P-256 key in `public_pem`.

    Raises:
        ClaimError: the key is not P-256, is not the one that the envelope names, or did not sign these bytes.
    """
    key = _public_key(public_pem)
    if keyid_of(key) != sealed.keyid:
        raise ClaimError(f"the key {keyid_of(key)[:12]} is not the one named, {sealed.keyid[:12]}")
    try:
        key.verify(sealed.signature, pae(sealed.payload), _ECDSA)
    except InvalidSignature as error:
        raise ClaimError(f"the signature by key {sealed.keyid[:12]} does not hold") from error


def strict_json(data: bytes, kind: type[T], what: str) -> T:
    """`data` as `kind`: one reading only.

    Raises:
        ClaimError: not UTF-8 JSON, duplicate keys, NaN or infinity, too deep, unknown or missing fields,
            another type. `what` names the thing in the message.
    """
    try:
        json.loads(data.decode(), object_pairs_hook=_unique, parse_constant=_no_constant)
        return msgspec.json.decode(data, type=kind, strict=True)
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        raise ClaimError(f"{what}: {error}") from error


def _unique(pairs: list[tuple[str, object]]) -> None:
    names = {name for name, _ in pairs}
    if len(names) != len(pairs):
        raise ValueError("a key occurs twice in one object")


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def _public_key(pem: str | bytes) -> ec.EllipticCurvePublicKey:
    try:
        key = serialization.load_pem_public_key(pem.encode() if isinstance(pem, str) else pem)
    except ValueError as error:
        raise ClaimError(f"the policy's public key does not parse: {error}") from error
    if not isinstance(key, ec.EllipticCurvePublicKey):
        raise ClaimError("the policy's public key is not an EC key")
    _require_p256(key.curve)
    return key


def _require_p256(curve: ec.EllipticCurve) -> None:
    if not isinstance(curve, ec.SECP256R1):
        raise ClaimError(f"a key on {curve.name}; claims are signed on P-256")


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _raw(text: str, what: str) -> bytes:
    try:
        data = base64.b64decode(text.encode("ascii"), validate=True)
    except (binascii.Error, UnicodeEncodeError) as error:
        raise ClaimError(f"the {what} is not base64: {error}") from error
    if _text(data) != text:
        raise ClaimError(f"the {what} is base64 with stray bits")
    return data
