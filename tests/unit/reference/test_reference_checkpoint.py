"""The checkpoint in the repository is small, complete, and says what it is."""

import json
import struct
from pathlib import Path

import numpy as np
import pytest

from models.reference.checkpoint import TrainingRecord, read_checkpoint, write_checkpoint
from models.reference.contract import reference_contract

CHECKPOINT = Path(__file__).parents[3] / "models" / "reference" / "checkpoint"


def test_it_is_at_most_six_megabytes_of_float32() -> None:
    assert sum(path.stat().st_size for path in CHECKPOINT.iterdir()) <= 6_000_000
    _, weights = read_checkpoint(CHECKPOINT)
    assert {value.dtype for value in weights.values()} == {np.dtype(np.float32)}
    assert all(np.isfinite(value).all() for value in weights.values())


def test_it_was_trained_for_the_contract_that_the_code_states() -> None:
    assert read_checkpoint(CHECKPOINT)[0].contract == reference_contract()


def test_it_tells_how_it_came_to_be() -> None:
    record = json.loads((CHECKPOINT / "training.json").read_text(encoding="utf-8"))
    assert record["steps"] > 0
    assert record["samples"] > 0
    assert record["code_version"].startswith("sha256:")
    assert "Not for" in (CHECKPOINT / "README.md").read_text(encoding="utf-8")


def test_its_header_holds_nothing_but_tensors_and_their_format() -> None:
    raw = (CHECKPOINT / "model.safetensors").read_bytes()
    (length,) = struct.unpack("<Q", raw[:8])
    header = json.loads(raw[8 : 8 + length])
    assert header.pop("__metadata__") == {"format": "np"}
    assert all(entry["dtype"] == "F32" for entry in header.values())


def test_what_is_written_is_what_is_read(tmp_path: Path) -> None:
    config, weights = read_checkpoint(CHECKPOINT)
    write_checkpoint(tmp_path, weights, config.sizes, TrainingRecord(seed=5))
    again, same = read_checkpoint(tmp_path)
    assert again == config
    assert all(np.array_equal(same[name], value) for name, value in weights.items())
    assert not list(tmp_path.glob("*.part"))


def test_a_configuration_with_an_unknown_key_is_refused(tmp_path: Path) -> None:
    config = json.loads((CHECKPOINT / "config.json").read_text(encoding="utf-8"))
    (tmp_path / "config.json").write_text(json.dumps(config | {"surprise": 1}), encoding="utf-8")
    with pytest.raises(Exception, match="surprise"):
        read_checkpoint(tmp_path)
