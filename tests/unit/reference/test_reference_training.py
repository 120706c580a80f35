"""Training learns from what it claims to, and goes on after a kill."""

from pathlib import Path

import numpy as np
import pytest

from models.reference.collect import collect
from models.reference.contract import EOS


def test_the_same_seed_gives_the_same_samples_and_another_seed_others() -> None:
    first, again, other = (collect(seed, 3, 0.8) for seed in (1, 1, 2))
    assert len(first) == 6
    assert np.array_equal(first.frames, again.frames)
    assert np.array_equal(first.plan, again.plan)
    assert not np.array_equal(first.frames, other.frames)


def test_labels_are_the_experts_even_where_the_student_drives() -> None:
    swerving = np.zeros((3, 64, 2), np.float32) + np.array([0.0, 0.1], np.float32)
    by_expert, by_student = collect(4, 3, 1.2), collect(4, 3, 1.2, lambda _: swerving)
    assert np.array_equal(by_expert.plan[:3], by_student.plan[:3])
    assert not np.array_equal(by_expert.plan[3:], by_student.plan[3:])
    assert np.abs(by_student.plan[3:, :5, 1] - 0.1).min() > 0.01


def test_sentences_are_padded_behind_their_end() -> None:
    samples = collect(5, 4, 0.4)
    for row, count in zip(samples.tokens, samples.token_count, strict=True):
        assert row[count - 1] == EOS
        assert (row[count:] == EOS).all()


def test_a_killed_run_goes_on_where_its_state_was_saved(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    from models.reference.train import Schedule, train

    def portion(minutes: float) -> Schedule:
        return Schedule(minutes, 8, 600, save_every_s=0.0, first_samples=1, held_out_worlds=2)

    first = train(tmp_path, 1, portion(0.4))
    (tmp_path / "resume.safetensors.part").write_bytes(b"half a state")
    second = train(tmp_path, 1, portion(first.wall_seconds / 60 + 0.4))
    assert second.steps > first.steps > 0
    assert second.samples > first.samples
    assert (tmp_path / "model.safetensors").exists()
    assert np.isfinite(second.evaluation_plan_loss)
