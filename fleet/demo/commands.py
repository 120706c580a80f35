"""Roskva's own commands, run as a person would run them, shown before they run.

Owns: running a command to its end and keeping what it printed. Must not know: what the commands do.
"""

import shlex
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from fleet.demo.processes import program
from models.errors import RoskvaError

TIMEOUT_S = 120.0


class CommandFailedError(RoskvaError):
    """A command of the demo ended with another status than the demo expects."""

    code = "command-failed"


@dataclass(frozen=True, slots=True)
class Finished:
    """A command that has ended, and what it printed."""

    status: int
    output: str
    errors: str


@dataclass(frozen=True, slots=True)
class Commands:
    """Runs commands in `folder`; `show` is told each before it runs, as one would type it. None may take `timeout_s`."""

    folder: Path
    show: Callable[[str], None]
    timeout_s: float = TIMEOUT_S

    def run(self, *words: str | Path, expect: int = 0) -> Finished:
        """Run one command. Raises `CommandFailedError` where its status is not `expect`."""
        argv = [str(word) for word in words]
        self.show(shlex.join(argv))
        try:
            done = subprocess.run(
                [program(argv[0]), *argv[1:]],
                cwd=self.folder,
                capture_output=True,
                text=True,
                timeout=self.timeout_s,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise CommandFailedError(f"{shlex.join(argv)} did not end in {self.timeout_s:.0f} s") from error
        if done.returncode != expect:
            raise CommandFailedError(
                f"{shlex.join(argv)} ended with {done.returncode}, not {expect}:\n{done.stderr[-2000:]}"
            )
        return Finished(done.returncode, done.stdout, done.stderr)
