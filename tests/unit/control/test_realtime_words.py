"""What the kernel granted is said in words, and nothing more than it granted."""

import os
import subprocess
import sys

_PROGRAM = "import sys; from agent.control.realtime import become_realtime as b; print(b({priority}, {core}))"
_REPORT = (
    "; import os, gc; print(os.sched_getscheduler(0) & 7, sorted(os.sched_getaffinity(0)), gc.isenabled())"
)


def asked(priority: int, core: int) -> tuple[set[str], list[str]]:
    """The words of a fresh process, and what the kernel says of it."""
    program = _PROGRAM.format(priority=priority, core=core) + _REPORT
    done = subprocess.run([sys.executable, "-P", "-c", program], capture_output=True, text=True, check=True)
    words, report = done.stdout.splitlines()
    return set(words.split()), report.split(maxsplit=1)


def test_what_was_not_asked_for_is_neither_taken_nor_claimed() -> None:
    words, (policy, _) = asked(0, -1)
    assert words <= {"mlock", "no-mlock", "gc:frozen"}
    assert int(policy) == os.SCHED_OTHER


def test_a_claim_of_fifo_and_a_core_is_true_and_a_denial_is_told() -> None:
    core = min(os.sched_getaffinity(0))
    words, (policy, rest) = asked(1, core)
    assert ("fifo:1" in words) == (int(policy) == os.SCHED_FIFO)
    assert ("no-fifo" in words) != ("fifo:1" in words)
    assert f"core:{core}" in words
    assert rest == f"[{core}] False"


def test_a_core_that_is_not_there_is_told() -> None:
    assert "no-core" in asked(0, 1000)[0]
