"""Examining a release by its small files: who signed it, and whether its lineage holds, claim by claim.

Owns: the join of `release.json`, `model.oms.sig` and `claims.jsonl` for an auditor who has not the model files.
Must not know: where the bytes came from, how findings are shown.

Pure. `manifest` and `policy` must already be trusted (a TUF repository signed for them); the other bytes need
not be, and nothing that they say makes this raise: findings carry the reason. A device, which has all files,
uses `models.release.verify` instead.
"""

from dataclasses import dataclass

from models.digest import Digest, digest_of, short
from models.errors import ClaimError, ModelSignatureError
from models.lineage.chain import Chain, ClaimVerdict, inspect_chain, verify_chain
from models.release.manifest import MANIFEST_NAME, ReleaseManifest, bytes_from_manifest
from models.trust.oms import check_bundle
from models.trust.policy import TrustPolicy


@dataclass(frozen=True)
class SmallFiles:
    """What was downloaded of a release."""

    signature: bytes
    claims: bytes


@dataclass(frozen=True)
class Findings:
    """What holds and what does not; each reason is empty where the thing holds.

    `publisher` is who signed the release, where the signature holds. `verdicts` has one entry for each claim;
    `lineage_reason` is about the claims as a whole and against `release.json`.
    """

    release_digest: Digest
    manifest: ReleaseManifest
    publisher: str
    signature_reason: str
    verdicts: tuple[ClaimVerdict, ...]
    lineage_reason: str
    chain: Chain | None

    @property
    def verified(self) -> bool:
        """Whether everything holds."""
        return self.chain is not None and not self.signature_reason and not self.lineage_reason

    @property
    def reasons(self) -> tuple[str, ...]:
        """Everything that does not hold, as sentences."""
        broken = [str(verdict) for verdict in self.verdicts if not verdict.verified]
        return tuple(reason for reason in (*broken, self.lineage_reason, self.signature_reason) if reason)

    def insist(self) -> Chain:
        """The lineage. Raises `ClaimError` or `ModelSignatureError`, naming everything that does not hold."""
        if self.chain is not None and self.verified:
            return self.chain
        kind = ModelSignatureError if self.reasons == (self.signature_reason,) else ClaimError
        raise kind("; ".join(self.reasons))


def examine(manifest: ReleaseManifest, files: SmallFiles, policy: TrustPolicy) -> Findings:
    """Check signature and lineage of the release that `manifest` is, without its model files."""
    publisher, signature_reason = _signature(manifest, files.signature, policy)
    leaf = Digest(manifest.model_digest)
    found = inspect_chain(files.claims, policy, leaf)
    chain: Chain | None = None
    lineage_reason = " · ".join(str(verdict) for verdict in found if verdict.index == 0)
    if all(verdict.verified for verdict in found):
        chain = verify_chain(files.claims, policy, leaf)
        lineage_reason = _against_manifest(chain, manifest)
    lineage_reason = lineage_reason or _claims_file(manifest, files.claims)
    return Findings(
        release_digest=digest_of(bytes_from_manifest(manifest)),
        manifest=manifest,
        publisher=publisher,
        signature_reason=signature_reason,
        verdicts=tuple(verdict for verdict in found if verdict.index > 0),
        lineage_reason=lineage_reason,
        chain=chain,
    )


def _signature(manifest: ReleaseManifest, signature: bytes, policy: TrustPolicy) -> tuple[str, str]:
    """The publisher, or why there is none. The other files are bound through their entries in `release.json`."""
    digests = {file.path: Digest(file.digest) for file in manifest.files}
    digests[MANIFEST_NAME] = digest_of(bytes_from_manifest(manifest))
    try:
        return check_bundle(signature, digests, policy.publishers), ""
    except ModelSignatureError as error:
        return "", str(error)


def _claims_file(manifest: ReleaseManifest, claims: bytes) -> str:
    expected = {file.digest for file in manifest.files if file.role == "claims"}
    if expected == {digest_of(claims)}:
        return ""
    return f"claims.jsonl has the digest {short(digest_of(claims))}, which release.json does not name"


def _against_manifest(chain: Chain, manifest: ReleaseManifest) -> str:
    if chain.ancestors != set(manifest.ancestors):
        return "the claims lead to other ancestors than release.json lists"
    if manifest.checkpoint_digest not in {item.claim.subject_digest for item in chain.checkpoints}:
        return f"no claim of training says how checkpoint {manifest.checkpoint_digest[:19]} came to be"
    return ""
