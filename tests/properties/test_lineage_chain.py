"""Lineages of any shape: what verifies has exactly its parents as ancestors, and no edit of the file verifies."""

from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.digest import Digest, digest_of
from models.errors import ClaimError
from models.lineage.chain import MAX_DEPTH, inspect_chain, verify_chain
from models.lineage.claim import Claim, Parent, ParentRole, Step
from tests.fakes.workshop import LEAF, Workshop, lineage, made_by, source

WORKSHOP = Workshop()
POLICY = WORKSHOP.policy
FILE = WORKSHOP.file(lineage())


@dataclass(frozen=True)
class Made:
    """A lineage, parents first, and the digest that it ends in."""

    claims: list[Claim]
    leaf: Digest


@st.composite
def lineages(draw: st.DrawFn) -> Made:
    """A few trainings, each later one tuned from some before; then convert, perhaps quantise, bundle."""
    count = draw(st.integers(1, 6))
    models = [digest_of(f"model {n}".encode()) for n in range(count)]
    claims: list[Claim] = []
    for n, model in enumerate(models):
        # Each is tuned from the one before at least, so that none is unused.
        others = draw(st.sets(st.sampled_from(models[: n - 1]), max_size=2)) if n > 1 else set()
        bases = [models[n - 1], *sorted(others)] if n else []
        data = [digest_of(f"data {draw(st.integers(0, 3))}".encode())]
        parents = [Parent(ParentRole.BASE_MODEL, base) for base in bases]
        parents += [Parent(ParentRole.DATASET, digest) for digest in data]
        claims.append(made_by(Step.FINETUNE if n else Step.PRETRAIN, model, *parents))
    last = models[-1]
    for step in (Step.CONVERT, *([Step.QUANTISE] if draw(st.booleans()) else []), Step.BUNDLE):
        made = digest_of(f"{step} of {last}".encode())
        claims.append(made_by(step, made, source(last)))
        last = made
    return Made(claims, last)


@settings(max_examples=40, deadline=None)
@given(lineages())
def test_every_sound_lineage_verifies_and_its_ancestors_are_what_its_claims_name(made: Made) -> None:
    chain = verify_chain(WORKSHOP.file(made.claims), POLICY, made.leaf)
    named = {parent.digest for claim in made.claims for parent in claim.parents}
    assert chain.ancestors == named | ({claim.subject_digest for claim in made.claims} - {made.leaf})
    assert [item.claim for item in chain.claims] == list(reversed(made.claims))
    assert len(chain.claims) <= MAX_DEPTH


@settings(max_examples=40, deadline=None)
@given(lineages(), st.data())
def test_no_claim_can_be_left_out(made: Made, data: st.DataObject) -> None:
    """An ancestor that is left out could not be recalled."""
    claims = list(made.claims)
    claims.pop(data.draw(st.integers(0, len(claims) - 1)))
    with pytest.raises(ClaimError):
        verify_chain(WORKSHOP.file(claims), POLICY, made.leaf)


@settings(max_examples=40, deadline=None)
@given(lineages(), st.randoms(use_true_random=False))
def test_claims_in_another_order_are_refused_unless_parents_still_come_first(
    made: Made, random: object
) -> None:
    claims = list(made.claims)
    random.shuffle(claims)  # type: ignore[attr-defined] # a random.Random
    seen: set[Digest] = set()
    sound = True
    for claim in claims:
        sound = sound and set(claim.model_parents) <= seen
        seen.add(claim.subject_digest)
    verdicts = inspect_chain(WORKSHOP.file(claims), POLICY, made.leaf)
    assert all(verdict.verified for verdict in verdicts) == sound


@settings(max_examples=300, deadline=None)
@given(st.integers(0, len(FILE) - 1), st.integers(1, 255))
def test_no_byte_of_the_claims_can_be_changed(place: int, bits: int) -> None:
    changed = bytearray(FILE)
    changed[place] ^= bits
    with pytest.raises(ClaimError):
        verify_chain(bytes(changed), POLICY, LEAF)


@settings(max_examples=100, deadline=None)
@given(st.integers(0, len(FILE) - 1))
def test_a_claims_file_that_was_cut_short_is_refused(length: int) -> None:
    with pytest.raises(ClaimError):
        verify_chain(FILE[:length], POLICY, LEAF)


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=400) | st.text(max_size=200).map(str.encode))
def test_whatever_bytes_come_an_inspection_answers_and_never_raises(lines: bytes) -> None:
    verdicts = inspect_chain(lines, POLICY, LEAF)
    assert verdicts
    assert not any(verdict.verified for verdict in verdicts)
