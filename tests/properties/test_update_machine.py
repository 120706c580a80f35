"""The update machine under every sequence of events: what it must never do, whatever happens when."""

from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.update.machine import Do, On, events_of, step
from models.wire.messages import UpdatePhase as At


@dataclass
class Device:
    """What effects do to a device, without any of the machinery: only what is durable and what is true."""

    live: str = "old"
    fallback: str = ""
    free: str = ""
    trial: bool = False
    verified: set[str] = field(default_factory=lambda: {"old"})
    quarantined: set[str] = field(default_factory=set)
    phase: At = At.IDLE
    names: int = 0
    floor: str = "old"
    candidate: str = ""
    """What control holds beside the release that drives."""
    reported: bool = False

    def pick(self, number: int) -> On:
        """The event that `number` stands for here: any, one that means something, or mostly the next good one."""
        kind, choice = number % 10, number // 10
        meaningful = [event for event in EVENTS if event in events_of(self.phase) - {On.RESTARTED}]
        if kind == 0:
            return EVENTS[choice % len(EVENTS)]
        return (
            FORWARD[self.phase]
            if kind > 3 and self.phase in FORWARD
            else meaningful[choice % len(meaningful)]
        )

    def take(self, event: On) -> None:
        if event is On.ADMITTED and self.phase is At.ADMITTING:
            self.names += 1
            self.free = f"new{self.names}"
        if event is On.VERIFIED and self.phase is At.VERIFYING:
            self.verified.add(self.free)
        row = step(self.phase, event)
        self.phase = row.next
        for effect in row.effects:
            self.perform(effect)

    def perform(self, effect: Do) -> None:
        doing = getattr(self, effect.name.lower(), None)
        if doing is not None:
            doing()

    def load(self) -> None:
        assert self.free in self.verified, "control was given something that is not verified"
        self.candidate = self.free

    def flip(self) -> None:
        assert self.free in self.verified, "switched to something not verified"
        assert not self.trial, "switched in a trial: the way back would be lost"
        if self.names % 3 == 0:  # the disk fails
            self.take(On.NOT_NOW)
            return
        self.live, self.fallback, self.free, self.trial = self.free, self.live, "", True
        self.take(On.FLIPPED)

    def commit(self) -> None:
        assert self.trial
        self.trial, self.candidate = False, ""

    def raise_floors(self) -> None:
        assert not self.trial, "floors raised before the trial was passed"
        self.floor = self.live

    def point_back(self) -> None:
        assert self.trial
        self.quarantined.add(self.live)
        self.live, self.fallback, self.free, self.trial = self.fallback, "", self.live, False

    def drop(self) -> None:
        self.candidate = ""

    def quarantine(self) -> None:
        self.quarantined.add(self.free)

    def discard(self) -> None:
        self.free = ""

    def report(self) -> None:
        self.reported = True

    def reconcile(self) -> None:
        self.candidate = self.live if self.trial else ""
        if self.trial:
            self.take(On.TRIAL_FOUND)


# A keyword in Python, so it cannot be a method's name above: `RETURN` takes the candidate away as `DROP` does.
setattr(Device, "return", Device.drop)

INTERNAL = {On.TRIAL_FOUND, On.FLIPPED}
"""These come only from the device's own pointer; all others can come at any time."""
EVENTS = sorted(set(On) - INTERNAL, key=lambda event: event.name)

FORWARD = {
    At.ADMITTING: On.ADMITTED,
    At.FETCHING: On.FETCHED,
    At.VERIFYING: On.VERIFIED,
    At.WARMING: On.READY,
    At.SWITCHING: On.DRIVING,
}

sequences = st.lists(st.integers(0, 10_000), max_size=60)
"""Which event comes: mostly one that has a row in the phase, so that deep phases are reached."""


@given(sequences)
def test_only_verified_releases_ever_become_live(numbers: list[int]) -> None:
    device = Device()
    for number in numbers:
        event = device.pick(number)
        device.take(event)
        assert device.live in device.verified
        assert device.live not in device.quarantined


@given(sequences)
def test_a_phase_outside_the_trial_never_leaves_a_trial_open(numbers: list[int]) -> None:
    device = Device()
    for number in numbers:
        event = device.pick(number)
        device.take(event)
        assert device.trial == (device.phase in (At.SWITCHING, At.TRIAL))


@given(sequences)
def test_every_refusal_ends_idle_with_the_old_release_live(numbers: list[int]) -> None:
    device = Device()
    for number in numbers:
        event = device.pick(number)
        before = device.live
        refused = event is On.REFUSED and event in events_of(device.phase)
        device.take(event)
        if refused:
            assert (device.phase, device.live) == (At.IDLE, before)


@given(sequences)
def test_the_floor_rises_only_with_a_passed_trial(numbers: list[int]) -> None:
    device = Device()
    for number in numbers:
        event = device.pick(number)
        floor, phase = device.floor, device.phase
        device.take(event)
        passed = phase is At.TRIAL and event is On.KEPT
        assert device.floor == (device.live if passed else floor)


def test_nothing_is_committed_that_control_did_not_say_it_keeps() -> None:
    rows = {(at, on): step(at, on) for at in At for on in events_of(at)}
    assert [pair for pair, row in rows.items() if Do.COMMIT in row.effects] == [(At.TRIAL, On.KEPT)]
    assert [pair for pair, row in rows.items() if Do.KEEP in row.effects] == [(At.TRIAL, On.PASSED)]
    assert step(At.TRIAL, On.PASSED).effects == (Do.KEEP,)
    assert {effect for effect, ends in OUTCOMES.items() if On.KEPT in ends} == {Do.KEEP}


@given(sequences)
def test_a_restart_in_any_phase_ends_in_the_trial_that_was_open_or_idle(numbers: list[int]) -> None:
    device = Device()
    for number in numbers:
        event = device.pick(number)
        device.take(event)
    live, trial = device.live, device.trial
    device.take(On.RESTARTED)
    assert device.live == live
    assert device.phase is (At.SWITCHING if trial else At.IDLE)


@given(sequences)
def test_control_is_never_left_with_a_candidate_that_nobody_decides_about(numbers: list[int]) -> None:
    device = Device()
    for number in numbers:
        event = device.pick(number)
        device.take(event)
        assert bool(device.candidate) == (device.phase in (At.WARMING, At.SWITCHING, At.TRIAL))


@given(sequences)
def test_every_update_that_was_admitted_ends_with_a_report(numbers: list[int]) -> None:
    device = Device()
    for number in numbers:
        event = device.pick(number)
        before, device.reported = device.phase, False
        device.take(event)
        ended = (
            device.phase is At.IDLE and before not in (At.IDLE, At.ADMITTING) and event is not On.RESTARTED
        )
        assert device.reported or not ended


@given(sequences)
def test_what_control_refused_or_what_broke_its_trial_is_quarantined_and_not_kept(numbers: list[int]) -> None:
    device = Device()
    for number in numbers:
        event = device.pick(number)
        phase, free, live = device.phase, device.free, device.live
        device.take(event)
        if phase is At.WARMING and event is On.REFUSED:
            assert free in device.quarantined
            assert device.free == ""
        if phase in (At.SWITCHING, At.TRIAL) and event is On.BREACHED:
            assert live in device.quarantined
        if phase is At.RETURNING and event is On.RETURNED:
            assert device.free == ""


@given(sequences)
def test_what_did_not_verify_is_not_kept(numbers: list[int]) -> None:
    device = Device()
    for number in numbers:
        event = device.pick(number)
        phase = device.phase
        device.take(event)
        if phase in (At.FETCHING, At.VERIFYING) and event is On.REFUSED:
            assert device.free == ""


OUTCOMES = {
    Do.ADMIT: {On.NOTHING_NEW, On.ADMITTED, On.REFUSED, On.NOT_NOW},
    Do.FETCH: {On.FETCHED, On.REFUSED, On.NOT_NOW},
    Do.VERIFY: {On.VERIFIED, On.REFUSED, On.NOT_NOW},
    Do.LOAD: {On.READY, On.REFUSED, On.NOT_NOW},
    Do.FLIP: {On.FLIPPED, On.REFUSED, On.NOT_NOW},
    Do.GO: {On.DRIVING, On.BREACHED},
    Do.JUDGE: {On.PASSED, On.BREACHED},
    Do.KEEP: {On.KEPT, On.BREACHED, On.NOT_NOW},
    Do.RETURN: {On.RETURNED},
    Do.RECONCILE: {On.TRIAL_FOUND},
}
"""The events that an effect can end in; the other effects end in none."""


@pytest.mark.parametrize(("phase", "event"), [(at, on) for at in At for on in events_of(at)])
def test_whatever_a_row_starts_can_only_end_in_events_that_have_a_row(phase: At, event: On) -> None:
    row = step(phase, event)
    assert all(effect not in OUTCOMES for effect in row.effects[:-1])
    if row.next is not At.IDLE:
        assert row.effects, "nothing would ever happen again"
        assert OUTCOMES[row.effects[-1]] <= events_of(row.next)


@pytest.mark.parametrize("phase", At)
def test_every_phase_but_idle_has_a_way_out_and_takes_a_restart(phase: At) -> None:
    assert On.RESTARTED in events_of(phase)
    assert any(step(phase, event).next is not phase for event in events_of(phase) - {On.RESTARTED})


@pytest.mark.parametrize("phase", [At.ADMITTING, At.FETCHING, At.VERIFYING, At.WARMING])
def test_refusal_and_bad_times_are_reported_in_every_phase_before_the_switch(phase: At) -> None:
    for event in (On.REFUSED, On.NOT_NOW):
        assert step(phase, event).effects[-1] is Do.REPORT


@given(st.sampled_from(sorted(At)), st.sampled_from(sorted(On, key=lambda event: event.name)))
def test_an_event_out_of_place_changes_nothing(phase: At, event: On) -> None:
    if event not in events_of(phase):
        assert (step(phase, event).next, step(phase, event).effects) == (phase, ())
