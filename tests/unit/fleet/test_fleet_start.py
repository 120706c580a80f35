"""The fleet server starts whole or says in one sentence why not; what it runs goes on after a surprise."""

import logging
import threading
from pathlib import Path

import pytest

from fleet.server import TOKEN_NAME, check_sources, claim_state, keep_running, operator_token, prepare_state
from models.errors import ConfigurationError, NotNowError, UnknownObjectError
from models.trust.keyset import init_development_keys


def test_a_token_that_a_killed_server_left_half_made_does_not_keep_the_next_one_from_starting(
    tmp_path: Path,
) -> None:
    (tmp_path / TOKEN_NAME).with_suffix(".partial").write_text("half")
    token = operator_token(tmp_path)
    assert len(token) > 40
    assert (tmp_path / TOKEN_NAME).stat().st_mode & 0o777 == 0o600
    assert operator_token(tmp_path) == token
    assert [path.name for path in tmp_path.iterdir()] == [TOKEN_NAME]


@pytest.mark.parametrize("held", [b"", b"short", b"\xff" * 40])
def test_a_token_file_that_holds_none_is_named(tmp_path: Path, held: bytes) -> None:
    path = tmp_path / TOKEN_NAME
    path.touch(mode=0o600)
    path.write_bytes(held)
    with pytest.raises(ConfigurationError, match=TOKEN_NAME):
        operator_token(tmp_path)


def test_a_token_that_others_may_read_is_refused(tmp_path: Path) -> None:
    operator_token(tmp_path)
    (tmp_path / TOKEN_NAME).chmod(0o644)
    with pytest.raises(ConfigurationError, match="chmod 600"):
        operator_token(tmp_path)


def test_without_a_repository_or_the_directors_key_nothing_starts(tmp_path: Path) -> None:
    init_development_keys(tmp_path / "keys")
    with pytest.raises(ConfigurationError, match="no repository at"):
        check_sources(tmp_path / "absent", tmp_path / "keys")
    with pytest.raises(UnknownObjectError, match="director-online"):
        check_sources(tmp_path, tmp_path / "no-keys")
    check_sources(tmp_path, tmp_path / "keys")


@pytest.mark.parametrize("inside", ["file/state", "file"])
def test_a_state_directory_that_cannot_be_written_to_is_named(tmp_path: Path, inside: str) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigurationError, match=r"cannot keep state in .*file"):
        prepare_state(tmp_path / inside)


def test_two_servers_never_work_in_one_state_directory(tmp_path: Path) -> None:
    with claim_state(tmp_path), pytest.raises(NotNowError, match="another fleet server"):
        claim_state(tmp_path)
    claim_state(tmp_path).close()


def test_the_state_directory_belongs_to_its_owner_alone(tmp_path: Path) -> None:
    prepare_state(tmp_path / "state")
    assert (tmp_path / "state").stat().st_mode & 0o777 == 0o700


def test_a_thread_that_fails_for_an_unforeseen_reason_is_logged_and_runs_again(
    caplog: pytest.LogCaptureFixture,
) -> None:
    runs: list[int] = []

    def target() -> None:
        runs.append(len(runs))
        if len(runs) == 1:
            raise ZeroDivisionError("nobody foresaw this")

    with caplog.at_level(logging.ERROR):
        keep_running("upkeep", target, threading.Event())
    assert runs == [0, 1]
    assert "upkeep failed" in caplog.text
