"""The promise of the release that drives, and of no other."""

from pathlib import Path

from agent.board.change import POLICY, POLICY_BOARD
from agent.board.records import LIMITS, Worker, limits_board
from agent.board.seqlock import BoardWriter
from agent.power.promise import Promise


def _promises(run: Path, worker: Worker, epoch: int, p99_ns: int) -> None:
    blank = LIMITS.record_from(LIMITS.packer.unpack(bytes(LIMITS.packer.size)))
    BoardWriter(run / limits_board(worker), LIMITS).write(
        blank._replace(epoch=epoch, decision_p99_ns=p99_ns), 1
    )


def _drives(run: Path, epoch: int) -> None:
    blank = POLICY.record_from(POLICY.packer.unpack(bytes(POLICY.packer.size)))
    BoardWriter(run / POLICY_BOARD, POLICY).write(blank._replace(epoch=epoch), 1)


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
