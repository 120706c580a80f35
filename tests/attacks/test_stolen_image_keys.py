"""Some of the Image repository's keys are stolen: none of them alone makes a device run something."""

import json

import pytest
from tuf.api.metadata import Metadata, Root, TargetFile, Targets  # type: ignore[attr-defined] # public names

from models.errors import MetadataError, RepositoriesDisagreeError
from models.trust.metadata import signed_bytes
from models.trust.policy import POLICY_PATH, TrustPolicy, bytes_from_policy
from models.trust.targets import ReleaseCustom, SignatureFile, described, prefixed
from tests.fakes.forgery import forge_image
from tests.fakes.repositories import HARDWARE, Site

EVIL_PATH = "releases/drive/6.6.6/release.json"


def _evil_release() -> TargetFile:
    target = TargetFile.from_data(EVIL_PATH, b"{}\n", ["sha256"])
    assert isinstance(target, TargetFile)
    return described(target, ReleaseCustom(66, (HARDWARE,), SignatureFile("0" * 64, 1)))


@pytest.mark.parametrize("key", ["image-snapshot", "image-timestamp", "image-policy", "image-targets"])
def test_no_other_key_of_the_repository_signs_a_release(site: Site, key: str) -> None:
    forge_image(
        site, {"release": (key, lambda targets: targets.targets.update({EVIL_PATH: _evil_release()}))}
    )
    with pytest.raises(MetadataError) as refusal:
        site.device().admit()
    assert refusal.value.code == "metadata"


def test_the_release_key_does_not_replace_the_trust_policy(site: Site) -> None:
    empty = bytes_from_policy(TrustPolicy(publishers=(), builders=()))
    target = TargetFile.from_data(POLICY_PATH, empty, ["sha256"])
    (site.repo / "image/targets" / prefixed(POLICY_PATH, target.hashes["sha256"])).write_bytes(empty)
    forge_image(
        site, {"release": ("image-release", lambda targets: targets.targets.update({POLICY_PATH: target}))}
    )
    admitted = site.device().admit()
    assert admitted is not None
    assert admitted.policy.publishers, "the policy of the policy role counts, whoever else signs that path"


def test_the_release_key_alone_orders_nothing(site: Site) -> None:
    forge_image(
        site,
        {"release": ("image-release", lambda targets: targets.targets.update({EVIL_PATH: _evil_release()}))},
    )
    admitted = site.device().admit()
    assert admitted is not None
    assert admitted.manifest.version == "1.0.0"


@pytest.mark.parametrize(
    "signers", [["image-root-1"], ["image-root-1", "image-targets"], ["image-targets"], []]
)
def test_a_new_root_with_fewer_than_two_root_keys_is_refused(site: Site, signers: list[str]) -> None:
    root = Metadata[Root].from_bytes(site.anchors.image_root).signed
    root.version = 2
    (site.repo / "image/metadata/2.root.json").write_bytes(
        signed_bytes(root, [site.keys.signer(name) for name in signers])
    )
    with pytest.raises(MetadataError) as refusal:
        site.device().admit()
    assert refusal.value.code == "metadata"


def test_one_root_key_that_signs_twice_counts_once(site: Site) -> None:
    root = Metadata[Root].from_bytes(site.anchors.image_root).signed
    root.version = 2
    signed = json.loads(signed_bytes(root, [site.keys.signer("image-root-1")]))
    signed["signatures"] *= 2
    (site.repo / "image/metadata/2.root.json").write_text(json.dumps(signed))
    with pytest.raises(MetadataError):
        site.device().admit()


def test_after_two_root_keys_replaced_a_stolen_key_it_signs_nothing_any_more(site: Site) -> None:
    root = Metadata[Root].from_bytes(site.anchors.image_root).signed
    root.version = 2
    stolen, fresh = site.keys.signer("image-targets"), site.keys.signer("image-policy").public_key
    root.revoke_key(stolen.public_key.keyid, Targets.type)
    root.add_key(fresh, Targets.type)
    (site.repo / "image/metadata/2.root.json").write_bytes(
        signed_bytes(root, [site.keys.signer("image-root-1"), site.keys.signer("image-root-3")])
    )
    with pytest.raises(MetadataError):
        site.device().admit()
    forge_image(site, {Targets.type: ("image-policy", lambda _: None)})
    assert site.device().admit() is not None


@pytest.mark.parametrize(
    "lie",
    [
        ReleaseCustom(99, (HARDWARE,), SignatureFile("0" * 64, 1)),
        ReleaseCustom(5, (HARDWARE, "orin-agx"), SignatureFile("0" * 64, 1)),
    ],
)
def test_a_release_key_that_says_otherwise_than_release_json_is_found(site: Site, lie: ReleaseCustom) -> None:
    def describe(targets: Targets) -> None:
        for target in targets.targets.values():
            described(target, lie)

    forge_image(site, {"release": ("image-release", describe)})
    site.assign("thor-1", site.image.releases()[0].digest)
    with pytest.raises(RepositoriesDisagreeError, match=r"release\.json") as refusal:
        site.device().admit()
    assert refusal.value.code == "repositories-disagree"


def test_an_old_release_under_the_path_of_a_new_version_is_found(site: Site) -> None:
    path = "releases/drive/9.9.9/release.json"

    def move(targets: Targets) -> None:
        [target] = targets.targets.values()
        target.path = path
        targets.targets = {path: target}

    source = site.repo / "image/targets/releases/drive"
    (source / "9.9.9").mkdir()
    for served in (source / "1.0.0").iterdir():
        (source / "9.9.9" / served.name).write_bytes(served.read_bytes())
    forge_image(site, {"release": ("image-release", move)})
    site.assign("thor-1", site.image.releases()[0].digest)
    with pytest.raises(RepositoriesDisagreeError, match=r"release\.json"):
        site.device().admit()


def test_a_model_signature_that_is_signed_for_as_a_terabyte_is_refused(site: Site) -> None:
    def describe(targets: Targets) -> None:
        for target in targets.targets.values():
            described(target, ReleaseCustom(5, (HARDWARE,), SignatureFile("0" * 64, 1 << 40)))

    forge_image(site, {"release": ("image-release", describe)})
    with pytest.raises(MetadataError, match="model signature"):
        site.device().admit()
