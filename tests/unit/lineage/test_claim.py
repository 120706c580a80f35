"""One claim: what it carries over its wire form, and everything that makes it unbelievable."""

import base64
import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, SECP384R1, generate_private_key
from cryptography.hazmat.primitives.hashes import SHA256

from models.errors import ClaimError
from models.lineage.claim import (
    Claim,
    ConvertParameters,
    Parent,
    ParentRole,
    Step,
    open_claim,
    read_unverified,
    sign_claim,
)
from models.trust.keys import keyid_of
from models.trust.oms import PAYLOAD_TYPE, pae
from models.trust.policy import TrustPolicy
from tests.fakes.workshop import BUILDER_OF, CHECKPOINT, GRAPHS, RACK, Workshop, lineage, made_by, source

WORKSHOP = Workshop()
TRAINED = lineage()[0]
Change = Callable[[dict[str, Any]], object]


def resealed(line: bytes, change: Change, builder: str = "trainer") -> bytes:
    """The claim with its statement changed and signed again by a builder's real key."""
    statement = json.loads(base64.b64decode(json.loads(line)["payload"]))
    change(statement)
    return sealed(json.dumps(statement).encode(), builder)


def sealed(payload: bytes, builder: str = "trainer", kind: str = PAYLOAD_TYPE) -> bytes:
    """Any payload, signed by a builder's real key."""
    key = WORKSHOP.keys[builder]
    signature = base64.b64encode(key.sign(pae(kind, payload), ECDSA(SHA256()))).decode()
    return json.dumps(
        {
            "payloadType": kind,
            "payload": base64.b64encode(payload).decode(),
            "signatures": [{"keyid": keyid_of(key.public_key()), "sig": signature}],
        }
    ).encode()


def definition(statement: dict[str, Any]) -> dict[str, Any]:
    """The buildDefinition in a statement."""
    found: dict[str, Any] = statement["predicate"]["buildDefinition"]
    return found


@pytest.mark.parametrize("claim", lineage(), ids=lambda claim: claim.step.value)
def test_a_signed_claim_reads_back_as_it_was_given(claim: Claim) -> None:
    opened = open_claim(WORKSHOP.sign(claim), WORKSHOP.policy)
    assert opened.claim == claim
    assert opened.signer_name == BUILDER_OF[claim.step]


def test_a_claim_is_an_in_toto_statement_with_slsa_provenance_in_a_dsse_envelope() -> None:
    envelope = json.loads(WORKSHOP.sign(TRAINED))
    assert set(envelope) == {"payload", "payloadType", "signatures"}
    assert envelope["payloadType"] == "application/vnd.in-toto+json"
    statement = json.loads(base64.b64decode(envelope["payload"]))
    assert statement["_type"] == "https://in-toto.io/Statement/v1"
    assert statement["predicateType"] == "https://slsa.dev/provenance/v1"
    assert statement["subject"][0]["digest"] == {"sha256": CHECKPOINT.removeprefix("sha256:")}
    assert definition(statement)["buildType"] == "https://roskva.dev/build/pretrain/v1"
    assert definition(statement)["resolvedDependencies"][-1]["digest"] == {"gitCommit": "a" * 40}


def test_the_claim_itself_says_that_its_rack_is_emulated_and_only_claimed() -> None:
    statement = json.loads(base64.b64decode(json.loads(WORKSHOP.sign(TRAINED))["payload"]))
    rack = definition(statement)["internalParameters"]["rack"]
    assert (rack["emulated"], rack["evidence"]) == (True, "claimed")
    assert rack["chassis_serial"] == RACK.chassis_serial


def test_a_key_signs_only_the_steps_that_the_policy_gives_it() -> None:
    claim = made_by(Step.BUNDLE, GRAPHS, source(CHECKPOINT))
    line = sign_claim(claim, WORKSHOP.keys["trainer"], "trainer")
    with pytest.raises(ClaimError, match="may not sign the step bundle"):
        open_claim(line, WORKSHOP.policy)


@pytest.mark.parametrize("step", [step for step in Step if step is not Step.EVALUATE])
@pytest.mark.parametrize("builder", list(WORKSHOP.keys))
def test_no_builder_can_sign_for_another(step: Step, builder: str) -> None:
    claim = next((claim for claim in lineage() if claim.step is step), made_by(step, GRAPHS))
    line = sign_claim(claim, WORKSHOP.keys[builder], builder)
    if builder == BUILDER_OF[step]:
        open_claim(line, WORKSHOP.policy)
        return
    with pytest.raises(ClaimError):
        open_claim(line, WORKSHOP.policy)


def test_a_claim_in_the_name_of_another_builder_is_refused() -> None:
    line = sign_claim(TRAINED, WORKSHOP.keys["trainer"], "converter")
    with pytest.raises(ClaimError, match="belongs to 'trainer'"):
        open_claim(line, WORKSHOP.policy)


def test_a_key_that_the_policy_does_not_know_is_refused() -> None:
    with pytest.raises(ClaimError, match="no builder in the trust policy"):
        open_claim(Workshop().sign(TRAINED), WORKSHOP.policy)


def test_a_policy_that_swaps_the_keys_of_two_builders_verifies_nothing() -> None:
    first, second, *rest = WORKSHOP.policy.builders
    swapped = tuple(
        type(first)(one.name, one.keyid, other.public_pem, one.steps)
        for one, other in ((first, second), (second, first))
    )
    with pytest.raises(ClaimError, match="is not the one named"):
        open_claim(WORKSHOP.sign(TRAINED), TrustPolicy(publishers=(), builders=(*swapped, *rest)))


CHANGES: dict[str, Change] = {
    "an unknown external parameter": lambda s: definition(s)["externalParameters"].update(sudo=True),
    "another step's parameters": lambda s: definition(s).update(externalParameters={"scheme": "int8"}),
    "an unknown internal parameter": lambda s: definition(s)["internalParameters"].update(note="x"),
    "an unknown field in the statement": lambda s: s.update(extra=1),
    "no _type": lambda s: s.pop("_type"),
    "another statement version": lambda s: s.update(_type="https://in-toto.io/Statement/v0.1"),
    "another predicate": lambda s: s.update(predicateType="https://slsa.dev/provenance/v0.2"),
    "an unknown build type": lambda s: definition(s).update(buildType="https://roskva.dev/build/merge/v1"),
    "two subjects": lambda s: s["subject"].append(s["subject"][0]),
    "no subject": lambda s: s.update(subject=[]),
    "a subject without sha256": lambda s: s["subject"][0].update(digest={"sha512": "0" * 128}),
    "a digest in capitals": lambda s: s["subject"][0].update(digest={"sha256": "A" * 64}),
    "an unknown parent role": lambda s: definition(s)["resolvedDependencies"][0].update(name="vendor"),
    "a parent without a digest": lambda s: definition(s)["resolvedDependencies"][0].update(digest={}),
    "a dataset by git commit": lambda s: definition(s)["resolvedDependencies"][0].update(
        digest={"gitCommit": "a" * 40}
    ),
    "a dataset in a repository": lambda s: definition(s)["resolvedDependencies"][-1].update(name="dataset"),
    "two commits": lambda s: definition(s)["resolvedDependencies"].append(
        definition(s)["resolvedDependencies"][-1]
    ),
    "a control character": lambda s: s["subject"][0].update(name="x\x1b[2J"),
    "a text that runs backwards": lambda s: s["subject"][0].update(name="x\u202egnp"),
    "half a character": lambda s: s["subject"][0].update(name="\ud800"),
    "a name of 600 letters": lambda s: s["subject"][0].update(name="x" * 600),
    "a time that is none": lambda s: s["predicate"]["runDetails"]["metadata"].update(startedOn="yesterday"),
    "a builder of another site": lambda s: s["predicate"]["runDetails"]["builder"].update(id="urn:me"),
    "an iteration below zero": lambda s: definition(s)["externalParameters"].update(iteration=-1),
    "an iteration as text": lambda s: definition(s)["externalParameters"].update(iteration="1"),
    "a rack that calls itself attested": lambda s: definition(s)["internalParameters"]["rack"].update(
        evidence="attested"
    ),
}


@pytest.mark.parametrize("name", CHANGES)
def test_even_a_trusted_key_cannot_sign(name: str) -> None:
    line = resealed(WORKSHOP.sign(TRAINED), CHANGES[name])
    with pytest.raises(ClaimError):
        open_claim(line, WORKSHOP.policy)


def test_resealing_without_a_change_is_believed_so_the_refusals_above_are_for_the_change() -> None:
    opened = open_claim(resealed(WORKSHOP.sign(TRAINED), lambda _: None), WORKSHOP.policy)
    assert opened.claim == TRAINED


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"{}",
        b"null",
        b"\xef\xbb\xbf{}",
        b"[" * 100_000,
        b'{"_type": NaN}',
        b'{"a": 1, "a": 1}',
        '{"_type": "x"}'.encode("utf-16"),
    ],
)
def test_a_payload_that_is_no_statement_is_refused_though_it_is_signed(payload: bytes) -> None:
    with pytest.raises(ClaimError):
        open_claim(sealed(payload), WORKSHOP.policy)


def test_a_key_that_occurs_twice_is_refused_whatever_it_says() -> None:
    payload = base64.b64decode(json.loads(WORKSHOP.sign(TRAINED))["payload"])
    twice = payload.replace(b'"_type":', b'"_type":"https://in-toto.io/Statement/v1","_type":', 1)
    assert twice != payload
    with pytest.raises(ClaimError, match="twice"):
        open_claim(sealed(twice), WORKSHOP.policy)


ENVELOPES: dict[str, Change] = {
    "two signatures": lambda e: e["signatures"].append(e["signatures"][0]),
    "no signature": lambda e: e["signatures"].clear(),
    "an unknown field": lambda e: e.update(note="x"),
    "another key's id": lambda e: e["signatures"][0].update(
        keyid=keyid_of(WORKSHOP.keys["converter"].public_key())
    ),
    "an empty signature": lambda e: e["signatures"][0].update(sig=""),
    "base64 with spaces": lambda e: e.update(payload=e["payload"][:8] + " " + e["payload"][8:]),
    "base64 without padding": lambda e: e.update(payload=e["payload"].rstrip("=") + "A"),
    "another payload type": lambda e: e.update(payloadType="application/json"),
}


@pytest.mark.parametrize("name", ENVELOPES)
def test_an_envelope_is_refused_for(name: str) -> None:
    envelope = json.loads(WORKSHOP.sign(TRAINED))
    ENVELOPES[name](envelope)
    with pytest.raises(ClaimError):
        open_claim(json.dumps(envelope).encode(), WORKSHOP.policy)


def test_base64_with_stray_bits_is_refused_though_it_decodes_to_what_was_signed() -> None:
    payload = base64.b64decode(json.loads(WORKSHOP.sign(TRAINED))["payload"])
    payload += b" " * (2 - len(payload) % 3)
    envelope = json.loads(sealed(payload))
    text = envelope["payload"]
    assert text.endswith("=")
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    envelope["payload"] = text[:-2] + alphabet[alphabet.index(text[-2]) + 1] + "="
    assert base64.b64decode(envelope["payload"]) == payload
    with pytest.raises(ClaimError, match="stray bits"):
        open_claim(json.dumps(envelope).encode(), WORKSHOP.policy)


def test_a_signature_made_for_another_payload_type_does_not_count() -> None:
    payload = base64.b64decode(json.loads(WORKSHOP.sign(TRAINED))["payload"])
    envelope = json.loads(sealed(payload, kind="application/vnd.other"))
    envelope["payloadType"] = PAYLOAD_TYPE
    with pytest.raises(ClaimError, match="does not hold"):
        open_claim(json.dumps(envelope).encode(), WORKSHOP.policy)


def test_the_signature_of_one_claim_does_not_fit_another() -> None:
    one, other = (
        json.loads(WORKSHOP.sign(made_by(Step.PRETRAIN, digest))) for digest in (CHECKPOINT, GRAPHS)
    )
    one["signatures"] = other["signatures"]
    with pytest.raises(ClaimError, match="does not hold"):
        open_claim(json.dumps(one).encode(), WORKSHOP.policy)


def test_a_line_of_ten_megabytes_is_refused_unread() -> None:
    with pytest.raises(ClaimError, match="at most"):
        open_claim(b" " * 10_000_000, WORKSHOP.policy)


@pytest.mark.parametrize(
    "claim",
    [
        replace(TRAINED, parameters=ConvertParameters()),
        replace(TRAINED, subject_name="two\nlines"),
        replace(TRAINED, finished_utc="2026-11-01 09:00"),
        replace(TRAINED, parents=(Parent(ParentRole.DATASET, CHECKPOINT, "x\x00"),)),
    ],
)
def test_nothing_is_signed_that_could_not_be_opened(claim: Claim) -> None:
    with pytest.raises(ClaimError):
        sign_claim(claim, WORKSHOP.keys["trainer"], "trainer")


def test_only_keys_on_p256_sign() -> None:
    with pytest.raises(ClaimError, match="P-256"):
        sign_claim(TRAINED, generate_private_key(SECP384R1()), "trainer")


def test_an_unverified_reading_is_for_reports_and_never_raises() -> None:
    line = WORKSHOP.sign(TRAINED)
    assert read_unverified(line).claim == TRAINED
    assert read_unverified(b"\xff").claim is None


def test_a_claim_damaged_beyond_reading_still_seems_to_be_of_its_step() -> None:
    payload = base64.b64decode(json.loads(WORKSHOP.sign(TRAINED))["payload"])
    said = read_unverified(sealed(payload[:-1]))
    assert (said.claim, said.step) == (None, Step.PRETRAIN)
