"""OpenSSF Model Signing v1.0, strict profile: who says that these are the files of one model.

Owns: writing and checking `model.oms.sig` (sigstore bundle v0.3 > DSSE > in-toto statement v1).
Must not know: what a release is beyond "a directory in which every file but the signature is signed".
The public tools verify what `sign` writes. They accept more than we do: several signatures, old predicates, files
under ignored paths, links; here each of these is refused. The format's own root digest does not bind file names,
so it is never used as an identity.
"""

import base64
from collections.abc import Iterable, Mapping
from hashlib import sha256
from pathlib import Path
from typing import Annotated, Literal

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, EllipticCurvePrivateKey
from cryptography.hazmat.primitives.hashes import SHA256

from models.digest import Digest, hex_of
from models.errors import MalformedError, ModelSignatureError
from models.release.files import scan
from models.release.manifest import MAX_FILES, SIGNATURE_NAME
from models.release.names import check_names
from models.trust.atomic import write_atomically
from models.trust.keys import pem_of, public_key_from_pem
from models.trust.policy import TrustedKey
from models.trust.strict_json import decode_strict

MAX_BUNDLE_BYTES = 1 << 20
PAYLOAD_TYPE: Literal["application/vnd.in-toto+json"] = "application/vnd.in-toto+json"

_Hex = Annotated[str, msgspec.Meta(pattern=r"\A[0-9a-f]{64}\Z")]


class _Strict(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """Unknown fields are refused at every level."""


class _PublicKey(_Strict, frozen=True):
    hint: _Hex


class _Material(_Strict, frozen=True):
    public_key: _PublicKey
    tlog_entries: Annotated[tuple[str, ...], msgspec.Meta(max_length=0)] = ()


class _Signature(_Strict, frozen=True):
    sig: str
    keyid: str = ""


class _Envelope(_Strict, frozen=True):
    payload: str
    payload_type: Literal["application/vnd.in-toto+json"]
    signatures: Annotated[tuple[_Signature, ...], msgspec.Meta(min_length=1, max_length=1)]


class _Bundle(_Strict, frozen=True):
    media_type: Literal["application/vnd.dev.sigstore.bundle.v0.3+json"]
    verification_material: _Material
    dsse_envelope: _Envelope


class _SubjectDigest(_Strict, frozen=True):
    sha256: _Hex


class _Subject(_Strict, frozen=True):
    name: str
    digest: _SubjectDigest


class _Resource(_Strict, frozen=True):
    name: str
    algorithm: Literal["sha256"]
    digest: _Hex


class _Serialization(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    method: Literal["files"]
    hash_type: Literal["sha256"]
    allow_symlinks: bool
    ignore_paths: tuple[str, ...] = ()
    """Read because the format has it, and never obeyed."""


class _Predicate(_Strict, frozen=True):
    serialization: _Serialization
    resources: Annotated[tuple[_Resource, ...], msgspec.Meta(min_length=1, max_length=MAX_FILES + 1)]


class _Statement(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    type_: Literal["https://in-toto.io/Statement/v1"] = msgspec.field(name="_type")
    subject: Annotated[tuple[_Subject, ...], msgspec.Meta(min_length=1, max_length=1)]
    predicate_type: Literal["https://model_signing/signature/v1.0"] = msgspec.field(name="predicateType")
    predicate: _Predicate


def pae(payload_type: str, payload: bytes) -> bytes:
    """DSSE's pre-authentication encoding: the bytes that are signed (DSSE v1, protocol.md)."""
    kind = payload_type.encode()
    return b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(payload), payload)


def sign(directory: Path, key: EllipticCurvePrivateKey) -> None:
    """Sign every file below `directory` and write `model.oms.sig` into it; an older one is replaced.

    Raises:
        HostileNameError, DirectoryMismatchError: the directory holds what a release may not.
    """
    digests = {entry.path: entry.digest for entry in scan(directory) if entry.path != SIGNATURE_NAME}
    write_atomically(directory / SIGNATURE_NAME, [bundle_bytes(directory.resolve().name, digests, key)])


def bundle_bytes(name: str, digests: Mapping[str, Digest], key: EllipticCurvePrivateKey) -> bytes:
    """A signed bundle over files by their digests; `name` is for people and binds nothing."""
    payload = msgspec.json.encode(_statement(name, digests))
    signature = key.sign(pae(PAYLOAD_TYPE, payload), ECDSA(SHA256()))
    envelope = _Envelope(_text(payload), PAYLOAD_TYPE, (_Signature(_text(signature)),))
    material = _Material(_PublicKey(_hint(pem_of(key.public_key()))))
    return msgspec.json.encode(_Bundle("application/vnd.dev.sigstore.bundle.v0.3+json", material, envelope))


def verify_signature(directory: Path, publishers: Iterable[TrustedKey]) -> str:
    """Check `model.oms.sig` against every file below `directory`; returns the name of the publisher.

    Raises:
        ModelSignatureError: see `check_bundle`.
        HostileNameError, DirectoryMismatchError: the directory holds what a release may not.
    """
    digests = {entry.path: entry.digest for entry in scan(directory)}
    if digests.pop(SIGNATURE_NAME, None) is None:
        raise ModelSignatureError(f"there is no {SIGNATURE_NAME}: the release is not signed")
    with (directory / SIGNATURE_NAME).open("rb") as file:
        return check_bundle(file.read(MAX_BUNDLE_BYTES + 1), digests, publishers)


def check_bundle(data: bytes, digests: Mapping[str, Digest], publishers: Iterable[TrustedKey]) -> str:
    """Check that the bundle `data` signs exactly `digests` (all files but the bundle itself), by one of `publishers`.

    Returns the name of the publisher. The signature is checked over the payload as received, and only then is
    the payload parsed.

    Raises:
        ModelSignatureError: malformed, more than one signature, another type, predicate, method or algorithm, a key
            that is no publisher's, a signature that does not hold, or other files than `digests`.
    """
    try:
        bundle = decode_strict(data, _Bundle, SIGNATURE_NAME, MAX_BUNDLE_BYTES)
        payload = _raw(bundle.dsse_envelope.payload)
        signer = _check_signed(bundle, payload, publishers)
        statement = decode_strict(payload, _Statement, f"statement in {SIGNATURE_NAME}", MAX_BUNDLE_BYTES)
        check_names(resource.name for resource in statement.predicate.resources)
    except MalformedError as error:
        raise ModelSignatureError(f"{SIGNATURE_NAME}: {error}") from error
    _check_statement(statement)
    _check_files(statement.predicate.resources, digests)
    return signer


def _check_signed(bundle: _Bundle, payload: bytes, publishers: Iterable[TrustedKey]) -> str:
    hint = bundle.verification_material.public_key.hint
    publisher = next((key for key in publishers if _hint(key.public_pem) == hint), None)
    if publisher is None:
        raise ModelSignatureError(f"{SIGNATURE_NAME} is by a key that is no publisher's (hint {hint[:12]})")
    envelope = bundle.dsse_envelope
    signature = _raw(envelope.signatures[0].sig)
    try:
        public_key_from_pem(publisher.public_pem).verify(
            signature, pae(envelope.payload_type, payload), ECDSA(SHA256())
        )
    except InvalidSignature as error:
        raise ModelSignatureError(
            f"the signature in {SIGNATURE_NAME} does not hold for {publisher.name}"
        ) from error
    return publisher.name


def _check_statement(statement: _Statement) -> None:
    resources = statement.predicate.resources
    if statement.predicate.serialization.allow_symlinks:
        raise ModelSignatureError(f"{SIGNATURE_NAME} allows symbolic links")
    names = [resource.name for resource in resources]
    if names != sorted(names):
        raise ModelSignatureError(f"the resources in {SIGNATURE_NAME} are not sorted by name")
    if statement.subject[0].digest.sha256 != _root(resource.digest for resource in resources):
        raise ModelSignatureError(f"the subject digest in {SIGNATURE_NAME} is not that of its resources")


def _check_files(resources: tuple[_Resource, ...], digests: Mapping[str, Digest]) -> None:
    signed = {resource.name: resource.digest for resource in resources}
    found = {name: hex_of(digest) for name, digest in digests.items()}
    if signed != found:
        name = min(name for name in signed.keys() | found.keys() if signed.get(name) != found.get(name))
        how = (
            "is not signed"
            if name not in signed
            else "is missing"
            if name not in found
            else "has another digest"
        )
        raise ModelSignatureError(f"{SIGNATURE_NAME}: file {name!r} {how}")


def _statement(name: str, digests: Mapping[str, Digest]) -> _Statement:
    resources = tuple(_Resource(path, "sha256", hex_of(digests[path])) for path in sorted(digests))
    return _Statement(
        type_="https://in-toto.io/Statement/v1",
        subject=(_Subject(name, _SubjectDigest(_root(resource.digest for resource in resources))),),
        predicate_type="https://model_signing/signature/v1.0",
        predicate=_Predicate(_Serialization("files", "sha256", False, (SIGNATURE_NAME,)), resources),
    )


def _root(digests: Iterable[str]) -> str:
    return sha256(b"".join(bytes.fromhex(digest) for digest in digests)).hexdigest()


def _hint(public_pem: str) -> str:
    return sha256(pem_of(public_key_from_pem(public_pem)).encode()).hexdigest()


def _raw(text: str) -> bytes:
    try:
        data = base64.b64decode(text, validate=True)
    except ValueError as error:
        raise MalformedError(f"not base64: {error}") from error
    if _text(data) != text:
        raise MalformedError("base64 with stray bits")
    return data


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode()
