"""Builds a release: checkpoint → graphs → calibration → quantised graphs → golden outputs → claims → `release.json`.

Owns: the order of these steps, and the directory, which appears whole or not at all.
Must not know: how the release is signed and published, terminals, clocks (times are passed in).

Same inputs on the same processor give the same bytes, apart from the ECDSA signatures in the claims (and what names those: the claims
file's digest in `release.json`).
"""

import secrets
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

import msgspec
import onnx

from models.contract import PolicyContract
from models.digest import Digest, digest_of, short
from models.errors import ClaimError, UsageError
from models.lineage.chain import verify_chain
from models.lineage.claim import BundleParameters
from models.lineage.layout import recognise
from models.quantise.calibrate import Calibration, calibrate
from models.quantise.report import QuantisationReport, output_difference
from models.release.claims import ClaimWriter, Occasion, Subjects, check_keys
from models.release.family import ModelFamily, family_of
from models.release.files import FileEntry, chunk_digests, scan, table_digest
from models.release.golden import full_knobs, golden_bytes
from models.release.graphs import (
    GraphFiles,
    MadeGraphs,
    Material,
    check_makeable,
    make_graphs,
    onnx_files,
    path_of,
)
from models.release.manifest import (
    CLAIMS_NAME,
    GOLDEN_NAME,
    MANIFEST_NAME,
    ReleaseFile,
    ReleaseLimits,
    ReleaseManifest,
    bytes_from_manifest,
    chunk_bytes_for,
    manifest_from_bytes,
)
from models.release.names import NameRule, check_name
from models.release.precision import GraphFormat, ReleasePrecision, format_of
from models.runtime.load import RUNTIMES
from models.runtime.policy import Decision, Observation, Policy
from models.runtime.signature import GraphRole
from models.trust.atomic import sync_folder, write_atomically
from models.trust.keyset import KeyDirectory, policy_of

GOLDEN_CASES = 4
COMPARED_CASES = 24
"""Observations on which the quantised policy is compared with the float one; the golden cases are among them."""
CALIBRATION_CASES = 24
"""Observations of the calibration set. They come after the compared ones: no figure is of what was searched with."""
CALIBRATED: frozenset[str] = frozenset({ReleasePrecision.INT8, ReleasePrecision.NVFP4})
"""Precisions whose scales are searched for. Not int4: the mean difference falls, the largest grow (decision 11)."""
_ROLES = {path_of(role, each): str(role) for each in GraphFormat for role in GraphRole} | {
    GOLDEN_NAME: "golden",
    CLAIMS_NAME: "claims",
}


class BuildStep(StrEnum):
    """What is being done, for progress."""

    CHECKPOINT = "hash the checkpoint, check its claim"
    EXPORT = "export the graphs"
    CALIBRATE = "see what feeds each weight"
    QUANTISE = "quantise"
    COMPARE = "compare with float32, make golden outputs"
    CLAIMS = "sign the claims"
    WRITE = "write the release"


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildRequest:
    """What to build, of what, and in whose name.

    `checkpoint_claim` holds the checkpoint's signed claim, and before it those of its base models. `keys` signs the
    claims as converter, quantiser and bundler. `created_utc` is RFC 3339 with `Z`; `invocation` names this run.
    Without `limits` those of the model's family are taken; `max_joules_per_decision` is promised beside either.
    """

    checkpoint: Path
    checkpoint_claim: bytes
    precision: ReleasePrecision
    name: str
    version: str
    counter: int
    hardware: tuple[str, ...]
    keys: KeyDirectory
    out: Path
    created_utc: str
    invocation: str
    limits: ReleaseLimits | None = None
    max_joules_per_decision: float | None = None

    def promised(self, family: ReleaseLimits) -> ReleaseLimits:
        """What the release promises, where its family promises `family`."""
        limits = self.limits or family
        joules = self.max_joules_per_decision or limits.max_joules_per_decision
        return msgspec.structs.replace(limits, max_joules_per_decision=joules)


@dataclass(frozen=True, slots=True)
class BuiltRelease:
    """The directory (all but the model signature), its identity, and what quantisation cost."""

    directory: Path
    digest: Digest
    manifest: ReleaseManifest
    report: QuantisationReport


def build(request: BuildRequest, on_step: Callable[[BuildStep], None] = lambda _: None) -> BuiltRelease:
    """Write the release that `request` asks for; `on_step` is told of each step as it begins.

    Raises:
        UsageError: `out` exists, or the checkpoint cannot be read.
        HostileNameError: the name or the version cannot be a path component.
        UnknownFamilyError: no exporter for this kind of checkpoint, or none to this precision's format.
        ConfigurationError: the runtime that makes the golden outputs isn't installed here.
        UnknownObjectError: a key is missing.
        ClaimError: the claim is of another checkpoint, or does not hold.
        ModelNotAllowedError, GoldenMismatchError: the checkpoint makes a policy that no device would run.
    """
    if request.out.exists():
        raise UsageError(f"{request.out} exists; a release is never overwritten")
    check_keys(request.keys)
    for part in (request.name, request.version):  # each becomes one folder where releases are published
        check_name(part, most=1)
    return _Build(request, on_step).run()


class _Build:
    """One build under way."""

    def __init__(self, request: BuildRequest, on_step: Callable[[BuildStep], None]) -> None:
        self._request, self._on_step = request, on_step

    def run(self) -> BuiltRelease:
        request = self._request
        self._on_step(BuildStep.CHECKPOINT)
        family = family_of(request.checkpoint)
        check_makeable(family, request.precision)
        runtime = RUNTIMES[format_of(request.precision)].package()
        checkpoint = _checked_checkpoint(request)
        self._on_step(BuildStep.EXPORT)
        contract = family.contract(request.checkpoint)
        floats = family.export(request.checkpoint)
        compared, calibration = self._observed(family, contract, floats)
        self._on_step(BuildStep.QUANTISE)
        made = make_graphs(request.precision, Material(family, request.checkpoint, floats, calibration))
        self._on_step(BuildStep.COMPARE)
        before = onnx_files(floats)
        report, golden = _judged(contract, compared, before, made)
        self._on_step(BuildStep.CLAIMS)
        model = {**made.files.by_path(), GOLDEN_NAME: golden}
        subjects = Subjects(checkpoint, _table(before.by_path()), _table(made.files.by_path()), _table(model))
        occasion = Occasion(request.created_utc, request.invocation)
        writer = ClaimWriter(request.keys, occasion, subjects, runtime)
        opset = next(iter(floats.values())).opset_import[0].version
        claims, ancestors = self._claims(writer, report, contract, opset)
        self._on_step(BuildStep.WRITE)
        with _whole_directory(request.out) as folder:
            _write(folder, {**model, CLAIMS_NAME: claims})
            manifest = self._manifest(folder, (contract, family.limits), subjects, ancestors)
            write_atomically(folder / MANIFEST_NAME, [bytes_from_manifest(manifest)])
        manifest, digest = manifest_from_bytes(bytes_from_manifest(manifest))
        return BuiltRelease(request.out, digest, manifest, report)

    def _observed(
        self, family: ModelFamily, contract: PolicyContract, floats: Mapping[str, onnx.ModelProto]
    ) -> tuple[tuple[Observation, ...], Calibration | None]:
        """The observations to compare on, and the calibration on others, where the precision takes one."""
        if self._request.precision not in CALIBRATED:
            return family.observe(contract, COMPARED_CASES), None
        self._on_step(BuildStep.CALIBRATE)
        observations = family.observe(contract, COMPARED_CASES + CALIBRATION_CASES)
        return observations[:COMPARED_CASES], calibrate(floats, contract, observations[COMPARED_CASES:])

    def _claims(
        self,
        writer: ClaimWriter,
        report: QuantisationReport,
        contract: PolicyContract,
        opset: int,
    ) -> tuple[bytes, tuple[str, ...]]:
        """The claims file and its ancestors, read back as a device will read it."""
        request = self._request
        lines = (
            request.checkpoint_claim.rstrip(b"\n") + b"\n",
            writer.convert(opset),
            writer.quantise(request.precision, report, contract),
            writer.bundle(
                BundleParameters(
                    name=request.name,
                    version=request.version,
                    counter=request.counter,
                    hardware=request.hardware,
                )
            ),
        )
        chain = verify_chain(b"".join(lines), policy_of(request.keys), writer.subjects.leaf)
        return b"".join(lines), tuple(sorted(chain.ancestors))

    def _manifest(
        self,
        folder: Path,
        promises: tuple[PolicyContract, ReleaseLimits],
        subjects: Subjects,
        ancestors: tuple[str, ...],
    ) -> ReleaseManifest:
        request = self._request
        contract, limits = promises
        return ReleaseManifest(
            name=request.name,
            version=request.version,
            counter=request.counter,
            hardware=request.hardware,
            precision=str(request.precision),
            contract=contract,
            limits=request.promised(limits),
            files=_release_files(folder),
            model_digest=subjects.leaf,
            checkpoint_digest=subjects.checkpoint,
            ancestors=ancestors,
            created_utc=request.created_utc,
        )


def _checked_checkpoint(request: BuildRequest) -> Digest:
    """The checkpoint's digest, which the claim must be about."""
    folder = recognise(request.checkpoint).folder
    found = table_digest(scan(folder, rule=NameRule.CHECKPOINT))
    try:
        verify_chain(request.checkpoint_claim, policy_of(request.keys), found, leaf_step=None)
    except ClaimError as error:
        raise ClaimError(
            f"the claim is not of this checkpoint ({short(found)}), or does not hold: {error}"
        ) from error
    return found


def _judged(
    contract: PolicyContract, observations: tuple[Observation, ...], before: GraphFiles, made: MadeGraphs
) -> tuple[QuantisationReport, bytes]:
    """The report with its output difference, and the golden outputs of the policy that ships."""
    exact, shipped = (_policy(contract, files) for files in (before, made.files))
    difference = output_difference(
        _decisions(exact, observations), _decisions(shipped, observations), contract
    )
    golden = golden_bytes(shipped, observations[:: COMPARED_CASES // GOLDEN_CASES])
    return msgspec.structs.replace(made.report, difference=difference), golden


def _policy(contract: PolicyContract, files: GraphFiles) -> Policy:
    """A policy of files that are no release yet; their table's digest stands for one."""
    return RUNTIMES[files.format].open(_table(files.by_path()), contract, files.contents, 1)


def _decisions(policy: Policy, observations: tuple[Observation, ...]) -> list[Decision]:
    knobs = full_knobs(policy.contract)
    return [policy.decide(each, knobs, seed=index + 1) for index, each in enumerate(observations)]


def _table(files: Mapping[str, bytes]) -> Digest:
    return table_digest(FileEntry(path, len(data), digest_of(data)) for path, data in files.items())


@contextmanager
def _whole_directory(out: Path) -> Iterator[Path]:
    """A folder beside `out` that becomes `out` at the end, or vanishes where anything failed."""
    out.parent.mkdir(parents=True, exist_ok=True)
    folder = out.with_name(f".{out.name}.{secrets.token_hex(4)}.building")
    folder.mkdir()
    try:
        yield folder
        folder.rename(out)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    sync_folder(out.parent)


def _write(folder: Path, contents: Mapping[str, bytes]) -> None:
    for path, data in contents.items():
        (folder / path).parent.mkdir(exist_ok=True)
        write_atomically(folder / path, [data])


def _release_files(folder: Path) -> tuple[ReleaseFile, ...]:
    entries = scan(folder)
    chunk_bytes = chunk_bytes_for(sum(entry.size_bytes for entry in entries))
    return tuple(_release_file(folder, entry, chunk_bytes) for entry in entries)


def _release_file(folder: Path, entry: FileEntry, chunk_bytes: int) -> ReleaseFile:
    return ReleaseFile(
        path=entry.path,
        role=_ROLES[entry.path],
        size_bytes=entry.size_bytes,
        digest=entry.digest,
        chunk_bytes=chunk_bytes,
        chunks=chunk_digests(folder / entry.path, chunk_bytes),
    )
