"""Bundles that are not by a publisher, not over these files, or not quite the one format that we read.

Most are signed by the real publisher's key: the profile must hold even against what an honest tool might write.
"""

import base64
import json
from collections.abc import Callable
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, EllipticCurvePrivateKey
from cryptography.hazmat.primitives.hashes import SHA256

from models.digest import Digest, digest_of
from models.errors import ModelSignatureError
from models.release.manifest import CLAIMS_NAME, SIGNATURE_NAME
from models.release.verify import verify
from models.trust.keyset import policy_of
from models.trust.oms import PAYLOAD_TYPE, bundle_bytes, check_bundle, pae
from models.trust.policy import TrustedKey
from tests.fakes.repositories import Site

DIGESTS = {name: digest_of(name.encode()) for name in ("a.onnx", "b/c.onnx", "release.json")}
Tree = dict[str, Any]


@pytest.fixture
def key(shared_site: Site) -> EllipticCurvePrivateKey:
    """The publisher's own."""
    return shared_site.keys.private_key("publisher")


@pytest.fixture
def publishers(shared_site: Site) -> tuple[TrustedKey, ...]:
    """Whom the policy believes."""
    return policy_of(shared_site.keys).publishers


def _statement() -> Tree:
    resources = [
        {"name": name, "algorithm": "sha256", "digest": DIGESTS[name].removeprefix("sha256:")}
        for name in sorted(DIGESTS)
    ]
    root = digest_of(b"".join(bytes.fromhex(resource["digest"]) for resource in resources))
    return {
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [{"name": "m", "digest": {"sha256": root.removeprefix("sha256:")}}],
        "predicateType": "https://model_signing/signature/v1.0",
        "predicate": {
            "serialization": {
                "method": "files",
                "hash_type": "sha256",
                "allow_symlinks": False,
                "ignore_paths": [],
            },
            "resources": resources,
        },
    }


def _signed(
    statement: Tree, key: EllipticCurvePrivateKey, hint_of: bytes, payload_type: str = PAYLOAD_TYPE
) -> Tree:
    payload = json.dumps(statement).encode()
    bundle: Tree = json.loads(hint_of)
    bundle["dsseEnvelope"] = {
        "payload": base64.b64encode(payload).decode(),
        "payloadType": payload_type,
        "signatures": [
            {
                "sig": base64.b64encode(key.sign(pae(payload_type, payload), ECDSA(SHA256()))).decode(),
                "keyid": "",
            }
        ],
    }
    return bundle


def _refused(bundle: Tree | bytes, publishers: tuple[TrustedKey, ...]) -> str:
    data = bundle if isinstance(bundle, bytes) else json.dumps(bundle).encode()
    with pytest.raises(ModelSignatureError) as refusal:
        check_bundle(data, DIGESTS, publishers)
    assert refusal.value.code == "model-signature"
    return str(refusal.value)


def test_the_honest_statement_is_accepted_so_that_the_forgeries_below_fail_for_their_own_reason(
    key: EllipticCurvePrivateKey, publishers: tuple[TrustedKey, ...]
) -> None:
    honest = bundle_bytes("m", DIGESTS, key)
    assert check_bundle(honest, DIGESTS, publishers) == "publisher"
    assert (
        check_bundle(json.dumps(_signed(_statement(), key, honest)).encode(), DIGESTS, publishers)
        == "publisher"
    )


STATEMENT_FORGERIES: dict[str, Callable[[Tree], object]] = {
    "other statement type": lambda tree: tree.update(_type="https://in-toto.io/Statement/v0.1"),
    "the predicate before 1.0": lambda tree: tree.update(predicateType="https://model_signing/Digests/v0.1"),
    "another predicate": lambda tree: tree.update(predicateType="https://slsa.dev/provenance/v1"),
    "a later predicate": lambda tree: tree.update(predicateType="https://model_signing/signature/v1.1"),
    "no subject": lambda tree: tree.update(subject=[]),
    "two subjects": lambda tree: tree.update(subject=tree["subject"] * 2),
    "another subject digest": lambda tree: tree["subject"][0]["digest"].update(sha256="0" * 64),
    "a second subject digest": lambda tree: tree["subject"][0]["digest"].update(sha512="0" * 128),
    "shards": lambda tree: tree["predicate"]["serialization"].update(method="shards", shard_size=1),
    "another hash": lambda tree: tree["predicate"]["serialization"].update(hash_type="blake2b"),
    "links allowed": lambda tree: tree["predicate"]["serialization"].update(allow_symlinks=True),
    "links allowed, as a number": lambda tree: tree["predicate"]["serialization"].update(allow_symlinks=1),
    "another hash of one file": lambda tree: tree["predicate"]["resources"][0].update(algorithm="blake2b"),
    "an extra file": lambda tree: tree["predicate"]["resources"].append(
        {"name": "z", "algorithm": "sha256", "digest": "0" * 64}
    ),
    "a missing file": lambda tree: tree["predicate"]["resources"].pop(),
    "no files": lambda tree: tree["predicate"]["resources"].clear(),
    "not sorted": lambda tree: tree["predicate"]["resources"].reverse(),
    "a file twice": lambda tree: tree["predicate"]["resources"].insert(0, tree["predicate"]["resources"][0]),
    "a renamed file with the same digests in the same order": lambda tree: tree["predicate"]["resources"][
        0
    ].update(name="a.bin"),
    "a hostile name": lambda tree: tree["predicate"]["resources"][0].update(name="../a.onnx"),
    "upper-case digest": lambda tree: tree["predicate"]["resources"][0].update(
        digest=tree["predicate"]["resources"][0]["digest"].upper()
    ),
    "an unknown field": lambda tree: tree["predicate"].update(model_card="x"),
}


@pytest.mark.parametrize("forgery", STATEMENT_FORGERIES)
def test_a_statement_that_is_signed_but_not_ours_is_refused(
    forgery: str, key: EllipticCurvePrivateKey, publishers: tuple[TrustedKey, ...]
) -> None:
    statement = _statement()
    STATEMENT_FORGERIES[forgery](statement)
    _refused(_signed(statement, key, bundle_bytes("m", DIGESTS, key)), publishers)


def test_resources_in_another_order_are_refused_though_the_subject_agrees(
    key: EllipticCurvePrivateKey, publishers: tuple[TrustedKey, ...]
) -> None:
    statement = _statement()
    resources = statement["predicate"]["resources"]
    resources.reverse()
    root = digest_of(b"".join(bytes.fromhex(resource["digest"]) for resource in resources))
    statement["subject"][0]["digest"]["sha256"] = root.removeprefix("sha256:")
    assert "sorted" in _refused(_signed(statement, key, bundle_bytes("m", DIGESTS, key)), publishers)


def test_ignored_paths_hide_nothing(key: EllipticCurvePrivateKey, publishers: tuple[TrustedKey, ...]) -> None:
    statement = _statement()
    statement["predicate"]["serialization"]["ignore_paths"] = ["a.onnx", ".git", "b"]
    bundle = json.dumps(_signed(statement, key, bundle_bytes("m", DIGESTS, key))).encode()
    assert check_bundle(bundle, DIGESTS, publishers) == "publisher"
    with pytest.raises(ModelSignatureError, match=r"a\.onnx"):
        check_bundle(bundle, {**DIGESTS, "a.onnx": digest_of(b"evil")}, publishers)
    with pytest.raises(ModelSignatureError, match="not signed"):
        check_bundle(bundle, {**DIGESTS, "b/evil.so": digest_of(b"evil")}, publishers)


ENVELOPE_FORGERIES: dict[str, Callable[[Tree], object]] = {
    "no signature": lambda tree: tree["dsseEnvelope"].update(signatures=[]),
    "two signatures": lambda tree: tree["dsseEnvelope"].update(
        signatures=tree["dsseEnvelope"]["signatures"] * 2
    ),
    "another payload type": lambda tree: tree["dsseEnvelope"].update(payloadType="application/json"),
    "an empty signature": lambda tree: tree["dsseEnvelope"]["signatures"][0].update(sig=""),
    "a signature that is no signature": lambda tree: tree["dsseEnvelope"]["signatures"][0].update(sig="AAAA"),
    "another bundle version": lambda tree: tree.update(
        mediaType="application/vnd.dev.sigstore.bundle+json;version=0.2"
    ),
    "a certificate": lambda tree: tree["verificationMaterial"].update(certificate={"rawBytes": "AAAA"}),
    "only a certificate": lambda tree: tree.update(
        verificationMaterial={"certificate": {"rawBytes": "AAAA"}}
    ),
    "no key hint": lambda tree: tree["verificationMaterial"].update(publicKey={}),
    "an empty key hint": lambda tree: tree["verificationMaterial"]["publicKey"].update(hint=""),
    "a log entry": lambda tree: tree["verificationMaterial"].update(tlogEntries=["x"]),
    "a message signature beside": lambda tree: tree.update(messageSignature={}),
}


@pytest.mark.parametrize("forgery", ENVELOPE_FORGERIES)
def test_an_envelope_that_is_not_exactly_ours_is_refused(
    forgery: str, key: EllipticCurvePrivateKey, publishers: tuple[TrustedKey, ...]
) -> None:
    bundle = json.loads(bundle_bytes("m", DIGESTS, key))
    ENVELOPE_FORGERIES[forgery](bundle)
    _refused(bundle, publishers)


def test_another_payload_type_is_refused_though_the_signature_covers_it(
    key: EllipticCurvePrivateKey, publishers: tuple[TrustedKey, ...]
) -> None:
    _refused(_signed(_statement(), key, bundle_bytes("m", DIGESTS, key), "application/json"), publishers)


@pytest.mark.parametrize("name", ["builder-trainer", "image-release", "director-online", "image-root-1"])
def test_a_key_that_is_no_publishers_is_refused(
    shared_site: Site, publishers: tuple[TrustedKey, ...], name: str
) -> None:
    other = shared_site.keys.private_key(name)
    assert "no publisher" in _refused(bundle_bytes("m", DIGESTS, other), publishers)


def test_a_key_that_claims_to_be_the_publisher_is_refused(
    shared_site: Site, key: EllipticCurvePrivateKey, publishers: tuple[TrustedKey, ...]
) -> None:
    liar = _signed(
        _statement(), shared_site.keys.private_key("builder-trainer"), bundle_bytes("m", DIGESTS, key)
    )
    assert "does not hold" in _refused(liar, publishers)


def test_a_policy_without_publishers_believes_nobody(key: EllipticCurvePrivateKey) -> None:
    _refused(bundle_bytes("m", DIGESTS, key), ())


def test_a_claim_is_no_model_signature_and_neither_is_its_envelope(
    shared_site: Site, key: EllipticCurvePrivateKey, publishers: tuple[TrustedKey, ...]
) -> None:
    line = (shared_site.release_dir("1.0.0") / CLAIMS_NAME).read_bytes().splitlines()[0]
    _refused(line, publishers)
    bundle = json.loads(bundle_bytes("m", DIGESTS, key))
    bundle["dsseEnvelope"] = json.loads(line)
    _refused(bundle, publishers)


def test_an_unsigned_release_and_one_with_the_signature_of_another_are_refused(site: Site) -> None:
    site.publish("1.1.0", counter=6)
    folder, policy = site.release_dir("1.1.0"), policy_of(site.keys)
    expected = Digest(site.image.releases()[1].digest)
    (folder / SIGNATURE_NAME).write_bytes((site.release_dir("1.0.0") / SIGNATURE_NAME).read_bytes())
    with pytest.raises(ModelSignatureError):
        verify(folder, expected, policy)
    (folder / SIGNATURE_NAME).write_bytes(b"")
    with pytest.raises(ModelSignatureError):
        verify(folder, expected, policy)
