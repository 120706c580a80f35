"""A collector: a process that makes training samples beside the trainer, and leaves them as files.

Owns: when to collect, when to wait, which weights drive. Must not know: losses, schedules.
`python -P -m models.reference.collector --out DIR --number N --seed S --parent PID` writes
`DIR/samples/N-<chunk>-<driver>.safetensors`, each by rename, and waits while a few of its own lie there unread, or a file
`pause` does. Where `DIR/student.safetensors` is, the policy under training drives most of the time. It ends with its parent.
"""

import argparse
import os
import signal
import time
from dataclasses import fields
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file
from safetensors.torch import load_file as load_weights

from models.reference.collect import Driver, Samples, collect
from models.reference.contract import FLOW_STEPS
from models.reference.flow import SCALE, plan_behind
from models.reference.network import ReferenceNetwork
from models.reference.sizes import Sizes

SAMPLES, STUDENT, PAUSE = "samples", "student.safetensors", "pause"
WORLDS, SECONDS = 32, 6.0
MAX_CHUNKS = 10_000
UNREAD_MAX = 3
_STUDENT_SHARE, _SPEAKING_SHARE = 0.65, 0.45
_POLL_S = 0.2


def write_samples(path: Path, samples: Samples) -> None:
    """Leave `samples` at `path`, by rename."""
    part = path.with_suffix(".part")
    save_file({item.name: getattr(samples, item.name) for item in fields(Samples)}, part)
    part.replace(path)


def read_samples(path: Path) -> Samples:
    """What `write_samples` left."""
    return Samples(**load_file(path))


def student(network: ReferenceNetwork, *, with_words: bool) -> Driver:
    """The network as a driver of training worlds, by the contract's Euler steps: behind the expert's words, which a good
    student would say too, or behind `<bos>` alone."""

    def drive(samples: Samples) -> NDArray[np.float32]:
        sight = [
            torch.from_numpy(part) for part in (samples.frames, samples.ego_history, samples.instruction)
        ]
        count = torch.from_numpy(samples.token_count[:, 0])
        heard = count if with_words else torch.ones_like(count)
        with torch.no_grad():
            said = torch.from_numpy(samples.tokens[:, 0]), heard
            plan: NDArray[np.float32] = plan_behind(network, sight, said, FLOW_STEPS).numpy()
        return plan * SCALE

    return drive


def _newest_student(path: Path, *, with_words: bool) -> Driver | None:
    if not path.exists():
        return None
    network = ReferenceNetwork(Sizes())
    network.load_state_dict(load_weights(path))
    return student(network, with_words=with_words)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--number", type=int, required=True)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--parent", type=int, required=True, help="the process id of the trainer")
    parser.add_argument("--reasoning", action=argparse.BooleanOptionalAction, default=True)
    return parser.parse_args()


def main() -> None:
    """Collect until the parent is gone or SIGTERM comes."""
    arguments = _arguments()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    torch.set_num_threads(1)
    folder = arguments.out / SAMPLES
    seeds = (seed_of(arguments.seed, arguments.number, chunk) for chunk in range(MAX_CHUNKS))
    while os.getppid() == arguments.parent:
        unread = len(list(folder.glob(f"{arguments.number}-*.safetensors")))
        if unread >= UNREAD_MAX or (folder / PAUSE).exists():
            time.sleep(_POLL_S)
            continue
        _collect_one(arguments, folder, next(seeds))


def seed_of(run: int, number: int, chunk: int) -> int:
    """The seed of one file of samples: no two collectors, files or parts of a run share one."""
    return (run * 64 + number) * MAX_CHUNKS + chunk


def _collect_one(arguments: argparse.Namespace, folder: Path, seed: int) -> None:
    torch.manual_seed(seed)
    draw = np.random.default_rng(seed).random()
    speaks = arguments.reasoning and draw < _SPEAKING_SHARE
    weights = arguments.out / STUDENT
    driver = _newest_student(weights, with_words=speaks) if draw < _STUDENT_SHARE else None
    samples = collect(seed, WORLDS, SECONDS, driver)
    kind = "student" if driver else "expert"
    write_samples(folder / f"{arguments.number}-{seed % MAX_CHUNKS:06d}-{kind}.safetensors", samples)


if __name__ == "__main__":
    main()
