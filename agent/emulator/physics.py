"""Emulated physics of a Thor: a decision's stages, how long each takes and what it takes. Every figure is emulated.

Owns: latency and power as functions of clocks, TPCs and work. Power is constant within a stage, so that a decision is
a pulse and not a rate. `agent.emulator.calibration` holds the published figures against it; constants say whether they
are fitted to those or ASSUMED.
Must not know: files, processes, time.

With f̂, ê the clocks of GPU and memory as shares of their highest and n the share of TPCs that run, a stage of `work_s`
seconds at full clocks of which a share α waits for arithmetic takes

    t = work_s · [α/(f̂·n) + (1−α)·max(1/ê, ISSUE/(f̂·n))]

and adds, with c and m the shares of t that wait for arithmetic and for memory, u the bandwidth used then and V̂ the voltage,

    P = c·COMPUTE·n·f̂·V̂² + m·MEMORY·u + AWAKE·(1+n)/2·[A + (1−A)·f̂·V̂²]
"""

from dataclasses import dataclass, replace
from enum import StrEnum

from agent.emulator.profile import CPU_MAX_KHZ, CPUS, EMC_MAX_HZ, GPU_MAX_HZ, TPCS

ENCODE_COMPUTE = 0.924
"""Fitted: α of encoding; a matrix product takes 12.6 % longer at the clock of the 120W mode."""
MEMORY_COMPUTE = 0.0
"""Fitted: α of tokens and flow steps; kernels bound by bandwidth take no longer there."""
DRAM_BYTES_PER_S = 248e9
"""Fitted: 8.03e9 weights of 4.5 bits 54.9 times a second; 253e9 were measured as the most that can be read."""
ISSUE_SHARE = 0.4
"""ASSUMED: below this share of f̂·n a GPU asks for less than memory could give. Nothing published is that slow."""

COMPUTE_W = 94.9
"""Fitted, with MEMORY_W: 12.45 J a decision. Their ratio is ASSUMED: encoding adds 1.5 times what memory's stages do."""
MEMORY_W = 50.8
AWAKE_W = 30.0
"""ASSUMED: what a GPU takes while any kernel runs; it leaks, its caches and its links run."""
AWAKE_CONSTANT = 0.78
"""Fitted: the part of it that no clock lowers; power of VDD_GPU falls by 5.7 % from MAXN to 120W."""
KNEE_SHARE, FLOOR_SHARE, FLOOR_V = 0.88, 0.4, 0.7
"""Voltage rises from FLOOR_V at f̂ = 0.4 to 1 at 0.88. The knee is fitted with AWAKE_CONSTANT, the floor ASSUMED."""
CPU_W = 19.2
"""Fitted: all cores at their highest clock, from a published line of 30.06 W on VDD_CPU_SOC_MSS at 90 %."""
CONVERSION = 1.05
"""ASSUMED: what the module takes for each watt that the processors get."""
LEAK_W_PER_C, LEAK_FROM_C = 0.06, 40.0
"""ASSUMED: leakage above that of a module at 40 °C."""

_GPU_OF_COMPUTE, _GPU_OF_MEMORY, _GPU_OF_AWAKE = 0.52, 0.34, 0.65
_SOC_OF_MEMORY = 0.12
"""Fitted: what of the module's watts shows on VDD_GPU and on VDD_CPU_SOC_MSS; a published line of 124.5, 37.9, 30.1 W."""
_GPU_GATED_W, _SOC_IDLE_W, _SYSTEM_IDLE_W, _SYSTEM_SHARE = 0.4, 8.5, 6.0, 0.05
"""The first is published (19.864 V · 20 mA), the others ASSUMED."""


class StageName(StrEnum):
    """The stages of a decision, in order."""

    HOST = "host"
    ENCODE = "encode"
    TOKENS = "tokens"
    FLOW = "flow"


@dataclass(frozen=True, slots=True)
class Rails:
    """Power by rail in watts: VDD_GPU, VDD_CPU_SOC_MSS, VIN_SYS_5V0 and VIN, the whole module."""

    gpu_w: float = 0.0
    soc_w: float = 0.0
    system_w: float = 0.0
    module_w: float = 0.0

    def plus(self, other: "Rails") -> "Rails":
        """Both at once."""
        return Rails(
            self.gpu_w + other.gpu_w,
            self.soc_w + other.soc_w,
            self.system_w + other.system_w,
            self.module_w + other.module_w,
        )


@dataclass(frozen=True, slots=True)
class Temperatures:
    """Nodes in °C: the heat sink, and the dies above it."""

    sink_c: float = 36.0
    gpu_c: float = 38.0
    cpu_c: float = 38.0
    soc012_c: float = 38.0
    soc345_c: float = 38.0

    @property
    def hottest_c(self) -> float:
        """The hottest junction, as `tj-thermal` says it."""
        return max(self.gpu_c, self.cpu_c, self.soc012_c, self.soc345_c)


@dataclass(frozen=True, slots=True)
class Chip:
    """The clocks in force, the TPCs that run, and what this module takes idle at 40 °C."""

    gpu_hz: int = GPU_MAX_HZ
    emc_hz: int = EMC_MAX_HZ
    cpu_khz: int = CPU_MAX_KHZ
    tpcs: int = TPCS
    idle_w: float = 26.0

    @property
    def gpu_share(self) -> float:
        """f̂."""
        return self.gpu_hz / GPU_MAX_HZ

    @property
    def throughput(self) -> float:
        """f̂·n."""
        return self.gpu_share * self.tpcs / TPCS

    @property
    def bandwidth(self) -> float:
        """The share of memory's bandwidth that the GPU can use."""
        return min(self.emc_hz / EMC_MAX_HZ, self.throughput / ISSUE_SHARE)

    @property
    def switching(self) -> float:
        """f̂·V̂²."""
        rise = (self.gpu_share - FLOOR_SHARE) / (KNEE_SHARE - FLOOR_SHARE)
        volts = FLOOR_V + (1.0 - FLOOR_V) * min(max(rise, 0.0), 1.0)
        return self.gpu_share * volts * volts


@dataclass(frozen=True, slots=True)
class Workload:
    """A policy's work, as seconds at full clocks: on the host, to encode what it sees, for each token, and for each flow step
    of each plan that it draws.

    `max_tokens`, `flow_steps` and `plan_samples` are its contract's.
    """

    host_s: float
    encode_s: float
    token_s: float
    flow_step_s: float
    max_tokens: int = 64
    flow_steps: int = 4
    plan_samples: int = 1


EDGE = Workload(host_s=0.0056, encode_s=0.0447, token_s=0.00454, flow_step_s=0.0047)
"""Alpamayo 2 Edge, 2e9 weights in NVFP4: 91.9 ms with 5 tokens (fitted). That they are 5, and how the rest is split into
host, encode and flow, is ASSUMED; a token moves all weights once."""


@dataclass(frozen=True, slots=True)
class Decision:
    """One decision of a policy: what it will do of each stage."""

    workload: Workload
    tokens: int
    flow_steps: int
    plan_samples: int = 1

    @property
    def flow_s(self) -> float:
        """The flow of all plans, one after the other, in seconds at full clocks. ASSUMED: a batch would read the weights
        once."""
        return self.workload.flow_step_s * self.flow_steps * self.plan_samples


@dataclass(frozen=True, slots=True)
class Stage:
    """A span of constant power; `rails` is what it adds to an idle module. `on_gpu`: its kernels run there."""

    name: StageName
    duration_s: float
    rails: Rails
    on_gpu: bool


def stages_of(decision: Decision, chip: Chip) -> tuple[Stage, ...]:
    """The stages of `decision` on `chip`, in order, those without work left out."""
    work = decision.workload
    spans = [
        _host_stage(work.host_s, chip),
        _gpu_stage(StageName.ENCODE, work.encode_s, ENCODE_COMPUTE, chip),
        _gpu_stage(StageName.TOKENS, work.token_s * decision.tokens, MEMORY_COMPUTE, chip),
        _gpu_stage(StageName.FLOW, decision.flow_s, MEMORY_COMPUTE, chip),
    ]
    return tuple(stage for stage in spans if stage.duration_s > 0.0)


def part_of(decision: Decision, chip: Chip, most_s: float) -> tuple[tuple[Stage, ...], Decision | None]:
    """The stages of the first `most_s` seconds of `decision`, and what is left of it then, None for nothing.

    Clocks change under a decision that takes seconds; what is left goes on with the new ones.
    """
    stages = stages_of(decision, chip)
    taken: list[Stage] = []
    room_s = most_s
    for number, stage in enumerate(stages):
        if stage.duration_s > room_s:
            share = room_s / stage.duration_s
            if share > 0.0:
                taken.append(replace(stage, duration_s=room_s))
            left = {stage.name: 1.0 - share} | {later.name: 1.0 for later in stages[number + 1 :]}
            return tuple(taken), _left_of(decision, left)
        taken.append(stage)
        room_s -= stage.duration_s
    return stages, None


def _left_of(decision: Decision, shares: dict[StageName, float]) -> Decision:
    """A decision of the given shares of each stage, none of those that are not named; as one token, one flow step of
    one plan."""
    work = decision.workload
    left = replace(
        work,
        host_s=work.host_s * shares.get(StageName.HOST, 0.0),
        encode_s=work.encode_s * shares.get(StageName.ENCODE, 0.0),
        token_s=work.token_s * decision.tokens * shares.get(StageName.TOKENS, 0.0),
        flow_step_s=decision.flow_s * shares.get(StageName.FLOW, 0.0),
    )
    return Decision(left, 1, 1)


def latency_s(decision: Decision, chip: Chip) -> float:
    """How long `decision` takes on `chip`."""
    return sum(stage.duration_s for stage in stages_of(decision, chip))


def added_j(decision: Decision, chip: Chip) -> float:
    """What `decision` takes on `chip` above what an idle module does."""
    return sum(stage.duration_s * stage.rails.module_w for stage in stages_of(decision, chip))


def idle_rails(chip: Chip, temperatures: Temperatures, cpu_busy: float) -> Rails:
    """Rails without any decision; `cpu_busy` is the share of all cores that other work keeps, 0 to 1."""
    leak_w = LEAK_W_PER_C * max(temperatures.hottest_c - LEAK_FROM_C, 0.0)
    cpu = cpu_rails(CPU_W * min(cpu_busy, 1.0) * (chip.cpu_khz / CPU_MAX_KHZ) ** 2)
    return Rails(_GPU_GATED_W, _SOC_IDLE_W, _SYSTEM_IDLE_W, chip.idle_w + leak_w).plus(cpu)


def cpu_rails(watts: float) -> Rails:
    """What cores add that take `watts` on their own rail."""
    return Rails(soc_w=watts, system_w=_SYSTEM_SHARE * watts, module_w=CONVERSION * watts)


def gpu_rails(watts: float) -> Rails:
    """What kernels of others add that take `watts` on VDD_GPU."""
    return Rails(gpu_w=watts, system_w=_SYSTEM_SHARE * watts, module_w=CONVERSION * watts)


def _host_stage(work_s: float, chip: Chip) -> Stage:
    """One core prepares and unpacks; it takes a fourteenth of what all take."""
    speed = chip.cpu_khz / CPU_MAX_KHZ
    return Stage(StageName.HOST, work_s / speed, cpu_rails(CPU_W / CPUS * speed**2), on_gpu=False)


def _gpu_stage(name: StageName, work_s: float, compute: float, chip: Chip) -> Stage:
    computing = compute / chip.throughput
    waiting = (1.0 - compute) / chip.bandwidth
    share = computing / (computing + waiting)
    compute_w = share * COMPUTE_W * chip.tpcs / TPCS * chip.switching
    memory_w = (1.0 - share) * MEMORY_W * chip.bandwidth
    awake_w = AWAKE_W * (1.0 + chip.tpcs / TPCS) / 2
    awake_w *= AWAKE_CONSTANT + (1.0 - AWAKE_CONSTANT) * chip.switching
    added_w = compute_w + memory_w + awake_w
    rails = Rails(
        _GPU_OF_COMPUTE * compute_w + _GPU_OF_MEMORY * memory_w + _GPU_OF_AWAKE * awake_w,
        _SOC_OF_MEMORY * memory_w,
        _SYSTEM_SHARE * added_w,
        added_w,
    )
    return Stage(name, work_s * (computing + waiting), rails, on_gpu=True)
