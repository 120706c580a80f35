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
GPU_CLOCKS = 170
"""As many as the cooling device `devfreq-gpu-gpc-0` has states, 0 to 169."""
NVD_MIN_HZ = 315_000_000
NVD_MAX_HZ = 1_692_000_000
TPCS = 10
_CAP_120W_HZ, _CAP_GATED_HZ = 1_386_000_000, 1_530_000_000
_GATED_TPCS = 6
"""ASSUMED: what masks 17353 and 15873 leave running. Their bits are not published."""
_ALL_TPCS_MASKS = frozenset((64, 512))


class ProfileName(StrEnum):
    """The releases that can be emulated."""

    R38 = "r38"
    R39 = "r39"


@dataclass(frozen=True, slots=True)
class Profile:
    """One release of Jetson Linux on a T5000 developer kit. `gated_tpcs` run in a mode that gates GPU power."""

    name: ProfileName
    tegra_release: str
    modes: tuple[PowerMode, ...]
    default_mode: int
    has_vin_label: bool
    gated_tpcs: int = _GATED_TPCS

    def mode(self, number: int) -> PowerMode:
        """The mode of that number; raises `StopIteration` where there is none."""
        return next(mode for mode in self.modes if mode.number == number)

    def tpcs(self, gpu_mask: int) -> int:
        """Texture processing clusters that run under `gpu_mask`."""
        return TPCS if gpu_mask in _ALL_TPCS_MASKS else self.gated_tpcs


def _table() -> tuple[int, ...]:
    """Ends, number and the modes' caps are published; that the clocks between lie evenly is ASSUMED."""
    step_hz = (GPU_MAX_HZ - GPU_MIN_HZ) / (GPU_CLOCKS - 1)
    clocks = [round((GPU_MIN_HZ + step_hz * number) / 1e3) * 1000 for number in range(GPU_CLOCKS)]
    for cap_hz in (_CAP_120W_HZ, _CAP_GATED_HZ):
        clocks[round((cap_hz - GPU_MIN_HZ) / step_hz)] = cap_hz
    return tuple(clocks)


_GPU_TABLE_HZ = _table()


def gpu_frequencies_hz() -> tuple[int, ...]:
    """The clocks that `max_freq` can take, rising."""
    return _GPU_TABLE_HZ


def profile_named(name: ProfileName) -> Profile:
    """The figures of a release."""
    return _R38 if name is ProfileName.R38 else _R39


_R39 = Profile(
    ProfileName.R39,
    "# R39 (release), REVISION: 1.0, GCID: 0, BOARD: generic, EABI: aarch64, DATE: emulated",
    (
        PowerMode(0, "MAXN", GPU_MAX_HZ, 512, CPU_MAX_KHZ, CPUS),
        PowerMode(1, "120W", _CAP_120W_HZ, 512, CPU_MAX_KHZ, CPUS),
        PowerMode(2, "90W", _CAP_GATED_HZ, 17_353, CPU_MAX_KHZ, 12),
        PowerMode(3, "70W", _CAP_GATED_HZ, 17_353, 1_998_000, 12),
    ),
    default_mode=1,
    has_vin_label=True,
)
_R38 = Profile(
    ProfileName.R38,
    "# R38 (release), REVISION: 2.2, GCID: 0, BOARD: generic, EABI: aarch64, DATE: emulated",
    (
        PowerMode(0, "MAXN", GPU_MAX_HZ, 64, CPU_MAX_KHZ, CPUS),
        PowerMode(1, "120W", _CAP_120W_HZ, 64, CPU_MAX_KHZ, CPUS),
    ),
    default_mode=1,
    has_vin_label=False,
)
"""The first releases had these two modes and no label at the module's monitor."""
