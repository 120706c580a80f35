"""A whole site in a folder: keys, small releases with a real chain of claims, and both repositories.

The model files are a few bytes that nobody can run; everything that is checked about them is real. A test that runs
graphs passes its own bytes and contract.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from models.contract import CameraSpec, EgoHistorySpec, PolicyContract, ReasoningSpec, UnicycleActions
from models.digest import Digest, digest_of
from models.lineage.claim import (
    BundleParameters,
    Claim,
    ConvertParameters,
    Parent,
    ParentRole,
    QuantiseParameters,
    Step,
    TrainingParameters,
    sign_claim,
)
from models.release.files import FileEntry, chunk_digests, table_digest
from models.release.manifest import (
    CLAIMS_NAME,
    GOLDEN_NAME,
    MANIFEST_NAME,
    ReleaseFile,
    ReleaseLimits,
    ReleaseManifest,
    bytes_from_manifest,
)
from models.trust.admit import AdmittedRelease, DeviceIdentity, TrustAnchors, admit
from models.trust.director import DirectorRepository
from models.trust.image import DIRECTOR_ROOT_NAME, IMAGE_ROOT_NAME, ImageRepository, PublishedRelease
from models.trust.keyset import KeyDirectory, init_development_keys
from models.trust.oms import sign
from models.trust.source import FolderSource, MetadataSource

HARDWARE = "thor-t5000"
NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
PATHS = {
    "visual": "model/visual.onnx",
    "reason": "model/reason.onnx",
    "action": "model/action.onnx",
    "golden": GOLDEN_NAME,
}
_TIMES = ("2026-11-01T08:00:00Z", "2026-11-01T09:00:00Z")


def small_contract() -> PolicyContract:
    """One camera of 4 × 4, four words, four waypoints."""
    return PolicyContract(
        name="small",
        cameras=(CameraSpec("front", 4, 4, 2, 10.0),),
        ego_history=EgoHistorySpec(steps=4, dt_s=0.1),
        instructions=("keep lane",),
        reasoning=ReasoningSpec(("<bos>", "<eos>", "go", "stop"), 0, 1, 4),
        action_space=UnicycleActions(3.0, 6.0, 0.2, 2.0, 0.03),
        horizon_steps=4,
        dt_s=0.1,
        flow_steps=2,
    )


def small_files(seed: str = "") -> dict[str, bytes]:
    """Bytes for each model role, a few hundred each, different for each `seed`."""
    return {role: f"{role} {seed} ".encode() * 40 for role in PATHS}


@dataclass(frozen=True)
class Recipe:
    """What a made release says of itself; `files` maps each role of `PATHS` to its bytes."""

    name: str = "drive"
    hardware: tuple[str, ...] = (HARDWARE,)
    precision: str = "int8"
    files: Mapping[str, bytes] | None = None
    contract: PolicyContract = field(default_factory=small_contract)
    limits: ReleaseLimits = field(
        default_factory=lambda: ReleaseLimits(200.0, 15.0, 4.0, 10.0, 0.02, 0.0005, (40.0, 120.0))
    )
    checkpoint: Digest = field(default_factory=lambda: digest_of(b"checkpoint"))
    chunk_bytes: int = 64


def make_release(
    directory: Path,
    keys: KeyDirectory,
    version: str = "1.0.0",
    counter: int = 1,
    recipe: Recipe | None = None,
) -> Digest:
    """Write a complete, signed release into `directory` (made where it is missing); returns its identity."""
    recipe = recipe or Recipe()
    files = dict(recipe.files or small_files(f"{recipe.name} {version}"))
    (directory / "model").mkdir(parents=True, exist_ok=True)
    for role, data in files.items():
        (directory / PATHS[role]).write_bytes(data)
    rows = [FileEntry(PATHS[role], len(data), digest_of(data)) for role, data in files.items()]
    model_digest = table_digest(rows)
    claims = make_claims(
        keys, recipe, model_digest, BundleParameters(name=recipe.name, version=version, counter=counter)
    )
    (directory / CLAIMS_NAME).write_bytes(claims_bytes(keys, claims))
    manifest = ReleaseManifest(
        name=recipe.name,
        version=version,
        counter=counter,
        hardware=recipe.hardware,
        precision=recipe.precision,
        contract=recipe.contract,
        limits=recipe.limits,
        files=tuple(
            release_file(directory, path, role, recipe.chunk_bytes)
            for role, path in [*PATHS.items(), ("claims", CLAIMS_NAME)]
        ),
        model_digest=model_digest,
        checkpoint_digest=recipe.checkpoint,
        ancestors=ancestors_of(claims, model_digest),
        created_utc=_TIMES[1],
    )
    return write_manifest(directory, keys, manifest)


def write_manifest(directory: Path, keys: KeyDirectory, manifest: ReleaseManifest) -> Digest:
    """(Re)write `release.json` and sign the directory anew."""
    data = bytes_from_manifest(manifest)
    (directory / MANIFEST_NAME).write_bytes(data)
    sign(directory, keys.private_key("publisher"))
    return digest_of(data)


def release_file(directory: Path, path: str, role: str, chunk_bytes: int = 64) -> ReleaseFile:
    """The manifest's row for the file at `path`."""
    data = (directory / path).read_bytes()
    return ReleaseFile(
        path, role, len(data), digest_of(data), chunk_bytes, chunk_digests(directory / path, chunk_bytes)
    )


def make_claims(
    keys: KeyDirectory, recipe: Recipe, model_digest: Digest, bundle: BundleParameters
) -> list[tuple[str, Claim]]:
    """(builder, claim) from the checkpoint to the release, parents first."""
    graphs = digest_of(b"graphs of " + recipe.checkpoint.encode())
    quantised = digest_of(b"quantised " + model_digest.encode())
    dataset = Parent(ParentRole.DATASET, digest_of(b"drives"), "drives")
    calibration = Parent(ParentRole.CALIBRATION, digest_of(b"calibration"), "calibration")
    return [
        ("trainer", _claim(Step.PRETRAIN, recipe.checkpoint, (dataset,), TrainingParameters())),
        ("converter", _claim(Step.CONVERT, graphs, (_source(recipe.checkpoint),), ConvertParameters())),
        (
            "quantiser",
            _claim(
                Step.QUANTISE,
                quantised,
                (_source(graphs), calibration),
                QuantiseParameters(scheme=recipe.precision),
            ),
        ),
        ("bundler", _claim(Step.BUNDLE, model_digest, (_source(quantised),), bundle)),
    ]


def claims_bytes(keys: KeyDirectory, claims: list[tuple[str, Claim]]) -> bytes:
    """The claims, each signed by its builder."""
    return b"".join(
        sign_claim(claim, keys.private_key(f"builder-{builder}"), builder) for builder, claim in claims
    )


def ancestors_of(claims: list[tuple[str, Claim]], leaf: Digest) -> tuple[str, ...]:
    """What a manifest must list for these claims."""
    named = {parent.digest for _, claim in claims for parent in claim.parents}
    return tuple(sorted((named | {claim.subject_digest for _, claim in claims}) - {leaf}))


def _claim(
    step: Step,
    subject: Digest,
    parents: tuple[Parent, ...],
    parameters: TrainingParameters | ConvertParameters | QuantiseParameters | BundleParameters,
) -> Claim:
    return Claim(step, subject, str(step), parents, parameters, _TIMES[0], _TIMES[1], f"run-{step}")


def _source(digest: Digest) -> Parent:
    return Parent(ParentRole.SOURCE_MODEL, digest, "source")


class Site:
    """Keys, an Image repository with no release, and a Director, all below `root`."""

    def __init__(self, root: Path, now: datetime = NOW) -> None:
        """Make them, or use those that are there: a test may copy a site and go on with the copy."""
        self.root, self.now = root, now
        self.repo = root / "repo"
        if self.repo.exists():
            self.keys = KeyDirectory(root / "keys")
            self.image = ImageRepository.open(self.repo, self.keys)
        else:
            self.keys = init_development_keys(root / "keys")
            self.image = ImageRepository.init(self.repo, self.keys, now)
        trust = self.repo / "trust"
        self.anchors = TrustAnchors(
            (trust / IMAGE_ROOT_NAME).read_bytes(), (trust / DIRECTOR_ROOT_NAME).read_bytes()
        )
        self.director = self.open_director()

    def open_director(self) -> DirectorRepository:
        """The Director as after a restart of the fleet server."""
        return DirectorRepository(self.root / "server", self.keys, self.anchors.director_root)

    def publish(
        self, version: str = "1.0.0", counter: int = 1, recipe: Recipe | None = None
    ) -> PublishedRelease:
        """Make and publish a release; it stays in `release_dir(version)`."""
        make_release(self.release_dir(version), self.keys, version, counter, recipe)
        return self.image.publish(self.release_dir(version), self.now)

    def release_dir(self, version: str) -> Path:
        """Where `publish` made the release."""
        return self.root / "releases" / version

    def assign(self, device: str, digest: Digest, hardware: str = HARDWARE) -> None:
        """Order `device` to run the published release `digest`."""
        self.director.assign(device, hardware, self.image.director_target(digest), self.now)

    def source(self, device: str) -> FolderSource:
        """What an honest depot would answer `device`."""
        return FolderSource(self.repo, self.director.metadata_of(device))

    def device(self, device: str = "thor-1", hardware: str = HARDWARE) -> "FakeDevice":
        """A device with this site's anchors and a state of its own."""
        return FakeDevice(self, DeviceIdentity(device, hardware))


@dataclass
class FakeDevice:
    """Asks for admission as a device does."""

    site: Site
    identity: DeviceIdentity
    floor_counter: int = 0

    @property
    def state(self) -> Path:
        """The device's trust state."""
        return self.site.root / "devices" / self.identity.device

    def admit(
        self, source: MetadataSource | None = None, now: datetime | None = None
    ) -> AdmittedRelease | None:
        """Ask `source`, or an honest depot."""
        asked = source or self.site.source(self.identity.device)
        return admit(
            asked, self.site.anchors, self.identity, self.state, self.floor_counter, now or self.site.now
        )
