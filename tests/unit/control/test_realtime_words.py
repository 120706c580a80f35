"""What the kernel granted is said in words, and nothing more than it granted."""

import os
import subprocess
import sys

import pytest

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
    assert words <= {"mlock", "no-mlock", "gc:frozen", "preempt-rt"}
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


def locked_kib(words_before: str) -> tuple[str, int]:
    """The words of a fresh process that ran `words_before` first, and what the kernel says that it locked."""
    program = (
        f"{words_before}; from agent.control.realtime import become_realtime as b; print(b(0, -1)); "
        "print(next(l.split()[1] for l in open('/proc/self/status') if l.startswith('VmLck')))"
    )
    done = subprocess.run([sys.executable, "-P", "-c", program], capture_output=True, text=True, check=True)
    words, kib = done.stdout.splitlines()
    return words, int(kib)


@pytest.mark.parametrize("before", ["pass", "import resource as r; r.setrlimit(r.RLIMIT_MEMLOCK, (0, 0))"])
def test_locked_memory_is_claimed_where_the_kernel_says_so(before: str) -> None:
    words, kib = locked_kib(before)
    assert ("mlock" in words.split()) == (kib > 0)
    assert ("no-mlock" in words.split()) == (kib == 0)


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="one core")
def test_no_process_beside_the_follower_and_none_of_its_children_may_run_on_the_followers_core() -> None:
    core = max(os.sched_getaffinity(0))
    child = "import os; print(sorted(os.sched_getaffinity(0)))"
    program = (
        f"from agent.control.realtime import stay_off; stay_off({core}); "
        f"import subprocess, sys; subprocess.run([sys.executable, '-c', {child!r}], check=True)"
    )
    done = subprocess.run([sys.executable, "-P", "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == str(sorted(os.sched_getaffinity(0) - {core}))


def test_where_there_is_one_core_only_it_is_shared() -> None:
    core = min(os.sched_getaffinity(0))
    program = (
        f"import os; os.sched_setaffinity(0, {{{core}}}); from agent.control.realtime import stay_off; "
        f"stay_off({core}); print(sorted(os.sched_getaffinity(0)))"
    )
    done = subprocess.run([sys.executable, "-P", "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == f"[{core}]"
