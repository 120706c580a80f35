"""A policy that breaks on purpose breaks when it should, and notes when."""

from pathlib import Path

import numpy as np
import pytest

from agent.board.change import POLICY, POLICY_BOARD, CandidateState
from agent.board.feed import Feed
from agent.board.seqlock import BoardWriter
from bench.faulty import BREACH_FILE, Breach, Fault, FaultyPolicy, Order, Trial, breach_in
from models.digest import Digest
from models.errors import PolicyFailedError
from models.runtime.policy import Decision, Knobs, Observation
from models.runtime.simulated import SimulatedPolicy
from tests.fakes.clock import FakeClock
from tests.fakes.plant import small_contract

EPOCH = 7
PROMISED_NS = 250_000_000
OBSERVATION = Observation(1, 5, {}, np.zeros((1, 4), np.float32), 0)


class Candidate:
    """A policy that breaks in the third decision on trial, and the board that says whether it is on trial."""

    def __init__(self, run: Path, fault: Fault) -> None:
        self.run, self.clock = run, FakeClock()
        self._board = BoardWriter(run / POLICY_BOARD, POLICY)
        trial = Trial(EPOCH, self.clock, Feed(run / POLICY_BOARD, POLICY))
        policy = SimulatedPolicy(small_contract(), Digest("sha256:" + "a1" * 32))
        self.policy = FaultyPolicy(policy, Order(fault, 2), trial, PROMISED_NS, run / BREACH_FILE)

    def stands(self, epoch: int, candidate: CandidateState) -> None:
        blank = POLICY.record_from(POLICY.packer.unpack(bytes(POLICY.packer.size)))
        self._board.write(blank._replace(epoch=epoch, candidate=int(candidate)), self.clock.mono_ns())

    def decides(self, times: int = 1) -> Decision:
        for _ in range(times):
            decision = self.policy.decide(OBSERVATION, Knobs(8, 2), 0)
        return decision


@pytest.mark.parametrize(
    ("epoch", "state"),
    [
        (EPOCH, CandidateState.NONE),
        (EPOCH - 1, CandidateState.READY),
        (EPOCH - 1, CandidateState.DRIVING),
    ],
)
def test_whoever_does_not_drive_on_trial_keeps_its_contract(
    tmp_path: Path, epoch: int, state: CandidateState
) -> None:
    candidate = Candidate(tmp_path, Fault.RAISES)
    candidate.stands(epoch, state)
    candidate.decides(20)
    assert breach_in(tmp_path) is None


def test_a_bad_plan_is_noted_when_it_is_there(tmp_path: Path) -> None:
    candidate = Candidate(tmp_path, Fault.NOT_FINITE)
    candidate.stands(EPOCH, CandidateState.DRIVING)
    assert np.isfinite(candidate.decides(2).plan).all()
    candidate.clock.advance(3.0)
    broke_ns = candidate.clock.mono_ns()
    assert not np.isfinite(candidate.decides().plan).all()
    candidate.clock.advance(1.0)
    candidate.decides()
    assert breach_in(tmp_path) == Breach(EPOCH, broke_ns)


def test_a_failure_is_raised(tmp_path: Path) -> None:
    candidate = Candidate(tmp_path, Fault.RAISES)
    candidate.stands(EPOCH, CandidateState.DRIVING)
    candidate.decides(2)
    with pytest.raises(PolicyFailedError):
        candidate.decides()


@pytest.mark.parametrize(("fault", "took_s"), [(Fault.SLOW, 2.5), (Fault.HANGS, 3600.0)])
def test_a_late_decision_is_a_breach_from_its_promised_latency_on(
    tmp_path: Path, fault: Fault, took_s: float
) -> None:
    candidate = Candidate(tmp_path, fault)
    candidate.stands(EPOCH, CandidateState.DRIVING)
    candidate.decides(2)
    began_ns = candidate.clock.mono_ns()
    candidate.decides()
    assert breach_in(tmp_path) == Breach(EPOCH, began_ns + PROMISED_NS)
    assert candidate.clock.mono_ns() - began_ns == round(took_s * 1e9)
