"""The documents promise what is there: links lead somewhere, commands exist, decisions say what they cost."""

import importlib
import io
import re
from collections.abc import Iterator
from contextlib import redirect_stdout, suppress
from functools import cache
from pathlib import Path

import pytest
from typer.main import get_command

from agent.app.main import app as agent_app
from agent.emulator.command import app as emulator_app
from agent.emulator.command import fault_app
from bench.__main__ import BENCHES
from fleet.app import app as fleet_app
from fleet.cli.main import app as roskva_app

ROOT = Path(__file__).parents[3]
FOLDERS = ("docs", "tests", "bench", "models")
PAGES = sorted([*ROOT.glob("*.md"), *(page for each in FOLDERS for page in ROOT.glob(f"{each}/**/*.md"))])
_PASSED_ON = {"emulate": get_command(emulator_app), "emulate-fault": get_command(fault_app)}
"""Commands whose options another program of ours reads."""
APPS = {"roskva": roskva_app, "roskva-agent": agent_app, "roskva-fleet": fleet_app}


def id_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


@pytest.mark.parametrize("page", PAGES, ids=id_of)
def test_every_link_leads_to_something(page: Path) -> None:
    targets = re.findall(r"\]\(([^)#]+?)(?:#[^)]*)?\)", page.read_text(encoding="utf-8"))
    local = [target for target in targets if "://" not in target]
    assert [target for target in local if not (page.parent / target).exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=id_of)
def test_every_command_that_is_shown_exists(page: Path) -> None:
    """`roskva release build …` must be a command of the program, word by word, and so must its options."""
    missing = []
    for line in _commands_in(page.read_text(encoding="utf-8")):
        program, *words = line.split()
        command = get_command(APPS[program])
        while words and hasattr(command, "commands") and not words[0].startswith("-"):
            word = words.pop(0)
            if word not in command.commands:
                missing.append(line)
                break
            command = _PASSED_ON.get(word) or command.commands[word]
        known = {option for parameter in command.params for option in parameter.opts} | {"--help"}
        missing += [line for word in words if word.startswith("--") and word.split("=")[0] not in known]
    assert missing == []


def _commands_in(text: str) -> list[str]:
    """Commands in indented or fenced blocks, lines joined, comments cut."""
    joined = text.replace("\\\n", " ")
    found = re.findall(
        r"^(?: {4,}|\$ |)((?:/\S+/)?(?:roskva|roskva-agent|roskva-fleet) [a-z].*)$", joined, re.MULTILINE
    )
    return [re.sub(r"^/\S+/", "", line).split("#")[0].strip() for line in found]


def test_the_pages_show_commands_at_all() -> None:
    assert len([c for page in PAGES for c in _commands_in(page.read_text(encoding="utf-8"))]) > 10


@pytest.mark.parametrize("page", PAGES, ids=id_of)
def test_every_bench_that_is_shown_exists_and_so_do_its_options(page: Path) -> None:
    missing = [
        (bench, sorted(options - _options_of(bench)))
        for bench, options in _benches_in(page.read_text(encoding="utf-8"))
        if bench not in BENCHES or not options <= _options_of(bench)
    ]
    assert missing == []


def _benches_in(text: str) -> Iterator[tuple[str, set[str]]]:
    """The bench and the options of each `python -m bench NAME …`, in a block or in a sentence."""
    for line in re.findall(r"python -m bench ([^`\n#]+)", text.replace("\\\n", " ")):
        words = line.split()
        names = [word for word in words if not word.startswith("-")]
        yield names[0] if names else "", {word.split("=")[0] for word in words if word.startswith("--")}


@cache
def _options_of(bench: str) -> frozenset[str]:
    """What its `--help` says how it is used; none of a bench that there is not."""
    if bench not in BENCHES:
        return frozenset()
    told = io.StringIO()
    with redirect_stdout(told), suppress(SystemExit):
        importlib.import_module(f"bench.{bench}").run(["--help"])
    usage, _, _ = told.getvalue().partition("\n\n")
    return frozenset(re.findall(r"--[a-z-]+", usage)) | {"--json", "--help"}


def test_a_bench_or_an_option_that_there_is_not_would_be_found() -> None:
    shown = list(
        _benches_in("`python -m bench power --pictures FILE` and\n    python -m bench lathe --json  # 1\n")
    )
    assert shown == [("power", {"--pictures"}), ("lathe", {"--json"})]
    assert "--picture" in _options_of("power")
    assert "--pictures" not in _options_of("power")


def test_the_pages_show_benches_at_all() -> None:
    assert len([b for page in PAGES for b in _benches_in(page.read_text(encoding="utf-8"))]) > 8


def test_every_bench_that_is_listed_exists() -> None:
    assert [name for name in BENCHES if not (ROOT / "bench" / f"{name}.py").exists()] == []


@pytest.mark.parametrize("page", sorted(ROOT.glob("docs/decisions/0*.md")), ids=id_of)
def test_every_decision_says_what_it_costs(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert all(word in text for word in ("**Decided.**", "**Why.**", "**Costs.**"))
