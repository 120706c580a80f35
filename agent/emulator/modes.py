"""The power mode that an emulated Thor runs in, and what it allows.

Owns: following `nvpmodel`'s status file, and what a mode means for clocks and TPCs.
Must not know: how a mode is set, watts.
"""

from pathlib import Path

from agent.emulator.places import MODE_STATUS, TEGRA_RELEASE
from agent.emulator.profile import CPU_MAX_KHZ, GPU_MAX_HZ, Profile, ProfileName, profile_named


class ModeInForce:
    """The mode that the status file names; without a root the one of that `number`, or the profile's default.

    Without a `profile` it is that of the release that stands in the tree, R39 without a root.
    """

    def __init__(self, root: Path | None, profile: Profile | None, number: int | None) -> None:
        self._status = root / MODE_STATUS if root else None
        self._profile = profile or (profile_below(root) if root else profile_named(ProfileName.R39))
        self._seen: tuple[int, int] | None = None
        self._mode = self._profile.mode(self._profile.default_mode if number is None else number)
        self.look()

    @property
    def gpu_max_hz(self) -> int:
        """The GPU's highest clock in this mode."""
        return self._mode.gpu_max_hz if self._mode.gpu_max_hz > 0 else GPU_MAX_HZ

    @property
    def cpu_khz(self) -> int:
        """The cores' clock under load in this mode."""
        return self._mode.cpu_max_khz if self._mode.cpu_max_khz > 0 else CPU_MAX_KHZ

    @property
    def tpcs(self) -> int:
        """Texture processing clusters that this mode leaves running."""
        return self._profile.tpcs(self._mode.gpu_mask)

    def look(self) -> None:
        """Read the status file again where it is another one."""
        if self._status is None:
            return
        found = self._status.stat()
        seen = (found.st_ino, found.st_mtime_ns)
        if seen == self._seen:
            return
        number = self._status.read_text().partition(":")[2].strip()
        if number.isdigit():  # else it is being written just now
            self._mode, self._seen = self._profile.mode(int(number)), seen


def profile_below(root: Path) -> Profile:
    """The profile whose release the tree names; raises `ValueError` where it is none of ours."""
    said = (root / TEGRA_RELEASE).read_text().strip()
    for name in ProfileName:
        if profile_named(name).tegra_release == said:
            return profile_named(name)
    raise ValueError(f"no emulated release says {said!r}")
