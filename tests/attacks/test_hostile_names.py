"""Names that leave the folder, hide in it, or collide in it."""

import msgspec
import pytest

from models.errors import HostileNameError
from models.release.manifest import MANIFEST_NAME, manifest_from_bytes
from models.release.names import NameRule, check_name, check_names
from models.release.verify import verify
from models.trust.keyset import policy_of
from models.trust.targets import is_release_path
from tests.fakes.repositories import Site, write_manifest

HOSTILE = (
    "",
    "/",
    "/etc/passwd",
    "//server/share",
    ".",
    "..",
    "../release.json",
    "model/../../etc/passwd",
    "model/..",
    "model/.",
    "model/./a.onnx",
    "model//a.onnx",
    "model/",
    ".git/evil.so",
    ".gitattributes",
    "model/.hidden",
    "~",
    "~root/.ssh/authorized_keys",
    "-rf",
    "model/-rf",
    "_start",
    "a b",
    " a",
    "a ",
    "a\n",
    "a\nb",
    "a\r",
    "a\tb",
    "a\0b",
    "a\0.onnx",
    "\x1b[2Ja",
    "C:",
    "C:\\windows",
    "model\\..\\a",
    "a:stream",
    "a*",
    "a?",
    "$HOME",
    "`id`",
    "a;b",
    "a|b",
    "a'b",
    'a"b',
    "%2e%2e/a",
    "a%00",
    "modèle.onnx",
    "mode\u0301l.onnx",
    "model\u202egpj.onnx",
    "\uff0e\uff0e/a",
    "a\udcff",
    "a/" * 8 + "a",
    "a" * 256,
)
COLLISIONS = (
    ("model/a.onnx", "model/a.onnx"),
    ("model/a.onnx", "model/A.onnx"),
    ("model/a.onnx", "Model/b.onnx"),
    ("model/a.onnx", "MODEL/A.ONNX"),
    ("model", "model/a.onnx"),
    ("model/a", "model/a/b"),
    ("release.json", "Release.json"),
)


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_name_is_refused(name: str) -> None:
    with pytest.raises(HostileNameError) as refusal:
        check_name(name)
    assert refusal.value.code == "hostile-name"
    assert str(refusal.value).isprintable(), "the name reached the terminal as it is"


@pytest.mark.parametrize("names", COLLISIONS)
def test_two_names_that_some_file_system_would_confuse_are_refused(names: tuple[str, ...]) -> None:
    with pytest.raises(HostileNameError):
        check_names(names)


@pytest.mark.parametrize("name", [name for name in HOSTILE if name not in (".gitattributes", "_start")])
def test_checkpoints_allow_no_more_than_other_first_characters(name: str) -> None:
    if name in (".git/evil.so", "model/.hidden"):
        check_name(name, NameRule.CHECKPOINT)
        return
    with pytest.raises(HostileNameError):
        check_name(name, NameRule.CHECKPOINT)


def test_a_signed_manifest_with_a_hostile_name_is_refused(site: Site) -> None:
    folder, policy = site.release_dir("1.0.0"), policy_of(site.keys)
    manifest, _ = manifest_from_bytes((folder / MANIFEST_NAME).read_bytes())
    for name in HOSTILE:
        if "\udcff" in name:
            continue  # JSON cannot carry it
        hostile = msgspec.structs.replace(manifest.files[0], path=name)
        changed = msgspec.structs.replace(manifest, files=(hostile, *manifest.files[1:]))
        expected = write_manifest(folder, site.keys, changed)
        with pytest.raises(HostileNameError):
            verify(folder, expected, policy)


@pytest.mark.parametrize("name", HOSTILE)
def test_no_hostile_name_makes_a_target_path(name: str) -> None:
    assert not is_release_path(f"releases/{name}/1.0.0/release.json")
    assert not is_release_path(f"releases/drive/{name}/release.json")
    assert not is_release_path(name)


def test_a_release_may_not_be_published_under_a_name_that_leaves_its_folder(site: Site) -> None:
    folder = site.release_dir("1.0.0")
    manifest, _ = manifest_from_bytes((folder / MANIFEST_NAME).read_bytes())
    write_manifest(
        folder, site.keys, msgspec.structs.replace(manifest, version="../../../../trust", counter=9)
    )
    with pytest.raises(HostileNameError):
        site.image.publish(folder, site.now)
    assert [release.counter for release in site.image.releases()] == [5]
