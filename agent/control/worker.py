"""The policy worker: loads one release, then decides on the latest observation, again and again.

Owns: the order of loading, which observation is decided when, what is published and what is dropped.
Must not know: how a release is verified or run, where observations come from, who follows the plans.
`agent.app.worker` is the process around it. A worker may hang or die at any point; its boards' ages say so.
"""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np

from agent.board.change import POLICY, POLICY_BOARD, CandidateState, PolicyRecord
from agent.board.feed import Feed
from agent.board.records import HORIZON_MAX, POWER, POWER_BOARD, PowerRecord
from agent.control.admission import Admission, Standing
from agent.control.cadence import Cadence
from agent.control.publish import Post, Publisher, Times, record_of
from agent.control.shadow import Beside
from agent.control.share import POWER_MAX_AGE_NS, allowed_by, is_spent, share_hz
from agent.errors import LatencyAdmissionError, MemoryLimitError, PolicyWorkerError
from agent.ports import Clock
from models.contract import PolicyContract
from models.errors import ContractMismatchError, NotNowError, RoskvaError
from models.release.manifest import ReleaseLimits
from models.runtime.policy import Decision, Knobs, Observation, Policy
from models.wire.messages import DecisionRecord

DECISIONS_PER_EPOCH = 1_000_000_000
"""A year at 30 Hz: the numbers of two workers of one boot never meet."""
_S = 1_000_000_000
_POLL_NS = 3_000_000
"""How often observations are looked for where their writer wakes nobody."""
_NAP_NS = 40_000_000
_ALIVE_NS = _S // 5
"""A worker with nothing to decide speaks this often: on trial, silence of a second is taken for a hang."""
_AHEAD_NS = _S // 10
_SHADOW_KEPT = 2
"""Shadow decisions remembered: the follower may take over at the latest one or at the one before."""
_MAX_FAILURES = 10
_PLANT_PATIENCE_NS = 15 * _S
_SPARE_BYTES = 1 << 20
"""Kept back so that a worker without memory can still say so."""


@dataclass(frozen=True, slots=True)
class LoadedPolicy:
    """A release, verified, loaded, warmed and true to its golden outputs."""

    policy: Policy
    version: str
    precision: str
    limits: ReleaseLimits


class PolicyLoader(Protocol):
    """Where a worker gets its policy from."""

    def load(self) -> LoadedPolicy:
        """Verify, load, warm, check against the golden outputs. Raises `RoskvaError` where any of it fails."""
        ...


class ObservationSource(Protocol):
    """What a worker sees."""

    def news(self, mono_ns: int) -> Observation | None:
        """The latest observation, where it is another than at the call before."""
        ...

    def wait(self, until_ns: int) -> bool:
        """Return when there may be news, at `until_ns` at the latest; False at once where one cannot wait for that."""
        ...


def _never() -> int:
    return 0


def _no() -> bool:
    return False


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a worker is built from. `connect` opens the plant for a contract, or raises `RoskvaError`.

    `kept_waiting_ns` is how long this thread was kept from a processor by others, since it began; `is_confined` says whether
    this process is held to a candidate's memory.
    """

    run: Path
    clock: Clock
    loader: PolicyLoader
    connect: Callable[[PolicyContract], ObservationSource]
    decision_hz: float
    stopping: Callable[[], bool]
    kept_waiting_ns: Callable[[], int] = _never
    is_confined: Callable[[], bool] = _no


class Turn(NamedTuple):
    """How the next decisions are to be made: period, 0 for none at all, knobs, whether this worker drives, whether the governor
    holds it back just now, and from when on the one that drives beside it may begin, None where none does."""

    period_ns: int
    knobs: Knobs
    driving: bool
    held: bool
    driver_due_ns: int | None


def serve(post: Post, around: Surroundings) -> int:
    """Load and decide until told to stop; returns the exit status, that of the error where one ended it."""
    publisher = Publisher(around.run, post)
    publisher.loading(around.clock.mono_ns())
    try:
        _work(post, around, publisher)
    except RoskvaError as error:
        publisher.refused(error, around.clock.mono_ns())
        return error.exit_code
    return 0


def _work(post: Post, around: Surroundings, publisher: Publisher) -> None:
    """Raises the refusal that ends it, `MemoryLimitError` where a candidate gets no more memory."""
    spare: list[bytes] = [bytes(_SPARE_BYTES)]
    try:
        _load_and_decide(post, around, publisher)
    except MemoryError as error:
        if not around.is_confined():
            raise
        spare.clear()
        raise MemoryLimitError(
            "it needs more memory than a candidate may take; raise [control] candidate_memory_bytes or candidate_memory_ratio "
            f"({str(error)[:80]})"
        ) from None


def _load_and_decide(post: Post, around: Surroundings, publisher: Publisher) -> None:
    loaded = around.loader.load()
    if loaded.policy.release_digest != post.digest:
        raise ContractMismatchError(f"loaded {loaded.policy.release_digest}, and {post.digest} was ordered")
    publisher.promised(loaded.policy.contract, loaded.limits, around.clock.mono_ns())
    source = _connected(loaded.policy.contract, around, publisher)
    publisher.loaded(loaded.version, loaded.precision, around.clock.mono_ns())
    loop = DecideLoop(post, around, loaded.policy, publisher)
    if post.candidate:
        loop.be_admitted(source, round(loaded.limits.decision_p99_ms * 1e6))
    if not around.stopping():
        publisher.ready(around.clock.mono_ns())
    loop.run(source)


def _connected(contract: PolicyContract, around: Surroundings, publisher: Publisher) -> ObservationSource:
    """The plant, waiting a while for one that is not up yet; raises what `connect` raises after that."""
    patience_ns = around.clock.mono_ns() + _PLANT_PATIENCE_NS
    while True:
        try:
            return around.connect(contract)
        except NotNowError:
            now_ns = around.clock.mono_ns()
            if now_ns > patience_ns or around.stopping():
                raise
            publisher.alive(now_ns)
            around.clock.sleep_until(now_ns + _S // 5)


class DecideLoop:
    """Latest observation wins: one is decided at most once, and those that came meanwhile are passed over."""

    def __init__(self, post: Post, around: Surroundings, policy: Policy, publisher: Publisher) -> None:
        self._post, self._around, self._policy, self._publisher = post, around, policy, publisher
        self._clock = around.clock
        self._power: Feed[PowerRecord] = Feed(around.run / POWER_BOARD, POWER)
        self._selected: Feed[PolicyRecord] = Feed(around.run / POLICY_BOARD, POLICY)
        self._beside = Beside(around.run, post.place)
        self._dt_ns = round(policy.contract.dt_s * 1e9)
        self._made = 0
        self._failures = 0
        self._drove = False
        self._cadence = Cadence()
        self._held_ns = -_S * _S
        """When the governor was last seen to hold decisions back."""
        self._began_ns = 0
        self._seen: Observation | None = None
        self._decided: Observation | None = None
        self._told_ns = self._clock.mono_ns()
        self._admission: Admission | None = None
        self._shadow: deque[DecisionRecord] = deque(maxlen=_SHADOW_KEPT)

    def be_admitted(self, source: ObservationSource, promised_ns: int) -> None:
        """Decide in shadow until `promised_ns` is admitted, or until told to stop.

        Raises `LatencyAdmissionError` where it is not, `PolicyWorkerError` where a decision fails, and `NotNowError` where too
        few could be made: nobody shows the world, or the governor lets nothing be decided.
        """
        admission = self._admission = Admission(promised_ns)
        until_ns = self._clock.mono_ns() + admission.patience_ns
        while admission.standing is Standing.OPEN and not self._around.stopping():
            if self._clock.mono_ns() > until_ns:
                raise NotNowError(
                    "too few decisions to look at the latency: the cameras are silent, the governor allows none, or its knobs "
                    f"kept changing, with each of which it begins anew ({admission})"
                )
            self._pass(source)
            admission = self._admission
        self._admission = None
        if admission.standing is Standing.REFUSED:
            raise LatencyAdmissionError(str(admission))

    def run(self, source: ObservationSource) -> None:
        """Decide until told to stop. Raises `PolicyWorkerError` where the policy fails ten times in a row."""
        while not self._around.stopping():
            self._pass(source)

    def _pass(self, source: ObservationSource) -> None:
        """Decide on what is due, or wait for it."""
        now_ns = self._clock.mono_ns()
        seen = self._seen = self._believable(source.news(now_ns), now_ns) or self._seen
        turn = self._turn(now_ns)
        if seen is not None and seen is not self._decided and self._is_due(seen, turn, now_ns):
            self._count_skipped(seen, turn)
            self._decide(seen, turn)
            self._told_ns = self._clock.mono_ns()
            return
        if now_ns - self._told_ns >= _ALIVE_NS:
            self._publisher.alive(now_ns)
            self._told_ns = now_ns
        nap_ns = min(max(self._cadence.due_ns - now_ns, _POLL_NS), _NAP_NS)
        if not source.wait(now_ns + nap_ns):
            self._clock.sleep_until(now_ns + nap_ns)

    def _believable(self, found: Observation | None, now_ns: int) -> Observation | None:
        """`found`, but for one of the future: no plan on it could be followed, and none would be due after it."""
        if found is None or found.mono_ns <= now_ns + _AHEAD_NS:
            return found
        self._publisher.dropped(1)
        return None

    def _turn(self, now_ns: int) -> Turn:
        self._power.news(now_ns)
        self._selected.news(now_ns)
        contract = self._policy.contract
        power = self._power.recent(now_ns, POWER_MAX_AGE_NS)
        hz, tokens, steps, samples = allowed_by(power)
        selected = self._selected.latest
        driving = selected is not None and selected.record.epoch == self._post.epoch
        if driving and not self._drove:
            self._take_over()
        self._drove = driving
        candidate = selected.record.candidate if selected is not None else CandidateState.NONE
        hz = min(hz, self._around.decision_hz)
        driver_due_ns = None
        if selected is not None and not driving:
            driver_period_ns = _period_ns(share_hz(hz, candidate, driving=True))
            driver_due_ns = self._beside.driver_due_ns(selected.record, driver_period_ns, now_ns)
        tokens = max(0, min(tokens, contract.reasoning.max_tokens))
        samples = max(1, min(samples, contract.sampled.samples))
        knobs = Knobs(tokens, max(1, min(steps, contract.flow_steps)), samples)
        held = power is not None and now_ns < power.held_until_ns <= now_ns + POWER_MAX_AGE_NS
        self._held_ns = now_ns if held else self._held_ns
        held = held or (power is not None and self._is_word_spent(now_ns))
        period_ns = _period_ns(share_hz(hz, candidate, driving=driving))
        return Turn(period_ns, knobs, driving, held, driver_due_ns)

    def _is_word_spent(self, now_ns: int) -> bool:
        word = self._power.latest
        return word is not None and is_spent(word.mono_ns, self._began_ns, self._held_ns, now_ns)

    def _take_over(self) -> None:
        """From shadow to driving: the next observation is due at once, and what may be driving already is told."""
        self._cadence = Cadence()
        self._publisher.drives()
        while self._shadow:
            self._publisher.record(self._shadow.popleft())

    def _is_due(self, seen: Observation, turn: Turn, now_ns: int) -> bool:
        allowed = turn.period_ns > 0 and not turn.held
        due = seen.mono_ns >= self._cadence.earliest_ns(turn.period_ns)
        return allowed and due and not self._gives_way(turn, now_ns)

    def _gives_way(self, turn: Turn, now_ns: int) -> bool:
        """Whether this is a shadow beside a driver that decides or is due to, while there is room for one only: both would begin
        at the same word of the governor. By half a period at most: a driver that is never idle keeps no candidate waiting."""
        scarce = now_ns - self._held_ns < turn.period_ns
        late = now_ns >= self._cadence.due_ns + turn.period_ns // 2
        driver_due = turn.driver_due_ns is not None and now_ns >= turn.driver_due_ns
        return driver_due and scarce and not late

    def _count_skipped(self, seen: Observation, turn: Turn) -> None:
        """Count the observations that a timely worker would have decided on between the last one and `seen`."""
        last, self._decided = self._decided, seen
        due_ns = self._cadence.due_ns
        if last is not None and due_ns:
            between = max(seen.sequence - last.sequence - 1, 0)
            whole = int((seen.mono_ns - due_ns) / turn.period_ns + 0.1)
            self._publisher.dropped(min(max(whole, 0), between))
        self._cadence = self._cadence.after(seen.mono_ns, turn.period_ns)

    def _decide(self, seen: Observation, turn: Turn) -> None:
        sequence = self._post.epoch * DECISIONS_PER_EPOCH + self._made + 1
        waited_ns = self._around.kept_waiting_ns() if self._admission is not None else 0
        start_ns = self._began_ns = self._clock.mono_ns()
        self._publisher.begins(start_ns)
        try:
            decision = self._policy.decide(seen, turn.knobs, sequence)
            _check_plan(decision, seen, self._policy.contract)
        except RoskvaError as error:
            self._failed(error, self._clock.mono_ns() - start_ns)
            return
        self._made += 1
        self._failures = 0
        now_ns = self._clock.mono_ns()
        if self._admission is not None:
            # A candidate gives way to everyone: what it waited for a processor is not the policy's time.
            waited_ns = self._around.kept_waiting_ns() - waited_ns
            self._admission = self._admission.after(now_ns - start_ns - waited_ns, turn.knobs)
        plan = self._publisher.plan(decision, sequence, self._dt_ns, now_ns)
        observed_utc_ns = self._clock.utc_ns() - (self._clock.mono_ns() - seen.mono_ns)
        times = Times(observed_utc_ns, max(0, start_ns - seen.mono_ns), now_ns - start_ns)
        selected = None if turn.driving else self._selected.latest
        diverged = self._beside.divergence(plan, selected.record, now_ns) if selected else None
        self._publisher.decided(decision, times, now_ns, diverged)
        record = record_of(decision, sequence, times)
        if self._turn(now_ns).driving:
            self._publisher.record(record)
        else:
            self._shadow.append(record)

    def _failed(self, error: RoskvaError, busy_ns: int) -> None:
        self._failures += 1
        self._publisher.failed(busy_ns, self._clock.mono_ns())
        if self._admission is not None:
            raise PolicyWorkerError(f"a decision in shadow gave no plan that can be followed: {error}")
        if self._failures >= _MAX_FAILURES:
            raise PolicyWorkerError(f"{self._failures} decisions failed in a row, the last: {error}")


def _period_ns(hz: float) -> int:
    """0 for no decisions at all."""
    return round(_S / hz) if hz > 0 else 0


def _check_plan(decision: Decision, seen: Observation, contract: PolicyContract) -> None:
    """Raise `PolicyWorkerError` where the plan is not what the contract says, holds a number that is none, or claims
    another observation than the one it was made on: a plan's age is not the policy's to say."""
    if (decision.observation_sequence, decision.observation_ns) != (seen.sequence, seen.mono_ns):
        raise PolicyWorkerError(
            f"plan on observation {decision.observation_sequence} of {decision.observation_ns} ns; "
            f"it was given {seen.sequence} of {seen.mono_ns} ns"
        )
    expected = (contract.horizon_steps, 2)
    if decision.plan.shape != expected or contract.horizon_steps > HORIZON_MAX:
        raise PolicyWorkerError(f"plan of shape {decision.plan.shape}; the contract says {expected}")
    if not np.isfinite(decision.plan).all():
        raise PolicyWorkerError("plan with a value that is not a finite number")
