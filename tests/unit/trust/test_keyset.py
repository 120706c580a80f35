"""The development key set, and the policy that it makes."""

from pathlib import Path

import pytest

from models.errors import UnknownObjectError, UsageError
from models.trust.keys import keyid_of
from models.trust.keyset import KEY_NAMES, KeyDirectory, init_development_keys, policy_of
from models.trust.policy import policy_from_bytes


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> KeyDirectory:
    """A development key set."""
    return init_development_keys(tmp_path_factory.mktemp("site") / "keys")


def test_private_keys_are_readable_by_their_owner_only(keys: KeyDirectory) -> None:
    assert keys.path.stat().st_mode & 0o777 == 0o700
    for name in KEY_NAMES:
        assert (keys.path / f"{name}.pem").stat().st_mode & 0o777 == 0o600


def test_the_set_says_that_it_is_for_development(keys: KeyDirectory) -> None:
    assert "development" in (keys.path / "DEVELOPMENT").read_text()


def test_public_halves_hold_no_private_key(keys: KeyDirectory) -> None:
    for path in (keys.path / "public").iterdir():
        assert "PRIVATE" not in path.read_text()


def test_all_keys_differ(keys: KeyDirectory) -> None:
    assert len({keyid_of(keys.private_key(name).public_key()) for name in KEY_NAMES}) == len(KEY_NAMES)


def test_keys_are_never_overwritten(keys: KeyDirectory) -> None:
    before = (keys.path / "publisher.pem").read_bytes()
    with pytest.raises(UsageError):
        init_development_keys(keys.path)
    assert (keys.path / "publisher.pem").read_bytes() == before


def test_the_policy_beside_the_keys_is_the_one_they_make(keys: KeyDirectory) -> None:
    assert policy_from_bytes((keys.path / "public/builders.json").read_bytes()) == policy_of(keys)


def test_each_step_may_be_signed_by_exactly_one_builder(keys: KeyDirectory) -> None:
    steps = [step for builder in policy_of(keys).builders for step in builder.steps]
    assert sorted(steps) == ["bundle", "convert", "evaluate", "finetune", "pretrain", "quantise"]


def test_a_key_that_is_not_there_is_named(keys: KeyDirectory, tmp_path: Path) -> None:
    with pytest.raises(UnknownObjectError, match="publisher"):
        KeyDirectory(tmp_path).private_key("publisher")
