"""The policy worker process: `python -P -m agent.app.worker --root R --place a --slot S --digest D --epoch N`.

Owns: the real loader (verify, load, golden outputs), the plant, what a candidate is held to. Must not know: how decisions are made.
The supervisor in `agent.app.control` starts it for one release and takes it along when it dies.
"""

import argparse
import os
import signal
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from agent.adapters.clock import MonotonicClock
from agent.adapters.plant_file import read_plant
from agent.adapters.plant_shared import SharedPlant
from agent.board.records import Worker
from agent.config import WORKER_NICE, AgentConfig, ControlSection, load_config
from agent.control.allowance import confine, is_confined, kept_waiting_ns
from agent.control.publish import Post
from agent.control.realtime import die_with
from agent.control.worker import LoadedPolicy, PolicyLoader, Surroundings, serve
from models.digest import Digest, digest_from_text
from models.errors import MetadataError, disk_error
from models.release.content import ReleaseContent
from models.release.names import check_name
from models.runtime.load import load_policy
from models.runtime.policy import Policy

TRUST_POLICY = "trust/builders.json"
_MAX_POLICY_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class VerifiedLoader:
    """Loads the release in `slot`, and only if it is `digest` and all of it holds.

    `open_release` opens what was verified, on `threads` threads.
    """

    slot: Path
    digest: Digest
    trust_policy: Path
    threads: int
    open_release: Callable[[ReleaseContent, int], Policy] = load_policy

    def load(self) -> LoadedPolicy:
        """Raises the refusal of the first step that fails: trust policy, verify, inspect, golden outputs; or `DiskError`.

        A runtime that isn't installed here is such a refusal too: of this release, on this device.
        """
        from models.release import golden
        from models.release.verify import verify
        from models.trust.policy import policy_from_bytes

        policy_bytes = _read_bounded(self.trust_policy)
        with verify(self.slot, self.digest, policy_from_bytes(policy_bytes)) as release:
            policy = self.open_release(release, self.threads)
            golden.check(policy, release)
            manifest = release.manifest
        return LoadedPolicy(policy, manifest.version, manifest.precision, manifest.limits)


def _read_bounded(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(_MAX_POLICY_BYTES)
    except FileNotFoundError as error:
        raise MetadataError(f"{path.name}: no admitted trust policy is kept here") from error
    except OSError as error:
        raise disk_error(error, f"{path.name} cannot be read") from error


@dataclass(frozen=True, slots=True)
class Arguments:
    """What the supervisor tells a worker on its command line."""

    root: Path
    post: Post
    parent_pid: int


def arguments_from(words: list[str] | None = None) -> Arguments:
    """Parse the command line. Exits with 2 where it makes no sense."""
    parser = argparse.ArgumentParser(prog="roskva-worker")
    parser.add_argument("--root", type=Path, required=True)
    parser.add_argument("--place", choices=["a", "b"], required=True)
    parser.add_argument("--slot", required=True)
    parser.add_argument("--digest", type=digest_from_text, required=True)
    parser.add_argument("--epoch", type=int, required=True)
    parser.add_argument("--candidate", action="store_true")
    parser.add_argument("--parent", type=int, default=0)
    found = parser.parse_args(words)
    place = Worker("ab".index(found.place))
    post = Post(place, found.slot, found.digest, found.epoch, os.getpid(), found.candidate)
    return Arguments(found.root, post, found.parent)


def work(arguments: Arguments, loader: PolicyLoader, config: AgentConfig) -> int:
    """Be the worker process with this `loader` until SIGTERM; returns the exit status."""
    stopped: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _: stopped.append(number))
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the supervisor decides, also at a terminal
    if not die_with(arguments.parent_pid):
        return 0
    if arguments.post.candidate:
        slot = arguments.root / config.paths.state / "slots" / arguments.post.slot
        confine(config.control.candidate_nice, candidate_memory_bytes(config.control, _bytes_in(slot)))
    else:
        confine(WORKER_NICE, 0)
    run = arguments.root / config.paths.run
    around = Surroundings(
        run=run,
        clock=MonotonicClock(),
        loader=loader,
        connect=lambda contract: SharedPlant(run, read_plant(run), contract),
        decision_hz=config.control.decision_hz,
        stopping=lambda: bool(stopped),
        kept_waiting_ns=kept_waiting_ns,
        is_confined=is_confined,
    )
    return serve(arguments.post, around)


def candidate_memory_bytes(control: ControlSection, release_bytes: int) -> int:
    """What a candidate may take with a release of so many bytes; 0 is no limit."""
    if not control.candidate_memory_ratio:
        return 0
    return control.candidate_memory_bytes + round(control.candidate_memory_ratio * release_bytes)


def _bytes_in(slot: Path) -> int:
    """The bytes of the files in `slot`: they are counted, for nothing that the release says of itself is verified yet."""
    files = (path.lstat() for path in slot.rglob("*") if path.is_file())
    return sum(file.st_size for file in files)


def loader_of(arguments: Arguments, config: AgentConfig) -> VerifiedLoader:
    """The loader of the release in the slot that the supervisor names. Raises `HostileNameError` where that is no name."""
    state = arguments.root / config.paths.state
    check_name(arguments.post.slot)
    return VerifiedLoader(
        slot=state / "slots" / arguments.post.slot,
        digest=arguments.post.digest,
        trust_policy=state / TRUST_POLICY,
        threads=config.control.threads,
    )


def main() -> int:
    """Read the arguments and the configuration, then work on a verified release."""
    arguments = arguments_from()
    config = load_config(arguments.root)
    return work(arguments, loader_of(arguments, config), config)


if __name__ == "__main__":
    raise SystemExit(main())
