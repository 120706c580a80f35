"""A wished power mode on its way through the power process: from the configuration or a person to `nvpmodel` and back."""

import json
from collections.abc import Callable
from concurrent.futures import Executor, Future
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from agent.adapters.clock import MonotonicClock
from agent.adapters.jetson import Jetson
from agent.app.main import app
from agent.app.power import PowerLoop
from agent.board.layout import text_from
from agent.board.records import (
    LOCAL_MODE_BOARD,
    LOOP,
    LOOP_BOARD,
    MODE_ORDER,
    POWER,
    POWER_BOARD,
    VEHICLE,
    VEHICLE_BOARD,
    LoopState,
    ModeOrderRecord,
    PowerRecord,
)
from agent.board.seqlock import BoardReader, BoardWriter
from agent.config import config_from_text
from agent.emulator.faults import Fault, clear, inject
from agent.emulator.profile import ProfileName, profile_named
from agent.emulator.stepped import AtOnce
from agent.emulator.tree import create_tree, reboot
from agent.power.device import PowerDevice
from models.errors import ConfigurationError, UsageError
from tests.fakes.clock import FakeClock
from tests.fakes.jetson import FakeDevice

_CONFIG = '[device]\nid = "d"\nfleet = "f"\n[power]\n'
_VEHICLE = VEHICLE.record_from(VEHICLE.packer.unpack(bytes(VEHICLE.packer.size)))._replace(safe_to_swap=1)
_LOOP = LOOP.record_from(LOOP.packer.unpack(bytes(LOOP.packer.size)))


class Later(Executor):
    """Runs what is submitted when it is told to, while it `waits`: a command that takes its time."""

    def __init__(self) -> None:
        self.waits = False
        self._todo: list[tuple[Future[Any], Callable[[], Any]]] = []

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        self._todo.append((future, lambda: fn(*args, **kwargs)))
        if not self.waits:
            self.finish()
        return future

    def finish(self) -> None:
        while self._todo:
            future, run = self._todo.pop(0)
            future.set_result(run())


class Site:
    """A power process in stepped time beside a plant and a follower, of which both say something while `speaks`."""

    def __init__(
        self, run: Path, device: PowerDevice, mode: str = "", beside: Executor | None = None
    ) -> None:
        run.mkdir(parents=True, exist_ok=True)
        self.run, self.clock = run, FakeClock()
        self.vehicle, self.loop = (
            BoardWriter(run / VEHICLE_BOARD, VEHICLE),
            BoardWriter(run / LOOP_BOARD, LOOP),
        )
        self.speed_mps, self.state, self.speaks = 0.0, LoopState.SAFE_STOP, {"vehicle", "loop"}
        config = config_from_text(f'{_CONFIG}mode = "{mode}"\n')
        self.power = PowerLoop(device, config, run, self.clock, beside or AtOnce())

    def let_pass(self, seconds: float) -> None:
        for _ in range(round(seconds * 10)):
            self.clock.advance(0.1)
            now = self.clock.mono_ns()
            if "vehicle" in self.speaks:
                self.vehicle.write(_VEHICLE._replace(mono_ns=now, speed_mps=self.speed_mps), now)
            if "loop" in self.speaks:
                self.loop.write(_LOOP._replace(state=int(self.state)), now)
            self.power.sample()

    @property
    def board(self) -> PowerRecord:
        with BoardReader(self.run / POWER_BOARD, POWER) as board:
            stamped = board.read()
        assert stamped is not None
        return stamped.record

    @property
    def said(self) -> str:
        return text_from(self.board.sensors)

    @property
    def wish(self) -> str:
        """What is said of the wish, whatever else is: the files of an emulated Thor stand still here."""
        return f"; {self.said}".partition("; mode: ")[2]

    @property
    def mode(self) -> str:
        return text_from(self.board.power_mode)


@pytest.mark.parametrize("profile", list(ProfileName))
def test_a_parked_device_takes_the_mode_of_its_configuration_and_its_clock_stays_within(
    tmp_path: Path, profile: ProfileName
) -> None:
    create_tree(tmp_path, profile_named(profile), seed=1)
    jetson = Jetson(tmp_path, FakeClock())
    jetson.set_power_mode(0)
    site = Site(tmp_path / "run/roskva", jetson, "120W")
    site.let_pass(1)
    assert (site.mode, site.wish) == ("MAXN", "120W waits for the vehicle to park")
    site.let_pass(12)
    assert (site.mode, site.wish) == ("120W", "")
    site.let_pass(10)
    assert jetson.gpu_max_freq_hz() <= 1_386_000_000
    assert site.board.decision_rate_hz > 0


def test_a_mode_that_needs_a_reboot_is_said_until_the_boot_that_brought_it(tmp_path: Path) -> None:
    """An operator confirmed it; the wish does not ask for one."""
    profile = profile_named(ProfileName.R39)
    create_tree(tmp_path, profile, seed=1)
    site = Site(tmp_path / "run/roskva", Jetson(tmp_path, FakeClock()), "90W")
    site.let_pass(20)
    assert (site.mode, site.wish) == ("120W", "90W needs a reboot")
    site.power.close()
    (tmp_path / "var/lib/nvpmodel/pending").write_text("pmode:0002\n")  # what the confirmed command leaves
    reboot(tmp_path, profile, seed=1)
    after = Site(tmp_path / "run/roskva", Jetson(tmp_path, FakeClock()), "90W")
    after.let_pass(20)
    assert (after.mode, after.wish) == ("90W", "")


def test_a_mode_that_is_ignored_is_said_and_is_taken_at_a_later_try(tmp_path: Path) -> None:
    create_tree(tmp_path, profile_named(ProfileName.R39), seed=1)
    inject(tmp_path, Fault.MODE_IGNORED)
    site = Site(tmp_path / "run/roskva", Jetson(tmp_path, FakeClock()), "MAXN")
    site.let_pass(20)
    assert (site.mode, site.wish) == ("120W", "MAXN is ignored by nvpmodel")
    clear(tmp_path, Fault.MODE_IGNORED)
    site.let_pass(70)
    assert (site.mode, site.wish) == ("MAXN", "")


@pytest.mark.parametrize(
    ("speed_mps", "state", "speaks"),
    [
        (3.0, LoopState.OK, {"vehicle", "loop"}),
        (0.0, LoopState.OK, {"vehicle", "loop"}),
        (3.0, LoopState.SAFE_STOP, {"vehicle", "loop"}),
        (0.0, LoopState.SAFE_STOP, {"vehicle"}),
        (0.0, LoopState.SAFE_STOP, {"loop"}),
        (0.0, LoopState.SAFE_STOP, set()),
    ],
)
def test_in_motion_at_a_halt_in_traffic_and_where_a_board_is_silent_nothing_is_asked(
    tmp_path: Path, speed_mps: float, state: LoopState, speaks: set[str]
) -> None:
    device = FakeDevice()
    site = Site(tmp_path, device, "120W")
    site.speed_mps, site.state, site.speaks = speed_mps, state, speaks
    site.let_pass(20)
    assert device.asked == []
    assert site.said == "mode: 120W waits for the vehicle to park"
    assert site.board.decision_rate_hz > 0


def test_a_board_that_falls_silent_calls_the_asking_off(tmp_path: Path) -> None:
    device = FakeDevice()
    site = Site(tmp_path, device, "120W")
    site.let_pass(7)
    assert site.board.decision_rate_hz == 0
    site.speaks = {"vehicle"}
    site.let_pass(15)
    assert device.asked == []
    assert site.board.decision_rate_hz > 0


def test_a_command_that_takes_its_time_holds_up_no_sample_and_lets_nothing_be_decided(tmp_path: Path) -> None:
    device, beside = FakeDevice(), Later()
    site = Site(tmp_path, device, "120W", beside)
    beside.waits = True
    site.let_pass(15)
    assert site.said == "mode: 120W is asked for, nothing is decided"
    assert device.reads >= 150
    assert site.board.decision_rate_hz == 0
    beside.finish()
    site.let_pass(10)
    assert (site.mode, site.said, device.asked) == ("120W", "ok", [1])
    assert site.board.decision_rate_hz > 0


@pytest.mark.parametrize("lost", ["command", "device", "configuration"])
def test_a_command_that_fails_is_said_and_decisions_go_on(tmp_path: Path, lost: str) -> None:
    device = FakeDevice(refusing=lost == "command")
    site = Site(tmp_path, device, "120W")
    site.let_pass(10)
    if lost == "device":
        device.mode = None
    if lost == "configuration":
        device.modes = None
    site.let_pass(5)
    assert site.said.startswith("mode: 120W failed: ")
    assert site.board.decision_rate_hz > 0
    assert site.mode == "MAXN"


def test_an_order_at_the_device_counts_before_the_configuration_and_can_be_taken_back(tmp_path: Path) -> None:
    device = FakeDevice(mode=1)
    site = Site(tmp_path, device, "120W")
    _say(tmp_path, b"MAXN")
    site.let_pass(15)
    assert site.mode == "MAXN"
    _say(tmp_path, b"")
    site.let_pass(65)
    assert (site.mode, device.asked) == ("120W", [0, 1])


@pytest.mark.parametrize("name", [b"\x1b[2J", b"\xff\xfe", b"MAXN 120W", b"1" * 16])
def test_what_is_no_name_of_a_mode_is_no_order_and_is_shown_to_nobody(tmp_path: Path, name: bytes) -> None:
    site = Site(tmp_path, FakeDevice())
    _say(tmp_path, name)
    site.let_pass(15)
    assert site.said == "ok"


def _say(run: Path, name: bytes) -> None:
    (run / LOCAL_MODE_BOARD).unlink(missing_ok=True)
    with BoardWriter(run / LOCAL_MODE_BOARD, MODE_ORDER) as board:
        board.write(ModeOrderRecord(name), 1)


@pytest.mark.parametrize("mode", ["90 W", "a" * 16, "90W\n", "é"])
def test_a_configuration_that_wishes_for_no_name_of_a_mode_is_refused(mode: str) -> None:
    with pytest.raises(ConfigurationError, match="mode"):
        config_from_text(_CONFIG + f"mode = {json.dumps(mode)}\n")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    create_tree(tmp_path, profile_named(ProfileName.R39), seed=1)
    (tmp_path / "etc/roskva").mkdir(parents=True)
    (tmp_path / "etc/roskva/agent.toml").write_text(_CONFIG + 'mode = "120W"\n')
    (tmp_path / "run/roskva").mkdir(parents=True)
    return tmp_path


def command(root: Path, *words: str) -> dict[str, object]:
    done = CliRunner().invoke(app, ["mode", *words, "--json", "--root", str(root)])
    assert done.exit_code == 0, done.output
    shown: dict[str, object] = json.loads(done.stdout)
    return shown


def test_the_command_shows_what_is_wished_and_orders_and_takes_back(root: Path) -> None:
    shown = command(root)
    assert (shown["mode"], shown["wished"], shown["wish"]) == (None, "120W", None)
    assert shown["modes"] == ["MAXN", "120W", "90W", "70W"]
    shown = command(root, "90W")
    assert (shown["wished"], shown["local"], shown["configuration"]) == ("90W", "90W", "120W")
    assert command(root, "--clear")["wished"] == "120W"
    table = CliRunner().invoke(app, ["mode", "--root", str(root)]).stdout
    assert "power does not run" in table


@pytest.mark.parametrize("words", [["45W"], ["90w"], ["1"], ["70W", "--clear"]])
def test_the_command_refuses_a_mode_that_the_device_does_not_have_and_changes_nothing(
    root: Path, words: list[str]
) -> None:
    command(root, "90W")
    done = CliRunner().invoke(app, ["mode", *words, "--root", str(root)])
    assert isinstance(done.exception, UsageError)
    assert command(root)["local"] == "90W"


def test_without_nvpmodel_or_boards_the_command_says_not_now(root: Path) -> None:
    (root / "run/roskva").rmdir()
    done = CliRunner().invoke(app, ["mode", "90W", "--root", str(root)])
    assert getattr(done.exception, "exit_code", None) == 5
    (root / "etc/nvpmodel.conf").unlink()
    done = CliRunner().invoke(app, ["mode", "90W", "--root", str(root)])
    assert getattr(done.exception, "exit_code", None) == 5


def test_the_command_says_how_far_a_wish_is_whatever_else_fails(root: Path) -> None:
    record = POWER.record_from(POWER.packer.unpack(bytes(POWER.packer.size)))
    said = b"failing: VIN; mode: 90W failed: a; b"
    with BoardWriter(root / "run/roskva" / POWER_BOARD, POWER) as board:
        board.write(record._replace(power_mode=b"120W", sensors=said), MonotonicClock().mono_ns())
    shown = command(root)
    assert (shown["mode"], shown["wish"]) == ("120W", "90W failed: a; b")
    status = CliRunner().invoke(app, ["status", "--json", "--root", str(root)])
    power = json.loads(status.stdout)["power"]
    assert (power["power_mode"], power["sensors"]) == ("120W", said.decode())
    assert "mode 120W" in " ".join(_words_of(root, "status"))
    assert "90W failed: a; b" in " ".join(_words_of(root, "mode"))


def _words_of(root: Path, name: str) -> list[str]:
    return CliRunner().invoke(app, [name, "--root", str(root)], env={"COLUMNS": "200"}).stdout.split()


def test_the_command_tells_a_wish_that_nobody_took_up_from_one_with_nothing_to_do(root: Path) -> None:
    assert "power does not run" in " ".join(_words_of(root, "mode"))
    record = POWER.record_from(POWER.packer.unpack(bytes(POWER.packer.size)))
    with BoardWriter(root / "run/roskva" / POWER_BOARD, POWER) as board:
        board.write(record._replace(power_mode=b"120W", sensors=b"ok"), MonotonicClock().mono_ns())
        assert "nothing to do" in " ".join(_words_of(root, "mode"))
        command(root, "90W")
        assert "has not taken it up yet" in " ".join(_words_of(root, "mode"))
