"""The line to control: numbers that go on, and answers that belong to the latest order."""

import math
from pathlib import Path

from agent.board.change import POLICY, POLICY_BOARD, SWAP, SWAP_BOARD, CandidateState, PolicyRecord, SwapOrder
from agent.board.records import NO_DIGEST, WORKER, Worker, raw_from_digest, worker_board
from agent.board.seqlock import BoardReader, BoardWriter
from agent.update.swap import ControlLine
from models.digest import digest_of
from tests.fakes.clock import FakeClock

RELEASE = digest_of(b"release")


def said(request: int, candidate: CandidateState = CandidateState.READY) -> PolicyRecord:
    return PolicyRecord(0, 1, NO_DIGEST, 0, request, int(candidate), NO_DIGEST, 0, b"", b"")


def test_what_control_said_before_the_latest_order_is_no_answer_to_it(tmp_path: Path) -> None:
    clock, board = FakeClock(), BoardWriter(tmp_path / POLICY_BOARD, POLICY)
    board.write(said(0), clock.mono_ns())
    line = ControlLine(tmp_path, clock)
    number = line.order(SwapOrder.LOAD, RELEASE, "b")
    assert line.policy() is not None
    assert line.answer() is None
    assert line.sample(RELEASE) is None
    board.write(said(number, CandidateState.LOADING), clock.mono_ns())
    answer = line.answer()
    assert answer is not None
    assert answer.candidate == CandidateState.LOADING


def test_a_control_that_is_gone_says_nothing(tmp_path: Path) -> None:
    clock, board = FakeClock(), BoardWriter(tmp_path / POLICY_BOARD, POLICY)
    line = ControlLine(tmp_path, clock)
    assert line.policy() is None
    clock.advance(1)
    board.write(said(9), clock.mono_ns())
    assert line.policy() is not None
    clock.advance(4)
    assert line.policy() is None


def test_order_numbers_go_on_after_a_restart_of_either_side(tmp_path: Path) -> None:
    clock, board = FakeClock(), BoardWriter(tmp_path / POLICY_BOARD, POLICY)
    line = ControlLine(tmp_path, clock)
    for _ in range(3):
        line.order(SwapOrder.DROP, None, "")
    line.close()
    assert ControlLine(tmp_path, clock).order(SwapOrder.GO, RELEASE, "a") == 4
    board.write(said(70), clock.mono_ns())
    assert ControlLine(tmp_path, clock).order(SwapOrder.GO, RELEASE, "a") == 71
    with BoardReader(tmp_path / SWAP_BOARD, SWAP) as reader:
        stamped = reader.read()
    assert stamped is not None
    assert (stamped.record.order, stamped.record.slot.rstrip(b"\0")) == (SwapOrder.GO, b"a")


def test_how_a_candidate_differed_in_shadow_is_told_in_words_and_only_of_that_candidate(
    tmp_path: Path,
) -> None:
    clock = FakeClock()
    line = ControlLine(tmp_path, clock)
    assert line.shadow(RELEASE) == ""
    blank = WORKER.record_from(WORKER.packer.unpack(bytes(WORKER.packer.size)))
    told = blank._replace(
        digest=raw_from_digest(RELEASE),
        compared=12,
        acceleration_rms_mps2=0.214,
        curvature_rms_per_m=0.00312,
        displacement_1s_m=0.1,
        displacement_3s_m=0.934,
    )
    board = BoardWriter(tmp_path / worker_board(Worker.B), WORKER)
    clock.advance(1)
    board.write(told, clock.mono_ns())
    assert line.shadow(RELEASE) == (
        "12 plans in shadow; rms differences 0.21 m/s², 0.0031 1/m, 0.10 m after 1 s, 0.93 m after 3 s"
    )
    assert line.shadow(digest_of(b"another")) == ""
    board.write(told._replace(displacement_3s_m=math.nan), clock.mono_ns())
    assert line.shadow(RELEASE).endswith("0.10 m after 1 s"), "its plans end sooner"
    board.write(told._replace(compared=0), clock.mono_ns())
    assert line.shadow(RELEASE) == ""
