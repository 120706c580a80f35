"""The ML-BOM: a CycloneDX 1.7 view of a release's lineage, for procurement and auditors' tools.

Owns: the mapping from a verified chain and a manifest to CycloneDX (ECMA-424) JSON.
Must not know: signatures. The claims are the source of truth; this file is derived, and proves nothing itself.
"""

from uuid import NAMESPACE_URL, uuid5

from models.digest import Digest, hex_of
from models.lineage.chain import Chain
from models.lineage.claim import Claim, Parent, ParentRole, QuantiseParameters, Step
from models.release.manifest import ReleaseManifest

_Json = dict[str, object]
_DATA_ROLES = frozenset({ParentRole.DATASET, ParentRole.CALIBRATION})


def mlbom_from_chain(chain: Chain, manifest: ReleaseManifest, release_digest: Digest) -> _Json:
    """The BOM of the release: the model, what it descends from, and the data that went in.

    The same release always gives the same BOM: its serial number is derived from the digest, and it has no clock.
    """
    claims = [item.claim for item in chain.claims]
    data = {
        parent.digest: parent for claim in claims for parent in claim.parents if parent.role in _DATA_ROLES
    }
    return {
        "$schema": "http://cyclonedx.org/schema/bom-1.7.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.7",
        "serialNumber": f"urn:uuid:{uuid5(NAMESPACE_URL, release_digest)}",
        "version": 1,
        "metadata": {
            "timestamp": manifest.created_utc,
            "component": _release(chain, manifest, release_digest, list(data.values())),
        },
        "components": [_dataset(parent) for parent in data.values()],
        "dependencies": [
            {"ref": release_digest, "dependsOn": sorted(data)},
            *({"ref": d} for d in sorted(data)),
        ],
    }


def _release(chain: Chain, manifest: ReleaseManifest, digest: Digest, data: list[Parent]) -> _Json:
    claims = [item.claim for item in chain.claims if item.claim.subject_digest != chain.leaf]
    return {
        "type": "machine-learning-model",
        "bom-ref": digest,
        "name": manifest.name,
        "version": manifest.version,
        "hashes": [_hash(digest)],
        "pedigree": {"ancestors": [_ancestor(claim) for claim in claims]},
        "modelCard": {
            "modelParameters": {
                "task": "vision-language-action driving policy",
                "datasets": [{"ref": parent.digest} for parent in data],
            },
            "considerations": {"technicalLimitations": _limitations(manifest)},
        },
        "properties": [
            _property("precision", manifest.precision),
            _property("counter", str(manifest.counter)),
            *(_property("hardware", name) for name in manifest.hardware),
        ],
    }


def _ancestor(claim: Claim) -> _Json:
    properties = [_property("step", claim.step), _property("invocation", claim.invocation)]
    if isinstance(claim.parameters, QuantiseParameters):
        properties.append(_property("scheme", claim.parameters.scheme))
    if claim.step in {Step.PRETRAIN, Step.FINETUNE} and claim.internal.rack:
        rack = claim.internal.rack
        properties += [
            _property("rack.system", rack.system),
            _property("rack.chassis_serial", rack.chassis_serial),
            _property("rack.emulated", str(rack.emulated).lower()),
            _property("rack.evidence", rack.evidence),
        ]
    return {
        "type": "machine-learning-model",
        "name": claim.subject_name or claim.step.value,
        "hashes": [_hash(claim.subject_digest)],
        "properties": properties,
    }


def _dataset(parent: Parent) -> _Json:
    return {
        "type": "data",
        "bom-ref": parent.digest,
        "name": parent.name or parent.role.value,
        "hashes": [_hash(parent.digest)],
        "data": [{"type": "dataset", "name": parent.name or parent.role.value}],
    }


def _limitations(manifest: ReleaseManifest) -> list[str]:
    limits = manifest.limits
    low_w, high_w = limits.validated_envelope_w
    return [
        f"validated up to {limits.max_speed_mps:g} m/s",
        f"validated inside a power envelope of {low_w:g} to {high_w:g} W",
    ]


def _hash(digest: Digest) -> _Json:
    return {"alg": "SHA-256", "content": hex_of(digest)}


def _property(name: str, value: str) -> _Json:
    return {"name": f"roskva:{name}", "value": str(value)}
