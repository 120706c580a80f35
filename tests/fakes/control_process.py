"""The control process over simulated releases: `python -m tests.fakes.control_process --root R --slot a --digest D`.

Owns: the wiring of `agent.app.control` with the simulated worker program and a live slot from the command line.
"""

import argparse
import sys
from pathlib import Path

from agent.adapters.systemd import Notifier
from agent.app.control import PythonSpawner, supervise
from agent.config import load_config
from agent.control.seat import Release
from models.digest import digest_from_text


def main() -> int:
    """Supervise until SIGTERM."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--root", type=Path, required=True)
    parser.add_argument("--slot", default="")
    parser.add_argument("--digest", default="")
    found = parser.parse_args()
    release = Release(found.slot, digest_from_text(found.digest)) if found.slot else None
    config = load_config(found.root)
    spawner = PythonSpawner(
        found.root,
        follower_program=("-m", "agent.app.follower"),
        worker_program=("-m", "tests.fakes.policy_worker"),
    )
    return supervise(found.root / config.paths.run, spawner, lambda: release, Notifier({}))


if __name__ == "__main__":
    sys.exit(main())
