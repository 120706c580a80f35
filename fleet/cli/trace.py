"""`roskva trace`: from one decision back to the rack, or from a checkpoint forth to the devices.

Owns: which objects are fetched, and that everything signed is verified here, from the pinned root on.
Must not know: how findings are drawn (`trace_view`), what claims look like inside.

The server is asked for bytes and believed in nothing that is signed. Two things are its and the device's word
only, and are shown as such: that the device took the decision, and which devices ran a release. And of the
releases that descend from a checkpoint the server names what it likes: each is checked, none is missed by us.
"""

import json
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.tree import Tree

from fleet.adapters.api_client import ApiClient, DecisionView, DescentView
from fleet.cli import trace_view
from fleet.cli.inputs import read_input
from models.digest import Digest, digest_from_text
from models.errors import ClaimError, MalformedError, UnknownObjectError, UsageError, VerificationError
from models.lineage.chain import MAX_CHAIN_BYTES
from models.lineage.examine import Findings, SmallFiles, examine
from models.release.manifest import CLAIMS_NAME, MAX_MANIFEST_BYTES, SIGNATURE_NAME
from models.trust.admit import read_release
from models.trust.image import IMAGE_ROOT_NAME
from models.trust.metadata import utc_now
from models.trust.oms import MAX_BUNDLE_BYTES

_ID_HELP = "A decision as the console names it, for example thor-1:5f0c:1000042; or a checkpoint, sha256:…."
"""Without placeholders between colons: the help would print `:boot:` as a picture of one."""
_PIPE_WIDTH = 160
"""Columns where stdout is no terminal: digests stay on one line."""


@dataclass(frozen=True)
class DecisionTrace:
    """A decision as the server has it, and what was found of the release that it names."""

    decision: DecisionView
    findings: Findings


@dataclass(frozen=True)
class DescentTrace:
    """What the server says descends from `digest`, and what was found of each of those releases."""

    digest: Digest
    descent: DescentView
    findings: tuple[Findings, ...]

    def reason_against(self, findings: Findings) -> str:
        """Why the release is not a proven descendant; empty where it is."""
        if not findings.verified:
            return "; ".join(findings.reasons)
        own = {findings.release_digest, Digest(findings.manifest.model_digest)}
        if findings.chain is not None and self.digest in findings.chain.ancestors | own:
            return ""
        return f"its claims do not lead to {self.digest}"


@dataclass(frozen=True)
class Auditor:
    """Fetches from one server, verifies from one pinned root; `now` is the time that expiry is judged by."""

    client: ApiClient
    image_root: bytes
    state: Path
    now: datetime

    def decision(self, identity: str) -> DecisionTrace:
        """The trace of `device:boot:sequence`.

        Raises:
            UnknownObjectError: the server has no such decision.
            MalformedError: it answered with another one.
        """
        decision = self.client.decision(identity)
        found = f"{decision.device}:{decision.boot}:{decision.record.sequence}"
        if {decision.id, found} != {identity}:
            raise MalformedError(f"asked for the decision {identity}, the server answered with {found}")
        return DecisionTrace(decision, self.release(digest_from_text(decision.record.release_digest)))

    def descent(self, digest: Digest) -> DescentTrace:
        """The trace of everything that descends from `digest`. Raises `UnknownObjectError` where nothing does."""
        descent = self.client.descent(digest)
        if not descent.releases:
            raise UnknownObjectError(f"no release on the server descends from {digest}")
        found = tuple(self.release(digest_from_text(known.digest)) for known in descent.releases)
        return DescentTrace(digest, descent, found)

    def release(self, digest: Digest) -> Findings:
        """What holds of the release `digest`.

        Raises:
            VerificationError: the Image repository does not vouch for it, or its metadata does not hold.
            TransferError: the server does not answer, or withholds a file.
        """
        try:
            admitted = read_release(self.client, self.image_root, digest, self.state, self.now)
        except UnknownObjectError as error:
            raise VerificationError(f"the Image repository does not vouch for {digest}: {error}") from error
        files = SmallFiles(
            signature=self.client.release_file(digest, SIGNATURE_NAME, MAX_BUNDLE_BYTES),
            claims=self.client.release_file(digest, CLAIMS_NAME, MAX_CHAIN_BYTES),
        )
        return examine(admitted.manifest, files, admitted.policy)


def trace(
    identity: Annotated[str, typer.Argument(metavar="ID|DIGEST", help=_ID_HELP)],
    server: Annotated[str, typer.Option(help="The fleet server, for example http://localhost:8080.")],
    trust: Annotated[Path, typer.Option(help="The folder with the pinned image-root.json.")],
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")] = False,
) -> None:
    """Trace a decision to the rack that trained it, or a checkpoint to the devices that run it.

    Every signature is checked here, from the pinned root on: TUF metadata, the release's, each claim's.

    Ends with 4 if anything does not hold, after showing all of it.
    """
    with ApiClient(server) as client, tempfile.TemporaryDirectory(prefix="roskva-trace-") as state:
        auditor = Auditor(client, _pinned(trust), Path(state), utc_now())
        if _is_digest(identity):
            _show_descent(auditor.descent(Digest(identity)), as_json=as_json)
        elif identity.count(":") == 2:
            _show_decision(auditor.decision(identity), as_json=as_json)
        else:
            raise UsageError(f"{identity[:80]!r} is neither device:boot:sequence nor sha256:…")


def _is_digest(text: str) -> bool:
    try:
        return digest_from_text(text) == text
    except MalformedError:
        return False


def _show_decision(found: DecisionTrace, *, as_json: bool) -> None:
    _print(
        as_json,
        lambda: trace_view.json_of_decision(found.decision, found.findings),
        lambda: trace_view.tree_of_decision(found.decision, found.findings),
    )
    found.findings.insist()


def _show_descent(found: DescentTrace, *, as_json: bool) -> None:
    judged = [(findings, found.reason_against(findings)) for findings in found.findings]
    _print(
        as_json,
        lambda: trace_view.json_of_descent(found.digest, judged, found.descent.devices),
        lambda: trace_view.tree_of_descent(found.digest, judged, found.descent.devices),
    )
    reasons = [f"{findings.release_digest}: {reason}" for findings, reason in judged if reason]
    if reasons:
        raise ClaimError("; ".join(reasons))


def _print(as_json: bool, document: Callable[[], dict[str, object]], tree: Callable[[], Tree]) -> None:
    if as_json:
        typer.echo(json.dumps(document()))
        return
    console = Console()
    if not console.is_terminal:
        console.width = _PIPE_WIDTH
    console.print(tree())


def _pinned(trust: Path) -> bytes:
    return read_input(trust / IMAGE_ROOT_NAME, MAX_MANIFEST_BYTES)
