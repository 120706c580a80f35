"""Train the reference policy: `python -m models.reference.train --out DIR --minutes N --seed S`.

What it leaves: `DIR/checkpoint`, and in `DIR/state` what it goes on from.

Owns: the loop, its schedule by wall time, and what it says on the way.
Must not know: how samples are made (`collect`, in processes of their own), or how the result is exported.

Evaluation samples come from seeds that training never uses. A killed run goes on where its last state file
left it, with freshly collected samples; the figures in `training.json` add up over its parts.
"""

import argparse
import math
import os
import sys
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from time import monotonic, sleep

import torch
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from safetensors.torch import save_file
from torch import Tensor
from torch.optim.swa_utils import get_ema_multi_avg_fn

from models.errors import RoskvaError
from models.reference.checkpoint import TrainingRecord, point_of
from models.reference.collect import collect
from models.reference.collecting import Collectors, collecting
from models.reference.collector import STUDENT, read_samples
from models.reference.contract import FLOW_STEPS
from models.reference.flow import SCALE, plan_behind
from models.reference.losses import losses
from models.reference.memory import Memory, tensors
from models.reference.network import ReferenceNetwork
from models.reference.run import STATE, Run, Schedule, begin, save

EVALUATION_SEED = 7_000_000
_WARM_UP_STEPS = 150
_STUDENT_FROM = 0.12
_STUDENT_EVERY = 1 / 160
_EMA = 0.998
_PICK_UP_S = 2.0
_FIRST_SECOND = 10
_ON_CPU = Schedule(80.0, takes_turns=True)
_ON_GPU = Schedule(80.0, batch=512, capacity=300_000, rate=2e-3)


def step(run: Run, batch: list[Tensor]) -> None:
    """One step on `batch`, a `Samples` as tensors, at the rate that the run's time asks for."""
    record = run.record
    rate = (
        run.schedule.rate * min(1.0, (record.steps + 1) / _WARM_UP_STEPS) * (0.02 + 0.98 * _cosine(run.share))
    )
    for group in run.optimiser.param_groups:
        group["lr"] = rate
    plan, words, scene = losses(run.network, _lit_anew(batch), reasoning=run.schedule.reasoning)
    loss = plan + 0.1 * words + 0.5 * scene
    run.optimiser.zero_grad(set_to_none=True)
    loss.backward()
    torch.nn.utils.clip_grad_norm_(run.network.parameters(), 1.0)
    run.optimiser.step()
    with torch.no_grad():
        kept = min(_EMA, record.steps / (record.steps + 20))
        learnt = run.network.state_dict()
        learnt_in_order = [
            learnt[name] for name in run.average
        ]  # a resumed run's averages come in their file's
        get_ema_multi_avg_fn(kept)(list(run.average.values()), learnt_in_order, record.steps)
    seen, weight = float(plan.detach()), 0.02 if record.steps else 1.0
    record.training_loss += weight * (seen - record.training_loss)
    record.steps += 1
    record.samples_seen += len(batch[0])


def _lit_anew(batch: list[Tensor]) -> list[Tensor]:
    """The same samples in another light; a camera that is dark stays dark."""
    frames = batch[0].float()
    each = (len(frames), 1, 1, 1, 1)
    gain = torch.empty(each, device=frames.device).uniform_(0.9, 1.1)
    lit = (frames.amax(dim=(2, 3, 4), keepdim=True) > 0).float()
    return [(frames * gain + 4 * torch.randn(each, device=frames.device)) * lit, *batch[1:]]


def _cosine(share: float) -> float:
    return 0.5 + 0.5 * math.cos(math.pi * share)


def _evaluate(run: Run, held_out: list[Tensor]) -> None:
    """Losses of the averaged weights on held-out samples, and the plan's error behind the expert's words, into the record."""
    probe = ReferenceNetwork(run.network.sizes).to(run.schedule.device)
    probe.load_state_dict(run.average)
    sight, right, tokens, count = held_out[:3], held_out[3][:, 0], held_out[4][:, 0], held_out[5][:, 0]
    heard = count if run.schedule.reasoning else torch.ones_like(count)
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(0)
        plan, words, _ = losses(probe, held_out, reasoning=run.schedule.reasoning)
        proposed = plan_behind(probe, sight, (tokens, heard), FLOW_STEPS)
    error = (proposed - right).abs()[:, :_FIRST_SECOND].mean((0, 1))
    run.record.evaluation_plan_loss = float(plan)
    run.record.evaluation_word_loss = float(words)
    run.record.acceleration_error_mps2 = float(error[0]) * float(SCALE[0])
    run.record.curvature_error_per_m = float(error[1]) * float(SCALE[1])
    run.record.curve.append(point_of(run.record))


def _collecting(run: Run, out: Path) -> AbstractContextManager[Collectors]:
    seed = run.record.seed * 100 + run.record.parts  # each part's samples are other ones
    return collecting(out / STATE, run.schedule.collectors, seed, reasoning=run.schedule.reasoning)


def pick_up(run: Run, memory: Memory, collectors: Collectors) -> None:
    """Take what the collectors left, once what was taken before is used up; where turns are taken, all at once."""
    if not is_hungry(run, memory):
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


def is_hungry(run: Run, memory: Memory) -> bool:
    """Whether it is time for new samples: too few are here, or each was seen as often as it is to be."""
    used_up = run.record.samples_seen >= run.schedule.reuse * run.record.samples
    return memory.count < run.schedule.first_samples or used_up


def train(out: Path, seed: int, schedule: Schedule) -> TrainingRecord:
    """Train by `schedule`, or go on with what `out` holds, and leave the checkpoint in `out`.

    Raises:
        UsageError: `out` holds another run.
        CollectorEndedError: a collector died; the state up to the last save is there.
    """
    (out / STATE).mkdir(parents=True, exist_ok=True)
    run, memory = begin(out, seed, schedule), Memory(schedule.capacity, schedule.device)
    held_out = tensors(collect(EVALUATION_SEED, schedule.held_out_worlds, 6.0), schedule.device)
    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns) as progress, _collecting(run, out) as collectors:
        task = progress.add_task("collecting", total=1.0)
        run.begun_s = monotonic()
        saved_s, told = run.record.wall_seconds, run.share
        while run.share < 1.0:
            _round(run, memory, collectors)
            progress.update(task, completed=run.share, description=_told(run.record))
            if run.share > _STUDENT_FROM and run.share - told >= _STUDENT_EVERY:
                _tell_student(run, out / STATE)
                told = run.share
            if run.record.wall_seconds - saved_s >= schedule.save_every_s or run.share >= 1.0:
                _evaluate(run, held_out)
                save(run, out)
                saved_s = run.record.wall_seconds
    return run.record


def _round(run: Run, memory: Memory, collectors: Collectors) -> None:
    """Take the newest samples, then train for a moment."""
    collectors.check()
    pick_up(run, memory, collectors)
    until_s = monotonic() + _PICK_UP_S
    few = memory.count < run.schedule.first_samples
    waits = few or (run.schedule.takes_turns and is_hungry(run, memory))
    while not waits and monotonic() < until_s:
        step(run, memory.batch(run.schedule.batch))
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


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=80.0)
    parser.add_argument("--seed", type=int, default=1, help="from 1 on")
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
        "--capacity", type=int, help="samples to remember, 51 kB each; 120000, on a GPU 300000"
    )
    return parser.parse_args()


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


def main() -> None:
    """Command line."""
    arguments = _arguments()
    torch.set_num_threads(arguments.threads)
    try:
        train(arguments.out, arguments.seed, _schedule(arguments))
    except KeyboardInterrupt:
        sys.exit(f"stopped; the same command goes on from {arguments.out}")
    except RoskvaError as error:
        sys.stderr.write(f"train: error [{error.code}]: {error}\n")
        sys.exit(error.exit_code)


if __name__ == "__main__":
    main()
