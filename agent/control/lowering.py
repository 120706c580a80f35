"""A limit of watts that was lowered: until when the governor may be on its way down to it.

Owns: how long that takes. Must not know: boards, clocks, who is judged by it.
"""

import math
from dataclasses import dataclass

_S = 1_000_000_000
_FALL_W_PER_S, _MEAN_NS = 15.0, _S
"""A limit that was lowered is followed no faster than this where the supply asks for it (`PowerSection.down_w_per_s`), and the
mean that is held against it is of the last second."""


@dataclass(frozen=True, slots=True)
class Lowering:
    """The limit that was known last, and until when power above it may be that of the one before."""

    envelope_w: float = math.nan
    until_ns: int = 0

    def after(self, envelope_w: float, mono_ns: int) -> "Lowering":
        """With `envelope_w` in force at `mono_ns`, NaN where it is unknown: what was known last is what is lowered from.

        One order may follow the other before the first is carried out.
        """
        if math.isnan(envelope_w):
            return self
        lowered_w = self.envelope_w - envelope_w
        if not 0 < lowered_w < math.inf:
            return Lowering(envelope_w, self.until_ns)
        ramp_ns = round(lowered_w / _FALL_W_PER_S * _S)
        return Lowering(envelope_w, max(self.until_ns, mono_ns + _MEAN_NS) + ramp_ns)
