"""Facts: what a builder says of the place and the run that made an artefact.

Owns: the types of a claim's internal parameters: run, rack, tools, measurements; the bounds on their text.
Must not know: how they are collected (`record`, `rack`), how they are signed (`claim`).

Nothing here is proven: a signature says who stated it. `Evidence.CLAIMED` writes that down.
"""

from enum import StrEnum
from typing import Annotated

import msgspec

_PLAIN = r"\A[^\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]*\Z"
Text = Annotated[str, msgspec.Meta(max_length=512, pattern=_PLAIN)]
"""One line of text: no control or direction characters, so that a claim cannot draw on a terminal."""
Count = Annotated[int, msgspec.Meta(ge=0, le=(1 << 63) - 1)]


class Evidence(StrEnum):
    """What stands behind a hardware identity. `claimed`: the builder's word, no attestation token."""

    CLAIMED = "claimed"


class Gpu(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One GPU: NVML's module id in its tray, and its UUID."""

    module_id: Count
    uuid: Text


class Tray(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One compute tray, by NVML's slot number, tray index and host id."""

    slot: Count
    tray_index: Count
    host_id: Count
    gpus: Annotated[tuple[Gpu, ...], msgspec.Meta(max_length=64)] = ()


class Rack(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Where it ran: chassis serial and NVLink cluster name the rack, trays the place in it."""

    system: Text
    chassis_serial: Text
    cluster_uuid: Text
    clique_id: Count
    emulated: bool
    evidence: Evidence
    trays: Annotated[tuple[Tray, ...], msgspec.Meta(max_length=64)] = ()


class Run(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, omit_defaults=True):
    """Which run it was, as scheduler and experiment trackers name it; empty where they did not say."""

    name: Text = ""
    scheduler: Text = ""
    cluster: Text = ""
    job_id: Text = ""
    attempt: Count | None = None
    wandb: Text = ""
    """`entity/project/run`."""
    mlflow: Text = ""
    gpu_hours: float | None = None
    energy_kwh: float | None = None


class Tool(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A program that took part, for example `onnxruntime` 1.24."""

    name: Text
    version: Text


class Measurement(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A figure that the builder measured; its unit is in its name."""

    name: Text
    value: float


class Facts(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, omit_defaults=True):
    """The internal parameters of a claim."""

    run: Run | None = None
    rack: Rack | None = None
    tools: Annotated[tuple[Tool, ...], msgspec.Meta(max_length=64)] = ()
    measurements: Annotated[tuple[Measurement, ...], msgspec.Meta(max_length=256)] = ()
