"""Training learns from what it claims to, and goes on after a kill."""

from pathlib import Path

import numpy as np
import pytest

from models.lineage.layout import recognise
from models.reference.collect import collect
from models.reference.contract import BOS, EOS, MAX_TOKENS, VOCABULARY


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
    assert np.abs(by_student.plan[3:, 0, :5, 1] - 0.1).min() > 0.01


def test_sentences_are_padded_behind_their_end() -> None:
    samples = collect(5, 4, 0.4)
    for row, count in zip(samples.tokens.reshape(-1, MAX_TOKENS), samples.token_count.ravel(), strict=True):
        assert row[count - 1] == EOS
        assert (row[count:] == EOS).all()


def test_the_second_sentence_differs_by_its_decision_alone_and_its_plan_with_it() -> None:
    samples = collect(6, 12, 0.8)
    decide = VOCABULARY.index("decide")
    changed = 0
    for (said, other), plans in zip(samples.tokens, samples.plan, strict=True):
        upto = int(np.flatnonzero(said == decide)[0]) + 1
        assert np.array_equal(said[:upto], other[:upto])
        if not np.array_equal(said, other):
            changed += 1
            assert not np.array_equal(plans[0], plans[1])
    assert changed > len(samples) / 2


def test_sentences_side_by_side_are_read_as_if_each_were_alone() -> None:
    torch = pytest.importorskip("torch")
    from models.reference.network import ReferenceNetwork
    from models.reference.sizes import Sizes

    torch.manual_seed(0)
    network, sizes = ReferenceNetwork(Sizes()), Sizes()
    prefix = torch.randn(2, sizes.prefix, sizes.width)
    said = torch.randint(2, len(VOCABULARY), (2, 2, 5))
    said[:, :, 0] = BOS
    together, cache = network.reason(prefix, said.flatten(1), 2)
    for index in range(2):
        alone, own = network.reason(prefix, said[:, index])
        assert torch.allclose(together[:, index * 5 : index * 5 + 5], alone, atol=1e-5)
        first = sizes.prefix + index * 5
        assert torch.allclose(cache.keys[-1][:, first : first + 5], own.keys[-1][:, -5:], atol=1e-5)


def test_a_stopped_run_goes_on_and_leaves_a_checkpoint_that_can_be_recorded(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    from models.reference.run import Schedule
    from models.reference.train import train

    def portion(minutes: float) -> Schedule:
        return Schedule(
            minutes, 8, 600, save_every_s=0.0, first_samples=1, held_out_worlds=2, takes_turns=True
        )

    first = train(tmp_path, 1, portion(0.4))
    (tmp_path / "state/resume.safetensors.part").write_bytes(b"half a state")
    second = train(tmp_path, 1, portion(first.wall_seconds / 60 + 0.4))
    assert second.steps > first.steps > 0
    assert second.samples > first.samples
    assert len(second.curve) > len(first.curve) > 0
    assert recognise(tmp_path / "checkpoint").folder == tmp_path / "checkpoint"
    assert "</svg>" in (tmp_path / "checkpoint/learning.svg").read_text()
    assert np.isfinite(second.evaluation_plan_loss)
