"""The reference checkpoint's folder: `model.safetensors`, `config.json`, `training.json`, `README.md`, `learning.svg`.

Owns: writing and reading it, NumPy only.
Must not know: PyTorch, ONNX.
"""

import hashlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file

from models.contract import PolicyContract, UnicycleActions
from models.errors import ContractMismatchError
from models.reference.contract import reference_contract
from models.reference.curves import Curve, svg_from_curves
from models.reference.sizes import Sizes

ARCHITECTURE = "roskva-reference"
Weights = dict[str, NDArray[np.float32]]
_READERS = (
    "export.py",
    "graph.py",
    "export_tflite.py",
    "tflite_graph.py",
    "evaluate.py",
    "faithful.py",
    "displacement.py",
    "curves.py",
)


class Config(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the weights are for, and their sizes."""

    architecture: str
    contract: PolicyContract
    sizes: Sizes


class CurvePoint(NamedTuple):
    """How training stood after so many seconds."""

    wall_seconds: float
    steps: int
    training_loss: float
    evaluation_plan_loss: float
    evaluation_word_loss: float


@dataclass
class TrainingRecord:
    """How a checkpoint came to be; seconds add up over the `parts` that kills cut a run into.

    `code_version` is the last part's.
    """

    seed: int
    reasoning: bool = True
    parts: int = 1
    steps: int = 0
    samples: int = 0
    samples_seen: int = 0
    """How many were learnt from, each as often as it was."""
    student_samples: int = 0
    wall_seconds: float = 0.0
    training_loss: float = 0.0
    evaluation_plan_loss: float = 0.0
    evaluation_word_loss: float = 0.0
    acceleration_error_mps2: float = 0.0
    curvature_error_per_m: float = 0.0
    code_version: str = ""
    machine: str = ""
    """What the trainer ran on, and how many collectors beside it."""
    curve: list[CurvePoint] = field(default_factory=list)


def point_of(record: TrainingRecord) -> CurvePoint:
    """Where `record` stands, as a point of its curve."""
    return CurvePoint(*(getattr(record, name) for name in CurvePoint._fields))


def write_checkpoint(folder: Path, weights: Weights, sizes: Sizes, record: TrainingRecord) -> None:
    """Write all five files into `folder`, each by rename."""
    folder.mkdir(parents=True, exist_ok=True)
    save_file(weights, folder / "model.safetensors.part", metadata={"format": "np"})
    config = Config(ARCHITECTURE, reference_contract(), sizes)
    _write(folder / "config.json.part", msgspec.json.format(msgspec.json.encode(config), indent=2))
    _write(folder / "training.json.part", msgspec.json.format(msgspec.json.encode(record), indent=2))
    parameters = sum(value.size for value in weights.values())
    _write(folder / "README.md.part", _card(record, parameters).encode())
    _write(folder / "learning.svg.part", _picture(record).encode())
    for name in ("model.safetensors", "config.json", "training.json", "README.md", "learning.svg"):
        (folder / f"{name}.part").replace(folder / name)


def read_checkpoint(folder: Path) -> tuple[Config, Weights]:
    """The configuration and the weights; raises `msgspec.ValidationError` or `OSError` where they are not right."""
    config = msgspec.json.decode((folder / "config.json").read_bytes(), type=Config)
    return config, load_file(folder / "model.safetensors")


def check_servable(config: Config) -> None:
    """Raise `ContractMismatchError` where this architecture cannot serve what `config` says."""
    cameras, sizes = config.contract.cameras, config.sizes
    drives = isinstance(config.contract.action_space, UnicycleActions)
    if config.architecture != ARCHITECTURE or not drives:
        raise ContractMismatchError(
            f"{config.architecture} isn't the reference architecture, or doesn't drive"
        )
    shapes = [(camera.frames, camera.height_px, camera.width_px) for camera in cameras]
    if shapes != [(cameras[0].frames, sizes.height_px, sizes.width_px)] * sizes.cameras:
        raise ContractMismatchError("the checkpoint's sizes and its contract disagree about the cameras")


def code_version() -> str:
    """sha256 over this package's sources, less those that only read checkpoints, in the order of their paths."""
    here = Path(__file__).parent
    digest = hashlib.sha256()
    for path in sorted(set(here.rglob("*.py")) - {here / name for name in _READERS}):
        digest.update(path.relative_to(here).as_posix().encode() + b"\0" + path.read_bytes() + b"\0")
    return f"sha256:{digest.hexdigest()}"


_REASONED = """**Its words matter**: each sight was learnt with two sentences, the expert's and one with another decision, and with the
plan that follows from each. How often its plans do what it decided, and follow a decision that is forced on it, is what
`python -m bench reference` prints."""
_UNREASONED = "**Without reasoning**: it was taught no words, and plans from sight alone: a baseline."


def _write(path: Path, content: bytes) -> None:
    path.write_bytes(content + (b"" if content.endswith(b"\n") else b"\n"))


def _picture(record: TrainingRecord) -> str:
    lines = {
        "training: plan": "training_loss",
        "evaluation: plan": "evaluation_plan_loss",
        "evaluation: words": "evaluation_word_loss",
    }
    curves = [
        Curve(name, [(point.wall_seconds / 60, float(getattr(point, column))) for point in record.curve])
        for name, column in lines.items()
    ]
    return svg_from_curves("Losses of the reference policy", curves)


def _card(record: TrainingRecord, parameters: int) -> str:
    return f"""---
license: apache-2.0
library_name: roskva
tags: [vision-language-action, autonomous-driving, toy]
---
# Roskva reference policy

A miniature vision-language-action policy ({parameters:,} parameters, float32). It looks through four cameras of
64 × 32 px, writes a sentence about what it sees, and plans 6.4 s of acceleration and curvature by flow matching.

**For**: exercising everything around a policy (quantising, signing, shipping, real-time control, tracing) with
one that truly drives. **Not for**: any road. It knows only the drawn world of `models.reference.world`.

**Trained** by imitation of a privileged expert on {record.samples:,} samples made there, {record.student_samples:,}
of them on drives of its own (DAgger), {record.steps:,} steps, {record.wall_seconds / 60:.0f} minutes on {record.machine or "one processor"},
seed {record.seed}, in {record.parts} part(s): which samples come depends on the speed of the collectors beside the
trainer, so that two runs are alike in figures, not in bits. No outside data.

**Held-out samples** (seeds apart, first second of the plan behind the expert's words, mean absolute error): acceleration
{record.acceleration_error_mps2:.3f} m/s², curvature {record.curvature_error_per_m:.5f} 1/m.
Closed-loop figures: `evaluation.json`, where present; `python -m models.reference.evaluate` makes it.

{_REASONED if record.reasoning else _UNREASONED}

**Weak points**: what one must stop for stands on straights only; others' speed is not judged; words follow templates.
"""
