"""Statements: a claim as bytes, an in-toto Statement v1 with an SLSA provenance v1 predicate.

Owns: the JSON of both formats, as strict types, and the way to and from the typed claim.
Must not know: signatures, policies.

Formats: in-toto/attestation spec v1; slsa.dev/spec/v1.0/provenance. The `buildType` decides which external
parameters are read, and no others are.
"""

import re
from typing import Annotated, Literal

import msgspec

from models.digest import Digest, hex_of
from models.errors import ClaimError
from models.lineage.envelope import strict_json
from models.lineage.facts import Facts, Text
from models.lineage.steps import (
    BundleParameters,
    Claim,
    CodeRef,
    ConvertParameters,
    EvaluateParameters,
    Parent,
    ParentRole,
    QuantiseParameters,
    Step,
    TrainingParameters,
)

BUILDER_ID = "https://roskva.dev/builder/"
MAX_PARENTS = 1024
_GIT = "git+"
_BUILD_TYPE = re.compile(rb"https://roskva\.dev/build/([a-z]{1,16})/v1")

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


def payload_from_claim(claim: Claim, builder: str) -> bytes:
    """The statement that `builder` makes of `claim`: JSON with sorted keys.

    Raises:
        ClaimError: the claim says something that `claim_from_payload` would refuse.
    """
    payload = msgspec.json.encode(_statement_of(claim, builder), order="sorted")
    if claim_from_payload(payload) != (claim, builder):
        raise ClaimError(f"the {claim.step} claim does not read back as it was given")
    return payload


def step_hint(payload: bytes) -> Step | None:
    """Which step a damaged statement seems to have been of; for reports, and believed by nobody."""
    found = _BUILD_TYPE.search(payload)
    name = found[1].decode() if found else ""
    return Step(name) if name in set(Step) else None


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


def claim_from_payload(payload: bytes) -> tuple[Claim, str]:
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
