"""Claims: one signed statement of how one artefact came to be, as one JSON line.

Owns: signing a claim, opening one strictly against a trust policy, reading one unverified for reports.
Must not know: how claims hang together (`chain`), where the facts come from (`record`).

The received bytes are verified, then those bytes are parsed; nothing is encoded again in order to verify it.
"""

from dataclasses import dataclass

from cryptography.hazmat.primitives.asymmetric import ec

from models.errors import ClaimError
from models.lineage.envelope import Sealed, check_signature, seal, take_apart
from models.lineage.statement import claim_from_payload, payload_from_claim, step_hint
from models.lineage.steps import (
    MODEL_ROLES,
    BundleParameters,
    Claim,
    CodeRef,
    ConvertParameters,
    EvaluateParameters,
    Parameters,
    Parent,
    ParentRole,
    QuantiseParameters,
    Step,
    TrainingParameters,
)
from models.trust.policy import Builder, TrustPolicy

__all__ = [
    "MODEL_ROLES",
    "BundleParameters",
    "Claim",
    "CodeRef",
    "ConvertParameters",
    "EvaluateParameters",
    "Parameters",
    "Parent",
    "ParentRole",
    "QuantiseParameters",
    "Step",
    "TrainingParameters",
    "Unverified",
    "VerifiedClaim",
    "open_claim",
    "read_unverified",
    "sign_claim",
]


@dataclass(frozen=True)
class VerifiedClaim:
    """A claim whose signature held, by a key that may sign such a step. Only `open_claim` makes one."""

    claim: Claim
    signer_name: str
    keyid: str


@dataclass(frozen=True)
class Unverified:
    """What a line seems to say, believed by nobody: the claim where it can be read, else perhaps its step."""

    claim: Claim | None
    step: Step | None


def sign_claim(claim: Claim, key: ec.EllipticCurvePrivateKey, builder: str) -> bytes:
    """`claim` signed by `key` in the name of `builder`: one JSON line that ends in a newline.

    Raises:
        ClaimError: the claim says something that `open_claim` would refuse (a control character in a text, a
            time that is none, another step's parameters), or the key is not on P-256.
    """
    return seal(payload_from_claim(claim, builder), key)


def open_claim(line: bytes, policy: TrustPolicy) -> VerifiedClaim:
    """The claim in `line`, verified against `policy`: signature first, then the very bytes that were signed.

    Raises:
        ClaimError: malformed, signed by a key that `policy` does not know, by a key for other steps, in
            another builder's name, or a signature that does not hold.
    """
    sealed = take_apart(line)
    builder = _builder_of(sealed, policy)
    check_signature(sealed, builder.public_pem, builder.name)
    claim, name = claim_from_payload(sealed.payload)
    if name != builder.name:
        raise ClaimError(f"says it is by builder {name!r}, but the key belongs to {builder.name!r}")
    if claim.step.value not in builder.steps:
        raise ClaimError(f"builder {builder.name!r} may not sign the step {claim.step}")
    return VerifiedClaim(claim, builder.name, builder.keyid)


def read_unverified(line: bytes) -> Unverified:
    """What `line` seems to say. For reports only; never raises."""
    try:
        payload = take_apart(line).payload
    except ClaimError:
        return Unverified(None, None)
    try:
        claim = claim_from_payload(payload)[0]
    except ClaimError:
        return Unverified(None, step_hint(payload))
    return Unverified(claim, claim.step)


def _builder_of(sealed: Sealed, policy: TrustPolicy) -> Builder:
    for builder in policy.builders:
        if builder.keyid == sealed.keyid:
            return builder
    raise ClaimError(f"signed by key {sealed.keyid[:12]}, which is no builder in the trust policy")
