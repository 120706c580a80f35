"""What the module takes: by its own monitor where that is believed, by its rails where it is not, or unknown.

Owns: which of the three it is, and what may be concluded from each. Must not know: files, knobs; times are arguments.
"""

from agent.power.agreement import Agreement
from agent.power.device import PowerSample
from agent.power.meters import PowerMeters
from agent.power.rails import SAID, RailsModel


class ModulePower:
    """Call `add` with every sample. The figures at its time are None, or nothing seen, where they are unknown."""

    def __init__(self, energy_j: float = 0.0) -> None:
        """`energy_j` is what was counted before."""
        self.meters = PowerMeters(energy_j)
        self.said: tuple[str, ...] = ()
        """Why the monitor is not believed, and what stands in for it; nothing where it is believed or merely missing."""
        self._agreement, self._rails = Agreement(), RailsModel()
        self._now_ns = 0
        self._measured_w: float | None = None
        self._is_known = False

    def add(self, sample: PowerSample, mono_ns: int) -> None:
        """Take a sample."""
        self._now_ns = mono_ns
        doubt = self._agreement.doubt(sample, mono_ns)
        self._measured_w = None if doubt else sample.module_w
        if self._measured_w is None:
            self._is_known = self._infer(sample, mono_ns)
        else:
            self._rails.learn(sample, mono_ns)
            self.meters.add(mono_ns, self._measured_w)
            self._is_known = True
        stands_in = SAID if self._is_known and self._measured_w is None else ""
        self.said = tuple(word for word in (doubt, stands_in) if word)

    def mean_w(self) -> float | None:
        """The 1 s mean, by the rails too."""
        return self.meters.mean_w(self._now_ns) if self._is_known else None

    def measured_mean_w(self) -> float | None:
        """The 1 s mean while its own monitor speaks."""
        return None if self._measured_w is None else self.mean_w()

    def is_seen(self) -> bool:
        """Whether all of the last second is known."""
        return self._is_known and self.meters.is_seen(self._now_ns)

    def lesson_w(self) -> float | None:
        """What the monitor says now, where that may be learned from: not of a figure that stands still."""
        return self._measured_w if self._agreement.moves(self._now_ns) else None

    def steady_lesson_w(self) -> float | None:
        """The mean over the steady time, where it may be learned from."""
        return None if self.lesson_w() is None else self.meters.steady_w(self._now_ns)

    def _infer(self, sample: PowerSample, mono_ns: int) -> bool:
        """Whether the rails could tell."""
        by_rails_w = self._rails.module_w(sample, mono_ns)
        if by_rails_w is not None:
            self.meters.infer(mono_ns, by_rails_w)
        return by_rails_w is not None
