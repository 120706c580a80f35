"""The witnesses of a machine: a bare loop on each of some cores, and what all of them saw.

Owns: their processes and files. Must not know: what a witness does (`fleet.demo.witness`), who is held up.
"""

import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from fleet.demo.processes import Processes
from fleet.demo.witness import Testimony, testimony


@dataclass(frozen=True, slots=True)
class Witnesses:
    """Bare loops, at the followers' rate and class; `files` are what they write."""

    files: tuple[Path, ...] = ()

    @classmethod
    def start(cls, processes: Processes, cores: Iterable[int]) -> "Witnesses":
        """Start one on each of `cores`."""
        folder = processes.volatile_folder()
        files = {core: folder / f"core-{core}.json" for core in sorted(cores)}
        for core, file in files.items():
            argv = [sys.executable, "-P", "-m", "fleet.demo.witness", str(file), str(core)]
            processes.start(f"witness-{core}", argv)
        return cls(tuple(files.values()))

    def testimony(self) -> Testimony:
        """What they saw since their start."""
        return testimony(self.files)
