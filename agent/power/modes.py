"""Power modes as `nvpmodel.conf` describes them.

Owns: reading that file and what a mode caps. A mode caps clocks and gates power; it enforces no budget in watts.
Must not know: how a mode is set, when one is wished (`agent.power.wish`).
"""

import re
from dataclasses import dataclass
from enum import Enum, auto

from agent.errors import SensorError

_MODEL = re.compile(r"<\s*POWER_MODEL\s+ID=(\d+)\s+NAME=(\S+)\s*>")
_DEFAULT = re.compile(r"<\s*PM_CONFIG\s+DEFAULT=(\d+)\s*>")
NO_CAP = -1
MODE_NAME = r"^[A-Za-z0-9_.+-]{1,15}\Z"
"""What a mode may be called where one is wished: as much as a board has room for."""


class ModeAnswer(Enum):
    """What came of asking for a mode: what reads back, not what the command says."""

    TAKEN = auto()
    IGNORED = auto()
    """The command ended well, and another mode reads back."""
    REBOOT = auto()
    """It takes a reboot, which was declined: nothing has changed."""


@dataclass(frozen=True, slots=True)
class PowerMode:
    """One mode: `gpu_max_hz` is -1 for no cap; a mode of another `gpu_mask` than the running one needs a reboot."""

    number: int
    name: str
    gpu_max_hz: int = NO_CAP
    gpu_mask: int = 0
    cpu_max_khz: int = NO_CAP
    cpus_online: int = 0


@dataclass(frozen=True, slots=True)
class PowerModes:
    """All modes of a device and the number of the one it boots into."""

    modes: tuple[PowerMode, ...]
    default: int

    def numbered(self, number: int) -> PowerMode:
        """The mode of that number; raises `SensorError` where there is none."""
        for mode in self.modes:
            if mode.number == number:
                return mode
        raise SensorError(f"nvpmodel.conf has no power mode {number}")

    @property
    def names(self) -> tuple[str, ...]:
        """What they are called, in the file's order."""
        return tuple(mode.name for mode in self.modes)

    def number_of(self, name: str) -> int | None:
        """The number of the mode of that name; None where there is none."""
        return next((mode.number for mode in self.modes if mode.name == name), None)


def is_mode_name(name: str) -> bool:
    """Whether a mode may be wished by `name`; bytes of others are not shown to anyone before."""
    return re.search(MODE_NAME, name) is not None


def modes_from_text(text: str) -> PowerModes:
    """Parse `nvpmodel.conf`; lines that are not understood are skipped, as the vendor adds some with each release.

    Raises `SensorError` where the file has no mode at all.
    """
    modes: list[PowerMode] = []
    default = 0
    for section in re.split(r"^(?=<)", text, flags=re.MULTILINE):
        if found := _MODEL.match(section):
            modes.append(_mode_from(int(found[1]), found[2], section))
        elif found := _DEFAULT.match(section):
            default = int(found[1])
    if not modes:
        raise SensorError("nvpmodel.conf names no power mode")
    return PowerModes(tuple(modes), default)


def _mode_from(number: int, name: str, section: str) -> PowerMode:
    rows = [line.split() for line in section.splitlines()]
    values = {(row[0], row[1]): row[2] for row in rows if len(row) == 3}
    return PowerMode(
        number,
        name,
        gpu_max_hz=_number(values.get(("GPU", "MAX_FREQ")), NO_CAP),
        gpu_mask=_number(values.get(("GPU_POWER_GATING", "GPU_PG_MASK")), 0),
        cpu_max_khz=_number(values.get(("CPU", "MAX_FREQ")), NO_CAP),
        cpus_online=sum(value == "1" for key, value in values.items() if key[0] == "CPU_ONLINE"),
    )


def _number(word: str | None, otherwise: int) -> int:
    return int(word) if word is not None and re.fullmatch(r"-?[0-9]+", word) else otherwise
