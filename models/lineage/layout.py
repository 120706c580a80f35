"""Layouts: recognising what training frameworks leave on disk.

Owns: which files make a Megatron or a Hugging Face checkpoint complete, and where its iteration stands.
Must not know: digests, claims. Names and small JSON files are read; weights and pickles never.
"""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from models.errors import UsageError

_ITERATION = re.compile(r"iter_(\d{1,15})")
_STEP = re.compile(r"checkpoint-(\d{1,15})")
_TRACKER = "latest_checkpointed_iteration.txt"
_MAX_JSON_BYTES = 64 << 20
_SOUGHT = (
    "looked for a Megatron checkpoint (a folder iter_<number> or release with *.distcp shards and .metadata, or the "
    f"folder above it with {_TRACKER}) and for Hugging Face safetensors (config.json with model.safetensors, or with "
    "*.safetensors shards and model.safetensors.index.json)"
)


class Format(StrEnum):
    """How the checkpoint is laid out."""

    MEGATRON = "megatron"
    HUGGINGFACE = "huggingface-safetensors"


@dataclass(frozen=True)
class Layout:
    """A recognised checkpoint: the folder that is its whole content, and its iteration where it tells."""

    folder: Path
    format: Format
    iteration: int | None


def recognise(directory: Path) -> Layout:
    """The checkpoint in `directory`.

    Raises:
        UsageError: no layout that is known, or one that lacks files; says what was looked for.
    """
    if not directory.is_dir():
        raise UsageError(f"no folder {directory}")
    folder = _tracked(directory)
    names = sorted(path.name for path in folder.iterdir())
    if any(name.endswith(".distcp") for name in names):
        return _megatron(folder, names)
    if any(name.endswith(".safetensors") for name in names):
        return _huggingface(folder, names)
    raise UsageError(f"{directory} holds no checkpoint: {_SOUGHT}")


def _tracked(directory: Path) -> Path:
    """The folder that Megatron's tracker file points to, or `directory` itself."""
    tracker = directory / _TRACKER
    if not tracker.is_file():
        return directory
    with tracker.open(encoding="ascii", errors="replace") as file:
        text = file.read(32).strip()
    name = "release" if text == "release" else f"iter_{text:0>7}"
    if not (text == "release" or text.isdigit()) or not (directory / name).is_dir():
        raise UsageError(f"{tracker} points to {text!r}, and there is no folder {name}")
    return directory / name


def _megatron(folder: Path, names: Sequence[str]) -> Layout:
    if ".metadata" not in names:
        raise UsageError(f"{folder} has *.distcp shards but no .metadata: it was not saved to its end")
    found = _ITERATION.fullmatch(folder.resolve().name)
    return Layout(folder, Format.MEGATRON, int(found[1]) if found else None)


def _huggingface(folder: Path, names: Sequence[str]) -> Layout:
    if "config.json" not in names:
        raise UsageError(f"{folder} has safetensors but no config.json; {_SOUGHT}")
    present = {name for name in names if name.endswith(".safetensors")}
    if "model.safetensors.index.json" in names:
        lost = _indexed(folder / "model.safetensors.index.json") - present
        if lost:
            raise UsageError(f"{folder} lacks {len(lost)} shards of its index, first {min(lost)}")
    elif "model.safetensors" not in present:
        raise UsageError(f"{folder} has {len(present)} shards but no model.safetensors.index.json; {_SOUGHT}")
    return Layout(folder, Format.HUGGINGFACE, _huggingface_iteration(folder))


def _indexed(index: Path) -> set[str]:
    weight_map = _json_object(index).get("weight_map")
    if not isinstance(weight_map, dict) or not all(isinstance(name, str) for name in weight_map.values()):
        raise UsageError(f"{index} has no weight_map from tensors to shards")
    return set(weight_map.values())


def _huggingface_iteration(folder: Path) -> int | None:
    found = _STEP.fullmatch(folder.resolve().name)
    if found:
        return int(found[1])
    state = folder / "trainer_state.json"
    step = _json_object(state).get("global_step") if state.is_file() else None
    return step if isinstance(step, int) and step >= 0 else None


def _json_object(path: Path) -> dict[str, object]:
    if path.stat().st_size > _MAX_JSON_BYTES:
        raise UsageError(f"{path} is longer than {_MAX_JSON_BYTES} bytes")
    try:
        found = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{path} is not JSON: {error}") from error
    if not isinstance(found, dict):
        raise UsageError(f"{path} is not a JSON object")
    return found
