"""`roskva release build`: from a checkpoint and its claim to a release, ready to be signed.

Owns: the command's options, its progress and its report. Must not know: how a release is built.
"""

import secrets
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from fleet.cli.inputs import read_input
from models.digest import short
from models.errors import ConfigurationError
from models.lineage.chain import MAX_CHAIN_BYTES
from models.release.manifest import MAX_MANIFEST_BYTES, ReleaseLimits
from models.release.precision import ReleasePrecision
from models.trust.keyset import KeyDirectory

if TYPE_CHECKING:
    from models.release.build import BuildStep, BuiltRelease


def build(
    checkpoint: Annotated[
        Path, typer.Argument(metavar="CHECKPOINT_DIR", help="The checkpoint's folder, as training saved it.")
    ],
    claim: Annotated[Path, typer.Option(help="Its signed claim, from `roskva lineage record`.")],
    name: Annotated[str, typer.Option(help="The release's name, for example highway-pilot.")],
    version: Annotated[str, typer.Option(help="The release's version, for people.")],
    counter: Annotated[int, typer.Option(min=1, help="Grows with every release; a device never goes back.")],
    keys: Annotated[Path, typer.Option(help="The key set, as `roskva keys init` made it.")],
    out: Annotated[Path, typer.Option(help="The folder to write; it must not exist.")],
    precision: Annotated[
        ReleasePrecision, typer.Option(help="How the weights are stored; tflite-int8 in TFLite graphs.")
    ] = ReleasePrecision.NVFP4,
    hardware: Annotated[
        list[str] | None, typer.Option(help="Hardware class, once for each; thor-t5000 if none is named.")
    ] = None,
    limits: Annotated[
        Path | None, typer.Option(help="JSON with the limits that the release promises; else its family's.")
    ] = None,
    max_joules_per_decision: Annotated[
        float | None,
        typer.Option(
            min=0.001, help="The module's energy by its decisions that the release promises to stay below."
        ),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="One JSON line instead of tables.")] = False,
) -> None:
    """Export, quantise, compare with float32, and write a release with its claims and golden outputs.

    The release still needs its signature: `roskva release sign`.
    """
    from models.release.build import BuildRequest
    from models.release.build import build as build_release

    request = BuildRequest(
        checkpoint=checkpoint,
        checkpoint_claim=read_input(claim, MAX_CHAIN_BYTES),
        limits=None if limits is None else _limits(limits),
        max_joules_per_decision=max_joules_per_decision,
        precision=precision,
        name=name,
        version=version,
        counter=counter,
        hardware=tuple(hardware or ["thor-t5000"]),
        keys=KeyDirectory(keys),
        out=out,
        created_utc=datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        invocation=f"release-build-{secrets.token_hex(8)}",
    )
    if json:
        sys.stdout.write(_json_line(build_release(request)) + "\n")
        return
    console = Console()
    with console.status("starting") as status:

        def on_step(step: "BuildStep") -> None:
            console.print(f"[dim]·[/] {step.value}")
            status.update(step.value)

        built = build_release(request, on_step)
    _show(console, built)


def _limits(path: Path) -> ReleaseLimits:
    try:
        return msgspec.json.decode(read_input(path, MAX_MANIFEST_BYTES), type=ReleaseLimits)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ConfigurationError(f"the limits in {path}: {error}") from error


def _json_line(built: "BuiltRelease") -> str:
    answer = {
        "release_digest": built.digest,
        "directory": str(built.directory),
        "name": built.manifest.name,
        "version": built.manifest.version,
        "checkpoint_digest": built.manifest.checkpoint_digest,
        "model_digest": built.manifest.model_digest,
        "size_bytes": built.manifest.size_bytes,
        "quantisation": built.report,
    }
    return msgspec.json.encode(answer).decode()


def _show(console: Console, built: "BuiltRelease") -> None:
    manifest = built.manifest
    files = Table(title=f"{manifest.name} {manifest.version}  {short(built.digest)}", title_justify="left")
    files.add_column("file")
    files.add_column("bytes", justify="right")
    files.add_column("chunks", justify="right")
    for file in manifest.files:
        files.add_row(file.path, f"{file.size_bytes:,}", str(len(file.chunks)))
    files.add_section()
    files.add_row(
        "together", f"{manifest.size_bytes:,}", str(sum(len(file.chunks) for file in manifest.files))
    )
    console.print(files)
    console.print(_quantisation(built))
    for layer in built.report.left_alone:
        console.print(Text(f"left alone: {layer.graph}/{layer.weight} ({layer.left_alone})", "dim"))
    # As `Text`: a folder's name may hold brackets, which are markup otherwise.
    advice = f"\n{built.directory} is not signed yet: roskva release sign {built.directory} --keys …"
    console.print(Text(advice), soft_wrap=True)


def _quantisation(built: "BuiltRelease") -> Table:
    from models.release.claims import column_names

    report = built.report
    table = Table(title="against float32", title_justify="left", show_header=False)
    table.add_row("scheme", report.scheme)
    table.add_row("weights quantised", f"{len(report.quantised)} of {len(report.layers)} tensors")
    table.add_row("bytes of the graphs", f"{report.bytes_before:,} → {report.bytes_after:,}")
    table.add_row("worst relative weight error", f"{report.worst_relative_error:.2%}")
    difference = report.difference
    if difference is not None:
        columns = zip(
            column_names(built.manifest.contract),
            difference.mean_difference,
            difference.max_difference,
            strict=True,
        )
        for name, mean, most in columns:
            table.add_row(f"plan, {name}", f"mean {mean:.4g}, most {most:.4g}")
        agreement = f"{difference.token_agreement:.0%} of {difference.cases} cases, word for word"
        table.add_row("reasoning agrees", agreement)
    return table
