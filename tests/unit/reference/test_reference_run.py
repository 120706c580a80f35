"""A run of training can be stopped and gone on with, takes turns, and learns from the words that it is shown."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

torch = pytest.importorskip("torch")

from models.errors import UsageError  # noqa: E402 - behind the skip
from models.reference.collect import Samples, collect  # noqa: E402
from models.reference.collecting import CollectorEndedError, Collectors  # noqa: E402
from models.reference.collector import (  # noqa: E402
    MAX_CHUNKS,
    PAUSE,
    UNREAD_MAX,
    seed_of,
    student,
    write_samples,
)
from models.reference.losses import losses  # noqa: E402
from models.reference.memory import Memory, tensors  # noqa: E402
from models.reference.network import ReferenceNetwork  # noqa: E402
from models.reference.run import MAX_COLLECTORS, STATE, Run, Schedule, begin, save  # noqa: E402
from models.reference.sizes import Sizes  # noqa: E402
from models.reference.train import pick_up, step  # noqa: E402

SCHEDULE = Schedule(1.0, batch=4, capacity=40, first_samples=4)


@pytest.fixture(scope="module")
def samples() -> Samples:
    return collect(7, 12, 0.8)


@pytest.fixture(scope="module")
def network() -> ReferenceNetwork:
    torch.manual_seed(3)
    return ReferenceNetwork(Sizes())


def stepped(out: Path, samples: Samples) -> Run:
    (out / STATE).mkdir(exist_ok=True)
    run = begin(out, 1, SCHEDULE)
    step(run, tensors(samples, "cpu"))
    return run


def test_what_was_saved_is_gone_on_with_weights_averages_and_moments_alike(
    tmp_path: Path, samples: Samples
) -> None:
    run = stepped(tmp_path, samples)
    save(run, tmp_path)
    (tmp_path / STATE / "resume.safetensors.part").write_bytes(b"half a state of a killed run")
    again = begin(tmp_path, 1, SCHEDULE)
    fresh = begin(tmp_path / "elsewhere", 1, SCHEDULE)
    for name, weight in run.network.state_dict().items():
        assert torch.equal(again.network.state_dict()[name], weight)
        assert torch.equal(again.average[name], run.average[name])
    assert not all(
        torch.equal(fresh.network.state_dict()[name], weight)
        for name, weight in run.network.state_dict().items()
    )
    ours, theirs = (list(each.optimiser.state_dict()["state"].values()) for each in (run, again))
    moments = zip(ours, theirs, strict=True)
    assert all(torch.equal(one[key], other[key]) for one, other in moments for key in one)
    assert (again.record.parts, again.record.steps) == (2, run.record.steps)
    assert again.record.samples_seen == len(samples)


def test_the_state_alone_is_enough_to_go_on(tmp_path: Path, samples: Samples) -> None:
    save(stepped(tmp_path, samples), tmp_path)
    (tmp_path / "checkpoint").rename(tmp_path / "taken away")
    assert begin(tmp_path, 1, SCHEDULE).record.steps == 1


def test_another_run_in_the_same_folder_is_refused(tmp_path: Path, samples: Samples) -> None:
    save(stepped(tmp_path, samples), tmp_path)
    with pytest.raises(UsageError, match="without reasoning: name another folder"):
        begin(tmp_path, 1, replace(SCHEDULE, reasoning=False))
    with pytest.raises(UsageError, match="of seed 2"):
        begin(tmp_path, 2, SCHEDULE)


@pytest.mark.parametrize(
    "wrong", [{"minutes": 0.0}, {"capacity": 3}, {"collectors": 0}, {"collectors": 64}, {"batch": 0}]
)
def test_a_schedule_that_could_learn_nothing_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        replace(SCHEDULE, **wrong)


def test_training_never_takes_a_seed_of_evaluation(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="from 1 on"):
        begin(tmp_path, 0, SCHEDULE)
    first = seed_of(1 * 100 + 1, 0, 0) * 100_003
    assert first > 10**12
    chunks = [seed_of(101, number, chunk) for number in (0, MAX_COLLECTORS) for chunk in (0, MAX_CHUNKS - 1)]
    assert len({*chunks, seed_of(102, 0, 0)}) == 5
    assert max(chunks) < seed_of(102, 0, 0)


@pytest.fixture
def collectors(tmp_path: Path) -> Collectors:
    return Collectors(tmp_path, [ended_process()])


def ended_process() -> "subprocess.Popen[bytes]":
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process


def test_trainer_and_collectors_take_turns(tmp_path: Path, samples: Samples, collectors: Collectors) -> None:
    run, memory = begin(tmp_path, 1, replace(SCHEDULE, takes_turns=True)), Memory(40, "cpu")
    write_samples(tmp_path / "0-000000-expert.safetensors", samples)
    pick_up(run, memory, collectors)
    assert (memory.count, run.record.samples) == (0, 0), "the collector has more to leave"
    for chunk in range(1, UNREAD_MAX):
        write_samples(tmp_path / f"0-{chunk:06d}-student.safetensors", samples)
    pick_up(run, memory, collectors)
    assert run.record.samples == UNREAD_MAX * len(samples)
    assert run.record.student_samples == (UNREAD_MAX - 1) * len(samples)
    assert (tmp_path / PAUSE).exists()
    assert collectors.left() == []
    write_samples(tmp_path / "0-000009-expert.safetensors", samples)
    pick_up(run, memory, collectors)
    assert len(collectors.left()) == 1, "what was taken is not used up"
    run.record.samples_seen = round(run.schedule.reuse * run.record.samples)
    pick_up(run, memory, collectors)
    assert not (tmp_path / PAUSE).exists()


def test_a_collector_that_ended_is_told(collectors: Collectors) -> None:
    with pytest.raises(CollectorEndedError, match="goes on"):
        collectors.check()


def test_memory_keeps_the_newest(samples: Samples) -> None:
    memory = Memory(len(samples) + 5, "cpu")
    memory.add(samples)
    memory.add(replace(samples, instruction=np.full(len(samples), 99)))
    assert memory.count == memory.capacity
    assert int((memory.rows[2] == 99).sum()) == len(samples)


def loss(network: ReferenceNetwork, samples: Samples, *, reasoning: bool = True) -> list[float]:
    torch.manual_seed(5)
    with torch.no_grad():
        return [float(each) for each in losses(network, tensors(samples, "cpu"), reasoning=reasoning)]


def test_words_are_learnt_from_the_first_sentence_and_plans_from_both(
    network: ReferenceNetwork, samples: Samples
) -> None:
    plan, words, scene = loss(network, samples)
    other = samples.tokens.copy()
    other[:, 1, 0] = (other[:, 1, 0] + 1) % 40
    changed = loss(network, replace(samples, tokens=other))
    assert changed[0] != plan
    assert changed[1:] == [words, scene]


def test_what_stands_behind_a_sentence_is_not_learnt_from(
    network: ReferenceNetwork, samples: Samples
) -> None:
    padded = samples.tokens.copy()
    for row, count in zip(padded.reshape(-1, padded.shape[2]), samples.token_count.ravel(), strict=True):
        row[count:] = 7
    assert loss(network, replace(samples, tokens=padded)) == pytest.approx(loss(network, samples))


def test_the_baseline_hears_no_words(network: ReferenceNetwork, samples: Samples) -> None:
    other = replace(
        samples,
        tokens=(samples.tokens + 1) % 40,
        plan=samples.plan * np.array([[[1.0]], [[3.0]]], np.float32),
    )
    assert loss(network, other, reasoning=False) == loss(network, samples, reasoning=False)
    assert loss(network, samples, reasoning=False)[1] == 0.0


def test_a_student_drives_behind_the_words_or_without_them(
    network: ReferenceNetwork, samples: Samples
) -> None:
    other = replace(samples, tokens=(samples.tokens + 1) % 40)

    def driven(seen: Samples, *, with_words: bool) -> NDArray[np.float32]:
        torch.manual_seed(6)
        return student(network, with_words=with_words)(seen)

    assert not np.array_equal(driven(samples, with_words=True), driven(other, with_words=True))
    assert np.array_equal(driven(samples, with_words=False), driven(other, with_words=False))
