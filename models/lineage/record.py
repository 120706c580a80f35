"""Recording a checkpoint: from a directory, as training saved it, to the claim of how it came to be.

Owns: hashing its files in parallel, the run's identity from the scheduler's environment, the trainer's own facts
(`training.json`), and the `pretrain` or `finetune` claim that they make.
Must not know: who signs it; clocks, environments and repositories are passed in.
"""

import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import msgspec

from models.digest import Digest, digest_from_text, digest_of_file
from models.errors import MalformedError, UsageError
from models.lineage.claim import Claim, CodeRef, Parent, ParentRole, Step, TrainingParameters
from models.lineage.facts import Count, Facts, Measurement, Rack, Run, Text, Tool
from models.lineage.layout import Layout, recognise
from models.release.files import FileEntry, list_files, open_folder, scan, table_digest
from models.release.names import NameRule

TRAINING_NAME = "training.json"
_MAX_TRAINING_BYTES = 1 << 20


@dataclass(frozen=True)
class SiteFacts:
    """What the training site says of the run, beside the files; `now_utc` is RFC 3339 with `Z`.

    `invocation` names the run where neither scheduler nor tracker does.
    """

    now_utc: str
    invocation: str
    run: Run = field(default_factory=Run)
    rack: Rack | None = None
    datasets: tuple[Parent, ...] = ()
    code: CodeRef | None = None
    base: Digest | None = None
    tools: tuple[Tool, ...] = ()


@dataclass(frozen=True)
class RecordedCheckpoint:
    """The claim, not yet signed, and the table of files that its subject digest names."""

    claim: Claim
    entries: tuple[FileEntry, ...]
    layout: Layout

    @property
    def size_bytes(self) -> int:
        """Bytes of all files together."""
        return sum(entry.size_bytes for entry in self.entries)


class _Dataset(msgspec.Struct, frozen=True):
    name: Text
    digest: str


class _Training(msgspec.Struct, frozen=True):
    """The keys of `training.json` that mean something here; every other number becomes a measurement."""

    steps: Count | None = None
    seed: Count | None = None
    recipe: Text = ""
    precision: Text = ""
    code_version: str = ""
    """Digest of the sources that decided the outcome."""
    datasets: Annotated[tuple[_Dataset, ...], msgspec.Meta(max_length=512)] = ()
    started_utc: str = ""
    finished_utc: str = ""


def checkpoint_bytes(directory: Path) -> int:
    """How many bytes a recording of `directory` will hash; raises as `record_checkpoint`."""
    with open_folder(recognise(directory).folder, follow=True) as folder:
        listing = list_files(folder, NameRule.CHECKPOINT)
        return sum(os.stat(path, dir_fd=folder).st_size for path in listing.files)


def record_checkpoint(
    directory: Path, facts: SiteFacts, on_bytes: Callable[[int], None] = lambda _: None, workers: int = 0
) -> RecordedCheckpoint:
    """The claim of the checkpoint in `directory`. Files are hashed on `workers` threads (0: one a core).

    `on_bytes` is told of each block that was hashed, from any of the threads.

    Raises:
        UsageError: no known checkpoint layout, or an incomplete one.
        HostileNameError, DirectoryMismatchError, DigestMismatchError: as `models.release.files.scan`.
        MalformedError: `training.json` is not what `docs/how-to-record-a-checkpoint.md` says.
    """
    layout = recognise(directory)
    entries = scan(layout.folder, workers, NameRule.CHECKPOINT, on_bytes)
    training, measurements = _training_of(layout.folder)
    claim = Claim(
        step=Step.FINETUNE if facts.base else Step.PRETRAIN,
        subject_digest=table_digest(entries),
        subject_name=facts.run.name or layout.folder.resolve().name,
        parents=tuple(_parents_of(facts, training)),
        parameters=_parameters_of(layout, training),
        started_utc=training.started_utc or facts.now_utc,
        finished_utc=training.finished_utc or facts.now_utc,
        invocation=_invocation_of(facts),
        internal=Facts(run=facts.run, rack=facts.rack, tools=facts.tools, measurements=measurements),
        code=facts.code,
    )
    return RecordedCheckpoint(claim, entries, layout)


def run_from_environment(environment: Mapping[str, str], name: str = "") -> Run:
    """Which run this is, by the variables of Slurm, Kubernetes, Weights & Biases and MLflow."""
    scheduler, cluster, job_id, attempt = _scheduled(environment)
    project = [environment.get(key, "") for key in ("WANDB_ENTITY", "WANDB_PROJECT", "WANDB_RUN_ID")]
    return Run(
        name=name,
        scheduler=scheduler,
        cluster=cluster,
        job_id=job_id,
        attempt=attempt,
        wandb="/".join(project) if project[2] else "",
        mlflow=environment.get("MLFLOW_RUN_ID", ""),
    )


def dataset_from_text(text: str) -> Parent:
    """`NAME=DIGEST`, or `NAME=PATH` of a file or a folder that is hashed here, as a dataset.

    Raises:
        UsageError: no name, or neither a digest nor a path that exists.
    """
    name, _, value = text.partition("=")
    path = Path(value)
    if name and value and (path.is_dir() or path.is_file()):
        return Parent(ParentRole.DATASET, _content_digest(path), name)
    try:
        digest = digest_from_text(value if name else "")
    except MalformedError as error:
        raise UsageError(
            f"dataset {text[:80]!r}: write NAME=sha256:… (64 digits), or NAME=PATH of a file or folder"
        ) from error
    return Parent(ParentRole.DATASET, digest, name)


def _content_digest(path: Path) -> Digest:
    if path.is_dir():
        return table_digest(scan(path, rule=NameRule.CHECKPOINT))
    with path.open("rb") as file:
        return digest_of_file(file)[0]


def _scheduled(environment: Mapping[str, str]) -> tuple[str, str, str, int | None]:
    if job_id := environment.get("SLURM_JOB_ID", ""):
        restarts = environment.get("SLURM_RESTART_COUNT", "")
        attempt = int(restarts) if restarts.isascii() and restarts.isdigit() else None
        return "slurm", environment.get("SLURM_CLUSTER_NAME", ""), job_id, attempt
    if "KUBERNETES_SERVICE_HOST" in environment:
        pod = environment.get("POD_NAME") or environment.get("HOSTNAME", "")
        return "kubernetes", environment.get("POD_NAMESPACE", ""), environment.get("JOB_NAME") or pod, None
    return "", "", "", None


def _parents_of(facts: SiteFacts, training: _Training) -> Iterator[Parent]:
    if facts.base:
        yield Parent(ParentRole.BASE_MODEL, facts.base)
    yield from facts.datasets
    for dataset in training.datasets:
        yield Parent(ParentRole.DATASET, digest_from_text(dataset.digest), dataset.name)
    if training.code_version:
        yield Parent(ParentRole.CODE, digest_from_text(training.code_version), "training sources")


def _parameters_of(layout: Layout, training: _Training) -> TrainingParameters:
    return TrainingParameters(
        format=layout.format.value,
        iteration=training.steps if layout.iteration is None else layout.iteration,
        recipe=training.recipe,
        precision=training.precision,
        seed=training.seed,
    )


def _invocation_of(facts: SiteFacts) -> str:
    run = facts.run
    if not run.job_id:
        return run.wandb or run.mlflow or facts.invocation
    attempt = "" if run.attempt is None else f"/{run.attempt}"
    return f"{run.scheduler}:{run.cluster}/{run.job_id}{attempt}"


def _training_of(folder: Path) -> tuple[_Training, tuple[Measurement, ...]]:
    path = folder / TRAINING_NAME
    if not path.is_file():
        return _Training(), ()
    if path.stat().st_size > _MAX_TRAINING_BYTES:
        raise MalformedError(f"{TRAINING_NAME} is longer than {_MAX_TRAINING_BYTES} bytes")
    try:
        data = path.read_bytes()
        numbers = msgspec.json.decode(data, type=dict[str, object])
        return msgspec.json.decode(data, type=_Training), tuple(_measurements_of(numbers))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise MalformedError(f"{TRAINING_NAME}: {error}") from error


def _measurements_of(numbers: Mapping[str, object]) -> Iterator[Measurement]:
    known = set(_Training.__struct_fields__)
    for name, value in sorted(numbers.items()):
        if name not in known and isinstance(value, int | float) and not isinstance(value, bool):
            yield Measurement(name, _measured(name, value))


def _measured(name: str, value: float) -> float:
    try:
        return float(value)
    except OverflowError as error:
        raise MalformedError(f"{TRAINING_NAME}: {name[:80]!r} is too large a number") from error
