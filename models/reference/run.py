"""A training run: its schedule, its weights and moments, and the file that it goes on from.

Owns: what is kept between two parts of a run, in one file. Must not know: losses, collectors, the screen.
"""

from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic

import msgspec
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from models.errors import UsageError
from models.reference.checkpoint import TrainingRecord, code_version, write_checkpoint
from models.reference.network import ReferenceNetwork
from models.reference.sizes import Sizes

CHECKPOINT, STATE = "checkpoint", "state"
MAX_COLLECTORS = 63
"""More would run into the seeds of the next part of a run."""
_RESUME = "resume.safetensors"
_MOMENTS = ("step", "exp_avg", "exp_avg_sq")


@dataclass(frozen=True, slots=True)
class Schedule:
    """How long to train, on what; `minutes` counts the time of all parts of a resumed run.

    Raises `UsageError` where nothing could be learnt by it.
    """

    minutes: float
    batch: int = 96
    capacity: int = 120_000
    collectors: int = 1
    device: str = "cpu"
    save_every_s: float = 120.0
    rate: float = 1.5e-3
    first_samples: int = 3_000
    held_out_worlds: int = 48
    reuse: float = 3.0
    """How often a sample is learnt from before another is taken."""
    takes_turns: bool = False
    """Whether the collectors wait while the trainer works, and it for them: where there are not cores for all."""
    reasoning: bool = True

    def __post_init__(self) -> None:
        if self.minutes <= 0 or self.batch < 1 or self.capacity < max(self.batch, self.first_samples):
            raise UsageError(
                f"nothing is learnt in {self.minutes} minutes from {self.capacity} samples, {self.batch} at a time; "
                f"{max(self.batch, self.first_samples)} samples are the fewest"
            )
        if not 1 <= self.collectors <= MAX_COLLECTORS:
            raise UsageError(f"{self.collectors} collectors; 1 to {MAX_COLLECTORS} can work for one run")


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


def begin(out: Path, seed: int, schedule: Schedule) -> Run:
    """A new run, or the one that `out` holds the state of. Raises `UsageError` where that is another run."""
    if seed < 1:
        raise UsageError(f"seed {seed}: training takes seeds from 1 on, others are for evaluation")
    torch.manual_seed(seed)
    network = ReferenceNetwork(Sizes()).to(schedule.device)
    optimiser = torch.optim.AdamW(
        network.parameters(), lr=schedule.rate, weight_decay=0.01, betas=(0.9, 0.98)
    )
    record = TrainingRecord(seed, schedule.reasoning, code_version=code_version())
    average = {name: value.clone() for name, value in network.state_dict().items()}
    run = Run(network, optimiser, average, record, schedule)
    state = out / STATE / _RESUME
    if state.exists():
        _resume(run, state)
    run.record.machine = _machine(schedule)
    return run


def save(run: Run, out: Path) -> None:
    """The state to go on from, then the checkpoint so far, each file by rename."""
    state = {f"network.{name}": value for name, value in run.network.state_dict().items()}
    state |= {f"average.{name}": value for name, value in run.average.items()}
    for name, parameter in run.network.named_parameters():
        moments = run.optimiser.state.get(parameter, {})
        state |= {f"{key}.{name}": value.clone() for key, value in moments.items()}
    part = out / STATE / f"{_RESUME}.part"
    save_file(state, part, metadata={"record": msgspec.json.encode(run.record).decode()})
    part.replace(out / STATE / _RESUME)
    weights = {name: value for name, value in run.average.items() if not name.startswith("scene.")}
    arrays = {name: value.cpu().numpy() for name, value in weights.items()}
    write_checkpoint(out / CHECKPOINT, arrays, run.network.sizes, run.record)


def _resume(run: Run, state: Path) -> None:
    with safe_open(state, framework="pt", device=run.schedule.device) as file:
        saved = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no mapping
        record = msgspec.json.decode(file.metadata()["record"], type=TrainingRecord)
    asked = run.record
    if (record.seed, record.reasoning) != (asked.seed, asked.reasoning):
        raise UsageError(
            f"{state.parent.parent} holds a run of seed {record.seed}, {_kind(record)}; "
            f"this one would be of seed {asked.seed}, {_kind(asked)}: name another folder"
        )
    run.network.load_state_dict(_part(saved, "network."))
    run.average = _part(saved, "average.")
    for name, parameter in run.network.named_parameters():
        moments = {key: saved[f"{key}.{name}"] for key in _MOMENTS if f"{key}.{name}" in saved}
        if moments:
            run.optimiser.state[parameter] = moments | {"step": moments["step"].cpu()}
    record.parts, record.code_version = record.parts + 1, asked.code_version
    run.record = record


def _kind(record: TrainingRecord) -> str:
    return "with reasoning" if record.reasoning else "without reasoning"


def _part(saved: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in saved.items() if name.startswith(prefix)}


def _machine(schedule: Schedule) -> str:
    cuda = schedule.device.startswith("cuda")
    name = torch.cuda.get_device_name() if cuda else f"{torch.get_num_threads()} processor thread(s)"
    return f"{name}, {schedule.collectors} collector(s) beside it"
