"""`roskva release`: sign, publish, show and verify releases (`build` lives in `release_build`).

Owns: options, and how a release and its checks look on a terminal and as JSON lines.
Must not know: formats and rules; every decision is one call into `models`.
"""

import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, Self

import msgspec
import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from fleet.cli.inputs import read_input
from fleet.cli.terminal import plain
from models.digest import Digest, digest_from_text, digest_of, short
from models.errors import MalformedError, RoskvaError, UnknownObjectError, UsageError
from models.release.manifest import (
    MANIFEST_NAME,
    MAX_MANIFEST_BYTES,
    SIGNATURE_NAME,
    ReleaseManifest,
    manifest_from_bytes,
)
from models.release.verify import CHECKS, Check, verify
from models.trust.admit import AdmittedRelease, read_release
from models.trust.image import IMAGE_ROOT_NAME, ImageRepository
from models.trust.keyset import KeyDirectory
from models.trust.metadata import utc_now
from models.trust.oms import sign as sign_files
from models.trust.policy import MAX_POLICY_BYTES, TrustPolicy, policy_from_bytes
from models.trust.source import FolderSource
from models.trust.targets import release_path

PUBLISHED = "published"
POLICY_NAME = "builders.json"

app = typer.Typer(no_args_is_help=True)

ReleaseDir = Annotated[
    Path, typer.Argument(metavar="RELEASE_DIR", help="A release, as `release build` wrote it.")
]
Keys = Annotated[Path, typer.Option(help="The key set, as `roskva keys init` made it.")]
AsJson = Annotated[bool, typer.Option("--json", help="JSON lines on stdout.")]


@app.command()
def sign(release_dir: ReleaseDir, keys: Keys, as_json: AsJson = False) -> None:
    """Sign all files as the publisher (OpenSSF Model Signing); what would not verify is not signed."""
    signature = release_dir / SIGNATURE_NAME
    digest = digest_of(read_input(release_dir / MANIFEST_NAME, MAX_MANIFEST_BYTES))
    policy = policy_from_bytes(read_input(keys / "public" / POLICY_NAME, MAX_POLICY_BYTES))
    sign_files(release_dir, KeyDirectory(keys).private_key("publisher"))
    try:
        with verify(release_dir.resolve(), digest, policy) as release:
            signer = release.signer
    except RoskvaError:
        signature.unlink()
        raise
    if as_json:
        typer.echo(json.dumps({"release": digest, "signature": str(signature), "publisher": signer}))
    else:
        Console().print(_line("signed", f"{digest} by {signer}"), soft_wrap=True)


@app.command()
def publish(
    release_dir: ReleaseDir,
    repo: Annotated[Path, typer.Option(help="The Image repository; made where there is none.")],
    keys: Keys,
    as_json: AsJson = False,
) -> None:
    """Verify a release, copy its content into the repository, and sign it into the metadata."""
    now, key_set = utc_now(), KeyDirectory(keys)
    image = _open_or_init(repo, key_set)
    published = image.publish(release_dir.resolve(), now)
    image.refresh_online(now)
    if as_json:
        row = {"release": published.digest, "target": published.target_path, "counter": published.counter}
        typer.echo(json.dumps({**row, "repo": str(repo)}))
        return
    line = _line("published", f"{published.target_path}  counter {published.counter}  {published.digest}")
    Console().print(line, soft_wrap=True)


@app.command()
def show(
    release: Annotated[
        str, typer.Argument(metavar="RELEASE_DIR|DIGEST", help="A folder, or sha256:… in --repo.")
    ],
    repo: Annotated[Path | None, typer.Option(help="The Image repository that knows the digest.")] = None,
    as_json: AsJson = False,
) -> None:
    """What a release says of itself. From a folder that is its own word; from a repository it is signed."""
    if repo is not None:
        published = _published(repo, _digest(release))
        manifest, digest, standing = published.manifest, published.digest, f"signed, in {repo}"
    elif Path(release).is_dir():
        manifest, digest = manifest_from_bytes(read_input(Path(release) / MANIFEST_NAME, MAX_MANIFEST_BYTES))
        standing = "not verified: see `roskva release verify`"
    else:
        raise UsageError(f"{release[:80]!r} is no folder; to show a digest, name the repository with --repo")
    if as_json:
        described: dict[str, Any] = {"release": digest, "verified": repo is not None}
        typer.echo(json.dumps({**described, "manifest": msgspec.to_builtins(manifest)}))
    else:
        _print_manifest(manifest, digest, standing)


@app.command("verify")
def verify_command(
    release_dir: ReleaseDir,
    repo: Annotated[
        Path | None, typer.Option(help="An Image repository: the release must be published there.")
    ] = None,
    trust: Annotated[
        Path | None, typer.Option(help="A folder with builders.json, for a check without a repository.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Check a release as a device does before it loads it; each check is shown, the first that fails ends it."""
    expected = digest_of(read_input(release_dir / MANIFEST_NAME, MAX_MANIFEST_BYTES))
    if trust is not None and repo is None:
        policy = policy_from_bytes(read_input(trust / POLICY_NAME, MAX_POLICY_BYTES))
        with _Report(CHECKS).shown(as_json=as_json) as report:
            verify(release_dir.resolve(), expected, policy, report.add).close()
    elif repo is not None and trust is None:
        with _Report((PUBLISHED, *CHECKS)).shown(as_json=as_json) as report:
            policy = _published_policy(report, expected, repo)
            verify(release_dir.resolve(), expected, policy, report.add).close()
    else:
        raise UsageError("name either --repo or --trust")


class _Report:
    """The checks that were made, and the one that failed."""

    def __init__(self, names: tuple[str, ...]) -> None:
        self._names = names
        self._held: list[Check] = []

    def add(self, check: Check) -> None:
        """`check` held."""
        self._held.append(check)

    @contextmanager
    def shown(self, *, as_json: bool) -> Iterator[Self]:
        """Print the report at the end, also where a check raises."""
        try:
            yield self
        except RoskvaError as error:
            self._print(error, as_json=as_json)
            raise
        self._print(None, as_json=as_json)

    def _print(self, error: RoskvaError | None, *, as_json: bool) -> None:
        rows = [(check.name, "ok", check.detail) for check in self._held]
        missing = self._names[len(rows) :]
        if error is not None and missing:
            rows.append((missing[0], error.code, str(error)))
            rows.extend((name, "not reached", "") for name in missing[1:])
        if as_json:
            for name, result, detail in rows:
                typer.echo(json.dumps({"check": name, "result": result, "detail": detail}))
            return
        table = Table("check", "result", box=None, header_style="dim", pad_edge=False)
        table.add_column("what was seen", overflow="fold")
        for name, result, detail in rows:
            style = {"ok": "green", "not reached": "dim"}.get(result, "bold red")
            table.add_row(name, Text(result, style), _plain(detail))
        Console().print(table)


def _published_policy(report: _Report, expected: Digest, repo: Path) -> TrustPolicy:
    published = _published(repo, expected)
    path = release_path(published.manifest)
    report.add(
        Check(PUBLISHED, f"{path}, counter {published.manifest.counter}, signed for by the offline keys")
    )
    return published.policy


def _published(repo: Path, digest: Digest) -> AdmittedRelease:
    root = read_input(repo / "trust" / IMAGE_ROOT_NAME, MAX_MANIFEST_BYTES)
    with tempfile.TemporaryDirectory() as state:
        return read_release(FolderSource(repo), root, digest, Path(state), utc_now())


def _digest(text: str) -> Digest:
    try:
        return digest_from_text(text)
    except MalformedError as error:
        raise UsageError(f"--repo finds a release by its digest; {error}") from error


def _open_or_init(repo: Path, keys: KeyDirectory) -> ImageRepository:
    try:
        return ImageRepository.open(repo, keys)
    except UnknownObjectError:
        return ImageRepository.init(repo, keys)


def _print_manifest(manifest: ReleaseManifest, digest: Digest, standing: str) -> None:
    limits = manifest.limits
    most_j = limits.max_joules_per_decision
    joules = f", {most_j} J a decision" if most_j is not None else ""
    rows = {
        "release": f"{manifest.name} {manifest.version}  (counter {manifest.counter})",
        "identity": digest,
        "standing": standing,
        "hardware": ", ".join(manifest.hardware),
        "precision": manifest.precision,
        "contract": f"{manifest.contract.name}, {manifest.contract.horizon_steps} waypoints of {manifest.contract.dt_s} s",
        "limits": f"p99 {limits.decision_p99_ms} ms, {limits.max_speed_mps} m/s, {limits.validated_envelope_w} W{joules}",
        "checkpoint": manifest.checkpoint_digest,
        "ancestors": str(len(manifest.ancestors)),
        "created": manifest.created_utc,
    }
    facts = Table.grid(padding=(0, 2))
    facts.add_column(no_wrap=True)
    facts.add_column(overflow="fold")
    for name, value in rows.items():
        facts.add_row(Text(name, "dim"), _plain(value))
    files = Table("file", "role", "bytes", "chunks", "sha256", box=None, header_style="dim", pad_edge=False)
    for file in manifest.files:
        cells = (
            file.path,
            file.role,
            f"{file.size_bytes:,}",
            str(len(file.chunks)),
            short(Digest(file.digest)),
        )
        files.add_row(*map(_plain, cells))
    console = Console()
    console.print(facts)
    console.print()
    console.print(files)


def _line(word: str, rest: str) -> Text:
    return Text(word, "bold green").append("  " + rest, style="not bold default")


def _plain(text: str) -> Text:
    """`text` without anything that a terminal would obey, markup included."""
    return Text(plain(text))
