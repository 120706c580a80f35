"""What a candidate must not do while it drives, each breach by its name, and what is not its fault."""

import math
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.board.records import LoopState
from agent.control.lowering import Lowering
from agent.control.trial import Breach, Look, Trial, begun, judged

MS = 1_000_000
START = Look(10_000 * MS, LoopState.OK, True, 5_000, 7, 40, 300, 2, 1, 0, False)


@dataclass
class Drive:
    """A candidate at 100 ticks and 10 decisions a second, looked at every 50 ms."""

    look: Look = START
    trial: Trial = field(default_factory=lambda: begun(START))
    breach: Breach | None = None
    watts: tuple[float, float] | None = None
    """The module's, and the limit."""
    lowering: Lowering = field(default_factory=Lowering)

    def goes_on(self, seconds: float, **each_look: int) -> "Drive":
        """Drive on; the counts named grow by so much at every look."""
        for _ in range(round(seconds / 0.05)):
            self.sees(**each_look)
        return self

    def sees(self, ms: int = 50, **grown: int) -> "Drive":
        """One look after `ms`; a decision every other one."""
        ticks = ms // 10 - grown.get("ticks_missed", 0)
        steps = {
            "ticks": ticks,
            "decisions": int(self.look.mono_ns // (100 * MS) != (self.look.mono_ns + ms * MS) // (100 * MS)),
        }
        for name, more in {**steps, **grown}.items():
            self.look = self.look._replace(**{name: getattr(self.look, name) + more})
        self.look = self.look._replace(mono_ns=self.look.mono_ns + ms * MS)
        if self.watts is not None:
            module_w, envelope_w = self.watts
            self.lowering = self.lowering.after(envelope_w, self.look.mono_ns)
            stands = self.look.mono_ns >= self.lowering.until_ns
            self.look = self.look._replace(over_envelope=module_w > envelope_w and stands)
        if self.breach is None:
            found = judged(self.trial, self.look)
            if isinstance(found, Breach):
                self.breach = found
            else:
                self.trial = found
        return self

    @property
    def reason(self) -> str:
        return self.breach.reason if self.breach else ""

    @property
    def driven_s(self) -> float:
        return (self.look.mono_ns - START.mono_ns) / 1e9


def test_a_candidate_that_keeps_its_promises_is_left_alone_whatever_was_counted_before_it_drove() -> None:
    assert Drive().goes_on(60).reason == ""


def test_one_plan_that_cannot_be_followed_is_enough() -> None:
    drive = Drive().goes_on(1).sees(failed=1)
    assert drive.reason == "no-plan"


def test_five_slow_decisions_of_twenty_are_a_breach_and_four_are_not() -> None:
    drive = Drive().goes_on(5).sees(slow=4)
    assert drive.goes_on(10).reason == ""
    assert drive.sees(slow=4).reason == ""
    assert drive.sees(slow=1).reason == "latency"
    assert drive.breach is not None
    assert "5 of 2" in drive.breach.detail


def test_slow_decisions_far_apart_are_what_a_ninety_ninth_percentile_means() -> None:
    drive = Drive()
    for _ in range(20):
        drive.goes_on(5).sees(slow=1)
    assert drive.reason == ""


def test_a_loop_that_stops_for_want_of_a_plan_is_a_breach_at_once() -> None:
    drive = Drive().goes_on(1)
    drive.look = drive.look._replace(state=LoopState.MINIMAL_RISK)
    assert drive.sees().reason == "safe-stop"


@pytest.mark.parametrize(("overdue_ms", "reason"), [(900, "safe-stop"), (1_100, "policy-worker")])
def test_a_stop_for_want_of_a_plan_is_called_by_its_cause_where_the_worker_keeps_silent(
    overdue_ms: int, reason: str
) -> None:
    drive = Drive().goes_on(1)
    drive.look = drive.look._replace(state=LoopState.MINIMAL_RISK, overdue_ns=overdue_ms * MS)
    assert drive.sees().reason == reason


def test_a_stop_that_the_loop_was_in_before_the_change_is_not_the_candidates() -> None:
    drive = Drive()
    drive.look = drive.look._replace(state=LoopState.MINIMAL_RISK)
    drive.goes_on(0.2)
    drive.look = drive.look._replace(state=LoopState.OK)
    assert drive.goes_on(5).reason == ""


def test_a_stop_because_the_plant_was_silent_is_not_the_candidates_until_it_has_decided_again() -> None:
    drive = Drive().goes_on(1)
    drive.look = drive.look._replace(state=LoopState.MINIMAL_RISK, may_drive=False)
    drive.goes_on(0.4)
    drive.look = drive.look._replace(may_drive=True)
    for _ in range(10):  # in the middle of a slow decision: none ends
        drive.sees(decisions=0)
    drive.goes_on(0.2)
    assert drive.reason == ""
    drive.look = drive.look._replace(state=LoopState.OK)
    assert drive.goes_on(5).reason == ""


def test_a_gate_that_brakes_because_the_plant_is_silent_is_not_held_against_the_candidate() -> None:
    drive = Drive().goes_on(1)
    drive.look = drive.look._replace(state=LoopState.MINIMAL_RISK, may_drive=False)
    drive.goes_on(3, interventions=5)
    drive.look = drive.look._replace(state=LoopState.OK, may_drive=True)
    assert drive.goes_on(5).reason == ""
    assert drive.goes_on(2, interventions=5).reason == "gate"


def test_a_stop_that_goes_on_though_the_candidate_decides_and_the_plant_speaks_is_a_breach() -> None:
    drive = Drive().goes_on(1)
    drive.look = drive.look._replace(state=LoopState.MINIMAL_RISK, may_drive=False)
    drive.goes_on(0.4)
    drive.look = drive.look._replace(may_drive=True)
    assert drive.goes_on(0.6).reason == "safe-stop"


def test_a_world_that_nobody_shows_is_not_held_against_the_candidate() -> None:
    drive = Drive().goes_on(1)
    drive.look = drive.look._replace(state=LoopState.SAFE_STOP, may_drive=False)
    assert drive.goes_on(60).reason == ""


def test_ticks_missed_while_it_drives_are_a_breach() -> None:
    drive = Drive().goes_on(2, ticks_missed=1)
    assert drive.reason == "ticks-missed"


def test_ticks_lost_in_a_standstill_of_the_machine_are_not_the_candidates_even_if_told_a_little_later() -> (
    None
):
    drive = Drive().goes_on(1).sees(ms=900, ticks_missed=60).sees(ticks_missed=20)
    assert drive.goes_on(10).reason == ""
    assert drive.goes_on(1.5, ticks_missed=1).reason == "ticks-missed"


def test_a_gate_that_changes_every_other_command_is_a_breach() -> None:
    assert Drive().goes_on(1.5, interventions=5).reason == "gate"
    assert Drive().goes_on(30, interventions=1).reason == ""


def test_a_person_who_takes_the_wheel_ends_the_trial() -> None:
    assert Drive().goes_on(1).sees(takeovers=1).reason == "taken-over"


def test_power_above_the_envelope_is_a_breach_where_it_stays() -> None:
    drive = Drive().goes_on(1)
    drive.look = drive.look._replace(over_envelope=True)
    assert drive.goes_on(4).reason == ""
    assert drive.goes_on(2).reason == "envelope"
    moment = Drive()
    for _ in range(20):
        moment.look = moment.look._replace(over_envelope=True)
        moment.goes_on(3)
        moment.look = moment.look._replace(over_envelope=False)
        moment.goes_on(1)
    assert moment.reason == ""


def in_envelope_of(drive: Drive, watts: float, *, over: bool = True, may_drive: bool = True) -> Drive:
    """From the next look on."""
    drive.watts = (watts + 5.0 if over else watts, watts)
    drive.look = drive.look._replace(may_drive=may_drive)
    return drive


def test_while_the_limit_is_lowered_again_and_again_the_ramp_down_to_it_is_not_held_against_the_candidate() -> (
    None
):
    drive = in_envelope_of(Drive(), 120.0, over=False).goes_on(1)
    for watts in range(115, 55, -5):
        assert in_envelope_of(drive, watts).goes_on(2).reason == ""


@pytest.mark.parametrize(("to_w", "slowest_s"), [(90.0, 3.0), (40.0, 3.0 + 50 / 15)])
def test_power_that_is_above_a_lowered_limit_long_after_the_slowest_ramp_is_a_breach(
    to_w: float, slowest_s: float
) -> None:
    drive = in_envelope_of(Drive(), 120.0, over=False).goes_on(1)
    assert in_envelope_of(drive, to_w).goes_on(slowest_s + 4.5).reason == ""
    assert drive.goes_on(1).reason == "envelope"


def test_a_lowering_is_remembered_over_a_restart_of_the_follower_and_over_a_moment_without_the_governor() -> (
    None
):
    drive = in_envelope_of(Drive(), 120.0, over=False).goes_on(1)
    drive = in_envelope_of(drive, 40.0).goes_on(0.5).sees(ticks=-4_000)
    assert drive.goes_on(5.5).reason == ""
    silent = in_envelope_of(Drive(), 120.0, over=False).goes_on(1)
    silent = in_envelope_of(silent, math.nan, over=False).goes_on(1)
    assert in_envelope_of(silent, 40.0).goes_on(6).reason == ""


def test_a_limit_that_is_raised_excuses_nobody() -> None:
    drive = in_envelope_of(Drive(), 60.0).goes_on(4)
    assert in_envelope_of(drive, 70.0).goes_on(1.5).reason == "envelope"


def test_what_others_take_while_nothing_is_decided_is_not_held_against_the_candidate() -> None:
    drive = in_envelope_of(Drive(), 60.0, may_drive=False).goes_on(60)
    assert drive.reason == ""
    assert in_envelope_of(drive, 60.0).goes_on(4.5).reason == ""
    assert drive.goes_on(1).reason == "envelope"


def promising(joules: float, *, energy_j: float = 5_000.0) -> Drive:
    """A candidate of a release that promises so many joules a decision."""
    start = START._replace(max_decision_j=joules, energy_j=energy_j, beside=40)
    return Drive(start, begun(start))


def takes(drive: Drive, seconds: float, watts: float, beside: float = 0.0) -> Drive:
    """Drive on at so many watts, while the worker beside decides so often a second."""
    for step in range(round(seconds / 0.05)):
        more = int((step + 1) * beside * 0.05) - int(step * beside * 0.05)
        drive.look = drive.look._replace(
            energy_j=drive.look.energy_j + watts * 0.05, beside=drive.look.beside + more
        )
        drive.sees()
    return drive


def test_a_candidate_whose_decisions_take_more_energy_than_promised_is_out_after_twenty_of_them() -> None:
    drive = takes(promising(7.0), 1.9, watts=80.0)
    assert drive.reason == ""
    assert takes(drive, 0.2, watts=80.0).reason == "energy"
    assert drive.breach is not None
    assert drive.breach.detail == "8.00 J a decision; 7 J are promised"


def test_the_decisions_of_the_worker_beside_are_not_put_on_the_candidates_bill() -> None:
    assert takes(promising(7.0), 30, watts=80.0, beside=2.0).reason == ""
    assert takes(promising(6.0), 30, watts=80.0, beside=2.0).reason == "energy"


def test_joules_that_an_idle_module_takes_while_nothing_can_be_decided_are_not_the_candidates() -> None:
    drive = takes(promising(9.0), 1.0, watts=80.0)
    drive.look = drive.look._replace(may_drive=False)
    drive = takes(drive, 60.0, watts=80.0)
    drive.look = drive.look._replace(may_drive=True)
    assert takes(drive, 10.0, watts=80.0).reason == ""


def test_a_release_that_promises_no_energy_is_not_judged_by_it() -> None:
    assert takes(promising(math.nan), 30, watts=1_000.0).reason == ""


def test_energy_that_is_unknown_or_counted_anew_is_no_breach_and_is_judged_from_then_on() -> None:
    drive = takes(promising(7.0, energy_j=math.nan), 30, watts=80.0)
    assert drive.reason == ""
    drive.look = drive.look._replace(energy_j=900.0)
    assert takes(drive, 1.5, watts=80.0).reason == ""
    drive.look = drive.look._replace(energy_j=0.0)  # another governor
    assert takes(drive, 1.9, watts=80.0).reason == ""
    assert takes(drive, 0.5, watts=80.0).reason == "energy"


@pytest.mark.parametrize(
    "lost", [{"ticks": -4_000, "ticks_missed": -7}, {"decisions": -250, "slow": -2, "failed": -1}]
)
def test_a_follower_or_worker_that_counts_anew_is_no_breach(lost: dict[str, int]) -> None:
    drive = Drive().goes_on(1).sees(**lost)
    assert drive.goes_on(10).reason == ""


@pytest.mark.parametrize(
    "fault", [{"failed": 1}, {"slow": 1}, {"interventions": 5}, {"ticks_missed": 1}, {"takeovers": 1}]
)
def test_what_goes_wrong_all_the_time_is_seen_within_a_second_and_a_half(fault: dict[str, int]) -> None:
    assert Drive().goes_on(1.5, **fault).reason


@given(st.lists(st.integers(0, 3), min_size=1, max_size=400))
def test_twenty_decisions_are_looked_back_on_and_never_much_more_is_remembered(steps: list[int]) -> None:
    drive = Drive()
    for step in steps:
        drive.sees(decisions=step)
    marks = drive.trial.decided
    assert [count for count, _ in marks] == sorted({count for count, _ in marks})
    if marks[-1][0] - START.decisions >= 20:
        assert marks[-1][0] - marks[0][0] >= 20 > marks[-1][0] - marks[1][0]
