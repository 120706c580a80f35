"""Board records as the wire says them.

Owns: the translation, field by field. Must not know: boards' files, who sends what when.
"""

import math

from agent.board.layout import text_from
from agent.board.records import LoopRecord, LoopState, PowerRecord, WorkerRecord, digest_from_raw
from agent.telemetry.energy import NO_SHARES, EnergyShares
from models.wire.messages import LoopFigures, PolicyFigures, PowerFigures


def loop_figures(record: LoopRecord, odometer_m: float | None = None) -> LoopFigures:
    """The control loop, and how far the plant says that it drove."""
    return LoopFigures(
        state=LoopState(record.state).name.lower() if record.state in set(LoopState) else "unknown",
        ticks=record.ticks,
        ticks_missed=record.ticks_missed,
        lateness_p50_ns=record.lateness_p50_ns,
        lateness_p99_ns=record.lateness_p99_ns,
        lateness_max_ns=record.lateness_max_ns,
        gate_interventions=record.gate_interventions,
        speed_mps=record.speed_mps,
        plan_age_ns=record.plan_age_ns,
        realtime=text_from(record.realtime),
        odometer_m=odometer_m,
    )


def power_figures(record: PowerRecord, source: str = "", energy: EnergyShares = NO_SHARES) -> PowerFigures:
    """The governor; `source` is whose envelope is in force, `energy` what a decision and a metre took."""
    return PowerFigures(
        envelope_w=record.envelope_w,
        module_w=_known(record.module_w),
        hottest_c=_known(record.hottest_c),
        gpu_max_freq_hz=record.gpu_max_freq_hz,
        decision_rate_hz=record.decision_rate_hz,
        energy_j=record.energy_j,
        sensors=text_from(record.sensors),
        envelope_source=source,
        joules_per_decision=energy.joules_per_decision,
        joules_per_m=energy.joules_per_m,
        power_mode=text_from(record.power_mode),
    )


def policy_figures(record: WorkerRecord) -> PolicyFigures:
    """The policy worker that drives."""
    return PolicyFigures(
        release_digest=digest_from_raw(record.digest) or "",
        version=text_from(record.version),
        precision=text_from(record.precision),
        decisions=record.decisions,
        decisions_dropped=record.dropped,
        latency_p50_ns=record.latency_p50_ns,
        latency_p99_ns=record.latency_p99_ns,
        reasoning=text_from(record.sentence),
        queue_p50_ns=record.queue_p50_ns,
        queue_p99_ns=record.queue_p99_ns,
        visual_p50_ns=record.visual_p50_ns,
        visual_p99_ns=record.visual_p99_ns,
        reason_p50_ns=record.reason_p50_ns,
        reason_p99_ns=record.reason_p99_ns,
        action_p50_ns=record.action_p50_ns,
        action_p99_ns=record.action_p99_ns,
    )


def _known(figure: float) -> float | None:
    return figure if math.isfinite(figure) else None
