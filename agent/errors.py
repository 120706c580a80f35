"""The agent's own errors, under the shared tree.

Owns: what can go wrong on a device only. Must not know: adapters.
"""

from models.errors import NotNowError, RefusedError, RoskvaError


class BoardError(NotNowError):
    """A board or ring is absent, cut short, or of another layout: its writer is not running or is another version."""

    code = "board"


class SensorError(NotNowError):
    """A sensor is absent, unreadable or implausible."""

    code = "sensor"


class KnobError(NotNowError):
    """A knob did not take the value written to it."""

    code = "knob"


class UnsafeToSwapError(RefusedError):
    """The loop does not say that it is safe to change policy."""

    code = "unsafe-to-swap"


class PolicyWorkerError(RoskvaError):
    """The policy worker died, hung, or could not load its release."""

    code = "policy-worker"


class LatencyAdmissionError(RefusedError):
    """The candidate's decisions in shadow take longer than its release promises."""

    code = "latency-admission"


class MemoryLimitError(RefusedError):
    """The candidate needs more memory than it may take beside the driver."""

    code = "memory-limit"


class QuarantinedError(RefusedError):
    """The release failed on this device before."""

    code = "quarantined"
