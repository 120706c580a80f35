"""What the release that drives promises, and where a candidate's word counts as well."""

from pathlib import Path

from agent.board.change import POLICY, POLICY_BOARD, CandidateState
from agent.board.records import LIMITS, Worker, limits_board
from agent.board.seqlock import BoardWriter
from agent.power.promise import Promise


def _promises(run: Path, worker: Worker, epoch: int, p99_ns: int, plan_samples: int = 1) -> None:
    blank = LIMITS.record_from(LIMITS.packer.unpack(bytes(LIMITS.packer.size)))
    told = blank._replace(epoch=epoch, digest=_digest(epoch), decision_p99_ns=p99_ns)
    BoardWriter(run / limits_board(worker), LIMITS).write(told._replace(plan_samples=plan_samples), 1)


def _drives(run: Path, epoch: int, candidate: int = 0, state: CandidateState = CandidateState.NONE) -> None:
    """`control` lets the worker of `epoch` drive; `candidate` is the epoch of the candidate of `state`."""
    blank = POLICY.record_from(POLICY.packer.unpack(bytes(POLICY.packer.size)))
    told = blank._replace(epoch=epoch, candidate=state, candidate_digest=_digest(candidate))
    BoardWriter(run / POLICY_BOARD, POLICY).write(told, 1)


def _digest(epoch: int) -> bytes:
    return bytes([epoch]) * 32


def test_the_driving_releases_promise_counts_and_not_its_candidates(tmp_path: Path) -> None:
    _promises(tmp_path, Worker.A, 3, 300_000_000)
    _promises(tmp_path, Worker.B, 4, 50_000_000)
    _drives(tmp_path, 3)
    promise = Promise(tmp_path)
    assert promise.p99_s(1) == 0.3
    _drives(tmp_path, 4)
    assert promise.p99_s(10**9) == 0.05
    promise.close()


def test_where_nothing_drives_nothing_is_promised(tmp_path: Path) -> None:
    promise = Promise(tmp_path)
    assert promise.p99_s(1) is None
    _promises(tmp_path, Worker.A, 3, 300_000_000)
    assert promise.p99_s(10**9) is None
    _drives(tmp_path, 5)
    assert promise.p99_s(2 * 10**9) is None


def test_as_many_plans_may_be_drawn_as_the_driver_or_its_candidate_draws_and_an_old_candidates_word_is_forgotten(
    tmp_path: Path,
) -> None:
    promise = Promise(tmp_path)
    assert promise.plan_samples(1) == 1
    _promises(tmp_path, Worker.A, 3, 300_000_000, plan_samples=2)
    _promises(tmp_path, Worker.B, 4, 50_000_000, plan_samples=6)
    assert promise.plan_samples(10**9) == 1
    _drives(tmp_path, 3)
    assert promise.plan_samples(2 * 10**9) == 2
    _drives(tmp_path, 3, 4, CandidateState.SHADOW)
    assert promise.plan_samples(3 * 10**9) == 6
    _drives(tmp_path, 3, 4, CandidateState.NONE)
    assert promise.plan_samples(4 * 10**9) == 2
    _drives(tmp_path, 4)
    assert promise.plan_samples(5 * 10**9) == 6
