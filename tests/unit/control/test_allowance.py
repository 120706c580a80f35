"""What a candidate is held to, asked of the kernel itself."""

import os
import re
import resource
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.app.worker import candidate_memory_bytes
from agent.config import WORKER_NICE, ControlSection
from agent.control.allowance import kept_waiting_ns, promote

UNIT = Path(__file__).resolve().parents[3] / "systemd/roskva-control.service"
_MIB = 1 << 20
CANDIDATE = f"""
import threading
from agent.control.allowance import confine, is_confined
confine(15, {512 * _MIB})
threading.Thread(target=threading.Event().wait, daemon=True).start()
def allocate(size):
    try:
        bytearray(size)
        return "had"
    except MemoryError:
        return "refused"
print(is_confined(), allocate({64 * _MIB}), allocate({600 * _MIB}), flush=True)
input()
print(is_confined(), allocate({600 * _MIB}), flush=True)
"""
"""A process that confines itself, has a second thread, and allocates; and again after a line comes in."""

needs_privilege = pytest.mark.skipif(os.geteuid() != 0, reason="needs root, as it becomes another user")


class Candidate:
    """The process above; `nices` are those of its threads."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self._process, self.pid = process, process.pid

    def said(self) -> list[str]:
        assert self._process.stdout is not None
        return self._process.stdout.readline().split()

    def goes_on(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()

    @property
    def nices(self) -> list[int]:
        threads = Path(f"/proc/{self.pid}/task").iterdir()
        return [os.getpriority(os.PRIO_PROCESS, int(thread.name)) for thread in threads]


@pytest.fixture
def candidate() -> Iterator[Candidate]:
    with subprocess.Popen(
        [sys.executable, "-c", CANDIDATE], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        yield Candidate(process)
        process.kill()


def test_a_candidate_that_takes_too_much_memory_is_refused_it_and_lives(candidate: Candidate) -> None:
    assert candidate.said() == ["True", "had", "refused"]
    assert candidate.nices == [15, 15]


@needs_privilege
def test_all_threads_of_one_that_drives_are_raised_and_it_gets_the_memory_that_it_asks_for(
    candidate: Candidate,
) -> None:
    candidate.said()
    assert promote(candidate.pid, WORKER_NICE)
    assert candidate.nices == [WORKER_NICE] * 2
    candidate.goes_on()
    assert candidate.said() == ["False", "had"]


def test_a_process_that_is_gone_is_not_promoted_and_that_is_no_error() -> None:
    done = subprocess.Popen(["true"])
    done.wait()
    assert not promote(done.pid, WORKER_NICE)


def granted() -> int:
    """RLIMIT_NICE as the unit sets it."""
    found = re.search(r"^LimitNICE=\+(\d+)$", UNIT.read_text(encoding="utf-8"), re.MULTILINE)
    assert found is not None
    return 20 - int(found[1])


@needs_privilege
@pytest.mark.parametrize(("limit", "promoted"), [(0, "False"), (granted(), "True")])
def test_what_the_unit_grants_its_user_is_needed_to_promote_and_enough_for_no_more_than_that(
    limit: int, promoted: str
) -> None:
    """Without any capability, and the same user on both sides."""
    program = f"""
import os, resource, signal
from agent.control.allowance import confine, promote
resource.setrlimit(resource.RLIMIT_NICE, ({limit},) * 2)
os.setgroups([]); os.setgid(65534); os.setuid(65534)
mine, its = os.pipe()
child = os.fork()
if child == 0:
    confine(15, 1 << 29)
    os.write(its, b"held")
    signal.pause()
os.read(mine, 4)
print(os.getpriority(os.PRIO_PROCESS, child), promote(child, {WORKER_NICE - 1}), promote(child, {WORKER_NICE}))
os.kill(child, signal.SIGKILL)
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=30
    )
    if "not allowed to raise maximum limit" in done.stderr:
        pytest.skip("needs CAP_SYS_RESOURCE, as it grants more than it was granted")
    assert done.stdout.split() == ["15", "False", promoted], done.stderr


def test_the_limit_grows_with_the_release_and_can_be_taken_away() -> None:
    control = ControlSection(candidate_memory_bytes=1 << 30, candidate_memory_ratio=4.0)
    assert candidate_memory_bytes(control, 100) == (1 << 30) + 400
    assert candidate_memory_bytes(ControlSection(candidate_memory_ratio=0.0), 100) == 0


@pytest.mark.skipif(not Path("/proc/thread-self/schedstat").exists(), reason="needs Linux's schedstat")
def test_the_time_for_which_others_ran_instead_only_grows() -> None:
    before = kept_waiting_ns()
    assert kept_waiting_ns() >= before >= 0


def test_nobody_is_promoted_where_no_process_is_named() -> None:
    before = resource.getrlimit(resource.RLIMIT_DATA)
    assert not promote(0, 5)
    assert resource.getrlimit(resource.RLIMIT_DATA) == before


@pytest.mark.parametrize(("before", "after"), [(0, 7), (3, 7), (12, 12)])
def test_who_gives_way_is_at_least_so_nice_with_all_that_it_starts(before: int, after: int) -> None:
    child = "import os; print(os.nice(0))"
    program = (
        f"import os; os.nice({before} - os.nice(0)); from agent.control.allowance import give_way; give_way(7); "
        f"import subprocess, sys; subprocess.run([sys.executable, '-c', {child!r}], check=True)"
    )
    done = subprocess.run([sys.executable, "-P", "-c", program], capture_output=True, text=True, check=True)
    assert int(done.stdout) == after
