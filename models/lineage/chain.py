"""The chain: how claims hang together, from a release back to the checkpoint that training saved.

Owns: the rules between claims, the limits, the walk from leaf to root, and the set of ancestors.
Must not know: files, clocks, networks. Values in, values out.

A claims file is one claim a line, parents before children. `inspect_chain` gives a verdict for every claim;
`verify_chain` is that same inspection with no verdict against, so that a report and a decision cannot differ.
"""

from dataclasses import dataclass, replace

from models.digest import Digest, short
from models.errors import ClaimError
from models.lineage.claim import (
    MODEL_ROLES,
    Claim,
    ParentRole,
    Step,
    VerifiedClaim,
    open_claim,
    read_unverified,
)
from models.trust.policy import TrustPolicy

MAX_CHAIN_BYTES = 1 << 20
MAX_CLAIMS = 256
MAX_DEPTH = 16
"""Claims on the longest way from the leaf to a root."""


@dataclass(frozen=True)
class _Shape:
    """Which models a step takes: their role, how many, and which steps may have made them."""

    role: ParentRole
    least: int
    most: int
    made_by: frozenset[Step]


_CHECKPOINTS = frozenset({Step.PRETRAIN, Step.FINETUNE})
_SHAPES: dict[Step, _Shape] = {
    Step.PRETRAIN: _Shape(ParentRole.SOURCE_MODEL, 0, 0, frozenset()),
    Step.FINETUNE: _Shape(ParentRole.BASE_MODEL, 1, 16, _CHECKPOINTS),
    Step.CONVERT: _Shape(ParentRole.SOURCE_MODEL, 1, 1, _CHECKPOINTS),
    Step.QUANTISE: _Shape(ParentRole.SOURCE_MODEL, 1, 1, _CHECKPOINTS | {Step.CONVERT}),
    Step.BUNDLE: _Shape(ParentRole.SOURCE_MODEL, 1, 1, frozenset({Step.CONVERT, Step.QUANTISE})),
    Step.EVALUATE: _Shape(ParentRole.SOURCE_MODEL, 1, 1, frozenset(Step) - {Step.EVALUATE}),
}


@dataclass(frozen=True)
class ClaimVerdict:
    """What was found of one line of a claims file; `index` counts from 1.

    `step` and `claim` are what the line says, believed or not; `signer_name` is set where the signature held.
    `reason` is empty where everything held. A verdict on the file as a whole has index 0 and no claim.
    """

    index: int
    step: Step | None
    claim: Claim | None
    signer_name: str
    reason: str

    @property
    def verified(self) -> bool:
        """Whether nothing speaks against this claim."""
        return not self.reason

    def __str__(self) -> str:
        """The claim and the reason, as errors show it."""
        if self.index == 0:
            return f"the claims: {self.reason}"
        if self.claim is None:
            return f"claim {self.index} ({self.step or 'unreadable'}): {self.reason}"
        subject = f"{self.claim.step} of {self.claim.subject_name} {short(self.claim.subject_digest)}"
        return f"claim {self.index} ({subject}): {self.reason}"


@dataclass(frozen=True)
class Chain:
    """A verified lineage: `claims` from the leaf to the roots, evaluations of any of them apart.

    `ancestors`: every digest that a claim in the walk names as a parent, and every subject but the leaf's.
    """

    leaf: Digest
    claims: tuple[VerifiedClaim, ...]
    evaluations: tuple[VerifiedClaim, ...]
    ancestors: frozenset[Digest]

    @property
    def checkpoints(self) -> tuple[VerifiedClaim, ...]:
        """The claims of training, latest first."""
        return tuple(item for item in self.claims if item.claim.step in _CHECKPOINTS)


def verify_chain(
    lines: bytes, policy: TrustPolicy, leaf: Digest, leaf_step: Step | None = Step.BUNDLE
) -> Chain:
    """The lineage of `leaf`, with every claim in `lines` verified and used.

    `leaf_step` is the step that must have made the leaf; `None` allows any.

    Raises:
        ClaimError: the first verdict against, naming the claim by index, step and subject.
    """
    for verdict in inspect_chain(lines, policy, leaf, leaf_step):
        if not verdict.verified:
            raise ClaimError(str(verdict))
    opened = [open_claim(line, policy) for line in _lines_of(lines)]
    walked = _walk([item.claim for item in opened], leaf)
    claims = tuple(item for item in reversed(opened) if item.claim.subject_digest in walked)
    evaluations = tuple(item for item in opened if item.claim.step is Step.EVALUATE)
    named = {parent.digest for item in claims for parent in item.claim.parents}
    return Chain(leaf, claims, evaluations, frozenset((named | walked) - {leaf}))


def inspect_chain(
    lines: bytes, policy: TrustPolicy, leaf: Digest, leaf_step: Step | None = Step.BUNDLE
) -> tuple[ClaimVerdict, ...]:
    """A verdict on every claim in `lines`, in their order, then on the file where it fails as a whole.

    Never raises for what `lines` says. Links between claims are judged only where every signature holds, and
    use only where every link holds: what is broken breaks others too, and those others would hide it.
    """
    try:
        found = _lines_of(lines)
    except ClaimError as error:
        return (ClaimVerdict(0, None, None, "", str(error)),)
    verdicts = [_signature_verdict(index, line, policy) for index, line in enumerate(found, 1)]
    claims = [verdict.claim for verdict in verdicts if verdict.claim is not None and verdict.verified]
    if len(claims) < len(verdicts):
        return tuple(verdicts)
    whole = _leaf_reason(claims, leaf, leaf_step)
    reasons = _Links().reasons(claims)
    if not whole and not any(reasons):
        reasons = _unused_reasons(claims, leaf)
    verdicts = [replace(verdict, reason=reason) for verdict, reason in zip(verdicts, reasons, strict=True)]
    return (*verdicts, ClaimVerdict(0, None, None, "", whole)) if whole else tuple(verdicts)


def _lines_of(lines: bytes) -> list[bytes]:
    if len(lines) > MAX_CHAIN_BYTES:
        raise ClaimError(f"{len(lines)} bytes; at most {MAX_CHAIN_BYTES} are read")
    if not lines.endswith(b"\n"):
        raise ClaimError("does not end in a newline: empty or cut short")
    count = lines.count(b"\n")
    if count > MAX_CLAIMS:
        raise ClaimError(f"{count} claims; at most {MAX_CLAIMS} are read")
    return lines[:-1].split(b"\n")


def _signature_verdict(index: int, line: bytes, policy: TrustPolicy) -> ClaimVerdict:
    try:
        opened = open_claim(line, policy)
    except ClaimError as error:
        said = read_unverified(line)
        return ClaimVerdict(index, said.step, said.claim, "", str(error))
    return ClaimVerdict(index, opened.claim.step, opened.claim, opened.signer_name, "")


class _Links:
    """Judges each claim against those before it, in one pass; parents come first, so there are no cycles."""

    def __init__(self) -> None:
        self._made_by: dict[Digest, Step] = {}
        self._depth: dict[Digest, int] = {}

    def reasons(self, claims: list[Claim]) -> list[str]:
        """One reason a claim, empty where its links hold."""
        return [self._reason(claim) for claim in claims]

    def _reason(self, claim: Claim) -> str:
        reason = self._against_subject(claim) or self._against_parents(claim)
        self._made_by.setdefault(claim.subject_digest, claim.step)
        depth = 1 + max((self._depth.get(digest, 0) for digest in claim.model_parents), default=0)
        self._depth.setdefault(claim.subject_digest, depth)
        if not reason and depth > MAX_DEPTH:
            return f"{depth} steps from its root; at most {MAX_DEPTH} are allowed"
        return reason

    def _against_subject(self, claim: Claim) -> str:
        if claim.subject_digest in self._made_by:
            return "an earlier claim already says how this came to be"
        if claim.subject_digest in {parent.digest for parent in claim.parents}:
            return "names itself as its parent"
        return ""

    def _against_parents(self, claim: Claim) -> str:
        shape = _SHAPES[claim.step]
        models = [parent for parent in claim.parents if parent.role in MODEL_ROLES]
        if not shape.least <= len(models) <= shape.most:
            return f"names {len(models)} models as parents; {claim.step} takes {shape.least} to {shape.most}"
        for parent in models:
            if parent.role is not shape.role:
                return f"{claim.step} takes a {shape.role}, not a {parent.role}"
            made_by = self._made_by.get(parent.digest)
            if made_by is None:
                return f"its {parent.role} {short(parent.digest)} has no earlier claim"
            if made_by not in shape.made_by:
                return f"its {parent.role} {short(parent.digest)} was made by {made_by}, not what {claim.step} takes"
        return ""


def _unused_reasons(claims: list[Claim], leaf: Digest) -> list[str]:
    """What is not needed to explain `leaf`, nor evaluates what is, has no business in the file."""
    walked = _walk(claims, leaf)

    def used(claim: Claim) -> bool:
        judged = claim.model_parents if claim.step is Step.EVALUATE else (claim.subject_digest,)
        return walked.issuperset(judged)

    return ["" if used(claim) else "is not part of this lineage" for claim in claims]


def _walk(claims: list[Claim], leaf: Digest) -> set[Digest]:
    """The subjects on any way from `leaf` to a root. One pass from the end, as parents come first."""
    reached = {leaf}
    walked: set[Digest] = set()
    for claim in reversed(claims):
        if claim.step is not Step.EVALUATE and claim.subject_digest in reached:
            walked.add(claim.subject_digest)
            reached.update(claim.model_parents)
    return walked


def _leaf_reason(claims: list[Claim], leaf: Digest, leaf_step: Step | None) -> str:
    made_by = {claim.subject_digest: claim.step for claim in claims if claim.step is not Step.EVALUATE}
    if leaf not in made_by:
        return f"none says how {short(leaf)} came to be"
    if leaf_step is not None and made_by[leaf] is not leaf_step:
        return f"{short(leaf)} was made by {made_by[leaf]}; it must be {leaf_step}"
    return ""
