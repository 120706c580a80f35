"""The machine beside the policy, as psutil sees it, and NVML where it is there.

Owns: which figures, how often, and that one which cannot be had stops nobody.
Must not know: who is told.
NVML is optional, and answers only whoever may open `/dev/nvidiactl` and `/dev/nvidia0`: the unit of `manage` says so.
"""

from collections.abc import Callable
from pathlib import Path
from threading import Event

import psutil

from agent.ports import Clock
from models.wire.messages import HostFigures

EVERY_S = 10.0
_FRESH_NS = 30_000_000_000


def host_figures(disk: Path) -> HostFigures:
    """Figures of this machine; `disk` is where the agent keeps its state. The first CPU share of a process is 0.

    Raises:
        OSError, psutil.Error: one of the figures cannot be had.
    """
    memory = psutil.virtual_memory()
    return HostFigures(
        cpu_share=psutil.cpu_percent(interval=None) / 100.0,
        memory_used_bytes=memory.total - memory.available,
        memory_total_bytes=memory.total,
        disk_free_bytes=psutil.disk_usage(str(disk)).free,
        gpu_share=_gpu_share(),
    )


class HostWatch:
    """Looks every 10 s, on a thread of its own: a driver that hangs keeps nobody waiting, and its figures grow old."""

    def __init__(self, disk: Path, clock: Clock, look: Callable[[Path], HostFigures] = host_figures) -> None:
        """`look` is how the figures of the machine whose state lies in `disk` are had."""
        self._disk, self._clock, self._look = disk, clock, look
        self._latest: tuple[int, HostFigures] | None = None

    def run(self, stopping: Event) -> None:
        """Look until `stopping` is set."""
        self.look()
        while not stopping.wait(EVERY_S):
            self.look()

    def look(self) -> None:
        """Look once; what cannot be had leaves the figures as they were."""
        try:
            figures = self._look(self._disk)
        except (OSError, psutil.Error):
            return
        self._latest = (self._clock.mono_ns(), figures)

    def recent(self) -> HostFigures | None:
        """The latest figures; None where they are older than 30 s."""
        latest = self._latest
        fresh = latest is not None and self._clock.mono_ns() - latest[0] <= _FRESH_NS
        return latest[1] if latest is not None and fresh else None


def _gpu_share() -> float | None:
    """NVML's figure; its library is optional and its state does not survive a fork, so it is loaded here."""
    try:
        import pynvml
    except ImportError:
        return None
    try:
        pynvml.nvmlInit()
        try:
            rates = pynvml.nvmlDeviceGetUtilizationRates(pynvml.nvmlDeviceGetHandleByIndex(0))
        finally:
            pynvml.nvmlShutdown()
    except pynvml.NVMLError:
        return None
    return float(rates.gpu) / 100.0
