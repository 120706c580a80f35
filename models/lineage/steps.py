"""Steps: what a claim says, as values.

Owns: the kinds of step, what each may be asked for, what may go in, and the typed claim itself.
Must not know: its wire form (`statement`), signatures (`claim`).
"""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Annotated

import msgspec

from models.digest import Digest
from models.lineage.facts import Count, Facts, Text


class Step(StrEnum):
    """What was done."""

    PRETRAIN = "pretrain"
    FINETUNE = "finetune"
    CONVERT = "convert"
    QUANTISE = "quantise"
    BUNDLE = "bundle"
    EVALUATE = "evaluate"


class ParentRole(StrEnum):
    """What a parent was to the step. `base-model` and `source-model` must have a claim themselves."""

    BASE_MODEL = "base-model"
    SOURCE_MODEL = "source-model"
    DATASET = "dataset"
    CALIBRATION = "calibration"
    CODE = "code"
    CONTAINER = "container"


MODEL_ROLES = frozenset({ParentRole.BASE_MODEL, ParentRole.SOURCE_MODEL})


class _Parameters(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, omit_defaults=True):
    """Root of the external parameters: what the person who started the step asked for."""


class TrainingParameters(_Parameters, frozen=True):
    """Of `pretrain` and `finetune`."""

    format: Text = ""
    """`megatron` or `huggingface-safetensors`."""
    iteration: Count | None = None
    recipe: Text = ""
    precision: Text = ""
    seed: Count | None = None


class ConvertParameters(_Parameters, frozen=True):
    """Of `convert`: from a checkpoint to graphs."""

    format: Text = "onnx"
    precision: Text = "float32"
    opset: Count | None = None


class QuantiseParameters(_Parameters, frozen=True):
    """Of `quantise`."""

    scheme: Text
    """For example `int8` or `nvfp4`."""
    group_size: Count | None = None
    excluded: Annotated[tuple[Text, ...], msgspec.Meta(max_length=1024)] = ()
    calibration_samples: Count | None = None


class BundleParameters(_Parameters, frozen=True):
    """Of `bundle`: what the release was to be called."""

    name: Text
    version: Text
    counter: Count
    hardware: Annotated[tuple[Text, ...], msgspec.Meta(max_length=64)] = ()


class EvaluateParameters(_Parameters, frozen=True):
    """Of `evaluate`; the figures are measurements among the facts."""

    suite: Text
    seeds: Annotated[tuple[Count, ...], msgspec.Meta(max_length=1024)] = ()


Parameters = (
    TrainingParameters | ConvertParameters | QuantiseParameters | BundleParameters | EvaluateParameters
)


@dataclass(frozen=True)
class Parent:
    """What went in: its role, its digest, and a name for people."""

    role: ParentRole
    digest: Digest
    name: str = ""


@dataclass(frozen=True)
class CodeRef:
    """A commit of a repository; git names it by its own hash (40 or 64 hexadecimal digits)."""

    repository: str
    commit: str


@dataclass(frozen=True)
class Claim:
    """How `subject_digest` came to be. Times are RFC 3339 in UTC (`2026-11-23T10:00:00Z`)."""

    step: Step
    subject_digest: Digest
    subject_name: str
    parents: tuple[Parent, ...]
    parameters: Parameters
    started_utc: str
    finished_utc: str
    invocation: str
    internal: Facts = field(default_factory=Facts)
    code: CodeRef | None = None

    @property
    def model_parents(self) -> tuple[Digest, ...]:
        """The digests of the parents that are models, in their order."""
        return tuple(parent.digest for parent in self.parents if parent.role in MODEL_ROLES)
