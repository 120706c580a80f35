"""The units: clean, hardened, explained; the configuration template is complete."""

import itertools
import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from agent.adapters.nvpmodel import HELPER_SOCKET
from agent.config import MANAGE_NICE, WORKER_NICE, AgentConfig, config_from_text

SYSTEMD = Path(__file__).resolve().parents[3] / "systemd"
HELPER, ASKED_AT = SYSTEMD / "roskva-nvpmodel@.service", SYSTEMD / "roskva-nvpmodel.socket"
"""The one thing that runs as root, for as long as a question takes, and where it is asked."""
SERVICES = sorted({*SYSTEMD.glob("*.service")} - {HELPER})
UNITS = [*SERVICES, HELPER, ASKED_AT, *sorted(SYSTEMD.glob("*.slice"))]
ANALYZE = shutil.which("systemd-analyze") or ""
EXPOSURE_TENTHS = {
    "roskva-manage.service": 15,
    "roskva-control.service": 15,
    "roskva-power.service": 10,
    "roskva-fleet.service": 15,
    HELPER.name: 15,
}
"""Ten times the exposure that `systemd-analyze security` may find; 100 is a service without any hardening."""
_SINCE_254 = ("RestartSteps", "RestartMaxDelaySec")
_OBVIOUS = {"Description"}

needs_analyze = pytest.mark.skipif(not ANALYZE, reason="systemd-analyze is not installed")


def _options(unit: Path) -> Iterator[tuple[str, str]]:
    for line in unit.read_text().splitlines():
        if "=" in line and not line.startswith("#"):
            key, _, value = line.partition("=")
            yield key, value


def _values(unit: Path, key: str) -> list[str]:
    return [value for name, value in _options(unit) if name == key]


def _by_name(name: str) -> Path:
    return SYSTEMD / f"roskva-{name}.service"


@needs_analyze
def test_systemd_finds_nothing_wrong_with_the_units(tmp_path: Path) -> None:
    """Executables are stand-ins; two options of systemd 254 may be unknown to an older one."""
    for unit in UNITS:
        text = re.sub(r"^(Exec\w+=[+-]*)/\S+", r"\1/bin/true", unit.read_text(), flags=re.MULTILINE)
        (tmp_path / unit.name).write_text(text)
    names = [str(tmp_path / unit.name) for unit in UNITS]
    done = subprocess.run([ANALYZE, "verify", *names], capture_output=True, text=True, check=False)
    said = [line for line in done.stderr.splitlines() if str(tmp_path) in line or "roskva" in line]
    complaints = [line for line in said if not any(f"'{key}'" in line for key in _SINCE_254)]
    assert complaints == []
    assert done.returncode == 0


@needs_analyze
@pytest.mark.parametrize("unit", [*SERVICES, HELPER], ids=lambda unit: unit.name)
def test_the_exposure_that_systemd_computes_stays_low(unit: Path) -> None:
    tenths = EXPOSURE_TENTHS[unit.name]
    command = [ANALYZE, "security", "--offline=true", f"--threshold={tenths}", str(unit)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout.splitlines()[-1]


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_every_option_is_explained_on_the_line_above(unit: Path) -> None:
    before = ""
    for line in unit.read_text().splitlines():
        key = line.partition("=")[0]
        option = "=" in line and not line.startswith("#")
        if option and key not in _OBVIOUS:
            assert before.startswith("#") or before.partition("=")[0] == key, f"{line} has no reason"
        before = line


@pytest.mark.parametrize("name", ["control", "power"])
def test_what_touches_the_robot_has_no_network(name: str) -> None:
    assert _values(_by_name(name), "PrivateNetwork") == ["yes"]
    assert _values(_by_name(name), "RestrictAddressFamilies") == ["AF_UNIX"]


@pytest.mark.parametrize("unit", SERVICES, ids=lambda unit: unit.name)
def test_no_service_opens_a_device_node_that_its_unit_does_not_name_or_makes_one(unit: Path) -> None:
    assert _values(unit, "PrivateDevices") == ["yes"] or _values(unit, "DevicePolicy") == ["closed"]
    allowed = [value.split() for value in _values(unit, "DeviceAllow")]
    assert all(node.startswith("/dev/nv") and access == "rw" for node, access in allowed)


def test_manage_opens_what_tells_how_busy_the_gpu_is_and_nothing_to_compute_with() -> None:
    assert _values(_by_name("manage"), "DeviceAllow") == ["/dev/nvidiactl rw", "/dev/nvidia0 rw"]
    assert _values(_by_name("manage"), "PrivateDevices") == []  # it would hide them


@pytest.mark.parametrize("unit", SERVICES, ids=lambda unit: unit.name)
def test_no_service_runs_as_root_or_holds_a_capability(unit: Path) -> None:
    assert _values(unit, "User")[0] not in {"", "root"}
    assert _values(unit, "CapabilityBoundingSet") == [""]
    assert _values(unit, "AmbientCapabilities") == []
    assert _values(unit, "NoNewPrivileges") == ["yes"]
    assert _values(unit, "ProtectSystem") == ["strict"]


def test_what_runs_as_root_can_be_asked_by_power_alone_and_owns_nothing_but_roots_files() -> None:
    assert _values(ASKED_AT, "SocketUser") == _values(_by_name("power"), "User")
    assert _values(ASKED_AT, "SocketMode") == ["0600"]
    assert _values(ASKED_AT, "ListenStream") == [f"/{HELPER_SOCKET}"]
    assert _values(HELPER, "CapabilityBoundingSet") == [""]
    assert _values(HELPER, "NoNewPrivileges") == ["yes"]
    assert _values(HELPER, "ProtectSystem") == ["strict"]
    assert "%" not in _values(HELPER, "ExecStart")[0]


@needs_analyze
def test_what_runs_as_root_can_neither_reboot_nor_ask_anyone_to() -> None:
    assert not _calls_allowed(HELPER) & {"reboot", "kexec_load", "init_module", "mount"}
    assert _values(HELPER, "RestrictAddressFamilies") == ["none"]
    assert _values(HELPER, "PrivateNetwork") == ["yes"]


@needs_analyze
@pytest.mark.parametrize("name", ["manage", "control", "power"])
def test_every_service_of_a_device_may_leave_the_followers_core(name: str) -> None:
    assert "sched_setaffinity" in _calls_allowed(_by_name(name))


def _calls_allowed(unit: Path) -> set[str]:
    """The system calls that a unit's filters leave: the first one allows, those after it add or, with ~, take away."""
    allowed: set[str] = set()
    for value in _values(unit, "SystemCallFilter"):
        names = {call for word in value.lstrip("~").split() for call in _calls_of(word)}
        allowed = allowed - names if value.startswith("~") else allowed | names
    return allowed


def _calls_of(word: str) -> set[str]:
    """The calls that `word` stands for: itself, or all of a set and of the sets in it."""
    if not word.startswith("@"):
        return {word}
    told = subprocess.run(
        [ANALYZE, "syscall-filter", word], capture_output=True, text=True, check=True
    ).stdout
    inner = [line.strip() for line in told.splitlines()[1:] if line.strip() and "#" not in line]
    return {call for each in inner for call in _calls_of(each)}


def test_fetching_and_hashing_give_way_to_deciding_with_and_without_systemd() -> None:
    assert _values(_by_name("manage"), "Nice") == [str(MANAGE_NICE)]
    assert WORKER_NICE < MANAGE_NICE
    assert _values(_by_name("control"), "Nice") == []


def test_every_service_has_a_user_of_its_own_and_sysusers_makes_it() -> None:
    users = [_values(unit, "User")[0] for unit in SERVICES]
    made = "".join(path.read_text() for path in (SYSTEMD / "sysusers.d").glob("*.conf"))
    assert len(set(users)) == len(users)
    assert {found[1] for found in re.finditer(r"^u (\S+)", made, re.MULTILINE)} == set(users)


def test_only_control_may_be_real_time_and_its_priority_fits_under_the_limit() -> None:
    allowed = [unit.name for unit in SERVICES if _values(unit, "RestrictRealtime") != ["yes"]]
    assert allowed == ["roskva-control.service"]
    limit = int(_values(_by_name("control"), "LimitRTPRIO")[0])
    assert config_from_text('[device]\nid="d"\nfleet="f"').control.priority <= limit
    assert _values(_by_name("control"), "LimitNICE") == [f"+{WORKER_NICE}"]


@pytest.mark.parametrize("unit", SERVICES, ids=lambda unit: unit.name)
def test_every_service_comes_back_for_ever_with_growing_pauses(unit: Path) -> None:
    assert _values(unit, "Restart") == ["always"]
    assert _values(unit, "StartLimitIntervalSec") == ["0"]
    assert _values(unit, "RestartSteps")
    assert _values(unit, "RestartMaxDelaySec")


def test_the_three_services_of_a_device_share_the_board_directory_and_none_owns_it() -> None:
    for name in ("manage", "control", "power"):
        assert "/run/roskva" in _values(_by_name(name), "ReadWritePaths")[0].split()
        assert _values(_by_name(name), "RuntimeDirectory") == []
    rule = re.search(
        r"^d /run/roskva (\d+) root roskva", (SYSTEMD / "tmpfiles.d/roskva.conf").read_text(), re.MULTILINE
    )
    assert rule is not None
    assert int(rule[1], 8) & 0o3000 == 0o3000, "set-gid, and sticky so that boards cannot be replaced"


@pytest.mark.skipif(
    not shutil.which("systemd-tmpfiles") or os.geteuid() != 0,
    reason="needs systemd-tmpfiles and root, as it gives files to other users",
)
def test_users_and_directories_can_really_be_made(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    users = [str(path) for path in (SYSTEMD / "sysusers.d").glob("*.conf")]
    subprocess.run(["systemd-sysusers", f"--root={tmp_path}", *users], check=True, capture_output=True)
    tmpfiles = [str(path) for path in (SYSTEMD / "tmpfiles.d").glob("*.conf")]
    subprocess.run(
        ["systemd-tmpfiles", f"--root={tmp_path}", "--create", *tmpfiles], check=True, capture_output=True
    )
    assert (tmp_path / "run/roskva").stat().st_mode & 0o7777 == 0o3775
    assert "roskva-control" in (tmp_path / "etc/passwd").read_text()


def test_the_libraries_of_a_worker_run_without_writable_and_executable_memory() -> None:
    """What MemoryDenyWriteExecute= asks, asked of the kernel itself."""
    program = """
import ctypes, mmap, sys
libc = ctypes.CDLL(None)
if libc.prctl(65, 1, 0, 0, 0) != 0:  # PR_SET_MDWE, Linux 6.3
    sys.exit(77)
try:
    mmap.mmap(-1, 4096, prot=7)
    sys.exit("writable and executable memory was given")
except PermissionError:
    pass
import msgspec, numpy, onnxruntime, paho.mqtt.client, psutil
from cryptography.hazmat.primitives.asymmetric import ec
from agent.adapters.clock import MonotonicClock
from onnx import TensorProto, helper
ec.generate_private_key(ec.SECP256R1())
MonotonicClock().sleep_until(0)
values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [8, 8]) for name in "abc"]
graph = helper.make_graph([helper.make_node("MatMul", ["a", "b"], ["c"])], "g", values[:2], values[2:])
model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
ones = numpy.ones((8, 8), numpy.float32)
assert session.run(None, {"a": ones, "b": ones})[0][0, 0] == 8.0
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    if done.returncode == 77:
        pytest.skip("this kernel cannot deny writable and executable memory")
    assert done.returncode == 0, done.stderr


def test_the_configuration_template_parses_and_holds_the_defaults_that_it_shows() -> None:
    text = (SYSTEMD / "agent.toml.example").read_text()
    as_shipped = config_from_text(text)
    shown = config_from_text(re.sub(r"^# (\w+ = )", r"\1", text, flags=re.MULTILINE))
    assert shown == as_shipped


def test_the_configuration_template_explains_every_key() -> None:
    lines = (SYSTEMD / "agent.toml.example").read_text().splitlines()
    uncommented = [re.sub(r"^# (\w+ = )", r"\1", line) for line in lines]
    written = tomllib.loads("\n".join(uncommented))
    for section in msgspec.structs.fields(AgentConfig):
        keys = {field.name for field in msgspec.structs.fields(section.type)}
        assert set(written[section.name]) == keys, section.name
    for before, line in itertools.pairwise(uncommented):
        if re.match(r"\w+ = ", line):
            assert before.startswith("#"), f"{line} has no explanation"
