"""Train the reference policy: `python -m models.reference.train --out DIR --minutes N --seed S`.

What it leaves: `DIR/checkpoint`, and in `DIR/state` what it goes on from.

Owns: the loop, its schedule by wall time, its resumable state, and what it writes.
Must not know: how samples are made (`collect`, in processes of their own), or how the result is exported.

Evaluation samples come from seeds that training never uses. A killed run goes on where its last state file
left it, with freshly collected samples; the figures in `training.json` add up over its parts.
"""

import argparse
import json
import math
import os
import sys
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from pathlib import Path
from time import monotonic, sleep

import msgspec
import torch
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from safetensors.torch import load_file, save_file
from torch import Tensor

from models.reference.checkpoint import TrainingRecord, code_version, point_of, write_checkpoint
from models.reference.collect import collect
from models.reference.collecting import Collectors, collecting
from models.reference.collector import STUDENT, read_samples
from models.reference.contract import BOS
from models.reference.flow import SCALE, flow
from models.reference.losses import losses
from models.reference.memory import Memory, tensors
from models.reference.network import ReferenceNetwork
from models.reference.sizes import Sizes

CHECKPOINT, STATE = "checkpoint", "state"
EVALUATION_SEED = 7_000_000
_PEAK_RATE = 1.5e-3
_WARM_UP_STEPS = 150
_STUDENT_FROM = 0.12
_STUDENT_EVERY_S = 30.0
_EMA = 0.998
_PICK_UP_S = 2.0


@dataclass(frozen=True, slots=True)
class Schedule:
    """How long to train, on what; `minutes` counts the time of all parts of a resumed run."""

    minutes: float
    batch: int = 96
    capacity: int = 120_000
    collectors: int = 1
    device: str = "cpu"
    save_every_s: float = 120.0
    rate: float = _PEAK_RATE
    first_samples: int = 3_000
    held_out_worlds: int = 48
    reuse: float = 3.0
    """How often a sample is learnt from before another is taken."""
    takes_turns: bool = False
    """Whether the collectors wait while the trainer works, and it for them: where there are not cores for all."""
    reasoning: bool = True


_ON_CPU = Schedule(0.0, takes_turns=True)
_ON_GPU = Schedule(0.0, batch=512, capacity=300_000, rate=2e-3)


@dataclass
class Run:
    """Everything that a resumed run needs, besides samples."""

    network: ReferenceNetwork
    optimiser: torch.optim.Optimizer
    average: dict[str, Tensor]
    record: TrainingRecord
    schedule: Schedule
    begun_s: float = field(default_factory=monotonic)

    @property
    def share(self) -> float:
        """How much of the time is spent, 0 to 1."""
        return min(self.record.wall_seconds / (self.schedule.minutes * 60), 1.0)

    def tick(self) -> None:
        """Add the time since the last tick to the record."""
        now_s = monotonic()
        self.record.wall_seconds += now_s - self.begun_s
        self.begun_s = now_s


def _step(run: Run, batch: list[Tensor]) -> None:
    record = run.record
    rate = (
        run.schedule.rate * min(1.0, (record.steps + 1) / _WARM_UP_STEPS) * (0.02 + 0.98 * _cosine(run.share))
    )
    for group in run.optimiser.param_groups:
        group["lr"] = rate
    frames = batch[0].float()
    each = (len(frames), 1, 1, 1, 1)
    gain = torch.empty(each, device=frames.device).uniform_(0.9, 1.1)
    lit = (frames.amax(dim=(2, 3, 4), keepdim=True) > 0).float()  # a camera that is dark stays dark
    batch[0] = (frames * gain + 4 * torch.randn(each, device=frames.device)) * lit
    plan, words, scene = losses(run.network, batch, reasoning=run.schedule.reasoning)
    loss = plan + 0.1 * words + 0.5 * scene
    run.optimiser.zero_grad(set_to_none=True)
    loss.backward()
    torch.nn.utils.clip_grad_norm_(run.network.parameters(), 1.0)
    run.optimiser.step()
    with torch.no_grad():
        for name, value in run.network.state_dict().items():
            run.average[name].lerp_(value, 1 - min(_EMA, record.steps / (record.steps + 20)))
    record.steps += 1
    record.training_loss += 0.02 * (float(plan.detach()) - record.training_loss)


def _cosine(share: float) -> float:
    return 0.5 + 0.5 * math.cos(math.pi * share)


def _evaluate(run: Run, held_out: list[Tensor]) -> None:
    """Losses of the averaged weights on held-out samples, into the record."""
    probe = ReferenceNetwork(run.network.sizes).to(run.schedule.device)
    probe.load_state_dict(run.average)
    generator_state = torch.get_rng_state()
    torch.manual_seed(0)
    with torch.no_grad():
        plan, words, _ = losses(probe, list(held_out), reasoning=run.schedule.reasoning)
        prefix = probe.see(*held_out[:3])
        _, cache = probe.reason(prefix, torch.full((len(prefix), 1), BOS, device=prefix.device))
        proposed = flow(probe, cache, torch.randn_like(held_out[3][:, 0]), 4)
        error = (proposed - held_out[3][:, 0]).abs()[:, :10].mean((0, 1))
    torch.set_rng_state(generator_state)
    run.record.evaluation_plan_loss = float(plan)
    run.record.evaluation_word_loss = float(words)
    run.record.acceleration_error_mps2 = float(error[0]) * float(SCALE[0])
    run.record.curvature_error_per_m = float(error[1]) * float(SCALE[1])
    run.record.curve.append(point_of(run.record))


def _save(run: Run, out: Path) -> None:
    """The checkpoint so far, and the state to resume from, each by rename."""
    weights = {name: value for name, value in run.average.items() if not name.startswith("scene.")}
    write_checkpoint(
        out / CHECKPOINT,
        {name: value.cpu().numpy() for name, value in weights.items()},
        run.network.sizes,
        run.record,
    )
    state = {f"network.{name}": value for name, value in run.network.state_dict().items()}
    state |= {f"average.{name}": value for name, value in run.average.items()}
    for name, parameter in run.network.named_parameters():
        moments = run.optimiser.state.get(parameter, {})
        state |= {f"{key}.{name}": value.clone() for key, value in moments.items()}
    part = out / STATE / "resume.safetensors.part"
    save_file(state, part)
    part.replace(part.with_suffix(""))


def _begun(out: Path, seed: int, schedule: Schedule) -> Run:
    """A new run, or the one that `out` holds the state of."""
    torch.manual_seed(seed)
    network = ReferenceNetwork(Sizes()).to(schedule.device)
    optimiser = torch.optim.AdamW(
        network.parameters(), lr=schedule.rate, weight_decay=0.01, betas=(0.9, 0.98)
    )
    record = TrainingRecord(
        seed=seed, reasoning=schedule.reasoning, code_version=code_version(), machine=_machine(schedule)
    )
    state = out / STATE / "resume.safetensors"
    average = {name: value.clone() for name, value in network.state_dict().items()}
    if state.exists():
        saved = load_file(state, device=schedule.device)
        network.load_state_dict(_part(saved, "network."))
        average = _part(saved, "average.")
        for name, parameter in network.named_parameters():
            optimiser.state[parameter] = {
                key: saved[f"{key}.{name}"]
                for key in ("step", "exp_avg", "exp_avg_sq")
                if f"{key}.{name}" in saved
            }
        told = json.loads((out / CHECKPOINT / "training.json").read_text(encoding="utf-8"))
        record = msgspec.convert(told, TrainingRecord)
        record.parts, record.code_version = record.parts + 1, code_version()
    return Run(network, optimiser, average, record, schedule)


def _machine(schedule: Schedule) -> str:
    cuda = schedule.device.startswith("cuda")
    name = torch.cuda.get_device_name() if cuda else f"{torch.get_num_threads()} processor thread(s)"
    return f"{name}, {schedule.collectors} collector(s) beside it"


def _part(saved: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in saved.items() if name.startswith(prefix)}


def _collecting(run: Run, out: Path) -> AbstractContextManager[Collectors]:
    seed = run.record.seed * 100 + run.record.parts  # each part's samples are other ones
    return collecting(out / STATE, run.schedule.collectors, seed, reasoning=run.schedule.reasoning)


def _pick_up(run: Run, memory: Memory, collectors: Collectors) -> None:
    """Take what the collectors left, once what was taken before is used up; where turns are taken, all at once."""
    if not _is_hungry(run, memory):
        return
    if run.schedule.takes_turns:
        collectors.work()
        if not collectors.are_done:
            return
        collectors.pause()
    for path in collectors.left():
        samples = read_samples(path)
        path.unlink()
        memory.add(samples)
        run.record.samples += len(samples)
        run.record.student_samples += len(samples) if path.stem.endswith("student") else 0


def _is_hungry(run: Run, memory: Memory) -> bool:
    seen = run.record.steps * run.schedule.batch
    return memory.count < run.schedule.first_samples or seen >= run.schedule.reuse * run.record.samples


def train(out: Path, seed: int, schedule: Schedule) -> TrainingRecord:
    """Train by `schedule`, or go on with what `out` holds, and leave the checkpoint in `out`."""
    (out / STATE).mkdir(parents=True, exist_ok=True)
    run, memory = _begun(out, seed, schedule), Memory(schedule.capacity, schedule.device)
    held_out = tensors(collect(EVALUATION_SEED, schedule.held_out_worlds, 6.0), schedule.device)
    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns) as progress, _collecting(run, out) as collectors:
        task = progress.add_task("collecting", total=1.0)
        run.begun_s = monotonic()
        saved_s = told_s = run.record.wall_seconds
        while run.share < 1.0:
            _round(run, memory, collectors)
            progress.update(task, completed=run.share, description=_told(run.record))
            if run.share > _STUDENT_FROM and run.record.wall_seconds - told_s >= _STUDENT_EVERY_S:
                _tell_student(run, out / STATE)
                told_s = run.record.wall_seconds
            if run.record.wall_seconds - saved_s >= schedule.save_every_s or run.share >= 1.0:
                _evaluate(run, held_out)
                _save(run, out)
                saved_s = run.record.wall_seconds
    return run.record


def _round(run: Run, memory: Memory, collectors: Collectors) -> None:
    """Take the newest samples, then train for a moment."""
    collectors.check()
    _pick_up(run, memory, collectors)
    until_s = monotonic() + _PICK_UP_S
    waits = memory.count < run.schedule.first_samples or (
        run.schedule.takes_turns and _is_hungry(run, memory)
    )
    while not waits and monotonic() < until_s:
        _step(run, memory.batch(run.schedule.batch))
    if waits:
        sleep(0.1)
    run.tick()


def _tell_student(run: Run, folder: Path) -> None:
    """Leave the averaged weights where collectors find them."""
    part = folder / f"{STUDENT}.part"
    save_file({name: value.cpu().contiguous() for name, value in run.average.items()}, part)
    part.replace(folder / STUDENT)


def _told(record: TrainingRecord) -> str:
    return (
        f"step {record.steps}  samples {record.samples}  plan {record.training_loss:.4f} / "
        f"{record.evaluation_plan_loss:.4f}  words {record.evaluation_word_loss:.3f}  "
        f"curvature ±{record.curvature_error_per_m:.5f} 1/m  acceleration ±{record.acceleration_error_mps2:.3f} m/s²"
    )


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=80.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument(
        "--threads", type=int, default=os.cpu_count() or 1, help="of the trainer, where it has no GPU"
    )
    parser.add_argument("--collectors", type=int, default=os.cpu_count() or 1)
    parser.add_argument(
        "--reasoning",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="learn to say why, and to plan from what was said; without: the same network, plans from sight alone",
    )
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--batch", type=int, help="samples a step; 96, on a GPU 512")
    parser.add_argument("--rate", type=float, help="peak learning rate; 0.0015, on a GPU 0.002")
    parser.add_argument(
        "--capacity", type=int, help="samples to remember, 49 kB each; 120000, on a GPU 300000"
    )
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    try:
        train(arguments.out, arguments.seed, _schedule(arguments))
    except KeyboardInterrupt:
        sys.exit(f"stopped; the same command goes on from {arguments.out}")
    except ChildProcessError as error:
        sys.exit(f"train: error: {error}; the same command goes on from {arguments.out}")


def _schedule(arguments: argparse.Namespace) -> Schedule:
    usual = _ON_CPU if arguments.device == "cpu" else _ON_GPU
    given = {name: getattr(arguments, name) for name in ("batch", "rate", "capacity")}
    return replace(
        usual,
        minutes=arguments.minutes,
        collectors=arguments.collectors,
        device=arguments.device,
        reasoning=arguments.reasoning,
        **{name: value for name, value in given.items() if value is not None},
    )


if __name__ == "__main__":
    main()
