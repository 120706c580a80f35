"""Train the reference policy: `python -m models.reference.train --out DIR --minutes N --seed S`.

Owns: the loop, its schedule by wall time, its resumable state, and what it writes.
Must not know: how samples are made (`collect`, in processes of their own), or how the result is exported.

Evaluation samples come from seeds that training never uses. A killed run goes on where its last state file
left it, with freshly collected samples; the figures in `training.json` add up over its parts.
"""

import argparse
import json
import math
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic, sleep

import torch
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn import functional

from models.reference.checkpoint import TrainingRecord, code_version, write_checkpoint
from models.reference.collect import Samples, collect
from models.reference.collector import SAMPLES, STUDENT, read_samples
from models.reference.contract import BOS, HORIZON_STEPS
from models.reference.flow import SCALE, flow
from models.reference.network import ReferenceNetwork
from models.reference.sizes import Sizes

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
    capacity: int = 60_000
    collectors: int = 1
    device: str = "cpu"
    save_every_s: float = 60.0
    rate: float = _PEAK_RATE
    first_samples: int = 3_000
    held_out_worlds: int = 48


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


@dataclass
class Memory:
    """The last `capacity` samples as tensors on the device; the oldest are overwritten."""

    capacity: int
    device: str
    rows: list[Tensor] = field(default_factory=list)
    count: int = 0
    next_row: int = 0

    def add(self, samples: Samples) -> None:
        """Append, wrapping around."""
        fresh = tensors(samples, self.device)
        if not self.rows:
            self.rows = [
                torch.zeros(self.capacity, *part.shape[1:], dtype=part.dtype, device=self.device)
                for part in fresh
            ]
        where = (self.next_row + torch.arange(len(samples), device=self.device)) % self.capacity
        for row, part in zip(self.rows, fresh, strict=True):
            row[where] = part
        self.next_row = (self.next_row + len(samples)) % self.capacity
        self.count = min(self.count + len(samples), self.capacity)

    def batch(self, size: int) -> list[Tensor]:
        """`size` samples at random."""
        pick = torch.randint(self.count, (size,), device=self.device)
        return [row[pick] for row in self.rows]


def tensors(samples: Samples, device: str) -> list[Tensor]:
    """Frames, ego history, instruction, plan in scaled units, tokens, their number, facts."""
    parts = (
        samples.frames,
        samples.ego_history,
        samples.instruction,
        samples.plan / SCALE,
        samples.tokens,
        samples.token_count,
        samples.facts,
    )
    return [torch.from_numpy(part).to(device) for part in parts]


def losses(network: ReferenceNetwork, batch: list[Tensor]) -> tuple[Tensor, Tensor, Tensor]:
    """Losses of plan, reasoning and scene facts on one batch.

    The plan's is taken at a random time of the flow; the action expert sees the reasoning up to a random word
    in a third of the samples, so that a governor may cut it short.
    """
    frames, ego, instruction, plan, tokens, count, facts = batch
    tokens = tokens[:, : int(count.max())]
    size = len(plan)
    prefix = network.see(frames, ego, instruction)
    written = torch.cat([torch.full((size, 1), BOS, device=tokens.device), tokens], dim=1)
    logits, cache = network.reason(prefix, written)
    place = torch.arange(tokens.shape[1], device=tokens.device)[None]
    spoken = place < count[:, None]
    words = functional.cross_entropy(logits[:, :-1][spoken], tokens[spoken])
    time = torch.rand(size, device=plan.device)
    state = torch.lerp(torch.randn_like(plan), plan, time[:, None, None])
    proposed = network.act(cache, state, time, _visible(prefix.shape[1], written.shape[1], count))
    scene = functional.smooth_l1_loss(network.facts(prefix), facts, beta=0.1)
    return _plan_loss(proposed, plan), words, scene


def _plan_loss(proposed: Tensor, plan: Tensor) -> Tensor:
    weight = torch.exp(-torch.arange(HORIZON_STEPS, device=plan.device) / 20.0) + 0.1
    error = functional.smooth_l1_loss(proposed, plan, beta=0.1, reduction="none")
    columns = torch.tensor([1.0, 2.0], device=plan.device)
    return (error * weight[None, :, None] * columns).mean() / weight.mean()


def _visible(prefix: int, written: int, count: Tensor) -> Tensor:
    """(batch, prefix + written): all of the sentence with or without its end, or its first words only."""
    where = count.device
    whole = count + torch.randint(0, 2, count.shape, device=where)
    part = (torch.rand(count.shape, device=where) * (count + 1)).long() + 1
    seen = torch.where(torch.rand(count.shape, device=where) < 0.35, part, whole)
    return torch.arange(prefix + written, device=where)[None] < (prefix + seen)[:, None]


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
    plan, words, scene = losses(run.network, batch)
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
        plan, words, _ = losses(probe, list(held_out))
        prefix = probe.see(*held_out[:3])
        _, cache = probe.reason(prefix, torch.full((len(prefix), 1), BOS, device=prefix.device))
        proposed = flow(probe, cache, torch.randn_like(held_out[3]), 4)
        error = (proposed - held_out[3]).abs()[:, :10].mean((0, 1))
    torch.set_rng_state(generator_state)
    run.record.evaluation_plan_loss = float(plan)
    run.record.evaluation_word_loss = float(words)
    run.record.acceleration_error_mps2 = float(error[0]) * float(SCALE[0])
    run.record.curvature_error_per_m = float(error[1]) * float(SCALE[1])


def _save(run: Run, out: Path) -> None:
    """The checkpoint so far, and the state to resume from; the record goes last, each by rename."""
    weights = {name: value for name, value in run.average.items() if not name.startswith("scene.")}
    write_checkpoint(
        out, {name: value.cpu().numpy() for name, value in weights.items()}, run.network.sizes, run.record
    )
    state = {f"network.{name}": value for name, value in run.network.state_dict().items()}
    state |= {f"average.{name}": value for name, value in run.average.items()}
    for name, parameter in run.network.named_parameters():
        moments = run.optimiser.state.get(parameter, {})
        state |= {f"{key}.{name}": value.clone() for key, value in moments.items()}
    save_file(state, out / "resume.safetensors.part")
    (out / "resume.safetensors.part").replace(out / "resume.safetensors")


def _begun(out: Path, seed: int, schedule: Schedule) -> Run:
    """A new run, or the one that `out` holds the state of."""
    torch.manual_seed(seed)
    network = ReferenceNetwork(Sizes()).to(schedule.device)
    optimiser = torch.optim.AdamW(
        network.parameters(), lr=schedule.rate, weight_decay=0.01, betas=(0.9, 0.98)
    )
    record = TrainingRecord(seed=seed, code_version=code_version(), machine=_machine(schedule))
    state = out / "resume.safetensors"
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
        told = json.loads((out / "training.json").read_text(encoding="utf-8"))
        record = TrainingRecord(**told | {"parts": told["parts"] + 1, "code_version": code_version()})
    return Run(network, optimiser, average, record, schedule)


def _machine(schedule: Schedule) -> str:
    cuda = schedule.device.startswith("cuda")
    name = torch.cuda.get_device_name() if cuda else f"{torch.get_num_threads()} processor thread(s)"
    return f"{name}, {schedule.collectors} collector(s) beside it"


def _part(saved: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in saved.items() if name.startswith(prefix)}


@dataclass(frozen=True, slots=True)
class _Collectors:
    """The processes, and the folder where they leave samples."""

    folder: Path
    processes: list["subprocess.Popen[bytes]"]

    def check(self) -> None:
        """Raise `ChildProcessError` where one ended: without samples nothing would be learnt."""
        if any(process.poll() is not None for process in self.processes):
            raise ChildProcessError("a collector ended by itself; what it said stands above")


@contextmanager
def _collecting(run: Run, out: Path) -> Iterator[_Collectors]:
    """The collectors, working."""
    folder = out / SAMPLES
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    seed = run.record.seed * 100 + run.record.parts
    argv = [sys.executable, "-P", "-m", "models.reference.collector", "--out", str(out), "--seed", str(seed)]
    processes = [
        subprocess.Popen([*argv, "--number", str(number)], stdin=subprocess.DEVNULL)
        for number in range(run.schedule.collectors)
    ]
    try:
        yield _Collectors(folder, processes)
    finally:
        for process in processes:
            process.terminate()
        for process in processes:
            process.wait()
        shutil.rmtree(folder, ignore_errors=True)


def _pick_up(run: Run, memory: Memory, folder: Path) -> None:
    """Take what the collectors left since."""
    for path in sorted(folder.glob("*.safetensors")):
        samples = read_samples(path)
        path.unlink()
        memory.add(samples)
        run.record.samples += len(samples)
        run.record.student_samples += len(samples) if path.stem.endswith("student") else 0


def train(out: Path, seed: int, schedule: Schedule) -> TrainingRecord:
    """Train by `schedule`, or go on with what `out` holds, and leave the checkpoint in `out`."""
    out.mkdir(parents=True, exist_ok=True)
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
                _tell_student(run, out)
                told_s = run.record.wall_seconds
            if run.record.wall_seconds - saved_s >= schedule.save_every_s or run.share >= 1.0:
                _evaluate(run, held_out)
                _save(run, out)
                saved_s = run.record.wall_seconds
    return run.record


def _round(run: Run, memory: Memory, collectors: _Collectors) -> None:
    """Take the newest samples, then train for a moment."""
    collectors.check()
    _pick_up(run, memory, collectors.folder)
    until_s = monotonic() + _PICK_UP_S
    while memory.count >= run.schedule.first_samples and monotonic() < until_s:
        _step(run, memory.batch(run.schedule.batch))
    if memory.count < run.schedule.first_samples:
        sleep(0.1)
    run.tick()


def _tell_student(run: Run, out: Path) -> None:
    """Leave the averaged weights where collectors find them."""
    part = out / f"{STUDENT}.part"
    save_file({name: value.cpu().contiguous() for name, value in run.average.items()}, part)
    part.replace(out / STUDENT)


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
    parser.add_argument("--minutes", type=float, default=20.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--threads", type=int, default=1, help="of the trainer, where it has no GPU")
    parser.add_argument("--collectors", type=int, default=max(1, (os.cpu_count() or 2) - 1))
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--batch", type=int, default=96)
    parser.add_argument("--rate", type=float, default=_PEAK_RATE)
    parser.add_argument("--capacity", type=int, default=60_000)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    schedule = Schedule(
        arguments.minutes,
        arguments.batch,
        arguments.capacity,
        arguments.collectors,
        arguments.device,
        rate=arguments.rate,
    )
    try:
        train(arguments.out, arguments.seed, schedule)
    except KeyboardInterrupt:
        sys.exit(f"stopped; the same command goes on from {arguments.out}")
    except ChildProcessError as error:
        sys.exit(f"train: error: {error}; the same command goes on from {arguments.out}")


if __name__ == "__main__":
    main()
