"""Train the reference policy: `python -m models.reference.train --out DIR --minutes N --seed S`.

Owns: the loop, its schedule by wall time, its resumable state, and what it writes.
Must not know: how samples are made (`collect`), or how the result is exported.

Evaluation samples come from seeds that training never uses. A killed run goes on where its last state file
left it, with freshly collected samples; the figures in `training.json` add up over its parts.
"""

import argparse
import json
import math
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic

import numpy as np
import torch
from numpy.typing import NDArray
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn import functional

from models.reference.checkpoint import TrainingRecord, code_version, write_checkpoint
from models.reference.collect import Driver, Samples, collect
from models.reference.contract import (
    BOS,
    FLOW_STEPS,
    HORIZON_STEPS,
    SCALE_ACCELERATION_MPS2,
    SCALE_CURVATURE_PER_M,
)
from models.reference.network import Cache, ReferenceNetwork
from models.reference.sizes import Sizes

EVALUATION_SEED = 7_000_000
SCALE = np.array([SCALE_ACCELERATION_MPS2, SCALE_CURVATURE_PER_M], np.float32)
_PEAK_RATE = 1.5e-3
_WARM_UP_STEPS = 150
_STUDENT_FROM, _STUDENT_SHARE = 0.15, 0.6
_EMA = 0.998


@dataclass(frozen=True, slots=True)
class Schedule:
    """How long to train and in which portions; `minutes` counts the time of all parts of a resumed run."""

    minutes: float
    batch: int = 80
    worlds: int = 64
    seconds: float = 4.8
    first_chunks: int = 8
    collect_share: float = 0.3
    burst_s: float = 5.0
    save_every_s: float = 60.0
    capacity: int = 64_000


@dataclass
class Run:
    """Everything that a resumed run needs, besides samples."""

    network: ReferenceNetwork
    optimiser: torch.optim.Optimizer
    average: dict[str, Tensor]
    record: TrainingRecord
    schedule: Schedule

    @property
    def share(self) -> float:
        """How much of the time is spent, 0 to 1."""
        return min(self.record.wall_seconds / (self.schedule.minutes * 60), 1.0)


@dataclass
class Memory:
    """The last `capacity` samples as tensors; the oldest are overwritten."""

    capacity: int
    rows: list[Tensor] = field(default_factory=list)
    count: int = 0
    next_row: int = 0

    def add(self, samples: Samples) -> None:
        """Append, wrapping around."""
        fresh = _tensors(samples)
        if not self.rows:
            self.rows = [torch.zeros(self.capacity, *part.shape[1:], dtype=part.dtype) for part in fresh]
        where = (self.next_row + torch.arange(len(samples))) % self.capacity
        for row, part in zip(self.rows, fresh, strict=True):
            row[where] = part
        self.next_row = (self.next_row + len(samples)) % self.capacity
        self.count = min(self.count + len(samples), self.capacity)

    def batch(self, size: int) -> list[Tensor]:
        """`size` samples at random."""
        pick = torch.randint(self.count, (size,))
        return [row[pick] for row in self.rows]


def _tensors(samples: Samples) -> list[Tensor]:
    parts = (
        samples.frames,
        samples.ego_history,
        samples.plan / SCALE,
        samples.tokens,
        samples.token_count,
        samples.facts,
    )
    return [torch.from_numpy(part) for part in parts]


def losses(network: ReferenceNetwork, batch: list[Tensor]) -> tuple[Tensor, Tensor, Tensor]:
    """Losses of plan, reasoning and scene facts on one batch.

    The plan's is taken at a random time of the flow; the action expert sees the reasoning up to a random word
    in a third of the samples, so that a governor may cut it short.
    """
    frames, ego, plan, tokens, count, facts = batch
    tokens = tokens[:, : int(count.max())]
    size = len(plan)
    prefix = network.see(frames, ego, torch.zeros(size, dtype=torch.long))
    written = torch.cat([torch.full((size, 1), BOS), tokens], dim=1)
    logits, cache = network.reason(prefix, written)
    place = torch.arange(tokens.shape[1])[None]
    spoken = place < count[:, None]
    words = functional.cross_entropy(logits[:, :-1][spoken], tokens[spoken])
    time = torch.rand(size)
    state = torch.lerp(torch.randn_like(plan), plan, time[:, None, None])
    proposed = network.act(cache, state, time, _visible(prefix.shape[1], written.shape[1], count))
    scene = functional.smooth_l1_loss(network.facts(prefix), facts, beta=0.1)
    return _plan_loss(proposed, plan), words, scene


def _plan_loss(proposed: Tensor, plan: Tensor) -> Tensor:
    weight = torch.exp(-torch.arange(HORIZON_STEPS) / 20.0) + 0.1
    error = functional.smooth_l1_loss(proposed, plan, beta=0.1, reduction="none")
    return (error * weight[None, :, None] * torch.tensor([1.0, 2.0])).mean() / weight.mean()


def _visible(prefix: int, written: int, count: Tensor) -> Tensor:
    """(batch, prefix + written): all of the sentence with or without its end, or its first words only."""
    whole = count + torch.randint(0, 2, count.shape)
    part = (torch.rand(count.shape) * (count + 1)).long() + 1
    seen = torch.where(torch.rand(count.shape) < 0.35, part, whole)
    return torch.arange(prefix + written)[None] < (prefix + seen)[:, None]


def student(network: ReferenceNetwork) -> Driver:
    """The network as a driver of training worlds: no words but `<bos>`, the contract's Euler steps."""

    def drive(frames: NDArray[np.uint8], ego: NDArray[np.float32]) -> NDArray[np.float32]:
        with torch.no_grad():
            size = len(ego)
            prefix = network.see(
                torch.from_numpy(frames), torch.from_numpy(ego), torch.zeros(size, dtype=torch.long)
            )
            _, cache = network.reason(prefix, torch.full((size, 1), BOS))
            plan: NDArray[np.float32] = flow(
                network, cache, torch.randn(size, HORIZON_STEPS, 2), FLOW_STEPS
            ).numpy()
        return plan * SCALE

    return drive


def flow(network: ReferenceNetwork, cache: Cache, noise: Tensor, steps: int) -> Tensor:
    """Euler steps from `noise` (batch, H, 2) to a plan in scaled units."""
    state = noise
    for step in range(steps):
        time = torch.full((len(noise),), step / steps)
        state = state + (network.act(cache, state, time) - state) / (1 - step / steps) / steps
    return state


def _train_for(run: Run, memory: Memory, seconds: float) -> None:
    begun = monotonic()
    while monotonic() - begun < seconds:
        _step(run, memory.batch(run.schedule.batch))


def _step(run: Run, batch: list[Tensor]) -> None:
    record = run.record
    rate = _PEAK_RATE * min(1.0, (record.steps + 1) / _WARM_UP_STEPS) * (0.02 + 0.98 * _cosine(run.share))
    for group in run.optimiser.param_groups:
        group["lr"] = rate
    frames = batch[0].float()
    gain, shift = (
        torch.empty(len(frames), 1, 1, 1, 1).uniform_(0.9, 1.1),
        torch.randn(len(frames), 1, 1, 1, 1),
    )
    batch[0] = frames * gain + 4 * shift
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
    probe = ReferenceNetwork(run.network.sizes)
    probe.load_state_dict(run.average)
    generator_state = torch.get_rng_state()
    torch.manual_seed(0)
    with torch.no_grad():
        plan, words, _ = losses(probe, list(held_out))
        prefix = probe.see(held_out[0], held_out[1], torch.zeros(len(held_out[0]), dtype=torch.long))
        _, cache = probe.reason(prefix, torch.full((len(prefix), 1), BOS))
        error = (
            (flow(probe, cache, torch.randn_like(held_out[2]), 4) - held_out[2]).abs()[:, :10].mean((0, 1))
        )
    torch.set_rng_state(generator_state)
    run.record.evaluation_plan_loss = float(plan)
    run.record.evaluation_word_loss = float(words)
    run.record.acceleration_error_mps2 = float(error[0] * SCALE[0])
    run.record.curvature_error_per_m = float(error[1] * SCALE[1])


def _save(run: Run, out: Path) -> None:
    """The checkpoint so far, and the state to resume from; the record goes last, each by rename."""
    weights = {name: value for name, value in run.average.items() if not name.startswith("scene.")}
    write_checkpoint(
        out, {name: value.numpy() for name, value in weights.items()}, run.network.sizes, run.record
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
    network = ReferenceNetwork(Sizes())
    optimiser = torch.optim.AdamW(network.parameters(), lr=_PEAK_RATE, weight_decay=0.01, betas=(0.9, 0.98))
    record = TrainingRecord(seed=seed, code_version=code_version())
    state = out / "resume.safetensors"
    average = {name: value.clone() for name, value in network.state_dict().items()}
    if state.exists():
        saved = load_file(state)
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


def _part(saved: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in saved.items() if name.startswith(prefix)}


def _collected(run: Run, chunk_seed: int) -> Samples:
    by_student = run.share > _STUDENT_FROM and np.random.default_rng(chunk_seed).random() < _STUDENT_SHARE
    samples = collect(
        chunk_seed,
        run.schedule.worlds,
        run.schedule.seconds,
        student(run.network) if by_student else None,
    )
    run.record.samples += len(samples)
    run.record.student_samples += len(samples) if by_student else 0
    return samples


def train(out: Path, seed: int, schedule: Schedule) -> TrainingRecord:
    """Train by `schedule`, or go on with what `out` holds, and leave the checkpoint in `out`."""
    out.mkdir(parents=True, exist_ok=True)
    run, memory = _begun(out, seed, schedule), Memory(schedule.capacity)
    held_out = _tensors(collect(EVALUATION_SEED, schedule.worlds, schedule.seconds))
    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns) as progress:
        task = progress.add_task("collecting", total=1.0)
        saved_at, chunk = run.record.wall_seconds, seed * 1_000_000 + run.record.steps
        while run.share < 1.0:
            chunk = _round(run, memory, chunk)
            if run.record.wall_seconds - saved_at >= schedule.save_every_s or run.share >= 1.0:
                _evaluate(run, held_out)
                _save(run, out)
                saved_at = run.record.wall_seconds
            progress.update(task, completed=run.share, description=_told(run.record))
    return run.record


def _round(run: Run, memory: Memory, chunk: int) -> int:
    """Collect, then train so long that collecting keeps its share of the time; the next chunk's number."""
    begun = monotonic()
    for _ in range(1 if memory.count else run.schedule.first_chunks):
        memory.add(_collected(run, chunk))
        chunk += 1
    collecting = min(monotonic() - begun, run.schedule.burst_s)
    _train_for(run, memory, collecting * (1 / run.schedule.collect_share - 1))
    run.record.wall_seconds += monotonic() - begun
    return chunk


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
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    train(arguments.out, arguments.seed, Schedule(arguments.minutes))


if __name__ == "__main__":
    main()
