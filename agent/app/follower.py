"""The follower process: `python -P -m agent.app.follower --root R`.

Owns: building the follower from the configuration and asking for real time. Must not know: how it ticks.
The supervisor in `agent.app.control` starts it, starts it again, and takes it along when it dies.
"""

import argparse
import os
import signal
from pathlib import Path

import msgspec

from agent.adapters.clock import MonotonicClock
from agent.config import load_config
from agent.control.gate import DEVICE_LIMITS, GateLimits
from agent.control.loop import Follower
from agent.control.realtime import become_realtime, die_with

_AWAKE_NS = 300_000
"""3 % of a core at 100 Hz, for a tick that begins when it is due: in Python a wake-up alone takes a good part of it."""


def follow(root: Path, parent_pid: int) -> int:
    """Run the loop of the device at `root` until SIGTERM; returns the exit status."""
    stopped: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _: stopped.append(number))
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the supervisor decides, also at a terminal
    if not die_with(parent_pid):
        return 0
    config = load_config(root)
    run = root / config.paths.run
    run.mkdir(parents=True, exist_ok=True)
    limits = DEVICE_LIMITS.stricter(GateLimits(*msgspec.structs.astuple(config.limits)))
    follower = Follower(run, MonotonicClock(_AWAKE_NS), config.control.tick_hz, limits)
    realtime = become_realtime(config.control.priority, config.control.core)
    follower.run(lambda: bool(stopped), realtime)
    return 0


def main() -> int:
    """Read the arguments and follow."""
    parser = argparse.ArgumentParser(prog="roskva-follower")
    parser.add_argument("--root", type=Path, required=True)
    parser.add_argument("--parent", type=int, default=os.getppid())
    arguments = parser.parse_args()
    return follow(arguments.root, arguments.parent)


if __name__ == "__main__":
    raise SystemExit(main())
