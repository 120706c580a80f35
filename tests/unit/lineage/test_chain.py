"""The chain: a release leads to its checkpoint, or the claim that breaks the way is named."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from models.digest import Digest, digest_of
from models.errors import ClaimError
from models.lineage.chain import MAX_CHAIN_BYTES, MAX_CLAIMS, MAX_DEPTH, inspect_chain, verify_chain
from models.lineage.claim import Claim, EvaluateParameters, Parent, ParentRole, Step, sign_claim
from tests.fakes.workshop import (
    CALIBRATION,
    CHECKPOINT,
    DATASET,
    GRAPHS,
    LEAF,
    PARAMETERS_OF,
    QUANTISED,
    Workshop,
    lineage,
    made_by,
    source,
)

WORKSHOP = Workshop()
PARAMETERS_OF[Step.EVALUATE] = EvaluateParameters(suite="closed-loop", seeds=(1, 2))
OTHER = digest_of(b"other")
Change = Callable[[list[Claim]], object]


def base(digest: Digest) -> Parent:
    """The model that a fine-tuning starts from."""
    return Parent(ParentRole.BASE_MODEL, digest)


def refusal(claims: list[Claim], leaf: Digest = LEAF) -> str:
    """Why the chain is refused."""
    with pytest.raises(ClaimError) as caught:
        verify_chain(WORKSHOP.file(claims), WORKSHOP.policy, leaf)
    return str(caught.value)


def test_a_release_leads_to_its_checkpoint_and_everything_that_went_in() -> None:
    chain = verify_chain(WORKSHOP.file(lineage()), WORKSHOP.policy, LEAF)
    assert [item.claim.step for item in chain.claims] == [
        Step.BUNDLE,
        Step.QUANTISE,
        Step.CONVERT,
        Step.PRETRAIN,
    ]
    assert chain.ancestors == {CHECKPOINT, GRAPHS, QUANTISED, DATASET, CALIBRATION}
    assert [item.signer_name for item in chain.claims] == ["bundler", "quantiser", "converter", "trainer"]
    assert [item.claim.subject_digest for item in chain.checkpoints] == [CHECKPOINT]


def test_a_finetuned_release_leads_through_every_model_it_was_tuned_from() -> None:
    first, *rest = lineage()
    origin = made_by(Step.PRETRAIN, OTHER, Parent(ParentRole.DATASET, digest_of(b"web")))
    tuned = replace(made_by(Step.FINETUNE, CHECKPOINT, base(OTHER)), internal=first.internal)
    chain = verify_chain(WORKSHOP.file([origin, tuned, *rest]), WORKSHOP.policy, LEAF)
    assert [item.claim.subject_digest for item in chain.checkpoints] == [CHECKPOINT, OTHER]
    assert digest_of(b"web") in chain.ancestors


def test_an_evaluation_is_kept_apart_and_adds_no_ancestor() -> None:
    report = made_by(Step.EVALUATE, digest_of(b"report"), source(QUANTISED))
    plain = verify_chain(WORKSHOP.file(lineage()), WORKSHOP.policy, LEAF)
    chain = verify_chain(WORKSHOP.file([*lineage(), report]), WORKSHOP.policy, LEAF)
    assert [item.claim for item in chain.evaluations] == [report]
    assert (chain.claims, chain.ancestors) == (plain.claims, plain.ancestors)


CHANGES: dict[str, tuple[Change, str]] = {
    "no pretraining claim": (lambda c: c.pop(0), "claim 1 (convert .*no earlier claim"),
    "a hole in the middle": (lambda c: c.pop(1), "claim 2 (quantise .*no earlier claim"),
    "no bundle": (lambda c: c.pop(), "none says how"),
    "children before parents": (lambda c: c.reverse(), "claim 1 (bundle .*no earlier claim"),
    "a claim that leads nowhere": (
        lambda c: c.append(made_by(Step.CONVERT, OTHER, source(CHECKPOINT))),
        "claim 5 .*not part of this lineage",
    ),
    "an evaluation of another model": (
        lambda c: c.extend(
            (
                made_by(Step.CONVERT, OTHER, source(CHECKPOINT)),
                made_by(Step.EVALUATE, digest_of(b"report"), source(OTHER)),
            )
        ),
        "claim 5 .*not part of this lineage",
    ),
    "two ways of the same thing": (
        lambda c: c.insert(1, made_by(Step.PRETRAIN, CHECKPOINT)),
        "claim 2 (pretrain .*earlier claim already",
    ),
    "its own parent": (
        lambda c: c.__setitem__(1, made_by(Step.CONVERT, GRAPHS, source(GRAPHS))),
        "claim 2 (convert .*itself",
    ),
    "a bundle of a bare checkpoint": (
        lambda c: c.__setitem__(slice(1, None), [made_by(Step.BUNDLE, LEAF, source(CHECKPOINT))]),
        "claim 2 (bundle .*made by pretrain",
    ),
    "a pretraining with a parent": (
        lambda c: c.__setitem__(1, made_by(Step.PRETRAIN, GRAPHS, source(CHECKPOINT))),
        "claim 2 (pretrain .*names 1 models",
    ),
    "a conversion of two models": (
        lambda c: c.__setitem__(slice(1, 2), [
            made_by(Step.PRETRAIN, OTHER),
            made_by(Step.CONVERT, GRAPHS, source(CHECKPOINT), source(OTHER)),
        ]),
        "claim 3 (convert .*names 2 models",
    ),
    "a conversion of a base model": (
        lambda c: c.__setitem__(1, made_by(Step.CONVERT, GRAPHS, base(CHECKPOINT))),
        "claim 2 (convert .*takes a source-model",
    ),
    "a bundle that an evaluation made": (
        lambda c: c.__setitem__(slice(2, None), [
            made_by(Step.EVALUATE, QUANTISED, source(GRAPHS)),
            made_by(Step.BUNDLE, LEAF, source(QUANTISED)),
        ]),
        "claim 4 (bundle .*made by evaluate",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CHANGES)
def test_a_lineage_is_refused_and_the_claim_named_for(name: str) -> None:
    change, expected = CHANGES[name]
    claims = lineage()
    change(claims)
    pattern = expected.replace("(", r"\(")
    with pytest.raises(ClaimError, match=pattern):
        verify_chain(WORKSHOP.file(claims), WORKSHOP.policy, LEAF)


def test_the_lineage_of_one_release_does_not_serve_another() -> None:
    assert "none says how" in refusal(lineage(), leaf=OTHER) or "not part of" in refusal(
        lineage(), leaf=OTHER
    )


def test_a_trainer_alone_cannot_vouch_for_a_release() -> None:
    """A stolen trainer key must not make a release with no conversion and no quantiser behind it."""
    assert "it must be bundle" in refusal([made_by(Step.PRETRAIN, LEAF)])


def test_a_partial_lineage_verifies_where_the_caller_asks_for_that_step() -> None:
    lines = WORKSHOP.file(lineage()[:1])
    assert verify_chain(lines, WORKSHOP.policy, CHECKPOINT, Step.PRETRAIN).ancestors == {DATASET}
    assert verify_chain(lines, WORKSHOP.policy, CHECKPOINT, None).leaf == CHECKPOINT


@pytest.mark.parametrize("index", range(4))
def test_one_changed_byte_names_its_claim_and_no_other(index: int) -> None:
    lines = WORKSHOP.file(lineage()).splitlines(keepends=True)
    broken = bytearray(lines[index])
    broken[len(broken) // 2] ^= 1
    lines[index] = bytes(broken)
    verdicts = inspect_chain(b"".join(lines), WORKSHOP.policy, LEAF)
    assert [verdict.index for verdict in verdicts if not verdict.verified] == [index + 1]
    with pytest.raises(ClaimError, match=f"claim {index + 1}"):
        verify_chain(b"".join(lines), WORKSHOP.policy, LEAF)


def test_a_claim_that_cannot_be_read_is_named_by_its_place() -> None:
    lines = WORKSHOP.file(lineage()).splitlines(keepends=True)
    lines[2] = b"not a claim\n"
    verdicts = inspect_chain(b"".join(lines), WORKSHOP.policy, LEAF)
    assert [(v.index, v.claim is None) for v in verdicts if not v.verified] == [(3, True)]


def test_a_claim_that_a_builder_may_not_sign_is_named() -> None:
    claims = lineage()
    lines = WORKSHOP.file(claims).splitlines(keepends=True)
    lines[2] = sign_claim(claims[2], WORKSHOP.keys["converter"], "converter")
    with pytest.raises(ClaimError, match=r"claim 3 \(quantise .*may not sign"):
        verify_chain(b"".join(lines), WORKSHOP.policy, LEAF)


@pytest.mark.parametrize(
    "lines",
    [
        b"",
        b"\n",
        b"x" * (MAX_CHAIN_BYTES + 1),
        b"{}\n" * (MAX_CLAIMS + 1),
        WORKSHOP.file(lineage())[:-1],
        WORKSHOP.file(lineage()) + b"\n",
        WORKSHOP.file(lineage()).replace(b"\n", b"\r\n"),
        b"\xef\xbb\xbf" + WORKSHOP.file(lineage()),
    ],
    ids=["empty", "blank", "long", "many", "cut", "trailing blank", "carriage returns", "byte-order mark"],
)
def test_a_file_that_is_no_list_of_claims_is_refused(lines: bytes) -> None:
    with pytest.raises(ClaimError):
        verify_chain(lines, WORKSHOP.policy, LEAF)


@pytest.mark.parametrize("lines", [b"x" * MAX_CHAIN_BYTES + b"\n", b"{}\n" * (MAX_CLAIMS + 1)])
def test_more_than_the_limit_is_refused_as_a_whole_and_not_read(lines: bytes) -> None:
    [verdict] = inspect_chain(lines, WORKSHOP.policy, LEAF)
    assert (verdict.index, "at most" in verdict.reason) == (0, True)


@pytest.mark.parametrize(("tunings", "allowed"), [(MAX_DEPTH - 4, True), (MAX_DEPTH - 3, False)])
def test_a_lineage_is_at_most_sixteen_steps_deep(tunings: int, allowed: bool) -> None:
    models = [digest_of(bytes([n])) for n in range(tunings)]
    claims = [made_by(Step.PRETRAIN, models[0])]
    claims += [made_by(Step.FINETUNE, models[n], base(models[n - 1])) for n in range(1, tunings)]
    claims += [made_by(Step.FINETUNE, CHECKPOINT, base(models[-1])), *lineage()[1:]]
    if allowed:
        assert len(verify_chain(WORKSHOP.file(claims), WORKSHOP.policy, LEAF).claims) == MAX_DEPTH
    else:
        assert "17 steps" in refusal(claims)
