"""`roskva lineage`: record a checkpoint at the training site, and derive an ML-BOM from a release.

Owns: options, progress, what is printed, which files are written; asking NVML of this machine.
Must not know: what a claim looks like inside.
"""

import json
import os
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Annotated
from uuid import uuid4

import typer
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn
from rich.text import Text

from fleet.cli.code_of import code_from_text
from fleet.cli.inputs import read_input
from models.digest import Digest, digest_from_text
from models.errors import MalformedError, UsageError
from models.lineage.chain import MAX_CHAIN_BYTES
from models.lineage.claim import TrainingParameters, read_unverified, sign_claim
from models.lineage.examine import SmallFiles, examine
from models.lineage.facts import Rack, Tool
from models.lineage.mlbom import mlbom_from_chain
from models.lineage.rack import MAX_PLATFORM_BYTES, load_nvml, rack_from_nvml, rack_from_platform
from models.lineage.record import (
    RecordedCheckpoint,
    SiteFacts,
    checkpoint_bytes,
    dataset_from_text,
    record_checkpoint,
    run_from_environment,
)
from models.release.files import table_bytes
from models.release.manifest import (
    CLAIMS_NAME,
    MANIFEST_NAME,
    MAX_MANIFEST_BYTES,
    SIGNATURE_NAME,
    manifest_from_bytes,
)
from models.trust.atomic import write_atomically
from models.trust.keys import private_key_from_pem
from models.trust.oms import MAX_BUNDLE_BYTES
from models.trust.policy import MAX_POLICY_BYTES, policy_from_bytes

TABLE_NAME = "checkpoint.table"
MLBOM_NAME = "mlbom.cdx.json"

app = typer.Typer(no_args_is_help=True)


@dataclass(frozen=True)
class _Written:
    """What a recording left on disk."""

    recorded: RecordedCheckpoint
    builder: str
    claim: Path
    table: Path


@app.command()
def record(
    directory: Annotated[
        Path,
        typer.Argument(
            metavar="CHECKPOINT_DIR", help="A Megatron iter_* folder, or Hugging Face safetensors."
        ),
    ],
    key: Annotated[Path, typer.Option(help="Private key of the builder (PEM, P-256).")],
    builder: Annotated[str, typer.Option(help="The builder's name in the trust policy.")],
    out: Annotated[Path, typer.Option(help="Where the claim goes; checkpoint.table is written beside it.")],
    dataset: Annotated[list[str] | None, typer.Option(help="NAME=sha256:… or NAME=PATH; repeatable.")] = None,
    code: Annotated[str, typer.Option(help="REPOSITORY@COMMIT, or a clean git work tree.")] = "",
    platform: Annotated[
        Path | None, typer.Option(help="Rack identity from a JSON file instead of NVML.")
    ] = None,
    base: Annotated[
        str, typer.Option(help="Fine-tuned from: a digest, or a file of that model's claims.")
    ] = "",
    run_name: Annotated[str, typer.Option(help="A name for the run, shown wherever it is traced.")] = "",
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object on stdout, no progress.")] = False,
) -> None:
    """Hash a checkpoint, and sign the claim of how it came to be."""
    signer = _signer(key)
    base_digest, base_claims = _base_of(base)
    facts = SiteFacts(
        now_utc=datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        invocation=f"record:{uuid4()}",
        run=run_from_environment(os.environ, run_name),
        rack=_rack(platform),
        datasets=tuple(dataset_from_text(text) for text in dataset or ()),
        code=code_from_text(code) if code else None,
        base=base_digest,
        tools=(Tool("roskva", version("roskva")),),
    )
    recorded = _with_progress(directory, facts, quiet=as_json)
    line = sign_claim(recorded.claim, signer, builder)
    out.parent.mkdir(parents=True, exist_ok=True)
    table = out.parent / TABLE_NAME
    write_atomically(table, [table_bytes(recorded.entries)])
    write_atomically(out, [base_claims, line])
    _show(_Written(recorded, builder, out, table), as_json=as_json)


@app.command()
def mlbom(
    directory: Annotated[
        Path, typer.Argument(metavar="RELEASE_DIR", help="A release, as `release build` wrote it.")
    ],
    policy: Annotated[Path, typer.Option(help="The trust policy, builders.json: whose claims count.")],
    out: Annotated[Path | None, typer.Option(help="Where it goes; stdout if not given.")] = None,
) -> None:
    """Derive a CycloneDX 1.7 ML-BOM from a signed release and its claims, once both are verified."""
    manifest, digest = manifest_from_bytes(read_input(directory / MANIFEST_NAME, MAX_MANIFEST_BYTES))
    files = SmallFiles(
        signature=read_input(directory / SIGNATURE_NAME, MAX_BUNDLE_BYTES),
        claims=read_input(directory / CLAIMS_NAME, MAX_CHAIN_BYTES),
    )
    chain = examine(manifest, files, policy_from_bytes(read_input(policy, MAX_POLICY_BYTES))).insist()
    text = json.dumps(mlbom_from_chain(chain, manifest, digest), indent=2, ensure_ascii=False) + "\n"
    if out is None:
        typer.echo(text, nl=False)
    else:
        write_atomically(out, [text.encode()])


def _signer(path: Path) -> EllipticCurvePrivateKey:
    try:
        return private_key_from_pem(read_input(path, MAX_POLICY_BYTES))
    except MalformedError as error:
        raise UsageError(f"{path}: {error}") from error


def _base_of(text: str) -> tuple[Digest | None, bytes]:
    """The digest of the base model, and its claims where a file of them was given."""
    if not text:
        return None, b""
    if not Path(text).is_file():
        return _named(text), b""
    lines = read_input(Path(text), MAX_CHAIN_BYTES)
    claim = read_unverified(lines.splitlines()[-1]).claim if lines.endswith(b"\n") else None
    if claim is None:
        raise UsageError(f"{text} is not a file of claims")
    return claim.subject_digest, lines


def _named(text: str) -> Digest:
    try:
        return digest_from_text(text)
    except MalformedError as error:
        raise UsageError(
            f"--base {text[:80]!r} is neither a file of claims nor a digest, sha256:…"
        ) from error


def _rack(platform: Path | None) -> Rack | None:
    if platform is not None:
        return rack_from_platform(read_input(platform, MAX_PLATFORM_BYTES))
    nvml = load_nvml()
    return rack_from_nvml(nvml) if nvml else None


def _with_progress(directory: Path, facts: SiteFacts, *, quiet: bool) -> RecordedCheckpoint:
    columns = (TextColumn("hashing"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    console = Console(stderr=True)
    hidden = quiet or not console.is_terminal
    with Progress(*columns, console=console, disable=hidden, transient=True) as progress:
        task = progress.add_task("hashing", total=checkpoint_bytes(directory))
        return record_checkpoint(directory, facts, lambda count: progress.advance(task, count))


def _show(written: _Written, *, as_json: bool) -> None:
    claim = written.recorded.claim
    if as_json:
        typer.echo(json.dumps(_summary(written)))
        return
    console = Console()
    rows = {
        "checkpoint": claim.subject_digest,
        "layout": f"{written.recorded.layout.format}, iteration {_iteration(written)}",
        "files": f"{len(written.recorded.entries)}, {written.recorded.size_bytes:,} bytes → {written.table}",
        "parents": ", ".join(f"{parent.role} {parent.name}" for parent in claim.parents) or "none named",
        "rack": _rack_text(claim.internal.rack),
        "claim": f"{claim.step} by {written.builder} → {written.claim}",
    }
    for name, value in rows.items():
        console.print(Text.assemble((f"{name:<12}", "dim"), value), soft_wrap=True)


def _iteration(written: _Written) -> int | None:
    parameters = written.recorded.claim.parameters
    return parameters.iteration if isinstance(parameters, TrainingParameters) else None


def _rack_text(rack: Rack | None) -> str:
    if rack is None:
        return "unknown: no NVML rack identity here, and no --platform file"
    kind = "emulated, claimed" if rack.emulated else "claimed"
    return f"{rack.system}, chassis {rack.chassis_serial}, cluster {rack.cluster_uuid} ({kind})"


def _summary(written: _Written) -> dict[str, object]:
    claim, recorded = written.recorded.claim, written.recorded
    rack = claim.internal.rack
    return {
        "checkpoint": claim.subject_digest,
        "step": claim.step.value,
        "format": recorded.layout.format.value,
        "iteration": _iteration(written),
        "files": len(recorded.entries),
        "bytes": recorded.size_bytes,
        "builder": written.builder,
        "claim": str(written.claim),
        "table": str(written.table),
        "chassis_serial": rack.chassis_serial if rack else None,
        "emulated": rack.emulated if rack else None,
    }
