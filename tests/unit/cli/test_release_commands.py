"""`roskva keys` and `roskva release` as people and scripts use them."""

import json
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner, Result

from fleet.cli import keys, release
from models.digest import digest_of
from models.errors import DigestMismatchError, RoskvaError, UnknownObjectError, UsageError
from models.release.manifest import SIGNATURE_NAME
from models.release.verify import CHECKS
from models.trust.keyset import KeyDirectory
from tests.fakes.repositories import make_release


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """A folder with keys, and a built release without a signature."""
    assert _run(keys.app, "init", tmp_path / "keys").exit_code == 0
    make_release(tmp_path / "r", KeyDirectory(tmp_path / "keys"))
    (tmp_path / "r" / SIGNATURE_NAME).unlink()
    return tmp_path


def _run(app: typer.Typer, *arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments], env={"COLUMNS": "200"})


def _lines(result: Result) -> list[dict[str, object]]:
    return [json.loads(line) for line in result.stdout.splitlines()]


def _error(result: Result) -> RoskvaError:
    assert isinstance(result.exception, RoskvaError)
    return result.exception


def _published(site: Path) -> str:
    assert _run(release.app, "sign", site / "r", "--keys", site / "keys").exit_code == 0
    done = _run(
        release.app, "publish", site / "r", "--repo", site / "repo", "--keys", site / "keys", "--json"
    )
    return str(_lines(done)[0]["release"])


def test_making_keys_warns_and_never_overwrites(tmp_path: Path) -> None:
    assert "evelopment" in _run(keys.app, "init", tmp_path / "keys").stdout
    assert isinstance(_error(_run(keys.app, "init", tmp_path / "keys")), UsageError)
    assert _lines(_run(keys.app, "init", tmp_path / "other", "--json"))[0]["development"] is True


def test_a_release_is_signed_published_shown_and_verified(site: Path) -> None:
    digest = _published(site)
    assert digest == digest_of((site / "r/release.json").read_bytes())
    shown = _run(release.app, "show", digest, "--repo", site / "repo")
    assert digest in shown.stdout
    assert "signed, in" in shown.stdout
    verified = _run(release.app, "verify", site / "r", "--repo", site / "repo", "--json")
    assert verified.exit_code == 0
    assert [row["check"] for row in _lines(verified)] == ["published", *CHECKS]
    assert {row["result"] for row in _lines(verified)} == {"ok"}


def test_the_first_check_that_fails_is_named_and_the_rest_is_not_reached(site: Path) -> None:
    _published(site)
    with (site / "r/model/reason.onnx").open("ab") as file:
        file.write(b"x")
    result = _run(release.app, "verify", site / "r", "--repo", site / "repo", "--json")
    assert isinstance(_error(result), DigestMismatchError)
    rows = {str(row["check"]): row["result"] for row in _lines(result)}
    assert rows["directory"] == "ok"
    assert rows["digests"] == "digest-mismatch"
    assert rows["signature"] == rows["lineage"] == "not reached"


def test_a_release_that_is_not_published_fails_at_that_check(site: Path) -> None:
    _published(site)
    make_release(site / "other", KeyDirectory(site / "keys"), "3.0.0", 3)
    result = _run(release.app, "verify", site / "other", "--repo", site / "repo", "--json")
    assert isinstance(_error(result), UnknownObjectError)
    assert _lines(result)[0] == {"check": "published", "result": "unknown", "detail": str(result.exception)}


def test_a_release_verifies_without_a_repository_against_a_policy(site: Path) -> None:
    _published(site)
    result = _run(release.app, "verify", site / "r", "--trust", site / "keys/public", "--json")
    assert [row["check"] for row in _lines(result)] == list(CHECKS)


def test_what_would_not_verify_is_left_unsigned(site: Path) -> None:
    (site / "r/model/reason.onnx").write_bytes(b"other")
    result = _run(release.app, "sign", site / "r", "--keys", site / "keys")
    assert isinstance(_error(result), DigestMismatchError)
    assert not (site / "r" / SIGNATURE_NAME).exists()


def test_a_folder_shown_is_said_to_be_unverified(site: Path) -> None:
    assert "not verified" in _run(release.app, "show", site / "r").stdout
    assert _lines(_run(release.app, "show", site / "r", "--json"))[0]["verified"] is False


@pytest.mark.parametrize(
    "arguments",
    [
        ("verify", "r"),
        ("verify", "r", "--repo", "a", "--trust", "b"),
        ("show", "nothing"),
        ("show", "r", "--repo", "a"),
        ("show", "sha256:beef", "--repo", "a"),
    ],
)
def test_a_question_that_names_no_source_of_trust_is_refused(site: Path, arguments: tuple[str, ...]) -> None:
    named = [str(site / "r") if argument == "r" else argument for argument in arguments]
    assert isinstance(_error(_run(release.app, *named)), UsageError)
