"""`roskva` as a person meets it: help that can be read, one line an error, an exit code that means something."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from fleet.cli.code_of import code_from_text
from fleet.cli.inputs import read_input
from fleet.cli.main import app, main
from models.errors import UnknownObjectError, UsageError
from models.trust.keyset import init_development_keys
from tests.fakes.repositories import make_release


def command_lines(command: object, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """The words of every command and group."""
    yield path
    for name, inner in getattr(command, "commands", {}).items():
        yield from command_lines(inner, (*path, name))


COMMANDS = list(command_lines(typer.main.get_command(app)))


def said(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    """Exit code, stdout and stderr of the whole command."""
    with pytest.raises(SystemExit) as end:
        main([str(argument) for argument in arguments])
    out, err = capsys.readouterr()
    assert isinstance(end.value.code, int)
    return end.value.code, out, err


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_help_is_text_and_says_what_each_argument_is(words: tuple[str, ...]) -> None:
    result = CliRunner().invoke(app, [*words, "--help"], env={"COLUMNS": "200"})
    assert result.exit_code == 0
    assert not [letter for letter in result.stdout if ord(letter) > 0x1F000], "a picture in the help"
    command = typer.main.get_command(app)
    for word in words:
        command = command.commands[word]  # type: ignore[attr-defined]
    assert command.help
    assert all(getattr(parameter, "help", "") for parameter in command.params)


def test_a_path_that_the_system_refuses_is_one_line_and_wrong_usage(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    code, out, err = said(capsys, "keys", "init", tmp_path / "file/keys")
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert str(tmp_path / "file") in err


def test_what_a_file_says_cannot_draw_on_the_terminal_through_an_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make_release(tmp_path / "r", init_development_keys(tmp_path / "keys"))
    path = tmp_path / "r/release.json"
    path.write_bytes(b'{"\\u001b[2J\\u202e":1,' + path.read_bytes()[1:])
    code, out, err = said(capsys, "release", "show", tmp_path / "r")
    assert (code, out) == (4, "")
    assert err.startswith("roskva: error [malformed]: ")
    assert not {"\x1b", "\u202e"} & set(err)


def test_a_file_is_read_whole_or_not_at_all(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"12345")
    assert read_input(tmp_path / "file", 5) == b"12345"
    with pytest.raises(UsageError, match="longer than the 4 bytes"):
        read_input(tmp_path / "file", 4)
    with pytest.raises(UnknownObjectError, match="cannot read"):
        read_input(tmp_path / "nothing", 4)


def test_a_repository_that_is_no_url_is_wrong_usage() -> None:
    with pytest.raises(UsageError, match="no URL"):
        code_from_text("http://[x@" + "a" * 40)
