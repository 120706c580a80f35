"""The supervisor: keeps a follower and the right policy worker running, and changes the release when told to.

Owns: what runs in which place, epochs, restarts, `policy.board`; carries out the rows of `swap.py`, heeds `watch.py`.
Must not know: how processes are started (`Spawner`), what a policy is, the network. It is not real time:
when it stalls, the follower goes on.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from agent.board.change import POLICY, POLICY_BOARD, SWAP, SWAP_BOARD, PolicyRecord, SwapOrder, SwapRecord
from agent.board.feed import Feed
from agent.board.layout import bytes_from_text, text_from
from agent.board.records import (
    VEHICLE,
    VEHICLE_BOARD,
    VehicleRecord,
    Worker,
    digest_from_raw,
    raw_from_digest,
)
from agent.board.seqlock import BoardWriter
from agent.control.gate import VEHICLE_MAX_AGE_NS
from agent.control.plan import FollowRules
from agent.control.seat import HUNG_NS, Child, FollowerSeat, Pulse, Release, Seat
from agent.control.selection import Selection, left_over
from agent.control.swap import ROWS, SHOWN, Do, On, Step, next_row
from agent.control.watch import TrialWatch
from agent.ports import Clock
from models.errors import RoskvaError

_S = 1_000_000_000
CYCLE_NS = _S // 20
_STALLED_NS = _S
"""A gap of our own this long says nothing about the silence of others, who may have been stopped with us."""
_ORDERS: dict[int, On] = {
    SwapOrder.LOAD: On.LOAD,
    SwapOrder.GO: On.GO,
    SwapOrder.KEEP: On.KEEP,
    SwapOrder.RETURN: On.RETURN,
    SwapOrder.DROP: On.DROP,
}


class Spawner(Protocol):
    """How processes are started."""

    def follower(self) -> Child:
        """Start a follower."""
        ...

    def worker(self, place: Worker, release: Release, epoch: int, *, candidate: bool) -> Child:
        """Start a policy worker for `release` in `place`; a `candidate` has to be admitted, within its limits."""
        ...

    def promote(self, pid: int) -> None:
        """Lift a candidate's limits from a worker: it drives now."""
        ...


LiveSource = Callable[[], Release | None]
"""Reads which release is durably live, None where there is none; may raise `RoskvaError`."""


class Supervisor:
    """Call `cycle` every `CYCLE_NS`; `stop` ends all children."""

    def __init__(self, run: Path, clock: Clock, spawner: Spawner, live: LiveSource) -> None:
        run.mkdir(parents=True, exist_ok=True)
        self._run, self._clock, self._spawner, self._live = run, clock, spawner, live
        self._swap: Feed[SwapRecord] = Feed(run / SWAP_BOARD, SWAP)
        self._vehicle: Feed[VehicleRecord] = Feed(run / VEHICLE_BOARD, VEHICLE)
        self._policy = BoardWriter(run / POLICY_BOARD, POLICY)
        before = left_over(run, clock.mono_ns())
        self._epoch, self._request = before.epoch, before.request
        self._selection = before.selection
        self._seats: dict[Worker, Seat] = {}
        self._driver: Worker | None = None
        self._challenger: Worker | None = None
        self._order: SwapRecord | None = None
        self._step = Step.NONE
        self._shown: tuple[str, str] = ("", "")
        self._restarts = 0
        self._follower = FollowerSeat(run, spawner.follower)
        self._trial = TrialWatch(run)
        self._cycled_ns = clock.mono_ns()
        self._forgiving_ns = 0
        self._doings: dict[Do, Callable[[int], None]] = {
            Do.START: self._start_candidate,
            Do.RELOAD: self._reload,
            Do.SWITCH: self._switch,
            Do.SWITCH_BACK: self._switch_back,
            Do.STOP_CANDIDATE: self._stop_candidate,
            Do.STOP_OTHER: self._stop_other,
        }

    def start(self) -> None:
        """Start the follower, and the worker of the live release where there is one."""
        now_ns = self._clock.mono_ns()
        self._follower.start(now_ns)
        self._seat_live(now_ns)
        self._publish(now_ns)

    def cycle(self) -> None:
        """Look at everything once, act on it, publish."""
        now_ns = self._clock.mono_ns()
        if now_ns - self._cycled_ns > _STALLED_NS:
            silences_ns = [seat.silence_ns(now_ns) for seat in self._seats.values()]
            self._forgiving_ns = now_ns + max([HUNG_NS, *silences_ns])
        self._cycled_ns = now_ns
        forgiving = now_ns < self._forgiving_ns
        if self._follower.watch(now_ns, forgiving):
            self._restarts += 1
        self._trial.notice(now_ns)
        self._obey(now_ns)
        for place in list(self._seats):
            self._watch(place, now_ns, forgiving)
        if self._step is Step.GOING and self._is_safe(now_ns):
            self._on(On.SAFE, now_ns)
        elif self._step is Step.DRIVING:
            self._judge(now_ns)
        self._publish(now_ns)

    def stop(self, seconds: float) -> None:
        """End all children: asked first, killed after `seconds`."""
        deadline_ns = self._clock.mono_ns() + round(seconds * _S)
        seats = (self._follower, *self._seats.values())
        for seat in seats:
            seat.ask_to_end()
        while self._clock.mono_ns() < deadline_ns and any(seat.runs for seat in seats):
            self._clock.sleep_until(self._clock.mono_ns() + CYCLE_NS // 5)
        for seat in seats:
            seat.end()

    # --- workers

    def _seat_live(self, now_ns: int) -> None:
        """Put the durably live release in a free place and start its worker."""
        release = self._durably_live()
        if release is None:
            return
        self._driver = self._free_place()
        self._seats[self._driver] = Seat(self._run, self._driver, release)
        self._start_worker(self._driver, now_ns)

    def _durably_live(self) -> Release | None:
        """The live release; where the pointer cannot be read there is none, and the boards say why."""
        try:
            return self._live()
        except RoskvaError as error:
            self._shown = (error.code, str(error))
            return None

    def _free_place(self) -> Worker:
        return Worker.B if Worker.A in self._seats else Worker.A

    def _start_worker(self, place: Worker, now_ns: int) -> None:
        seat, candidate = self._seats[place], place == self._challenger and place != self._driver
        self._epoch += 1
        child = self._spawner.worker(place, seat.release, self._epoch, candidate=candidate)
        seat.started(child, self._epoch, now_ns)

    def _watch(self, place: Worker, now_ns: int, forgiving: bool) -> None:
        """One seat: start it where that is due, act on what became of its worker."""
        seat = self._seats[place]
        if seat.due_ns is not None:
            if now_ns >= seat.due_ns:
                self._restarts += 1
                self._start_worker(place, now_ns)
            return
        pulse = seat.pulse(now_ns)
        if pulse is Pulse.HUNG and forgiving:
            return
        if pulse is Pulse.READY:
            self._is_ready(seat, now_ns)
        elif pulse is Pulse.SHADOW and place == self._challenger:
            self._on(On.LOADED, now_ns)
        elif pulse not in (Pulse.LOADING, Pulse.SHADOW):
            self._is_gone(seat, pulse, now_ns)

    def _is_ready(self, seat: Seat, now_ns: int) -> None:
        """Select the driver's new worker; tell the table that the candidate is admitted."""
        if seat.place == self._driver and self._selection.epoch != seat.epoch:
            self._select(seat)
        if seat.place == self._challenger:
            self._on(On.ADMITTED, now_ns)

    def _is_gone(self, seat: Seat, pulse: Pulse, now_ns: int) -> None:
        """A worker died, hung, lags or refused: the candidate's is the table's matter, any other is started again."""
        seat.deaths += 1
        if seat.place in (self._driver, self._challenger):
            self._shown = (seat.reason, seat.detail)
        if seat.place == self._challenger and self._step is not Step.NONE:
            self._on(_event_of(pulse, seat.deaths), now_ns)
        seat.vacate(pulse, now_ns)

    def _select(self, seat: Seat) -> None:
        self._selection = Selection(seat.place, seat.epoch, raw_from_digest(seat.release.digest))

    # --- orders

    def _obey(self, now_ns: int) -> None:
        """Take the order on the swap board where its number is new."""
        self._swap.news(now_ns)
        stamped = self._swap.latest
        if stamped is None or stamped.record.request == self._request:
            return
        order = stamped.record
        self._request = order.request
        on = _ORDERS.get(order.order)
        if on is None:
            return
        if on is On.GO and self._is_driving_already(order):
            self._step, self._challenger, self._order = Step.DRIVING, self._driver, order
            self._set_on_trial()
            return
        if on is On.LOAD and (self._step, on) in ROWS:
            self._order, self._shown = order, ("", "")
        if on is On.RETURN:
            self._shown = ("returned", "the trial was ended by order")
        self._on(on, now_ns)

    def _is_driving_already(self, order: SwapRecord) -> bool:
        """Whether `control` was started anew between the durable switch and this order: then it loaded the new one."""
        driver = self._seats.get(self._driver) if self._driver is not None else None
        return (
            self._step is Step.NONE
            and driver is not None
            and raw_from_digest(driver.release.digest) == order.digest
        )

    def _on(self, on: On, now_ns: int) -> None:
        """Take one step of the table."""
        row = next_row(self._step, on)
        self._step = row.to
        for do in row.do:
            self._doings[do](now_ns)

    def _start_candidate(self, now_ns: int) -> None:
        order = self._order
        digest = digest_from_raw(order.digest) if order else None
        if order is None or digest is None:
            self._step, self._shown = Step.REFUSED, ("usage", "an order to load names no release")
            return
        self._challenger = self._free_place()
        release = Release(text_from(order.slot), digest)
        self._seats[self._challenger] = Seat(self._run, self._challenger, release)
        self._start_worker(self._challenger, now_ns)

    def _switch(self, _now_ns: int) -> None:
        self._driver = self._challenger
        self._set_on_trial()
        if self._driver is not None:
            self._spawner.promote(self._seats[self._driver].pid)
            self._select(self._seats[self._driver])

    def _judge(self, now_ns: int) -> None:
        """Give the wheel back where the candidate does what it must not."""
        seat = self._seats.get(self._challenger) if self._challenger is not None else None
        if seat is None:
            return
        breach = self._trial.breach(seat, self._seats.get(seat.place.other), now_ns)
        if breach is not None:
            self._shown = breach
            self._on(On.BREACHED, now_ns)

    def _set_on_trial(self) -> None:
        """The challenger is watched more closely than others."""
        self._trial.begin()
        for place, seat in self._seats.items():
            seat.on_trial = place == self._challenger

    def _switch_back(self, now_ns: int) -> None:
        """Let the other seat drive; where there is none, whatever is durably live now.

        Told at once: how long the candidate's process takes to end is not known.
        """
        other = self._challenger.other if self._challenger is not None else None
        self._driver = other if other in self._seats else None
        if other is None or self._driver is None:
            self._selection = Selection(Worker.A, 0, raw_from_digest(None))
        elif self._seats[other].pulse(now_ns) is Pulse.READY:
            self._select(self._seats[other])
        self._publish(now_ns)

    def _stop_candidate(self, now_ns: int) -> None:
        if self._challenger is not None:
            self._seats.pop(self._challenger).end()
        self._challenger = None
        if not self._seats:
            self._seat_live_unless_failed(now_ns)

    def _seat_live_unless_failed(self, now_ns: int) -> None:
        """With nothing left to drive, take what is durably live, if that is not what just failed."""
        failed = digest_from_raw(self._order.digest) if self._order else None
        release = self._durably_live()
        if release is not None and release.digest != failed:
            self._seat_live(now_ns)

    def _reload(self, now_ns: int) -> None:
        """Have what is durably live drive, where something else does: `control` was started anew in a trial."""
        release = self._durably_live()
        driver = self._seats.get(self._driver) if self._driver is not None else None
        if release is None or (driver is not None and driver.release == release):
            return
        if driver is not None:
            self._seats.pop(driver.place).end()
        self._seat_live(now_ns)

    def _stop_other(self, _now_ns: int) -> None:
        for place in [p for p in self._seats if p != self._driver]:
            self._seats.pop(place).end()
        self._challenger = None
        self._set_on_trial()

    def _is_safe(self, now_ns: int) -> bool:
        """Whether the candidate may take over now: its plan stays fresh until it has made the next, and the vehicle agrees."""
        seat = self._seats.get(self._challenger) if self._challenger is not None else None
        if seat is None or seat.due_ns is not None or seat.pulse(now_ns) is not Pulse.READY:
            return False
        self._vehicle.news(now_ns)
        plan, vehicle = seat.plan, self._vehicle.recent(now_ns, VEHICLE_MAX_AGE_NS)
        enough_ns = seat.fresh_ns(now_ns) - FollowRules().aging_ns // 2
        has_plan = plan is not None and 0 <= now_ns - plan.observation_ns <= enough_ns
        return has_plan and vehicle is not None and vehicle.safe_to_swap == 1

    # --- what others see

    def _publish(self, now_ns: int) -> None:
        driver = self._seats.get(self._driver) if self._driver is not None else None
        drives = driver is not None and driver.epoch == self._selection.epoch and driver.due_ns is None
        reason, detail = self._shown
        told = self._step is not Step.NONE or not drives
        record = PolicyRecord(
            worker=int(self._selection.place),
            epoch=self._selection.epoch,
            digest=self._selection.digest,
            driving=int(drives),
            request=self._request,
            candidate=int(SHOWN[self._step]),
            candidate_digest=self._order.digest
            if self._order and self._step is not Step.NONE
            else raw_from_digest(None),
            restarts=self._restarts,
            reason=bytes_from_text(reason if told else "", 48),
            detail=bytes_from_text(detail if told else "", 160),
        )
        self._policy.write(record, now_ns)


def _event_of(pulse: Pulse, deaths: int) -> On:
    """A refusal is final, and so is hanging; a first death is forgiven."""
    if pulse is Pulse.REFUSED:
        return On.REFUSED
    return On.DIED if pulse is Pulse.DEAD and deaths < 2 else On.LOST
