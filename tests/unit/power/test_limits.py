"""How many watts are allowed: the lowest of three, whoever says them, and nothing above the configuration."""

import json
import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from agent.app.main import app
from agent.app.power import PowerLoop
from agent.board.records import (
    ENVELOPE,
    FLEET_ENVELOPE_BOARD,
    LOCAL_ENVELOPE_BOARD,
    POWER,
    POWER_BOARD,
    EnvelopeRecord,
)
from agent.board.seqlock import BoardReader, BoardWriter
from agent.config import config_from_text
from agent.emulator.stepped import AtOnce
from agent.power.limits import Limit, Limits, LimitSource, Ordered, limit_in_force
from models.errors import UsageError
from tests.fakes.clock import FakeClock
from tests.fakes.jetson import FakeDevice

CONFIG = '[device]\nid = "thor-1"\nfleet = "yard"\n[power]\nenvelope_w = 90.0\n'
ANY = st.one_of(st.none(), st.floats(), st.floats(40, 130))


def say(run: Path, board: str, limit_w: float, sequence: int = 0) -> None:
    with BoardWriter(run / board, ENVELOPE) as writer:
        writer.write(EnvelopeRecord(limit_w, sequence), 1)


def test_a_fleet_order_above_the_configuration_changes_nothing() -> None:
    assert limit_in_force(90.0, 130.0, None) == Limit(90.0, LimitSource.CONFIGURATION)
    assert limit_in_force(90.0, 130.0, 130.0) == Limit(90.0, LimitSource.CONFIGURATION)
    assert limit_in_force(90.0, 60.0, 70.0) == Limit(60.0, LimitSource.FLEET)
    assert limit_in_force(90.0, 60.0, 50.0) == Limit(50.0, LimitSource.LOCAL)


@given(st.floats(40, 130), ANY, ANY)
def test_whatever_is_ordered_the_limit_is_an_envelope_and_not_above_the_configuration(
    config_w: float, fleet_w: float | None, local_w: float | None
) -> None:
    limit = limit_in_force(config_w, fleet_w, local_w)
    assert 40.0 <= limit.watts <= config_w
    assert limit.watts in {config_w, fleet_w, local_w}


@pytest.mark.parametrize("absurd", [math.nan, math.inf, -math.inf, 0.0, -70.0, 39.9, 1e9])
def test_a_board_that_says_what_is_no_envelope_limits_nothing(tmp_path: Path, absurd: float) -> None:
    say(tmp_path, FLEET_ENVELOPE_BOARD, absurd, 7)
    limits = Limits(tmp_path, 90.0)
    assert limits.limit(1) == Limit(90.0, LimitSource.CONFIGURATION)
    assert limits.ordered(1) == Ordered(None, None, 7)


def test_an_order_stands_however_old_its_board_is_and_whoever_is_gone(tmp_path: Path) -> None:
    limits, clock = Limits(tmp_path, 90.0), FakeClock()
    assert limits.limit(clock.mono_ns()).watts == 90.0
    say(tmp_path, FLEET_ENVELOPE_BOARD, 60.0, 7)
    clock.advance(1)
    assert limits.limit(clock.mono_ns()).watts == 60.0
    (tmp_path / FLEET_ENVELOPE_BOARD).unlink()
    clock.advance(3600)
    assert limits.limit(clock.mono_ns()) == Limit(60.0, LimitSource.FLEET)


def test_a_file_that_is_no_board_limits_nothing_and_a_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / FLEET_ENVELOPE_BOARD).write_bytes(b"40 W, or else")
    say(tmp_path, "elsewhere.board", 60.0)
    (tmp_path / LOCAL_ENVELOPE_BOARD).symlink_to(tmp_path / "elsewhere.board")
    assert Limits(tmp_path, 90.0).limit(1).watts == 90.0


def _turns(loop: PowerLoop, clock: FakeClock, seconds: float) -> None:
    for _ in range(round(seconds * 10)):
        clock.advance(0.1)
        loop.sample()


def _power(run: Path) -> tuple[float, float]:
    """The envelope and the decision rate on the power board."""
    with BoardReader(run / POWER_BOARD, POWER) as board:
        stamped = board.read()
    assert stamped is not None
    return stamped.record.envelope_w, stamped.record.decision_rate_hz


def test_the_governor_takes_up_a_lower_envelope_while_it_runs_and_lets_it_go_again(tmp_path: Path) -> None:
    clock = FakeClock()
    loop = PowerLoop(FakeDevice(module_w=45.0), config_from_text(CONFIG), tmp_path, clock, AtOnce())
    _turns(loop, clock, 30)
    envelope_w, full_hz = _power(tmp_path)
    assert envelope_w == 90.0
    say(tmp_path, LOCAL_ENVELOPE_BOARD, 50.0)
    _turns(loop, clock, 1)
    envelope_w, rate_hz = _power(tmp_path)
    assert envelope_w == 50.0
    assert rate_hz < full_hz
    say(tmp_path, LOCAL_ENVELOPE_BOARD, math.nan)
    _turns(loop, clock, 30)
    envelope_w, again_hz = _power(tmp_path)
    assert envelope_w == 90.0
    assert again_hz == pytest.approx(full_hz, rel=0.1)


def test_a_governor_that_starts_holds_the_lower_envelope_from_its_first_turn(tmp_path: Path) -> None:
    clock = FakeClock()
    say(tmp_path, FLEET_ENVELOPE_BOARD, 45.0, 3)
    _turns(PowerLoop(FakeDevice(), config_from_text(CONFIG), tmp_path, clock, AtOnce()), clock, 0.3)
    assert _power(tmp_path)[0] == 45.0


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "etc/roskva").mkdir(parents=True)
    (tmp_path / "etc/roskva/agent.toml").write_text(CONFIG)
    (tmp_path / "run/roskva").mkdir(parents=True)
    return tmp_path


def command(root: Path, *words: str) -> dict[str, object]:
    done = CliRunner().invoke(app, ["envelope", *words, "--json", "--root", str(root)])
    assert done.exit_code == 0, done.output
    shown: dict[str, object] = json.loads(done.stdout)
    return shown


def test_the_command_says_what_is_in_force_and_whose_limit_it_is(root: Path) -> None:
    assert command(root)["source"] == "configuration"
    say(root / "run/roskva", FLEET_ENVELOPE_BOARD, 70.0, 12)
    shown = command(root, "60.5")
    assert (shown["envelope_w"], shown["source"]) == (60.5, "local")
    assert (shown["fleet_w"], shown["fleet_sequence"], shown["configuration_w"]) == (70.0, 12, 90.0)
    assert shown["governor_w"] is None
    cleared = command(root, "--clear")
    assert (cleared["envelope_w"], cleared["source"], cleared["local_w"]) == (70.0, "fleet", None)
    table = CliRunner().invoke(app, ["envelope", "--root", str(root)]).stdout
    assert "70 W, fleet" in table
    assert "power does not run" in table


def test_the_command_takes_a_higher_limit_and_says_that_it_is_not_in_force(root: Path) -> None:
    shown = command(root, "120")
    assert (shown["envelope_w"], shown["source"], shown["local_w"]) == (90.0, "configuration", 120.0)


@pytest.mark.parametrize("words", [["39"], ["131"], ["nan"], ["inf"], ["60", "--clear"]])
def test_the_command_refuses_what_is_no_envelope_and_changes_nothing(root: Path, words: list[str]) -> None:
    command(root, "60")
    done = CliRunner().invoke(app, ["envelope", *words, "--root", str(root)])
    assert isinstance(done.exception, UsageError)
    assert command(root)["envelope_w"] == 60.0


def test_the_command_does_not_write_into_a_file_that_another_process_planted(root: Path) -> None:
    board = root / "run/roskva" / LOCAL_ENVELOPE_BOARD
    say(root / "run/roskva", LOCAL_ENVELOPE_BOARD, 60.0)
    with BoardWriter(board, ENVELOPE) as planted:
        command(root, "50")
        planted.write(EnvelopeRecord(math.nan, 0), 2)
        assert command(root)["envelope_w"] == 50.0


def test_before_any_board_is_there_the_command_says_not_now(root: Path) -> None:
    (root / "run/roskva").rmdir()
    done = CliRunner().invoke(app, ["envelope", "60", "--root", str(root)])
    assert getattr(done.exception, "exit_code", None) == 5
