"""DSSE envelopes: bytes with exactly one ECDSA P-256 signature over them, as one JSON line.

Owns: signing, and the strict reading of an envelope.
Must not know: what the payload says, or whose key may say it.

Format: secure-systems-lab/dsse v1, `envelope.md` and `protocol.md`.
"""

import base64
import binascii
from dataclasses import dataclass
from typing import Annotated, Literal, TypeVar

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

from models.errors import ClaimError, MalformedError
from models.trust.keys import keyid_of, public_key_from_pem
from models.trust.oms import PAYLOAD_TYPE, pae
from models.trust.strict_json import decode_strict

MAX_LINE_BYTES = 256 << 10
_ECDSA = ec.ECDSA(hashes.SHA256())

T = TypeVar("T")


class _Signature(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    keyid: Annotated[str, msgspec.Meta(pattern=r"\A[0-9a-f]{64}\Z")]
    sig: str


class _Envelope(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    payload: str
    payload_type: Literal["application/vnd.in-toto+json"]
    signatures: Annotated[tuple[_Signature, ...], msgspec.Meta(min_length=1, max_length=1)]


@dataclass(frozen=True)
class Sealed:
    """An envelope taken apart, nothing verified yet: payload bytes, who is said to have signed, and how."""

    payload: bytes
    keyid: str
    signature: bytes


def seal(payload: bytes, key: ec.EllipticCurvePrivateKey) -> bytes:
    """`payload` signed by `key`, as one line that ends in a newline.

    Raises:
        ClaimError: the key is not on P-256, or the line would be too long to be read again.
    """
    if not isinstance(key.curve, ec.SECP256R1):
        raise ClaimError(f"a key on {key.curve.name}; claims are signed on P-256")
    signature = _Signature(keyid_of(key.public_key()), _text(key.sign(pae(PAYLOAD_TYPE, payload), _ECDSA)))
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
    [signature] = envelope.signatures
    return Sealed(_raw(envelope.payload, "payload"), signature.keyid, _raw(signature.sig, "signature"))


def check_signature(sealed: Sealed, public_pem: str, name: str) -> None:
    """Check the signature on `sealed` by the P-256 key in `public_pem`, which is `name`'s.

    Raises:
        ClaimError: the key is not P-256, is not the one that the envelope names, or did not sign these bytes.
    """
    try:
        key = public_key_from_pem(public_pem)
    except MalformedError as error:
        raise ClaimError(f"the trust policy holds {error}") from error
    if keyid_of(key) != sealed.keyid:
        raise ClaimError(f"the key {keyid_of(key)[:12]} is not the one named, {sealed.keyid[:12]}")
    try:
        key.verify(sealed.signature, pae(PAYLOAD_TYPE, sealed.payload), _ECDSA)
    except InvalidSignature as error:
        raise ClaimError(f"the signature of {name} does not hold (key {sealed.keyid[:12]})") from error


def strict_json(data: bytes, kind: type[T], what: str) -> T:
    """`data` as `kind`, as `decode_strict` reads it; what it refuses is a `ClaimError` here."""
    try:
        return decode_strict(data, kind, what, MAX_LINE_BYTES)
    except MalformedError as error:
        raise ClaimError(str(error)) from error


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
