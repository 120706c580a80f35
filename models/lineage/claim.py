"""Claims: one signed statement of how one artefact came to be.

Owns: the typed claim, what each kind of step may say, its wire form (an in-toto Statement v1 with an SLSA
provenance v1 predicate in a DSSE envelope, one JSON line), signing and strict opening of one claim.
Must not know: how claims hang together (`chain`), where the facts come from (`record`).

Formats: in-toto/attestation spec v1; slsa.dev/spec/v1.0/provenance.
The received bytes are verified, then those bytes are parsed; nothing is encoded again in order to verify it.
"""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Annotated, Literal

import msgspec
from cryptography.hazmat.primitives.asymmetric import ec

from models.digest import Digest, hex_of
from models.errors import ClaimError
from models.lineage.envelope import Sealed, check_signature, seal, strict_json, take_apart
from models.lineage.facts import Count, Facts, Text
from models.trust.policy import Builder, TrustPolicy

BUILDER_ID = "https://roskva.dev/builder/"
MAX_PARENTS = 1024
_GIT = "git+"


class Step(StrEnum):
    """What was done."""

    PRETRAIN = "pretrain"
    FINETUNE = "finetune"
    CONVERT = "convert"
    QUANTISE = "quantise"
    BUNDLE = "bundle"
    EVALUATE = "evaluate"


class ParentRole(StrEnum):
    """What a parent was to the step. `base-model` and `source-model` must have a claim themselves."""

    BASE_MODEL = "base-model"
    SOURCE_MODEL = "source-model"
    DATASET = "dataset"
    CALIBRATION = "calibration"
    CODE = "code"
    CONTAINER = "container"


MODEL_ROLES = frozenset({ParentRole.BASE_MODEL, ParentRole.SOURCE_MODEL})


class _Parameters(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, omit_defaults=True):
    """Root of the external parameters: what the person who started the step asked for."""


class TrainingParameters(_Parameters, frozen=True):
    """Of `pretrain` and `finetune`."""

    format: Text = ""
    """`megatron` or `huggingface-safetensors`."""
    iteration: Count | None = None
    recipe: Text = ""
    precision: Text = ""
    seed: Count | None = None


class ConvertParameters(_Parameters, frozen=True):
    """Of `convert`: from a checkpoint to graphs."""

    format: Text = "onnx"
    precision: Text = "float32"
    opset: Count | None = None


class QuantiseParameters(_Parameters, frozen=True):
    """Of `quantise`."""

    scheme: Text
    """For example `int8` or `nvfp4`."""
    group_size: Count | None = None
    excluded: Annotated[tuple[Text, ...], msgspec.Meta(max_length=1024)] = ()
    calibration_samples: Count | None = None


class BundleParameters(_Parameters, frozen=True):
    """Of `bundle`: what the release was to be called."""

    name: Text
    version: Text
    counter: Count
    hardware: Annotated[tuple[Text, ...], msgspec.Meta(max_length=64)] = ()


class EvaluateParameters(_Parameters, frozen=True):
    """Of `evaluate`; the figures are measurements among the facts."""

    suite: Text
    seeds: Annotated[tuple[Count, ...], msgspec.Meta(max_length=1024)] = ()


Parameters = (
    TrainingParameters | ConvertParameters | QuantiseParameters | BundleParameters | EvaluateParameters
)


@dataclass(frozen=True)
class Parent:
    """What went in: its role, its digest, and a name for people."""

    role: ParentRole
    digest: Digest
    name: str = ""


@dataclass(frozen=True)
class CodeRef:
    """A commit of a repository; git names it by its own hash (40 or 64 hexadecimal digits)."""

    repository: str
    commit: str


@dataclass(frozen=True)
class Claim:
    """How `subject_digest` came to be. Times are RFC 3339 in UTC (`2026-11-23T10:00:00Z`)."""

    step: Step
    subject_digest: Digest
    subject_name: str
    parents: tuple[Parent, ...]
    parameters: Parameters
    started_utc: str
    finished_utc: str
    invocation: str
    internal: Facts = field(default_factory=Facts)
    code: CodeRef | None = None

    @property
    def model_parents(self) -> tuple[Digest, ...]:
        """The digests of the parents that are models, in their order."""
        return tuple(parent.digest for parent in self.parents if parent.role in MODEL_ROLES)


@dataclass(frozen=True)
class VerifiedClaim:
    """A claim whose signature held, by a key that may sign such a step. Only `open_claim` makes one."""

    claim: Claim
    signer_name: str
    keyid: str


_Sha256 = Annotated[str, msgspec.Meta(pattern=r"\A[0-9a-f]{64}\Z")]
_Commit = Annotated[str, msgspec.Meta(pattern=r"\A([0-9a-f]{40}|[0-9a-f]{64})\Z")]
_Time = Annotated[
    str, msgspec.Meta(pattern=r"\A\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?Z\Z", max_length=32)
]


class _ContentDigest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    sha256: _Sha256


class _EitherDigest(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True, rename="camel"
):
    sha256: _Sha256 | None = None
    git_commit: _Commit | None = None


class _Title(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    title: Text


class _Subject(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    name: Text
    digest: _ContentDigest


class _Dependency(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """A ResourceDescriptor: a parent (digest, title), or code in git (digest, uri)."""

    name: ParentRole
    digest: _EitherDigest
    uri: Text = ""
    annotations: _Title | None = None


class _Definition(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel", tag_field="buildType"
):
    """SLSA's buildDefinition; which of the classes below it is, its `buildType` says."""

    internal_parameters: Facts
    resolved_dependencies: Annotated[tuple[_Dependency, ...], msgspec.Meta(max_length=MAX_PARENTS)]


class _Pretrain(_Definition, frozen=True, tag="https://roskva.dev/build/pretrain/v1"):
    external_parameters: TrainingParameters


class _Finetune(_Definition, frozen=True, tag="https://roskva.dev/build/finetune/v1"):
    external_parameters: TrainingParameters


class _Convert(_Definition, frozen=True, tag="https://roskva.dev/build/convert/v1"):
    external_parameters: ConvertParameters


class _Quantise(_Definition, frozen=True, tag="https://roskva.dev/build/quantise/v1"):
    external_parameters: QuantiseParameters


class _Bundle(_Definition, frozen=True, tag="https://roskva.dev/build/bundle/v1"):
    external_parameters: BundleParameters


class _Evaluate(_Definition, frozen=True, tag="https://roskva.dev/build/evaluate/v1"):
    external_parameters: EvaluateParameters


_AnyDefinition = _Pretrain | _Finetune | _Convert | _Quantise | _Bundle | _Evaluate
_STEPS: dict[type[_AnyDefinition], Step] = {
    _Pretrain: Step.PRETRAIN,
    _Finetune: Step.FINETUNE,
    _Convert: Step.CONVERT,
    _Quantise: Step.QUANTISE,
    _Bundle: Step.BUNDLE,
    _Evaluate: Step.EVALUATE,
}


class _Builder(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    id: Text


class _RunMetadata(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    invocation_id: Text
    started_on: _Time
    finished_on: _Time


class _RunDetails(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    builder: _Builder
    metadata: _RunMetadata


class _Provenance(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    build_definition: _AnyDefinition
    run_details: _RunDetails


class _Statement(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel", kw_only=True):
    type_: Literal["https://in-toto.io/Statement/v1"] = msgspec.field(name="_type")
    subject: Annotated[tuple[_Subject, ...], msgspec.Meta(min_length=1, max_length=1)]
    predicate_type: Literal["https://slsa.dev/provenance/v1"]
    predicate: _Provenance


def sign_claim(claim: Claim, key: ec.EllipticCurvePrivateKey, builder: str) -> bytes:
    """`claim` signed by `key` in the name of `builder`: one JSON line that ends in a newline.

    Raises:
        ClaimError: the claim says something that `open_claim` would refuse (a control character in a text, a
            time that is none, another step's parameters), or the key is not on P-256.
    """
    payload = msgspec.json.encode(_statement_of(claim, builder), order="sorted")
    if _claim_of(payload) != (claim, builder):
        raise ClaimError(f"the {claim.step} claim does not read back as it was given")
    return seal(payload, key)


def open_claim(line: bytes, policy: TrustPolicy) -> VerifiedClaim:
    """The claim in `line`, verified against `policy`: signature first, then the very bytes that were signed.

    Raises:
        ClaimError: malformed, signed by a key that `policy` does not know, by a key for other steps, in
            another builder's name, or a signature that does not hold.
    """
    sealed = take_apart(line)
    builder = _builder_of(sealed, policy)
    check_signature(sealed, builder.public_pem)
    claim, name = _claim_of(sealed.payload)
    if name != builder.name:
        raise ClaimError(f"says it is by builder {name!r}, but the key belongs to {builder.name!r}")
    if claim.step.value not in builder.steps:
        raise ClaimError(f"builder {builder.name!r} may not sign the step {claim.step}")
    return VerifiedClaim(claim, builder.name, builder.keyid)


def read_unverified(line: bytes) -> Claim | None:
    """What the claim in `line` says, believed by nobody; `None` where it cannot be read. For reports only."""
    try:
        return _claim_of(take_apart(line).payload)[0]
    except ClaimError:
        return None


def _builder_of(sealed: Sealed, policy: TrustPolicy) -> Builder:
    for builder in policy.builders:
        if builder.keyid == sealed.keyid:
            return builder
    raise ClaimError(f"signed by key {sealed.keyid[:12]}, which is no builder in the trust policy")


def _statement_of(claim: Claim, builder: str) -> _Statement:
    metadata = _RunMetadata(claim.invocation, claim.started_utc, claim.finished_utc)
    details = _RunDetails(_Builder(BUILDER_ID + builder), metadata)
    subject = _Subject(claim.subject_name, _ContentDigest(hex_of(claim.subject_digest)))
    return _Statement(
        type_="https://in-toto.io/Statement/v1",
        subject=(subject,),
        predicate_type="https://slsa.dev/provenance/v1",
        predicate=_Provenance(_definition_of(claim), details),
    )


def _definition_of(claim: Claim) -> _AnyDefinition:
    kind = next(kind for kind, step in _STEPS.items() if step is claim.step)
    return kind(claim.internal, tuple(_dependencies_of(claim)), claim.parameters)  # type: ignore[arg-type] # read back


def _dependencies_of(claim: Claim) -> list[_Dependency]:
    found = [
        _Dependency(
            parent.role,
            _EitherDigest(sha256=hex_of(parent.digest)),
            annotations=_Title(parent.name) if parent.name else None,
        )
        for parent in claim.parents
    ]
    if claim.code is not None:
        commit = _EitherDigest(git_commit=claim.code.commit)
        found.append(_Dependency(ParentRole.CODE, commit, uri=_GIT + claim.code.repository))
    return found


def _claim_of(payload: bytes) -> tuple[Claim, str]:
    """The claim in a statement's bytes, and the builder it names."""
    statement = strict_json(payload, _Statement, "the statement")
    definition, details = statement.predicate.build_definition, statement.predicate.run_details
    [subject] = statement.subject
    parents, code = _parents_of(definition.resolved_dependencies)
    claim = Claim(
        step=_STEPS[type(definition)],
        subject_digest=_digest(subject.digest.sha256),
        subject_name=subject.name,
        parents=parents,
        parameters=definition.external_parameters,
        started_utc=details.metadata.started_on,
        finished_utc=details.metadata.finished_on,
        invocation=details.metadata.invocation_id,
        internal=definition.internal_parameters,
        code=code,
    )
    return claim, _name_of(details.builder.id)


def _parents_of(dependencies: tuple[_Dependency, ...]) -> tuple[tuple[Parent, ...], CodeRef | None]:
    parents: list[Parent] = []
    code: CodeRef | None = None
    for dependency in dependencies:
        if dependency.digest.git_commit is None:
            parents.append(_parent_of(dependency))
        elif code is None:
            code = _code_of(dependency, dependency.digest.git_commit)
        else:
            raise ClaimError("names two commits as its code")
    return tuple(parents), code


def _parent_of(dependency: _Dependency) -> Parent:
    if dependency.digest.sha256 is None or dependency.uri:
        raise ClaimError(f"the parent {dependency.name} needs a sha256 and no uri")
    title = dependency.annotations.title if dependency.annotations else ""
    return Parent(dependency.name, _digest(dependency.digest.sha256), title)


def _code_of(dependency: _Dependency, commit: str) -> CodeRef:
    plain = dependency.digest.sha256 is None and dependency.annotations is None
    if dependency.name is not ParentRole.CODE or not plain or not dependency.uri.startswith(_GIT):
        raise ClaimError("only code is named by a git commit, with a git+ uri and nothing else")
    return CodeRef(dependency.uri.removeprefix(_GIT), commit)


def _digest(digits: str) -> Digest:
    return Digest("sha256:" + digits)


def _name_of(builder_id: str) -> str:
    if not builder_id.startswith(BUILDER_ID):
        raise ClaimError(f"builder id {builder_id[:80]!r} does not start with {BUILDER_ID}")
    return builder_id.removeprefix(BUILDER_ID)
