"""The emulated tree is the one that the vendor's documents and public dumps describe."""

import subprocess
import sys
from pathlib import Path

import pytest

from agent.adapters.jetson import is_emulated
from agent.emulator.modes import profile_below
from agent.emulator.places import BOOT_ID, GPU, GPU_MASK, HWMON, MODE_STATUS, NVPMODEL
from agent.emulator.profile import ProfileName, profile_named
from agent.emulator.sysfs import hwmon_named, typed
from agent.emulator.tree import create_tree, reboot
from agent.power.modes import modes_from_text

R39 = profile_named(ProfileName.R39)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    assert create_tree(tmp_path, R39, seed=1)
    return tmp_path


def _nvpmodel(root: Path, *arguments: str, answer: str = "") -> subprocess.CompletedProcess[str]:
    command = [str(root / NVPMODEL), *arguments]
    return subprocess.run(command, capture_output=True, text=True, input=answer, timeout=30, check=False)


def test_a_tree_that_is_there_is_left_as_it_is(root: Path) -> None:
    boot = (root / BOOT_ID).read_text()
    assert not create_tree(root, R39, seed=2)
    assert (root / BOOT_ID).read_text() == boot


def test_an_emulated_device_says_that_it_is_none(root: Path) -> None:
    assert is_emulated(root)
    (root / "proc/device-tree/model").write_text("NVIDIA Jetson AGX Thor Developer Kit\0")
    assert not is_emulated(root)


def test_the_clock_table_has_as_many_clocks_as_its_cooling_device_has_states(root: Path) -> None:
    table = [int(word) for word in (root / GPU / "available_frequencies").read_text().split()]
    device = typed(root, "cooling_device")["devfreq-gpu-gpc-0"]
    assert len(table) == int((device / "max_state").read_text()) + 1
    assert (table[0], table[-1]) == (315_000_000, 1_575_000_000)
    assert table == sorted(set(table))
    assert {mode.gpu_max_hz for mode in R39.modes} <= set(table)


@pytest.mark.parametrize(("name", "modes", "labelled"), [("r38", 2, False), ("r39", 4, True)])
def test_a_release_has_its_own_modes_and_its_own_word_for_the_modules_monitor(
    tmp_path: Path, name: str, modes: int, labelled: bool
) -> None:
    profile = profile_named(ProfileName(name))
    create_tree(tmp_path, profile, seed=1)
    conf = modes_from_text((tmp_path / "etc/nvpmodel.conf").read_text())
    assert len(conf.modes) == modes
    assert (hwmon_named(tmp_path, "ina238") / "power1_label").exists() == labelled
    assert (tmp_path / "etc/nv_tegra_release").read_text().startswith(f"# {name.upper()} (release)")
    assert profile_below(tmp_path) == profile


def test_hwmon_numbers_follow_the_seed(tmp_path: Path) -> None:
    numbers = set()
    for seed in range(6):
        root = tmp_path / str(seed)
        create_tree(root, R39, seed)
        names = {path.name: (path / "name").read_text().strip() for path in (root / HWMON).iterdir()}
        numbers.add(next(number for number, name in names.items() if name == "ina238"))
    assert len(numbers) > 1


def test_the_configuration_of_nvpmodel_says_what_the_profile_says(root: Path) -> None:
    modes = modes_from_text((root / "etc/nvpmodel.conf").read_text())
    assert modes.modes == R39.modes
    assert modes.default == R39.default_mode


def test_nvpmodel_names_the_default_mode_and_changes_live_between_modes_of_one_mask(root: Path) -> None:
    assert _nvpmodel(root, "-q").stdout == "NV Power Mode: 120W\n1\n"
    assert _nvpmodel(root, "-m", "0").returncode == 0
    assert _nvpmodel(root, "-q").stdout == "NV Power Mode: MAXN\n0\n"
    assert (root / GPU / "max_freq").read_text() == "1575000000\n"


def test_a_mode_of_another_mask_waits_for_a_reboot(root: Path) -> None:
    refused = _nvpmodel(root, "-m", "3", answer="no\n")
    assert "Reboot required" in refused.stdout
    assert "bad input" in refused.stdout
    assert refused.returncode != 0
    assert _nvpmodel(root, "-m", "3", answer="YES\n").returncode == 0
    assert _nvpmodel(root, "-q").stdout.endswith("1\n")
    assert (root / GPU_MASK).read_text() == "gpu_pg_mask_param=512\n"
    reboot(root, R39, seed=1)
    assert _nvpmodel(root, "-q").stdout == "NV Power Mode: 70W\n3\n"
    assert (root / GPU_MASK).read_text() == "gpu_pg_mask_param=17353\n"
    assert (root / GPU / "max_freq").read_text() == "1530000000\n"


def test_nvpmodel_answers_without_loading_an_array_library(root: Path) -> None:
    """The governor waits for its answer, and no longer than two seconds."""
    program = "import sys, agent.emulator.nvpmodel; sys.exit('numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


def test_nvpmodel_lists_its_modes(root: Path) -> None:
    said = _nvpmodel(root, "-p", "--verbose").stdout
    assert "POWER_MODEL: ID=0 NAME=MAXN" in said
    assert "PM_CONFIG: DEFAULT=1(1)" in said


def test_a_boot_changes_the_boot_id_and_keeps_the_mode(root: Path) -> None:
    boot, mode = (root / BOOT_ID).read_text(), (root / MODE_STATUS).read_text()
    reboot(root, R39, seed=1)
    assert (root / BOOT_ID).read_text() != boot
    assert (root / MODE_STATUS).read_text() == mode


def test_a_boot_leaves_no_board_of_the_boot_before(root: Path) -> None:
    board = root / "run/roskva/actuation.board"
    board.parent.mkdir(parents=True)
    board.write_bytes(b"x")
    reboot(root, R39, seed=1)
    assert not board.exists()
