"""A stand-in for a policy worker in emulated time: decides when the real one would, for as long as the physics says.

Owns: when it decides, with how many tokens, flow steps and plans, and its board. It obeys `power.board` as
`agent.control.worker` does: latest observation wins, paced by when observations were made, frugal where nobody governs.
Must not know: the governor; what runs a policy.
"""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from agent.board.change import CandidateState
from agent.board.feed import Feed
from agent.board.records import (
    POWER,
    POWER_BOARD,
    WORKER,
    PowerRecord,
    Worker,
    WorkerRecord,
    WorkerState,
    worker_board,
)
from agent.board.seqlock import BoardWriter
from agent.control.cadence import Cadence
from agent.control.share import POWER_MAX_AGE_NS, allowed_by, is_spent, share_hz
from agent.emulator.calibration import TOKENS_MEDIAN, TOKENS_SIGMA
from agent.emulator.physics import EDGE, Decision, Workload
from agent.emulator.thor import EmulatedThor, Pulse

_S = 1_000_000_000
_ALIVE_NS = _S // 2
_LATENCIES = 256
_PART_S = 0.15
"""A decision that takes longer meets clocks that changed meanwhile, and shares the GPU."""
_BLANK = WORKER.record_from(WORKER.packer.unpack(bytes(WORKER.packer.size)))


@dataclass(frozen=True, slots=True)
class Pace:
    """How often observations come and decisions are wanted, in Hz."""

    wanted_hz: float = 10.0
    camera_hz: float = 10.0


@dataclass(slots=True)
class Count:
    """What was done since the start."""

    decisions: int = 0
    tokens: int = 0
    busy_ns: int = 0
    dropped: int = 0


class _Ending(NamedTuple):
    """A decision whose end is known; its latency includes the wait for the GPU."""

    end_ns: int
    latency_ns: int
    tokens: int


class StagedPolicy:
    """Call `advance` in step with the Thor that it runs on, and hand it the pulses.

    Without a `run` directory there is no governor and no board: it decides as it wants. `tokens` fixes the length of its
    reasoning, which else is drawn from the calibration's distribution; it and `wanted_hz` may be changed at any time. Two on
    one Thor have a `worker` and an `epoch` each, take turns on the GPU, and share the rate by who is `driving`, and whether
    another is loaded `beside` that one.
    """

    def __init__(
        self,
        run: Path | None,
        thor: EmulatedThor,
        seed: int,
        *,
        pace: Pace = Pace(),
        workload: Workload = EDGE,
        tokens: int | None = None,
        worker: Worker = Worker.A,
        epoch: int = 1,
    ) -> None:
        self.wanted_hz, self.tokens, self.workload = pace.wanted_hz, tokens, workload
        self.driving, self.beside = True, False
        self.count = Count()
        self.latencies_ns: list[int] = []
        self._thor, self._camera_ns, self._epoch = thor, round(_S / pace.camera_hz), epoch
        self._rng = np.random.default_rng([seed, 41, worker])
        self._board = BoardWriter(run / worker_board(worker), WORKER) if run else None
        self._power: Feed[PowerRecord] | None = Feed(run / POWER_BOARD, POWER) if run else None
        self._began_ns = self._free_ns = thor.now_ns
        self._cadence = Cadence()
        self._seen = -1
        self._left: Decision | None = None
        self._start_ns = self._tokens = 0
        self._ending: list[_Ending] = []
        self._written_ns = self._since_ns = self._decided_ns = 0
        self._scarce_ns = -_S

    def advance(self, until_ns: int) -> tuple[Pulse, ...]:
        """The decisions that begin before `until_ns`; those that end by then are counted on the board."""
        pulses = []
        knobs = self._knobs(self._thor.now_ns)
        while not self._thor.off and self._is_deciding_before(until_ns, knobs):
            pulses.append(self._decide_on())
        self._finish(until_ns)
        return tuple(pulses)

    def close(self) -> None:
        """Leave the board to age, as a worker that died does."""
        if self._board is not None:
            self._board.close()

    def _knobs(self, now_ns: int) -> tuple[float, int, int, int]:
        """Rate in Hz, tokens, flow steps, plans: the governor's, within what the policy wants and its contract allows."""
        work = self.workload
        if self._power is None:
            return self.wanted_hz, work.max_tokens, work.flow_steps, work.plan_samples
        self._power.news(now_ns)
        rate_hz, tokens, steps, samples = allowed_by(self._power.recent(now_ns, POWER_MAX_AGE_NS))
        candidate = CandidateState.READY if self.beside else CandidateState.NONE
        rate_hz = share_hz(min(rate_hz, self.wanted_hz), candidate, driving=self.driving)
        tokens, samples = max(0, min(tokens, work.max_tokens)), max(1, min(samples, work.plan_samples))
        return rate_hz, tokens, max(1, min(steps, work.flow_steps)), samples

    def _held_ns(self, now_ns: int) -> int:
        """Until when the governor lets no decision begin."""
        power = self._power.recent(now_ns, POWER_MAX_AGE_NS) if self._power else None
        held_ns = power.held_until_ns if power else 0
        self._scarce_ns = now_ns if held_ns > now_ns else self._scarce_ns
        return held_ns

    def _next(self, rate_hz: float, held_ns: int) -> tuple[int, int]:
        """When the next decision begins, and on which observation: the latest one then."""
        earliest_ns = self._cadence.earliest_ns(round(_S / rate_hz)) - self._began_ns
        first = max(-(-earliest_ns // self._camera_ns), self._seen + 1)
        start_ns = max(self._began_ns + first * self._camera_ns, self._free_ns, self._thor.now_ns, held_ns)
        return start_ns, (start_ns - self._began_ns) // self._camera_ns

    def _is_deciding_before(self, until_ns: int, knobs: tuple[float, int, int, int]) -> bool:
        """Whether there is something to do before `until_ns`: the rest of a decision, or one that is due."""
        rate_hz, most_tokens, steps, samples = knobs
        if self._left is not None:
            return self._free_ns < until_ns
        now_ns = self._thor.now_ns  # when the governor spoke
        if rate_hz <= 0 or is_spent(now_ns, self._start_ns, self._scarce_ns, now_ns):
            return False
        start_ns, observation = self._next(rate_hz, self._held_ns(self._thor.now_ns))
        if start_ns >= until_ns:
            return False
        self._keep_phase(observation, round(_S / rate_hz))
        self._tokens = min(self._drawn_tokens(), most_tokens)
        self._left = Decision(self.workload, self._tokens, steps, samples)
        self._start_ns = self._free_ns = start_ns
        return True

    def _decide_on(self) -> Pulse:
        """A part of the decision under way: as much as fits between two looks at the clocks."""
        assert self._left is not None
        pulse, self._left = self._thor.place(self._left, self._free_ns, _PART_S)
        self._free_ns = pulse.end_ns
        if self._left is None:
            self._ending.append(_Ending(pulse.end_ns, pulse.end_ns - self._start_ns, self._tokens))
        return pulse

    def _keep_phase(self, observation: int, period_ns: int) -> None:
        """Count what was passed over, and when the next one is due."""
        seen_ns = self._began_ns + observation * self._camera_ns
        if self._cadence.due_ns:
            late = int((seen_ns - self._cadence.due_ns) / period_ns + 0.1)
            self.count.dropped += min(max(late, 0), observation - self._seen - 1)
        self._cadence = self._cadence.after(seen_ns, period_ns)
        self._seen = observation

    def _drawn_tokens(self) -> int:
        if self.tokens is not None:
            return self.tokens
        drawn = TOKENS_MEDIAN * math.exp(TOKENS_SIGMA * float(self._rng.standard_normal()))
        return min(max(round(drawn), 1), self.workload.max_tokens)

    def _finish(self, until_ns: int) -> None:
        done = [decision for decision in self._ending if decision.end_ns <= until_ns]
        for decision in done:
            self._decided_ns = decision.end_ns
            self.latencies_ns.append(decision.latency_ns)
            self.count.decisions += 1
            self.count.tokens += decision.tokens
            self.count.busy_ns += decision.latency_ns
        if done:
            self._ending = self._ending[len(done) :]
        since_ns = self._start_ns if self._left is not None or self._ending else 0
        news = done or since_ns != self._since_ns or until_ns - self._written_ns >= _ALIVE_NS
        if self._board is not None and news:
            self._board.write(self._record(since_ns), until_ns)
            self._written_ns, self._since_ns = until_ns, since_ns

    def _record(self, since_ns: int) -> WorkerRecord:
        recent = sorted(self.latencies_ns[-_LATENCIES:]) or [0]
        return _BLANK._replace(
            pid=1,
            deciding_since_ns=since_ns,
            decided_ns=self._decided_ns,
            epoch=self._epoch,
            state=WorkerState.READY,
            decisions=self.count.decisions,
            dropped=self.count.dropped,
            tokens_total=self.count.tokens,
            busy_ns=self.count.busy_ns,
            latency_last_ns=self.latencies_ns[-1] if self.latencies_ns else 0,
            latency_p50_ns=recent[len(recent) // 2],
            latency_p99_ns=recent[len(recent) * 99 // 100],
            version=b"emulated",
        )
