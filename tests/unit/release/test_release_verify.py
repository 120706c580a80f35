"""What a verified release offers; what is refused stands in tests/attacks."""

import os
from pathlib import Path

import pytest

from models.errors import DiskError, MalformedError
from models.release.manifest import CLAIMS_NAME, MANIFEST_NAME, SIGNATURE_NAME
from models.release.verify import CHECKS, Check, verify
from models.trust.keyset import KeyDirectory, init_development_keys, policy_of
from tests.fakes.open_files import open_below
from tests.fakes.repositories import PATHS, make_release, small_files


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> KeyDirectory:
    """A development key set."""
    return init_development_keys(tmp_path_factory.mktemp("site") / "keys")


def test_a_release_of_another_version_of_ourselves_verifies_and_reads_back(
    tmp_path: Path, keys: KeyDirectory
) -> None:
    expected = make_release(tmp_path, keys, "2.1.0", counter=7)
    with verify(tmp_path, expected, policy_of(keys)) as release:
        assert release.digest == expected
        assert (release.manifest.version, release.manifest.counter) == ("2.1.0", 7)
        assert release.signer == "publisher"
        for role, data in small_files("drive 2.1.0").items():
            assert release.read(role) == data
        assert release.read_path(MANIFEST_NAME) == (tmp_path / MANIFEST_NAME).read_bytes()
        assert len(release.entries) == len(PATHS) + 3


def test_each_check_is_reported_once_in_order(tmp_path: Path, keys: KeyDirectory) -> None:
    seen: list[Check] = []
    verify(tmp_path, make_release(tmp_path, keys), policy_of(keys), seen.append).close()
    assert tuple(check.name for check in seen) == CHECKS


def test_a_closed_release_reads_nothing_and_holds_no_files(tmp_path: Path, keys: KeyDirectory) -> None:
    expected = make_release(tmp_path, keys)
    release = verify(tmp_path, expected, policy_of(keys))
    assert open_below(tmp_path) != []
    release.close()
    release.close()
    assert open_below(tmp_path) == []
    with pytest.raises(MalformedError):
        release.read("visual")


def test_a_role_that_no_file_has_is_refused(tmp_path: Path, keys: KeyDirectory) -> None:
    with (
        verify(tmp_path, make_release(tmp_path, keys), policy_of(keys)) as release,
        pytest.raises(MalformedError),
    ):
        release.read("manifest")


def break_disk_below(path: Path) -> None:
    """From now on every read of the open file `path` is an input/output error, as of a broken disk."""
    broken = os.open("/proc/self/mem", os.O_RDONLY)  # nothing is mapped at address 0
    try:
        for entry in os.scandir("/proc/self/fd"):
            if os.path.realpath(entry.path) == str(path):
                os.dup2(broken, int(entry.name), inheritable=False)
    finally:
        os.close(broken)


@pytest.mark.parametrize(
    ("name", "after"), [(MANIFEST_NAME, "files"), (SIGNATURE_NAME, "digests"), (CLAIMS_NAME, "signature")]
)
def test_a_disk_that_fails_while_a_release_is_verified_is_named_and_blames_no_release(
    tmp_path: Path, keys: KeyDirectory, name: str, after: str
) -> None:
    def witness(check: Check) -> None:
        if check.name == after:
            break_disk_below(tmp_path / name)

    expected = make_release(tmp_path, keys)
    with pytest.raises(DiskError, match="cannot be read: Input/output error") as caught:
        verify(tmp_path, expected, policy_of(keys), witness)
    assert caught.value.exit_code == 5
    assert open_below(tmp_path) + open_below(Path("/proc/self/mem")) == []


def test_a_disk_that_fails_after_the_verification_is_named(tmp_path: Path, keys: KeyDirectory) -> None:
    with verify(tmp_path, make_release(tmp_path, keys), policy_of(keys)) as release:
        break_disk_below(tmp_path / PATHS["visual"])
        with pytest.raises(DiskError, match="visual"):
            release.read("visual")
