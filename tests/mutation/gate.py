"""The gate's tests, run against every small change to the gate: `python -P -m tests.mutation.gate`, or `make mutate`.

Owns: which tests must notice, which changes change nothing and why, and the run. Must not know: the kinds of change.

Each mutant runs in a process of its own, forked before the gate is imported. A mutant that every test passes is a
survivor: either a test is missing, or nothing that anybody could notice was changed, and it is listed here with the reason.
"""

import ast
import os
import sys
import types
from importlib.util import find_spec
from pathlib import Path

import hypothesis  # noqa: F401 - loaded once, before the forks
import pytest

from tests.mutation.mutants import Mutant, mutants

MODULE = "agent.control.gate"
TESTS = Path(__file__).parents[1]
NOTICE = (str(TESTS / "unit/control/test_gate_limits.py"), str(TESTS / "properties/test_gate.py"))
EQUIVALENT: dict[tuple[str, str], str] = {}
"""(line, change) → why nobody could notice."""


def survives(mutant: Mutant) -> bool:
    """Whether all tests pass with the mutant in the gate's place."""
    child = os.fork()
    if child == 0:
        os._exit(_noticed(mutant))
    _, status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status) == 0


def _noticed(mutant: Mutant) -> int:
    """0 where no test fails."""
    quiet = os.open(os.devnull, os.O_WRONLY)
    os.dup2(quiet, 1)
    os.dup2(quiet, 2)
    module = types.ModuleType(MODULE)
    sys.modules[MODULE] = module
    try:
        exec(compile(mutant.tree, MODULE, "exec"), module.__dict__)
        return int(pytest.main(["-x", "-q", "-p", "no:cacheprovider", *NOTICE]))
    except (Exception, SystemExit):  # noqa: BLE001 - whatever it is, it was noticed
        return 1


def main() -> int:
    """Run all mutants; returns how many survived."""
    spec = find_spec(MODULE)
    assert spec is not None
    assert spec.origin is not None
    source = Path(spec.origin).read_text(encoding="utf-8")
    found = list(mutants(source))
    if not survives(Mutant(0, "", "", ast.parse(source))):
        sys.exit("the tests fail on the gate as it is")
    survivors = []
    for mutant in found:
        known = (mutant.line, mutant.change) in EQUIVALENT
        if not known and survives(mutant):
            survivors.append(mutant)
            print(f"survived: {mutant.line}\n    {mutant.change}", flush=True)
    print(f"{len(found)} mutants, {len(EQUIVALENT)} equivalent, {len(survivors)} survived")
    return len(survivors)


if __name__ == "__main__":
    sys.exit(min(main(), 1))
