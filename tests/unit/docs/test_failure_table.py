"""What operators are told of a failing loop is what the bench holds it to."""

import re
from pathlib import Path

from agent.board.records import LoopState
from bench.faults import SEQUENCES

_PAGE = Path(__file__).parents[3] / "docs/how-the-loop-fails.md"


def rows_under(heading: str) -> list[list[str]]:
    """The table between a heading and the next, without its head; backticks gone."""
    section = f"\n{_PAGE.read_text(encoding='utf-8')}".split(f"\n{heading}\n", 1)[1].split("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("|")]
    return [[cell.strip().strip("`") for cell in line.strip("|").split("|")] for line in lines[2:]]


def test_the_pages_table_of_sequences_is_the_benchs() -> None:
    told = {row[0]: row[1] for row in rows_under("## What leads to what")}
    assert told == {str(fault): sequence for fault, sequence in SEQUENCES.items()}


def test_every_state_of_a_sequence_is_explained() -> None:
    explained = {row[0] for row in rows_under("# How the loop fails")} & {state.name for state in LoopState}
    named = {word for sequence in SEQUENCES.values() for word in re.findall(r"[A-Z_]+", sequence)}
    assert explained == {state.name for state in LoopState}
    assert named <= explained
