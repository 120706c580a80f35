"""The directory that an emulated Thor is: the files of a T5000 developer kit below an own root.

Owns: which files there are, their first values, and what a boot changes (hwmon numbers, the boot id, a pending
power mode). Must not know: how values move afterwards, who reads them.
"""

import random
import shlex
import shutil
import sys
import uuid
from pathlib import Path

import agent
from agent.emulator.faults import clear_all
from agent.emulator.places import (
    BOOT_ID,
    CONF,
    CPU,
    GPU,
    GPU_MASK,
    HWMON,
    MODE_PENDING,
    MODE_STATUS,
    NVPMODEL,
    TEGRA_RELEASE,
    THERMAL,
)
from agent.emulator.profile import (
    CPU_MAX_KHZ,
    CPU_MIN_KHZ,
    CPUS,
    EMC_MAX_HZ,
    GPU_MAX_HZ,
    GPU_MIN_HZ,
    NVD_MAX_HZ,
    NVD_MIN_HZ,
    Profile,
    gpu_frequencies_hz,
)
from agent.emulator.sysfs import fixed
from agent.power.modes import PowerMode

Files = dict[str, str]

ZONES = ("cpu-thermal", "gpu-thermal", "soc012-thermal", "soc345-thermal", "tj-thermal")
COOLING = {
    "cpu-throttle-alert": 2,
    "gpu-throttle-alert": 2,
    "soc012-throttle-alert": 2,
    "soc345-throttle-alert": 2,
    "devfreq-gpu-gpc-0": 169,
    "devfreq-gpu-nvd-0": 182,
    "cpufreq-cpu0": 48,
    "pwm-fan": 4,
}


def create_tree(root: Path, profile: Profile, seed: int) -> bool:
    """Make the tree where there is none; False where there already is one, which is then left as it is."""
    if (root / BOOT_ID).exists():
        return False
    rng = random.Random(seed)  # noqa: S311 - in which order drivers probe is no secret
    mode = profile.mode(profile.default_mode)
    files = _identity() | _gpu(mode) | _memory() | _cpus(mode) | _thermal(rng) | _supplies()
    files |= _nvpmodel(profile, mode) | {TEGRA_RELEASE: profile.tegra_release + "\n"}
    for name, text in files.items():
        _put(root, name, text)
    _link_hwmon(root, _hwmon(profile), rng)
    conf_link = root / "etc/nvpmodel.conf"
    conf_link.symlink_to(CONF.removeprefix("etc/"))
    (root / NVPMODEL).chmod(0o755)
    _put(root, BOOT_ID, f"{uuid.uuid4()}\n")
    return True


def reboot(root: Path, profile: Profile, seed: int) -> None:
    """What a boot changes below `root`; the durable state (`var/lib/roskva`, the mode's status) stays.

    `/run` is in memory: boards, whose times are those of one boot, do not outlive it.
    """
    clear_all(root)
    shutil.rmtree(root / "run", ignore_errors=True)
    pending = root / MODE_PENDING
    if pending.exists():
        pending.replace(root / MODE_STATUS)
    number = int((root / MODE_STATUS).read_text().split(":")[1])
    mode = profile.mode(number)
    for name, text in (_gpu(mode) | _cpus(mode) | _mask(mode)).items():
        _put(root, name, text)
    for entry in (root / HWMON).iterdir():
        entry.unlink()
    rng = random.Random(f"{seed} {uuid.uuid4()}")  # noqa: S311 - nor is this
    _link_hwmon(root, _hwmon(profile), rng)
    _put(root, BOOT_ID, f"{uuid.uuid4()}\n")


def _put(root: Path, name: str, text: str) -> None:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def _identity() -> Files:
    return {
        "proc/device-tree/model": "NVIDIA Jetson AGX Thor Developer Kit (emulated)\0",
        "proc/device-tree/compatible": "nvidia,p4071-0000+p3834-0008\0nvidia,p3834-0008\0nvidia,tegra264\0",
    }


def _devfreq(directory: str, low_hz: int, high_hz: int, frequencies: str) -> Files:
    return {
        f"{directory}/cur_freq": f"{low_hz}\n",
        f"{directory}/min_freq": f"{low_hz}\n",
        f"{directory}/max_freq": f"{high_hz}\n",
        f"{directory}/available_frequencies": f"{frequencies}\n",
        f"{directory}/governor": "nvhost_podgov\n",
        f"{directory}/available_governors": "nvhost_podgov performance\n",
    }


def _gpu(mode: PowerMode) -> Files:
    frequencies = " ".join(str(hz) for hz in gpu_frequencies_hz())
    files = _devfreq(GPU, GPU_MIN_HZ, min(mode.gpu_max_hz, GPU_MAX_HZ), frequencies)
    podgov = {"load_target": 700, "load_max": 900, "load_margin": 100, "k": 6}
    files |= {f"{GPU}/nvhost_podgov/{name}": f"{value}\n" for name, value in podgov.items()}
    files |= {f"{GPU}/nvhost_podgov/{name}": "0\n" for name in ("up_freq_margin", "down_freq_margin")}
    return files


def _memory() -> Files:
    files = _devfreq("sys/class/devfreq/bwmgr", EMC_MAX_HZ, EMC_MAX_HZ, str(EMC_MAX_HZ))
    files |= _devfreq("sys/class/devfreq/gpu-nvd-0", NVD_MIN_HZ, NVD_MAX_HZ, f"{NVD_MIN_HZ} {NVD_MAX_HZ}")
    files["sys/kernel/nvpmodel_clk_cap/emc"] = f"{EMC_MAX_HZ}\n"
    files["sys/bus/pci/devices/0000:01:00.0/power/control"] = "auto\n"
    return files


def _cpus(mode: PowerMode) -> Files:
    files: Files = {}
    for cpu in range(CPUS):
        files[f"{CPU}/cpu{cpu}/online"] = f"{int(cpu < mode.cpus_online)}\n"
        policy = f"{CPU}/cpufreq/policy{cpu}"
        files[f"{policy}/scaling_cur_freq"] = f"{CPU_MIN_KHZ}\n"
        files[f"{policy}/scaling_min_freq"] = f"{CPU_MIN_KHZ}\n"
        files[f"{policy}/scaling_max_freq"] = f"{min(mode.cpu_max_khz, CPU_MAX_KHZ)}\n"
    return files


def _thermal(rng: random.Random) -> Files:
    files: Files = {}
    for number, index in enumerate(_shuffled(len(ZONES), rng)):
        zone = f"{THERMAL}/thermal_zone{number}"
        files |= {f"{zone}/type": f"{ZONES[index]}\n", f"{zone}/temp": fixed(38_000)}
        files |= {f"{zone}/trip_point_0_temp": "114500\n", f"{zone}/trip_point_0_type": "critical\n"}
    for number, (kind, highest) in enumerate(COOLING.items()):
        device = f"{THERMAL}/cooling_device{number}"
        files |= {f"{device}/type": f"{kind}\n", f"{device}/cur_state": fixed(0)}
        files[f"{device}/max_state"] = f"{highest}\n"
    return files


def _supplies() -> Files:
    """A USB-C supply, which isn't the module's and must not be added to it."""
    supply = "sys/class/power_supply/ucsi-source-psy-1-00081"
    return {f"{supply}/type": "USB\n", f"{supply}/online": "0\n", f"{supply}/current_now": "0\n"}


def _hwmon(profile: Profile) -> dict[str, Files]:
    """Files by device name, in the order in which the drivers would probe."""
    shunts: Files = {"name": "ina3221\n"}
    for channel, label in enumerate(("VDD_GPU", "VDD_CPU_SOC_MSS", "VIN_SYS_5V0"), start=1):
        shunts |= {f"in{channel}_label": f"{label}\n", f"in{channel}_input": fixed(19_864)}
        shunts |= {f"curr{channel}_input": fixed(20), f"curr{channel}_max": "5000\n"}
        shunts |= {f"curr{channel}_crit": "6000\n", f"curr{channel}_max_alarm": fixed(0)}
    shunts |= {f"in{channel}_input": "1\n" for channel in (4, 5, 6, 7)}
    shunts["in7_label"] = "sum of shunt voltages\n"
    module: Files = {"name": "ina238\n", "power1_input": fixed(25_000_000)}
    module |= {"in1_input": fixed(19_864), "curr1_input": fixed(1_260)}
    if profile.has_vin_label:
        module["power1_label"] = "VIN\n"
    events: Files = {"name": "soctherm_oc\n"}
    for event in (1, 2, 3):
        events |= {f"oc{event}_event_cnt": fixed(0), f"oc{event}_throt_en": "1\n"}
    return {
        "ina3221": shunts,
        "ina238": module,
        "soctherm_oc": events,
        "pwmfan": {"name": "pwmfan\n", "pwm1": fixed(51), "pwm1_enable": "1\n"},
        "pwm_tach": {"name": "pwm_tach\n", "rpm": fixed(1_200)},
        "ucsi": {"name": "ucsi_source_psy_1_00081\n", "in0_input": "5000\n", "curr1_input": "0\n"},
    }


def _link_hwmon(root: Path, devices: dict[str, Files], rng: random.Random) -> None:
    """Make the devices once, and number them anew: as after any boot, the numbers mean nothing."""
    (root / HWMON).mkdir(parents=True, exist_ok=True)
    numbers = _shuffled(len(devices), rng)
    for number, (device, files) in zip(numbers, devices.items(), strict=True):
        home = f"sys/devices/platform/emulated-{device}/hwmon"
        for name, text in files.items():
            _put(root, f"{home}/{name}", text)
        (root / HWMON / f"hwmon{number}").symlink_to(f"../../devices/platform/emulated-{device}/hwmon")


def _shuffled(count: int, rng: random.Random) -> list[int]:
    """0 to `count` - 1 in the order of a boot."""
    return rng.sample(range(count), count)


def _nvpmodel(profile: Profile, mode: PowerMode) -> Files:
    package_parent = Path(agent.__file__).resolve().parents[1]
    run = f"PYTHONPATH={shlex.quote(str(package_parent))} exec {shlex.quote(sys.executable)}"
    script = f'#!/bin/sh\nroot=$(cd "$(dirname "$0")/../.." && pwd)\n{run} -m agent.emulator.nvpmodel "$root" "$@"\n'
    return {
        NVPMODEL: script,
        CONF: conf_text(profile),
        MODE_STATUS: f"pmode:{mode.number:04d}\n",
    } | _mask(mode)


def _mask(mode: PowerMode) -> Files:
    """What the driver's module was loaded with at this boot."""
    return {GPU_MASK: f"gpu_pg_mask_param={mode.gpu_mask}\n"}


def conf_text(profile: Profile) -> str:
    """The profile's `nvpmodel.conf`, in the vendor's syntax."""
    lines = ["# Emulated.", "< PARAM TYPE=FILE NAME=CPU_ONLINE >"]
    lines += [f"CORE_{cpu} /{CPU}/cpu{cpu}/online" for cpu in range(CPUS)]
    lines += ["< PARAM TYPE=FILE NAME=GPU_POWER_GATING >"]
    lines += [f"GPU_PG_MASK /{GPU_MASK}", "< PARAM TYPE=CLOCK NAME=CPU >"]
    lines += [f"MAX_FREQ /{CPU}/cpufreq/policy0/scaling_max_freq", "< PARAM TYPE=CLOCK NAME=GPU >"]
    lines += [f"FREQ_TABLE /{GPU}/available_frequencies", f"MAX_FREQ /{GPU}/max_freq"]
    lines += [f"MIN_FREQ /{GPU}/min_freq"]
    for mode in profile.modes:
        lines.append(f"< POWER_MODEL ID={mode.number} NAME={mode.name} >")
        lines += [f"CPU_ONLINE CORE_{cpu} {int(cpu < mode.cpus_online)}" for cpu in range(CPUS)]
        lines += [f"CPU MAX_FREQ {mode.cpu_max_khz}", f"GPU MAX_FREQ {mode.gpu_max_hz}"]
        lines.append(f"GPU_POWER_GATING GPU_PG_MASK {mode.gpu_mask}")
    return "\n".join([*lines, f"< PM_CONFIG DEFAULT={profile.default_mode} >", ""])
