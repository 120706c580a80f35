"""How a trace looks: a tree for people, a document for programs.

Owns: words, colours, the documented JSON shape. Must not know: fetching, verifying.
"""

from collections.abc import Sequence
from datetime import UTC, datetime

import msgspec
from rich.text import Text
from rich.tree import Tree

from fleet.adapters.api_client import DecisionView, DeviceUseView
from fleet.cli.terminal import plain
from models.digest import Digest, short
from models.lineage.chain import ClaimVerdict
from models.lineage.claim import (
    BundleParameters,
    Claim,
    ConvertParameters,
    EvaluateParameters,
    Parameters,
    ParentRole,
    QuantiseParameters,
    Step,
)
from models.lineage.examine import Findings
from models.lineage.facts import Rack, Run
from models.wire.messages import DecisionRecord

Judged = Sequence[tuple[Findings, str]]
"""Releases, each with the reason against it."""
Json = dict[str, object]


def tree_of_decision(decision: DecisionView, findings: Findings) -> Tree:
    """From the action at the top to the rack at the bottom."""
    record = decision.record
    tree = Tree(Text.assemble(("action ", "bold"), _action(record)))
    tree.add(_line("reasoning", f"“{record.reasoning}”"))
    tree.add(_line("decided", _timing(record)))
    device = tree.add(
        Text.assemble(
            ("device ", "bold"),
            f"{plain(decision.device)} · boot {plain(decision.boot)} · decision {record.sequence} ",
            ("the device's own report", "dim"),
        )
    )
    _add_release(device, findings)
    return tree


def tree_of_descent(digest: Digest, judged: Judged, devices: Sequence[DeviceUseView]) -> Tree:
    """From the checkpoint at the top to the devices at the bottom."""
    tree = Tree(Text.assemble(("checkpoint ", "bold"), digest))
    for findings, reason in judged:
        manifest = findings.manifest
        label = _release_text(findings)
        label.append("  ")
        label.append_text(
            _mark(reason or f"verified descendant in {len(findings.verdicts)} claims", ok=not reason)
        )
        branch = tree.add(label)
        branch.add(_line("precision", f"{manifest.precision}, counter {manifest.counter}"))
        uses = [use for use in devices if use.release_digest == findings.release_digest]
        for use in uses:
            branch.add(Text.assemble(("device ", "bold"), _use(use)))
        if not uses:
            branch.add(Text("no device has reported a decision of it", style="dim"))
    return tree


def json_of_decision(decision: DecisionView, findings: Findings) -> Json:
    """`{decision, release, claims, checkpoint, rack, verified, reasons}`; claims go from the leaf to the root."""
    training = _training_claim(findings)
    rack = training.internal.rack if training else None
    return {
        "decision": msgspec.to_builtins(decision),
        "release": _release_json(findings),
        "claims": [_claim_json(verdict) for verdict in reversed(findings.verdicts)],
        "checkpoint": _checkpoint_json(training) if training else None,
        "rack": msgspec.to_builtins(rack) if rack else None,
        "verified": findings.verified,
        "reasons": list(findings.reasons),
    }


def json_of_descent(digest: Digest, judged: Judged, devices: Sequence[DeviceUseView]) -> Json:
    """`{digest, releases, devices, verified}`; each release says whether its claims lead to the digest."""
    return {
        "digest": digest,
        "releases": [
            _release_json(findings) | {"descends": not reason, "reason": reason}
            for findings, reason in judged
        ],
        "devices": [msgspec.to_builtins(use) for use in devices],
        "verified": not any(reason for _, reason in judged),
    }


def _add_release(tree: Tree, findings: Findings) -> None:
    branch = tree.add(_release_text(findings))
    branch.add(_line("identity", findings.release_digest))
    signed = f"signed by {findings.publisher} · vouched for by the Image repository"
    branch.add(_mark(findings.signature_reason or signed, ok=not findings.signature_reason))
    if findings.lineage_reason:
        branch.add(_mark(findings.lineage_reason, ok=False))
    _ClaimTree(findings).add_to(branch)


class _ClaimTree:
    """Claims below the ones that they are parents of; what has no place there comes last, so that all are shown."""

    def __init__(self, findings: Findings) -> None:
        self._leaf = Digest(findings.manifest.model_digest)
        self._left = list(reversed(findings.verdicts))

    def add_to(self, tree: Tree) -> None:
        self._add_maker_of(self._leaf, tree)
        while self._left:
            self._add(self._left[0], tree)

    def _add_maker_of(self, digest: Digest, tree: Tree) -> None:
        for verdict in list(self._left):
            if verdict.claim and verdict.claim.subject_digest == digest and verdict in self._left:
                self._add(verdict, tree)

    def _add(self, verdict: ClaimVerdict, tree: Tree) -> None:
        self._left.remove(verdict)
        branch = tree.add(_claim_text(verdict))
        branch.add(_verdict_mark(verdict))
        if verdict.claim is None:
            return
        if verdict.claim.step in {Step.PRETRAIN, Step.FINETUNE}:
            _add_training(branch, verdict.claim)
        for digest in verdict.claim.model_parents:
            self._add_maker_of(digest, branch)


def _add_training(branch: Tree, claim: Claim) -> None:
    branch.add(_line("checkpoint", claim.subject_digest))
    for parent in claim.parents:
        if parent.role in {ParentRole.DATASET, ParentRole.CODE, ParentRole.CONTAINER}:
            branch.add(_line(parent.role.value, f"{parent.name} {parent.digest}"))
    if claim.code:
        branch.add(_line("code", f"{claim.code.repository} @ {claim.code.commit}"))
    if claim.internal.run:
        branch.add(_line("run", _run(claim.internal.run, claim.invocation)))
    branch.add(_line("finished", claim.finished_utc))
    _add_rack(branch, claim.internal.rack)


def _verdict_mark(verdict: ClaimVerdict) -> Text:
    if verdict.verified:
        return _mark(f"verified, signed by {verdict.signer_name}", ok=True)
    return _mark(f"claim {verdict.index}: {verdict.reason}", ok=False)


def _claim_text(verdict: ClaimVerdict) -> Text:
    if verdict.claim is None:
        return Text.assemble((f"{verdict.step or 'claim'} ", "bold"), "unreadable")
    claim = verdict.claim
    made = Text.assemble((f"{claim.step} ", "bold"), f"{claim.subject_name} {short(claim.subject_digest)}")
    details = _parameters(claim.parameters)
    return made.append(f" · {details}") if details else made


def _parameters(parameters: Parameters) -> str:
    match parameters:
        case QuantiseParameters(scheme=scheme, group_size=group):
            return scheme if group is None else f"{scheme}, groups of {group}"
        case ConvertParameters(format=form, precision=precision):
            return f"{form} {precision}"
        case BundleParameters(counter=counter):
            return f"counter {counter}"
        case EvaluateParameters(suite=suite):
            return suite
        case _:
            iteration = "unknown" if parameters.iteration is None else f"{parameters.iteration:,}"
            return f"{parameters.format or 'unknown layout'}, iteration {iteration}"


def _add_rack(branch: Tree, rack: Rack | None) -> None:
    if rack is None:
        branch.add(_line("rack", "the claim names none"))
        return
    name = Text.assemble(("rack ", "bold"), f"{rack.system} · chassis {rack.chassis_serial}")
    place = branch.add(name)
    gpus = sum(len(tray.gpus) for tray in rack.trays)
    place.add(_line("cluster", f"{rack.cluster_uuid} · clique {rack.clique_id}"))
    place.add(_line("used", f"{gpus} GPUs in {len(rack.trays)} trays"))
    kind = "emulated" if rack.emulated else "hardware"
    place.add(Text(f"{kind}, {rack.evidence.value} by the trainer, not attested", style="yellow"))


def _run(run: Run, invocation: str) -> str:
    scheduled = f"{run.scheduler} {run.cluster} job {run.job_id}" if run.job_id else ""
    trackers = (f"wandb {run.wandb}" if run.wandb else "", f"mlflow {run.mlflow}" if run.mlflow else "")
    return " · ".join(part for part in (run.name, scheduled, *trackers, invocation) if part)


def _action(record: DecisionRecord) -> str:
    if record.ticks == 0:
        return "none: no tick executed this decision"
    applied = f"{record.applied_acceleration_mps2:+.3f} m/s², {record.applied_curvature_per_m:+.5f} 1/m"
    return f"{applied} at {_time(record.first_tick_utc_ns)}, held for {record.ticks} ticks"


def _timing(record: DecisionRecord) -> str:
    drawn = f" · the middle one of {record.plan_samples} plans" if record.plan_samples > 1 else ""
    return (
        f"{(record.queue_ns + record.latency_ns) / 1e6:.1f} ms after the observation of {_time(record.observed_utc_ns)} · "
        f"{record.tokens} tokens · {record.flow_steps} flow steps{drawn} · {record.interventions} gate interventions"
    )


def _use(use: DeviceUseView) -> str:
    now = " · live now" if use.live_now else ""
    if not use.decisions:
        return f"{plain(use.device)} · no decision yet{now}"
    period = f"{_time(use.first_utc_ns)} to {_time(use.last_utc_ns)}"
    return f"{plain(use.device)} · {use.decisions:,} decisions, {period}{now}"


def _release_text(findings: Findings) -> Text:
    manifest = findings.manifest
    name = f"{plain(manifest.name)} {plain(manifest.version)} · {plain(manifest.precision)} "
    return Text.assemble(("release ", "bold"), name, (short(findings.release_digest), "cyan"))


def _mark(text: str, *, ok: bool) -> Text:
    return Text(f"✔ {plain(text)}", style="green") if ok else Text(f"✘ {plain(text)}", style="bold red")


def _line(name: str, value: str) -> Text:
    return Text.assemble((f"{name} ", "dim"), plain(value))


def _time(utc_ns: int) -> str:
    try:
        return datetime.fromtimestamp(utc_ns / 1e9, UTC).strftime("%Y-%m-%d %H:%M:%S.%f")[:-3] + " UTC"
    except (ValueError, OverflowError, OSError):
        return f"{utc_ns} ns"


def _training_claim(findings: Findings) -> Claim | None:
    """The training claim of the checkpoint that `release.json` names, only where its signature holds."""
    for verdict in findings.verdicts:
        claim = verdict.claim
        if verdict.verified and claim and claim.subject_digest == findings.manifest.checkpoint_digest:
            return claim
    return None


def _release_json(findings: Findings) -> Json:
    manifest = findings.manifest
    return {
        "digest": findings.release_digest,
        "name": manifest.name,
        "version": manifest.version,
        "precision": manifest.precision,
        "counter": manifest.counter,
        "model_digest": manifest.model_digest,
        "checkpoint_digest": manifest.checkpoint_digest,
        "signer": findings.publisher,
        "verified": findings.verified,
    }


def _claim_json(verdict: ClaimVerdict) -> Json:
    claim = verdict.claim
    return {
        "index": verdict.index,
        "step": verdict.step.value if verdict.step else None,
        "subject": claim.subject_digest if claim else None,
        "name": claim.subject_name if claim else None,
        "signer": verdict.signer_name or None,
        "verified": verdict.verified,
        "reason": verdict.reason,
    }


def _checkpoint_json(claim: Claim) -> Json:
    return {
        "digest": claim.subject_digest,
        "name": claim.subject_name,
        "step": claim.step.value,
        "parameters": msgspec.to_builtins(claim.parameters),
        "datasets": [
            {"name": parent.name, "digest": parent.digest}
            for parent in claim.parents
            if parent.role is ParentRole.DATASET
        ],
        "code": {"repository": claim.code.repository, "commit": claim.code.commit} if claim.code else None,
        "run": msgspec.to_builtins(claim.internal.run) if claim.internal.run else None,
        "invocation": claim.invocation,
        "finished_utc": claim.finished_utc,
    }
