"""Every board and ring in the run directory: who writes it, what it says.

Owns: the records, their layouts and their file names, but for those of a change of release, which stand in
`agent.board.change`. These two pages are the whole of what the three processes, the plant and `roskva-agent status` say
to one another.
Must not know: how boards are stored, what anyone does with them.

| file | writer | readers |
|---|---|---|
| `observation.board` | plant | policy workers |
| `vehicle.board` | plant | follower, workers, `control`, `manage` |
| `actuation.board` | follower | plant |
| `loop.board` | follower | `control`, `manage`, status |
| `actuations.ring` | follower | `manage` |
| `plan-a.board`, `plan-b.board` | policy worker a, b | follower, `control`, the other worker |
| `limits-a.board`, `limits-b.board` | policy worker a, b | follower, `control`, `power` |
| `worker-a.board`, `worker-b.board` | policy worker a, b | `control`, `power`, `manage`, the emulator |
| `decisions-a.ring`, `decisions-b.ring` | policy worker a, b | `manage` |
| `policy.board` | `control` | follower, workers, `manage`, `power`, status |
| `swap.board` | `manage` | `control` |
| `update.board` | `manage` | status |
| `power.board` | `power` | workers, `control`, `manage`, status, `roskva-agent envelope`, the emulator, the next `power` |
| `envelope.board` | `manage` | `power`, `manage`, status |
| `envelope-local.board` | `roskva-agent envelope` | `power`, `manage`, status |
| `mode-local.board` | `roskva-agent mode` | `power`, `roskva-agent mode` |

Times are monotonic nanoseconds of this boot. Digests are 32 raw bytes, all zero for none.
"""

import struct
from collections.abc import Iterable
from enum import IntEnum
from itertools import chain, islice
from typing import NamedTuple

from agent.board.layout import Layout
from models.contract import PlantSpec
from models.digest import Digest, hex_of

HORIZON_MAX = 128
"""Waypoints that a plan record has room for."""
NO_DIGEST = bytes(32)


def raw_from_digest(digest: Digest | None) -> bytes:
    """The 32 bytes of `digest`, zeros for None."""
    return bytes.fromhex(hex_of(digest)) if digest else NO_DIGEST


def digest_from_raw(raw: bytes) -> Digest | None:
    """The digest of 32 raw bytes, None for zeros."""
    return None if raw == NO_DIGEST else Digest("sha256:" + raw.hex())


class Worker(IntEnum):
    """The two places for a policy worker; a change of release goes from one to the other."""

    A = 0
    B = 1

    @property
    def other(self) -> "Worker":
        """The place that is free while this one drives."""
        return Worker(1 - self)

    @property
    def letter(self) -> str:
        """`a` or `b`, as in the file names."""
        return "ab"[self]


class ObservationRecord(NamedTuple):
    """What the cameras and the odometry saw at `mono_ns` = t0.

    `ego_history`: float32 (steps, 4), rig frame at t0. `frames`: uint8, the plant's cameras in order, each
    (frames, height_px, width_px, 3).
    """

    sequence: int
    mono_ns: int
    instruction: int
    ego_history: bytes
    frames: bytes


def observation_layout(plant: PlantSpec) -> Layout[ObservationRecord]:
    """The layout that this plant's cameras and history need."""
    frame_bytes = sum(c.frames * c.height_px * c.width_px * 3 for c in plant.cameras)
    history_bytes = plant.ego_history.steps * 4 * 4
    return Layout("observation", ObservationRecord, f"qqq{history_bytes}s{frame_bytes}s")


class VehicleRecord(NamedTuple):
    """The vehicle now, in the local frame (x east, y north); `safe_to_swap` is 0 or 1, `takeovers` how often a person took
    the wheel since the plant began."""

    mono_ns: int
    x_m: float
    y_m: float
    yaw_rad: float
    speed_mps: float
    acceleration_mps2: float
    curvature_per_m: float
    odometer_m: float
    safe_to_swap: int
    takeovers: int


VEHICLE = Layout("vehicle", VehicleRecord, "qdddddddqq")


class ActuationRecord(NamedTuple):
    """What the follower commands; a plant stops by itself where `mono_ns` is older than its own limit."""

    tick: int
    mono_ns: int
    acceleration_mps2: float
    curvature_per_m: float


ACTUATION = Layout("actuation", ActuationRecord, "qqdd")


class AppliedRecord(NamedTuple):
    """One tick, for the ring: what was commanded, on whose decision, and what the gate changed.

    `mono_ns - due_ns` is how late it began. `decision` is the sequence of the decision whose plan was followed, 0 for
    none; `intervened` is a bit set of `GateReason`.
    """

    tick: int
    due_ns: int
    mono_ns: int
    decision: int
    acceleration_mps2: float
    curvature_per_m: float
    intervened: int


APPLIED = Layout("applied", AppliedRecord, "qqqqddq")


class LoopState(IntEnum):
    """What the follower does: with a fresh plan, with an old one, stopping along the last one, standing."""

    WAITING = 0
    """No plan yet: standing, brakes on."""
    OK = 1
    DEGRADED = 2
    MINIMAL_RISK = 3
    SAFE_STOP = 4


class LoopRecord(NamedTuple):
    """The loop's figures. `realtime` says in words what was achieved.

    The counts of ticks and interventions go on where a follower takes over from one that ended less than 10 s ago; the
    durations are since the start of this one: how late ticks began, how far apart, and how long they took.
    `recent_misses` are the latest spans in which ticks were missed, as `bytes_from_spans` packs them.
    """

    state: int
    tick_period_ns: int
    ticks: int
    ticks_missed: int
    lateness_p50_ns: int
    lateness_p99_ns: int
    lateness_p999_ns: int
    lateness_max_ns: int
    period_p50_ns: int
    period_p99_ns: int
    period_p999_ns: int
    period_max_ns: int
    execution_p50_ns: int
    execution_p99_ns: int
    execution_p999_ns: int
    execution_max_ns: int
    gate_interventions: int
    plans_rejected: int
    decision: int
    plan_age_ns: int
    speed_mps: float
    realtime: bytes
    recent_misses: bytes


LOOP = Layout("loop", LoopRecord, "qqqqqqqqqqqqqqqqqqqqd64s128s")
SPANS_MAX = 8
_SPANS = struct.Struct(f"<{2 * SPANS_MAX}q")


def bytes_from_spans(spans: Iterable[tuple[int, int]]) -> bytes:
    """The first eight of `spans` (start and end in nanoseconds), zeros where there are fewer."""
    flat = list(chain.from_iterable(islice(spans, SPANS_MAX)))
    return _SPANS.pack(*flat, *[0] * (2 * SPANS_MAX - len(flat)))


def spans_from(packed: bytes) -> list[tuple[int, int]]:
    """The spans that `bytes_from_spans` packed."""
    flat = _SPANS.unpack(packed)
    return [span for span in zip(flat[::2], flat[1::2], strict=True) if span != (0, 0)]


class PlanRecord(NamedTuple):
    """One decision's plan: float32 (steps, 2), acceleration m/s² and curvature 1/m; row k starts at
    `observation_ns + k·dt_ns`. A plan of another epoch than `policy.board` names is not followed."""

    decision: int
    epoch: int
    observation_ns: int
    decided_ns: int
    dt_ns: int
    steps: int
    digest: bytes
    waypoints: bytes


PLAN = Layout("plan", PlanRecord, f"qqqqqq32s{HORIZON_MAX * 2 * 4}s")


class LimitsRecord(NamedTuple):
    """What a release must be held to; the follower takes the stricter of this and its own.

    A plan whose `epoch` and `digest` have no such record is not followed. `decision_p99_ns` is the latency
    that the release promises, `max_decision_j` the module's energy a decision, NaN where it promises none;
    `plan_samples` is how many plans it may draw for a decision.
    """

    epoch: int
    digest: bytes
    max_acceleration_mps2: float
    max_braking_mps2: float
    max_jerk_mps3: float
    max_curvature_per_m: float
    max_curvature_rate_per_ms: float
    max_lateral_mps2: float
    max_speed_mps: float
    decision_p99_ns: int
    max_decision_j: float
    plan_samples: int


LIMITS = Layout("limits", LimitsRecord, "q32sdddddddqdq")


class WorkerState(IntEnum):
    """What a policy worker is at."""

    LOADING = 1
    READY = 2
    """Loaded, warmed, golden outputs reproduced; decides in shadow or drives."""
    REFUSED = 3
    SHADOW = 4
    """As `READY`, but for its latency, which is not admitted yet."""


class WorkerRecord(NamedTuple):
    """A policy worker's figures; `busy_ns` and `tokens_total` are cumulative, `reason` an error code.

    `slow` decisions took longer than the release promises, `failed` ones gave no plan that could be followed; `dropped`
    are observations passed over and decisions made for nothing, `failed` ones among them.

    Latencies, whole and by stage, are of the last 256 decisions, of those since it drives where it does; `queue` is how long
    the observation waited. `compared` plans were made in shadow beside one that was driven on; the differences are root mean
    squares over them, as in `agent.control.divergence`, NaN where there is none. `deciding_since_ns` is when the decision under
    way began, 0 where none is, `decided_ns` when the latest one ended.

    `sentence` is the latest reasoning; `version` and `precision` are the release's.
    """

    pid: int
    epoch: int
    state: int
    digest: bytes
    decisions: int
    slow: int
    failed: int
    dropped: int
    tokens_total: int
    busy_ns: int
    latency_last_ns: int
    latency_p50_ns: int
    latency_p99_ns: int
    reason: bytes
    detail: bytes
    version: bytes
    precision: bytes
    sentence: bytes
    queue_p50_ns: int
    queue_p99_ns: int
    visual_p50_ns: int
    visual_p99_ns: int
    reason_p50_ns: int
    reason_p99_ns: int
    action_p50_ns: int
    action_p99_ns: int
    compared: int
    acceleration_rms_mps2: float
    curvature_rms_per_m: float
    displacement_1s_m: float
    displacement_3s_m: float
    deciding_since_ns: int
    decided_ns: int


WORKER = Layout("worker", WorkerRecord, "qqq32sqqqqqqqqq48s160s32s16s256sqqqqqqqqqddddqq")


class PowerRecord(NamedTuple):
    """What the governor reads and commands.

    `module_w` is the 1 s mean, `gpu_w`, `soc_w` the rails; these and `hottest_c` are NaN where unknown. The knobs bind
    the policy worker: `decision_rate_hz`, `max_reasoning_tokens`, `flow_steps`, `plan_samples`; none begins a decision before
    `held_until_ns`. `sensors` is `ok` or what fails, and then how far a wish for a power mode is.
    """

    envelope_w: float
    module_w: float
    gpu_w: float
    soc_w: float
    hottest_c: float
    energy_j: float
    gpu_max_freq_hz: int
    decision_rate_hz: float
    max_reasoning_tokens: int
    flow_steps: int
    plan_samples: int
    held_until_ns: int
    power_mode: bytes
    sensors: bytes


POWER = Layout("power", PowerRecord, "ddddddqdqqqq16s96s")


class EnvelopeRecord(NamedTuple):
    """A limit on the 1 s mean of module power beside the configuration's; `limit_w` is NaN where there is none.

    It stands until another is written, however old it is. `sequence` is the fleet's order's, 0 of a local one.
    """

    limit_w: float
    sequence: int


ENVELOPE = Layout("envelope", EnvelopeRecord, "dq")


class ModeOrderRecord(NamedTuple):
    """The power mode that a person at the device wishes, by its name; empty for none. It stands until another is written."""

    name: bytes


MODE_ORDER = Layout("mode-order", ModeOrderRecord, "16s")

DECISION_SLOT_BYTES = 4096
"""A `models.wire.messages.DecisionRecord` as JSON, before it is known how the decision was executed."""
DECISION_SLOTS = 512
APPLIED_SLOTS = 8192
"""80 s of ticks at 100 Hz: as long as `manage` may be away before ticks are dropped and counted."""


def plan_board(worker: Worker) -> str:
    """File name of a worker's plan board."""
    return f"plan-{worker.letter}.board"


def limits_board(worker: Worker) -> str:
    """File name of the limits of a worker's release."""
    return f"limits-{worker.letter}.board"


def worker_board(worker: Worker) -> str:
    """File name of a worker's figures."""
    return f"worker-{worker.letter}.board"


def decisions_ring(worker: Worker) -> str:
    """File name of a worker's decisions."""
    return f"decisions-{worker.letter}.ring"


OBSERVATION_BOARD = "observation.board"
VEHICLE_BOARD = "vehicle.board"
ACTUATION_BOARD = "actuation.board"
LOOP_BOARD = "loop.board"
APPLIED_RING = "actuations.ring"
POWER_BOARD = "power.board"
FLEET_ENVELOPE_BOARD = "envelope.board"
LOCAL_ENVELOPE_BOARD = "envelope-local.board"
LOCAL_MODE_BOARD = "mode-local.board"
