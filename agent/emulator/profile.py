"""What the emulated Thor is: its clocks, its power modes, its release of the vendor's software.

Owns: the fixture figures, taken from public dumps of T5000 developer kits. GPU masks differ between releases.
Must not know: files, physics.
"""

from dataclasses import dataclass
from enum import StrEnum

from agent.power.modes import PowerMode

CPUS = 14
CPU_MIN_KHZ = 54_000
CPU_MAX_KHZ = 2_601_000
EMC_MAX_HZ = 4_266_000_000
GPU_MIN_HZ = 315_000_000
GPU_MAX_HZ = 1_575_000_000
GPU_STEP_HZ = 15_000_000
"""The real table is finer (170 states); its ends are the same."""
NVD_MIN_HZ = 315_000_000
NVD_MAX_HZ = 1_692_000_000


class ProfileName(StrEnum):
    """The releases that can be emulated."""

    R38 = "r38"
    R39 = "r39"


@dataclass(frozen=True, slots=True)
class Profile:
    """One release of Jetson Linux on a T5000 developer kit."""

    name: ProfileName
    tegra_release: str
    modes: tuple[PowerMode, ...]
    default_mode: int
    has_vin_label: bool


def gpu_frequencies_hz() -> tuple[int, ...]:
    """The clocks that `max_freq` can take, rising."""
    return tuple(range(GPU_MIN_HZ, GPU_MAX_HZ + 1, GPU_STEP_HZ))


def profile_named(name: ProfileName) -> Profile:
    """The figures of a release."""
    return _R38 if name is ProfileName.R38 else _R39


_MAXN = PowerMode(0, "MAXN", GPU_MAX_HZ, 512, CPU_MAX_KHZ, CPUS)
_R39 = Profile(
    ProfileName.R39,
    "# R39 (release), REVISION: 1.0, GCID: 0, BOARD: generic, EABI: aarch64, DATE: emulated",
    (
        _MAXN,
        PowerMode(1, "120W", 1_386_000_000, 512, CPU_MAX_KHZ, CPUS),
        PowerMode(2, "90W", 1_530_000_000, 17_353, CPU_MAX_KHZ, 12),
        PowerMode(3, "70W", 1_530_000_000, 17_353, 1_998_000, 12),
    ),
    default_mode=1,
    has_vin_label=True,
)
_R38 = Profile(
    ProfileName.R38,
    "# R38 (release), REVISION: 2.2, GCID: 0, BOARD: generic, EABI: aarch64, DATE: emulated",
    (
        PowerMode(0, "MAXN", GPU_MAX_HZ, 64, CPU_MAX_KHZ, CPUS),
        PowerMode(1, "120W", 1_386_000_000, 64, CPU_MAX_KHZ, CPUS),
    ),
    default_mode=1,
    has_vin_label=False,
)
