"""What can stand or move on a road: signals, signs, cars, people, cones; as values that a scenario file holds.

Owns: each thing's numbers and what it shows at a time. Must not know: how things move, how they look, who drives.
Places are arc lengths `*_s_m` and lateral offsets `*_d_m` (left positive) on the scenario's road, in metres.
"""

from enum import StrEnum

import msgspec

CAR_LENGTH_M = 4.5
CAR_WIDTH_M = 1.9
Colour = tuple[float, float, float]
"""Red, green, blue, each 0 to 255."""


class LightColour(StrEnum):
    """What a signal shows; `dark` where it is out of order."""

    GREEN = "green"
    YELLOW = "yellow"
    RED = "red"
    DARK = "dark"


class Hand(StrEnum):
    """What an officer's hand says."""

    STOP = "stop"
    GO = "go"


class Gesture(StrEnum):
    """What a person at a crossing seems to mean; of `ambiguous` nobody can say whether it is thanks or a warning."""

    AMBIGUOUS = "ambiguous"
    CROSSING = "crossing"
    STEPPED_BACK = "stepped back"


class Thing(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Root of all things."""


class TrafficLight(Thing, frozen=True):
    """A signal with a stop line at `stop_s_m`; it shows green, yellow, red in turn, `offset_s` into its cycle at 0."""

    stop_s_m: float
    offset_s: float = 0.0
    green_s: float = 14.0
    yellow_s: float = 4.0
    red_s: float = 9.0
    dark: bool = False

    def colour(self, time_s: float) -> LightColour:
        """What it shows at `time_s`."""
        if self.dark:
            return LightColour.DARK
        phase = (time_s + self.offset_s) % (self.green_s + self.yellow_s + self.red_s)
        if phase < self.green_s:
            return LightColour.GREEN
        return LightColour.YELLOW if phase < self.green_s + self.yellow_s else LightColour.RED


class StopSign(Thing, frozen=True):
    """Stop at `stop_s_m`, look, go on. `plate` is whether a sign stands there; else only the marking says so."""

    stop_s_m: float
    plate: bool = True


class StoppedCar(Thing, frozen=True):
    """A car stopped in the lane, rear bumper at `rear_s_m` (not wrapped to the lap).

    It drives off once the ego has waited behind it for `dwell_s`.
    """

    rear_s_m: float
    dwell_s: float
    colour: Colour


class LeadCar(Thing, frozen=True):
    """A car that drives ahead; `speeds` are (time_s, speed_mps), joined by straight lines and held after the last."""

    rear_s_m: float
    speeds: tuple[tuple[float, float], ...]
    colour: Colour


class CutIn(Thing, frozen=True):
    """A car that overtakes on the left at `lead_mps` more than the ego, merges where it is `gap_m` ahead, and slows.

    It merges within `merge_s`, holds `slow_mps` for `slow_s`, then drives off.
    """

    rear_s_m: float
    lead_mps: float
    gap_m: float
    merge_s: float
    slow_mps: float
    slow_s: float
    colour: Colour


class Blockage(Thing, frozen=True):
    """An emergency vehicle that stands partly in the lane, its rear at `rear_s_m`, beacons on."""

    rear_s_m: float
    d_m: float
    length_m: float
    width_m: float


class Officer(Thing, frozen=True):
    """An officer who rules the line at `stop_s_m`, whatever the signal says.

    A `stop` becomes a `go` once the ego has waited for `dwell_s`.
    """

    stop_s_m: float
    hand: Hand
    dwell_s: float


class Walker(Thing, frozen=True):
    """A person at a crossing at `s_m`, on the side of `start_d_m`, whose gesture is ambiguous.

    Once the ego has waited for `dwell_s` it is plain: the person crosses at `speed_mps`, or (0) steps back.
    """

    s_m: float
    start_d_m: float
    dwell_s: float
    speed_mps: float


class WorkZone(Thing, frozen=True):
    """Cones and yellow lines that lead the lane `shift_m` aside, from `start_s_m` to `end_s_m`, ramps outside of it."""

    start_s_m: float
    end_s_m: float
    shift_m: float
    ramp_m: float


class Dropout(Thing, frozen=True):
    """A camera that shows nothing from `start_s` to `end_s`, in seconds of the drive."""

    camera: str
    start_s: float
    end_s: float


class Fork(Thing, frozen=True):
    """A junction at `s_m` of an open road, where one can turn off to either side on arcs of these radii."""

    s_m: float
    left_radius_m: float
    right_radius_m: float
    angle_rad: float
