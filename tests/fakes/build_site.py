"""A site where releases are built: keys, a copy of the reference checkpoint, and its signed claim."""

import shutil
from dataclasses import dataclass
from pathlib import Path

from models import reference
from models.digest import digest_from_text
from models.lineage.chain import Chain, verify_chain
from models.lineage.claim import sign_claim
from models.lineage.record import SiteFacts, record_checkpoint
from models.release.build import BuildRequest, BuiltRelease
from models.release.precision import ReleasePrecision
from models.trust.keyset import KeyDirectory, init_development_keys, policy_of

REFERENCE_CHECKPOINT = Path(next(iter(reference.__path__))) / "checkpoint"


@dataclass(frozen=True)
class BuildSite:
    """Keys, a checkpoint and its claim."""

    keys: KeyDirectory
    checkpoint: Path

    def claim(self) -> bytes:
        """The checkpoint's claim, signed by its trainer."""
        recorded = record_checkpoint(self.checkpoint, SiteFacts("2026-11-23T10:00:00Z", "test-run"))
        return sign_claim(recorded.claim, self.keys.private_key("builder-trainer"), "trainer")

    def request(self, out: Path, precision: ReleasePrecision = ReleasePrecision.NVFP4) -> BuildRequest:
        """What to ask of `build`."""
        return BuildRequest(
            checkpoint=self.checkpoint,
            checkpoint_claim=self.claim(),
            precision=precision,
            name="pilot",
            version="1.0.0",
            counter=3,
            hardware=("thor-t5000",),
            keys=self.keys,
            out=out,
            created_utc="2026-11-23T12:00:00Z",
            invocation="build-1",
        )

    def chain(self, built: BuiltRelease) -> Chain:
        """The lineage of a release built here, verified."""
        lines = (built.directory / "claims.jsonl").read_bytes()
        return verify_chain(lines, policy_of(self.keys), digest_from_text(built.manifest.model_digest))


def make_build_site(root: Path) -> BuildSite:
    """Make one below `root`."""
    shutil.copytree(REFERENCE_CHECKPOINT, root / "checkpoint")
    return BuildSite(init_development_keys(root / "keys"), root / "checkpoint")


def files_below(folder: Path) -> set[str]:
    """Paths of all files in a release's folder."""
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
