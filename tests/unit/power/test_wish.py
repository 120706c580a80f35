"""The wish for a power mode: never asked for in motion, never confirmed as a reboot, never tried for ever."""

import math
from dataclasses import dataclass, field, replace

import pytest

from agent.board.records import LOOP, VEHICLE, LoopRecord, LoopState, VehicleRecord
from agent.power.modes import ModeAnswer
from agent.power.parked import is_parked
from agent.power.wish import PARKED_NS, PAUSES_NS, QUIET_NS, ROWS, ModeWish, On, Seen, Step, turned

_S = 1_000_000_000
_SAMPLE_NS = _S // 2
_PATIENCE_NS = PARKED_NS + QUIET_NS
_MODES = ("MAXN", "120W", "90W")


@dataclass
class Device:
    """A device that answers an ask after a second, stepped at two samples a second."""

    answer: ModeAnswer | None = ModeAnswer.TAKEN
    failure: str = ""
    seen: Seen = field(default_factory=lambda: Seen(0, "120W", "MAXN", _MODES, parked=True))
    wish: ModeWish = field(default_factory=ModeWish)
    asked_ns: list[int] = field(default_factory=list)

    def let_pass(self, nanoseconds: int) -> None:
        for _ in range(nanoseconds // _SAMPLE_NS):
            now = self.seen.mono_ns + _SAMPLE_NS
            answered = self.wish.step is Step.ASKED and now - self.asked_ns[-1] >= _S
            if answered and self.answer is ModeAnswer.TAKEN:
                self.seen = replace(self.seen, in_force=self.wish.name)
            self.seen = replace(self.seen, mono_ns=now, answer=None, failure="")
            told = replace(self.seen, answer=self.answer, failure=self.failure) if answered else self.seen
            before, self.wish = self.wish, turned(self.wish, told)
            if self.wish.step is Step.ASKED and before.step is not Step.ASKED:
                self.asked_ns.append(now)

    def see(self, **news: object) -> None:
        self.seen = replace(self.seen, **news)  # type: ignore[arg-type]


def test_a_mode_is_asked_for_once_the_vehicle_was_parked_and_nothing_was_decided_for_a_while() -> None:
    device = Device()
    device.let_pass(PARKED_NS)
    assert not device.wish.holds
    device.let_pass(_S)
    assert device.wish.holds
    assert device.asked_ns == []
    device.let_pass(QUIET_NS)
    assert len(device.asked_ns) == 1
    device.let_pass(2 * _S)
    assert (device.wish.step, device.wish.said, device.wish.holds) == (Step.NONE, "", False)


def test_a_vehicle_that_never_stands_for_long_enough_is_never_asked_and_goes_on_deciding() -> None:
    device = Device()
    for _ in range(20):
        device.see(parked=True)
        device.let_pass(PARKED_NS - _S)
        device.see(parked=False)
        device.let_pass(_S)
        assert not device.wish.holds
    assert device.asked_ns == []
    assert device.wish.said == "mode: 120W waits for the vehicle to park"


def test_a_vehicle_that_moves_while_nothing_is_decided_decides_again_at_once_and_is_not_asked() -> None:
    device = Device()
    device.let_pass(PARKED_NS + _S)
    assert device.wish.holds
    device.see(parked=False)
    device.let_pass(_SAMPLE_NS)
    assert not device.wish.holds
    device.let_pass(60 * _S)
    assert device.asked_ns == []


def test_only_one_row_leads_to_asking_and_it_begins_where_nothing_is_decided() -> None:
    assert [pair for pair, to in ROWS.items() if to is Step.ASKED] == [(Step.HELD, On.QUIET)]


def test_a_mode_that_needs_a_reboot_stays_pending_and_is_not_asked_for_again() -> None:
    device = Device(answer=ModeAnswer.REBOOT)
    device.let_pass(24 * 3600 * _S // 10)
    assert len(device.asked_ns) == 1
    assert (device.wish.step, device.wish.said) == (Step.REBOOT, "mode: 120W needs a reboot")
    assert not device.wish.holds
    device.see(in_force="120W")
    device.let_pass(_SAMPLE_NS)
    assert device.wish.said == ""


@pytest.mark.parametrize(
    ("answer", "failure", "words"),
    [
        (ModeAnswer.IGNORED, "", "mode: 120W is ignored by nvpmodel"),
        (None, "no way", "mode: 120W failed: no way"),
    ],
)
def test_what_brings_nothing_is_said_and_tried_rarely_and_not_for_ever(
    answer: ModeAnswer | None, failure: str, words: str
) -> None:
    device = Device(answer, failure)
    device.let_pass(_PATIENCE_NS + 2 * _S)
    assert device.wish.said == words
    device.let_pass(3 * 3600 * _S)
    pauses = [later - sooner for sooner, later in zip(device.asked_ns, device.asked_ns[1:], strict=False)]
    assert len(pauses) == len(PAUSES_NS)
    assert all(pause >= least for pause, least in zip(pauses, PAUSES_NS, strict=True))
    assert "given up" in device.wish.said
    device.see(wished="90W")
    device.let_pass(_PATIENCE_NS + _S)
    assert len(device.asked_ns) == len(PAUSES_NS) + 2


def test_another_wish_is_taken_up_at_once_but_not_while_the_device_is_being_asked() -> None:
    device = Device()
    device.let_pass(PARKED_NS + QUIET_NS + _S // 2)
    assert device.wish.step is Step.ASKED
    device.see(wished="90W")
    device.let_pass(_SAMPLE_NS)
    assert (device.wish.step, device.wish.name) == (Step.ASKED, "120W")
    device.let_pass(2 * _S)
    assert device.wish.name == "90W"
    assert device.wish.said.startswith("mode: 90W")


def test_a_wish_that_is_taken_back_holds_nothing_up() -> None:
    device = Device()
    device.let_pass(PARKED_NS + _S)
    assert device.wish.holds
    device.see(wished="")
    device.let_pass(_SAMPLE_NS)
    assert (device.wish.step, device.wish.holds, device.wish.said) == (Step.NONE, False, "")


def test_a_mode_that_another_program_turns_back_is_asked_for_again_with_pauses_between() -> None:
    device = Device()
    for _ in range(100):
        device.let_pass(_PATIENCE_NS + 2 * _S)
        device.see(in_force="MAXN")
    pauses = [later - sooner for sooner, later in zip(device.asked_ns, device.asked_ns[1:], strict=False)]
    assert len(pauses) > 2 * len(PAUSES_NS), "it is a success each time, and never given up"
    assert all(pause >= PAUSES_NS[0] for pause in pauses)
    device.answer = ModeAnswer.IGNORED
    device.let_pass(PAUSES_NS[0] + _PATIENCE_NS + 2 * _S)
    assert device.wish.said == "mode: 120W is ignored by nvpmodel", "successes are no tries that failed"


def test_nothing_is_asked_for_that_the_device_does_not_have_or_while_nobody_knows_what_it_has() -> None:
    device = Device()
    device.see(in_force="", modes=())
    device.let_pass(60 * _S)
    assert device.wish.said == "mode: 120W waits for nvpmodel to answer"
    device.see(in_force="MAXN", modes=_MODES, wished="45W")
    device.let_pass(60 * _S)
    assert device.wish.said == "mode: 45W is no mode of this device"
    assert device.asked_ns == []
    device.see(wished="90W")
    device.let_pass(_PATIENCE_NS + _S)
    assert len(device.asked_ns) == 1


_STANDING = VEHICLE.record_from(VEHICLE.packer.unpack(bytes(VEHICLE.packer.size)))._replace(safe_to_swap=1)
_LOOP = LOOP.record_from(LOOP.packer.unpack(bytes(LOOP.packer.size)))


def _in(state: LoopState) -> LoopRecord:
    return _LOOP._replace(state=int(state))


def test_parked_is_standing_with_a_loop_that_follows_no_plan_and_a_plant_that_agrees() -> None:
    assert is_parked(_STANDING, _in(LoopState.WAITING))
    assert is_parked(_STANDING, _in(LoopState.SAFE_STOP))


@pytest.mark.parametrize(
    ("vehicle", "loop"),
    [
        (None, _in(LoopState.SAFE_STOP)),
        (_STANDING, None),
        (_STANDING._replace(speed_mps=0.06), _in(LoopState.SAFE_STOP)),
        (_STANDING._replace(speed_mps=-0.5), _in(LoopState.SAFE_STOP)),
        (_STANDING._replace(speed_mps=math.nan), _in(LoopState.SAFE_STOP)),
        (_STANDING._replace(safe_to_swap=0), _in(LoopState.SAFE_STOP)),
        (_STANDING, _in(LoopState.OK)),
        (_STANDING, _in(LoopState.DEGRADED)),
        (_STANDING, _in(LoopState.MINIMAL_RISK)),
        (_STANDING, _LOOP._replace(state=77)),
    ],
)
def test_nothing_less_is_parked(vehicle: VehicleRecord | None, loop: LoopRecord | None) -> None:
    assert not is_parked(vehicle, loop)
