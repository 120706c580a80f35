"""Whether what the sensors say can be: one that stands still or contradicts the others is not believed.

Owns: when module power is doubted, and the words for it. A doubted figure is an unknown one: the governor then assumes the
worst. Must not know: files, knobs; times are arguments.
"""

from agent.power.device import PowerSample

_STUCK_NS = 2_000_000_000
_SUSPECT_NS = 300_000_000
_SLACK_W = 2.0
_CONTRADICTIONS, _AGREEMENTS = 3, 20
"""Samples in a row after which it is doubted, and believed again."""

STUCK = "VIN stands still"
CONTRADICTED = "VIN is below the sum of its rails"


class Agreement:
    """Call `doubt` with every sample."""

    def __init__(self) -> None:
        self._value: float | None = None
        self._since_ns = 0
        self._against = self._with = 0
        self._doubt = ""

    def doubt(self, sample: PowerSample, mono_ns: int) -> str:
        """Why this sample's module power isn't believed, empty where it is."""
        if sample.module_w is None:
            self._value = None
            return ""
        reason = self._stuck(sample.module_w, mono_ns) or self._contradicted(sample)
        self._against = self._against + 1 if reason else 0
        self._with = 0 if reason else self._with + 1
        if reason == STUCK or self._against >= _CONTRADICTIONS:
            self._doubt = reason
        elif self._with >= _AGREEMENTS:
            self._doubt = ""
        return self._doubt

    def moves(self, mono_ns: int) -> bool:
        """Whether the figure is not one that stands still, even if not for so long that it is doubted."""
        return self._value is not None and mono_ns - self._since_ns < _SUSPECT_NS

    def _stuck(self, module_w: float, mono_ns: int) -> str:
        """No module takes the same power to the last digit for long, not even an idle one."""
        if module_w != self._value:
            self._value, self._since_ns = module_w, mono_ns
        return STUCK if mono_ns - self._since_ns >= _STUCK_NS else ""

    @staticmethod
    def _contradicted(sample: PowerSample) -> str:
        """A module takes what its rails take, and more."""
        if sample.module_w is None or sample.gpu_w is None or sample.soc_w is None:
            return ""
        return CONTRADICTED if sample.module_w < sample.gpu_w + sample.soc_w - _SLACK_W else ""
