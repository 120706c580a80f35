"""The collectors beside the trainer: processes that leave samples, and take turns with it where cores are few.

Owns: starting and ending them, what they left, their pause. Must not know: what is learnt, how samples are made.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from models.errors import NotNowError
from models.reference.collector import PAUSE, SAMPLES, UNREAD_MAX
from models.threads import single_threaded


class CollectorEndedError(NotNowError):
    """A collector ended by itself."""

    code = "collector-ended"


@dataclass(frozen=True, slots=True)
class Collectors:
    """The processes, and the folder where they leave samples."""

    folder: Path
    processes: list["subprocess.Popen[bytes]"]

    def check(self) -> None:
        """Raise `CollectorEndedError` where one ended: without samples nothing would be learnt."""
        if any(process.poll() is not None for process in self.processes):
            raise CollectorEndedError(
                "a collector ended by itself; what it said stands above, and the same command goes on"
            )

    def left(self) -> list[Path]:
        """The files that nobody read yet."""
        return sorted(self.folder.glob("*.safetensors"))

    @property
    def are_done(self) -> bool:
        """Whether all of them left what they may leave unread."""
        return len(self.left()) >= UNREAD_MAX * len(self.processes)

    def work(self) -> None:
        """Let them go on."""
        (self.folder / PAUSE).unlink(missing_ok=True)

    def pause(self) -> None:
        """Let them stop after the file in hand."""
        (self.folder / PAUSE).touch()


@contextmanager
def collecting(state: Path, count: int, seed: int, *, reasoning: bool) -> Iterator[Collectors]:
    """`count` collectors, working below the folder `state` until the block ends."""
    folder = state / SAMPLES
    shutil.rmtree(folder, ignore_errors=True)  # a collector of a killed part may be leaving its last file
    folder.mkdir(exist_ok=True)
    words = ["--out", str(state), "--seed", str(seed), "--parent", str(os.getpid())]
    words.append("--reasoning" if reasoning else "--no-reasoning")
    argv = [sys.executable, "-P", "-m", "models.reference.collector", *words]
    with ExitStack() as stack:
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        processes = [stack.enter_context(_running([*argv, "--number", str(each)])) for each in range(count)]
        yield Collectors(folder, processes)


@contextmanager
def _running(argv: list[str]) -> Iterator["subprocess.Popen[bytes]"]:
    process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, env=single_threaded(os.environ))
    try:
        yield process
    finally:
        process.terminate()
        process.wait()
