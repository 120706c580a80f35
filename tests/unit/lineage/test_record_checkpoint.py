"""Recording a checkpoint: what is recognised, what its digest binds, and what the claim says of the run."""

import json
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from models.digest import digest_of
from models.errors import DigestMismatchError, DirectoryMismatchError, MalformedError, UsageError
from models.lineage.claim import CodeRef, ParentRole, Step, TrainingParameters
from models.lineage.layout import Format, recognise
from models.lineage.record import (
    SiteFacts,
    checkpoint_bytes,
    dataset_from_text,
    record_checkpoint,
    run_from_environment,
)
from models.release.files import scan, table_digest
from models.release.names import NameRule
from tests.fakes.workshop import RACK, Workshop

FACTS = SiteFacts(now_utc="2026-11-23T10:00:00Z", invocation="record:1")


def megatron(folder: Path) -> Path:
    """A distributed checkpoint as Megatron Core saves it."""
    folder.mkdir(parents=True)
    for name in ("__0_0.distcp", "__0_1.distcp", "__1_0.distcp"):
        (folder / name).write_bytes(name.encode() * 1000)
    (folder / ".metadata").write_bytes(b"dcp")
    (folder / "common.pt").write_bytes(b"args")
    (folder / "metadata.json").write_text('{"sharded_backend": "torch_dist"}')
    return folder


def huggingface(folder: Path, shards: int = 1) -> Path:
    """A checkpoint as Transformers saves it."""
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    if shards == 1:
        (folder / "model.safetensors").write_bytes(b"weights")
        return folder
    names = [f"model-{n:05d}-of-{shards:05d}.safetensors" for n in range(1, shards + 1)]
    for name in names:
        (folder / name).write_bytes(name.encode())
    index = {"weight_map": {f"layer.{n}": name for n, name in enumerate(names)}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    return folder


@pytest.mark.parametrize(
    ("make", "name", "form", "iteration"),
    [
        (megatron, "iter_0001200", Format.MEGATRON, 1200),
        (megatron, "release", Format.MEGATRON, None),
        (huggingface, "checkpoint-900", Format.HUGGINGFACE, 900),
        (huggingface, "drive-7b", Format.HUGGINGFACE, None),
    ],
)
def test_a_checkpoint_is_recognised_by_what_training_left(
    tmp_path: Path, make: Callable[[Path], Path], name: str, form: Format, iteration: int | None
) -> None:
    found = recognise(make(tmp_path / name))
    assert (found.format, found.iteration) == (form, iteration)


def test_the_folder_above_leads_to_the_iteration_that_its_tracker_names(tmp_path: Path) -> None:
    megatron(tmp_path / "iter_0000100")
    megatron(tmp_path / "iter_0000200")
    (tmp_path / "latest_checkpointed_iteration.txt").write_text("200\n")
    assert recognise(tmp_path).folder == tmp_path / "iter_0000200"
    assert recognise(tmp_path).iteration == 200


def test_sharded_safetensors_and_the_trainers_step_are_recognised(tmp_path: Path) -> None:
    folder = huggingface(tmp_path / "run", shards=3)
    (folder / "trainer_state.json").write_text('{"global_step": 77}')
    assert recognise(folder).iteration == 77


def _lose_a_shard(folder: Path) -> None:
    huggingface(folder, 3)
    (folder / "model-00002-of-00003.safetensors").unlink()


def _lose_the_index(folder: Path) -> None:
    huggingface(folder, 3)
    (folder / "model.safetensors.index.json").unlink()


def _lose_the_configuration(folder: Path) -> None:
    huggingface(folder)
    (folder / "config.json").unlink()


def _lose_the_metadata(folder: Path) -> None:
    megatron(folder)
    (folder / ".metadata").unlink()


def _track_nothing(folder: Path) -> None:
    folder.mkdir()
    (folder / "latest_checkpointed_iteration.txt").write_text("300")


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (Path.mkdir, "looked for a Megatron checkpoint"),
        (lambda folder: None, "no folder"),
        (_lose_a_shard, "model-00002-of-00003"),
        (_lose_the_index, "index.json"),
        (_lose_the_configuration, "config.json"),
        (_lose_the_metadata, "not saved to its end"),
        (_track_nothing, "iter_0000300"),
    ],
)
def test_what_is_no_whole_checkpoint_is_refused_with_what_was_looked_for(
    tmp_path: Path, make: Callable[[Path], None], says: str
) -> None:
    make(tmp_path / "x")
    with pytest.raises(UsageError, match=says):
        recognise(tmp_path / "x")


def test_the_subject_is_the_digest_of_the_table_of_all_files(tmp_path: Path) -> None:
    folder = megatron(tmp_path / "iter_0000010")
    recorded = record_checkpoint(folder, FACTS)
    assert recorded.claim.subject_digest == table_digest(scan(folder, rule=NameRule.CHECKPOINT))
    assert len(recorded.entries) == 6
    assert recorded.claim.step is Step.PRETRAIN


@pytest.mark.parametrize("what", ["rename", "swap", "append", "add"])
def test_the_digest_changes_with_any_name_size_or_byte(tmp_path: Path, what: str) -> None:
    folder = megatron(tmp_path / "iter_0000010")
    before = record_checkpoint(folder, FACTS).claim.subject_digest
    one, other = folder / "__0_0.distcp", folder / "__0_1.distcp"
    if what == "rename":
        one.rename(folder / "__9_0.distcp")
    elif what == "swap":
        first, second = one.read_bytes(), other.read_bytes()
        one.write_bytes(second)
        other.write_bytes(first)
    elif what == "append":
        one.write_bytes(one.read_bytes() + b"\0")
    else:
        (folder / "extra.bin").write_bytes(b"")
    assert record_checkpoint(folder, FACTS).claim.subject_digest != before


def test_hashing_on_many_threads_gives_the_same_digest_and_counts_each_byte_once(tmp_path: Path) -> None:
    folder = megatron(tmp_path / "iter_0000010")
    counted, lock = [0], threading.Lock()

    def count(amount: int) -> None:
        with lock:
            counted[0] += amount

    many = record_checkpoint(folder, FACTS, count, workers=8)
    assert many.entries == record_checkpoint(folder, FACTS, workers=1).entries
    assert counted[0] == many.size_bytes == checkpoint_bytes(folder)


def test_a_shard_that_is_a_link_is_refused(tmp_path: Path) -> None:
    folder = megatron(tmp_path / "iter_0000010")
    (folder / "__2_0.distcp").symlink_to(folder / "__0_0.distcp")
    with pytest.raises(DirectoryMismatchError):
        record_checkpoint(folder, FACTS)


def test_a_shard_that_training_is_still_writing_is_refused(tmp_path: Path) -> None:
    folder = huggingface(tmp_path / "x")
    weights = folder / "model.safetensors"
    weights.write_bytes(bytes(3 << 20))

    def still_saving(_: int) -> None:
        with weights.open("ab") as file:
            file.write(b"more")

    with pytest.raises(DigestMismatchError, match="still being written"):
        record_checkpoint(folder, FACTS, still_saving)


def test_slurm_and_the_trackers_name_the_run() -> None:
    run = run_from_environment(
        {
            "SLURM_JOB_ID": "4711",
            "SLURM_CLUSTER_NAME": "oslo",
            "SLURM_RESTART_COUNT": "2",
            "WANDB_ENTITY": "us",
            "WANDB_PROJECT": "drive",
            "WANDB_RUN_ID": "ab12",
            "MLFLOW_RUN_ID": "ff",
        },
        "night",
    )
    assert (run.scheduler, run.cluster, run.job_id, run.attempt) == ("slurm", "oslo", "4711", 2)
    assert (run.wandb, run.mlflow, run.name) == ("us/drive/ab12", "ff", "night")


def test_a_pod_names_the_run_on_kubernetes_and_nothing_is_made_up_elsewhere() -> None:
    pod = run_from_environment(
        {"KUBERNETES_SERVICE_HOST": "10.0.0.1", "HOSTNAME": "train-0", "POD_NAMESPACE": "ml"}
    )
    assert (pod.scheduler, pod.cluster, pod.job_id) == ("kubernetes", "ml", "train-0")
    nothing = run_from_environment({"HOSTNAME": "laptop", "WANDB_PROJECT": "drive"})
    assert (nothing.scheduler, nothing.job_id, nothing.wandb) == ("", "", "")


def test_the_job_is_the_invocation_where_there_is_one(tmp_path: Path) -> None:
    folder = huggingface(tmp_path / "x")
    job = run_from_environment({"SLURM_JOB_ID": "7", "SLURM_CLUSTER_NAME": "oslo"})
    facts = SiteFacts(FACTS.now_utc, "record:1", run=job)
    assert record_checkpoint(folder, facts).claim.invocation == "slurm:oslo/7"
    assert record_checkpoint(folder, FACTS).claim.invocation == "record:1"


def test_the_trainers_own_record_is_in_the_claim(tmp_path: Path) -> None:
    folder = huggingface(tmp_path / "x")
    data, code = digest_of(b"roads"), digest_of(b"sources")
    (folder / "training.json").write_text(
        json.dumps(
            {
                "steps": 612,
                "seed": 3,
                "training_loss": 0.06,
                "code_version": code,
                "datasets": [{"name": "roads", "digest": data}],
                "finished_utc": "2026-11-01T09:00:00Z",
                "note": "ignored",
            }
        )
    )
    claim = record_checkpoint(folder, FACTS).claim
    assert claim.parameters == TrainingParameters(format="huggingface-safetensors", iteration=612, seed=3)
    assert [(p.role, p.digest) for p in claim.parents] == [
        (ParentRole.DATASET, data),
        (ParentRole.CODE, code),
    ]
    assert [(m.name, m.value) for m in claim.internal.measurements] == [("training_loss", 0.06)]
    assert claim.finished_utc == "2026-11-01T09:00:00Z"


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "[]",
        '{"steps": -1}',
        '{"steps": "many"}',
        '{"code_version": "v1"}',
        '{"loss": 1' + "0" * 400 + "}",
    ],
)
def test_a_training_record_that_contradicts_itself_is_refused(tmp_path: Path, text: str) -> None:
    folder = huggingface(tmp_path / "x")
    (folder / "training.json").write_text(text)
    with pytest.raises(MalformedError):
        record_checkpoint(folder, FACTS)


def test_a_model_tuned_from_another_says_so_and_its_facts_can_be_signed(tmp_path: Path) -> None:
    base = digest_of(b"base")
    facts = SiteFacts(
        FACTS.now_utc, "record:1", rack=RACK, base=base, code=CodeRef("https://git.example/x", "b" * 40)
    )
    claim = record_checkpoint(huggingface(tmp_path / "x"), facts).claim
    assert claim.step is Step.FINETUNE
    assert claim.model_parents == (base,)
    assert Workshop().sign(claim)


def test_a_dataset_is_named_by_a_digest_a_file_or_a_folder(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "shard-0.tar").write_bytes(b"shard")
    digest = digest_of(b"shard")
    assert dataset_from_text(f"roads={digest}").digest == digest
    assert dataset_from_text(f"roads={tmp_path / 'data' / 'shard-0.tar'}").digest == digest
    assert dataset_from_text(f"roads={tmp_path / 'data'}").digest == table_digest(scan(tmp_path / "data"))
    for wrong in ("roads", "=x", "roads=", "roads=nowhere"):
        with pytest.raises(UsageError):
            dataset_from_text(wrong)
