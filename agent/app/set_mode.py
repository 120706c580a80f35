"""The one thing on a device that is done as root: `nvpmodel -m N`, for `power`, which may not.

`roskva-nvpmodel@.service` starts `python -P -m agent.app.set_mode` with the socket as its standard input and output:
one line in, the mode's number; out come the command's exit status, on a line, and its words.
Owns: that exchange, and that nothing but a number gets through. Must not know: who asks, which modes there are, why.
"""

import argparse
import re
import subprocess
import sys
from pathlib import Path

from agent.adapters.nvpmodel import Nvpmodel

_LONGEST_BYTES = 8
_UNUSABLE, _NOT_RUN = 2, 125


def answer(nvpmodel: Nvpmodel, line: bytes) -> str:
    """What is said to `line`; nothing is run where it is no number of a mode."""
    if not re.fullmatch(rb"[0-9]{1,3}\n", line):
        return f"{_UNUSABLE}\nno number of a mode\n"
    try:
        status, said = nvpmodel.set_here(int(line))
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"{_NOT_RUN}\n{error}\n"
    return f"{status}\n{said}"


def main() -> int:
    """Answer one line."""
    parser = argparse.ArgumentParser(prog="roskva-set-mode")
    parser.add_argument("--root", type=Path, default=Path("/"))
    root: Path = parser.parse_args().root
    sys.stdout.write(answer(Nvpmodel(root), sys.stdin.buffer.readline(_LONGEST_BYTES)))
    sys.stdout.flush()
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
