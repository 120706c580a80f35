"""Scenarios: what stands on a road, where a drive starts, and the tests of driving made from them.

Owns: signals, stopped cars, and the seeded scenarios: the endless circuit and the three classes of test.
Must not know: how a drive unfolds, or who drives.
"""

from dataclasses import dataclass
from enum import Enum

import numpy as np

from models.reference.world.camera import Colour
from models.reference.world.road import Road, Straight, circuit

CAR_LENGTH_M = 4.5
CAR_WIDTH_M = 1.9
_SLOT_M = 95.0
_APPROACH_M = 55.0


class LightColour(Enum):
    """What a signal shows."""

    GREEN = "green"
    YELLOW = "yellow"
    RED = "red"


@dataclass(frozen=True, slots=True)
class TrafficLight:
    """A signal with a stop line at `stop_s_m`; it shows green, yellow, red in turn, `offset_s` into its cycle at 0."""

    stop_s_m: float
    offset_s: float = 0.0
    green_s: float = 14.0
    yellow_s: float = 4.0
    red_s: float = 9.0

    def colour(self, time_s: float) -> LightColour:
        """What it shows at `time_s`."""
        phase = (time_s + self.offset_s) % (self.green_s + self.yellow_s + self.red_s)
        if phase < self.green_s:
            return LightColour.GREEN
        return LightColour.YELLOW if phase < self.green_s + self.yellow_s else LightColour.RED


@dataclass(frozen=True, slots=True)
class StoppedCar:
    """A car stopped in the lane, rear bumper at `rear_s_m` (not wrapped to the lap).

    It drives off once the ego has waited behind it for `dwell_s`.
    """

    rear_s_m: float
    dwell_s: float
    colour: Colour


@dataclass(frozen=True, slots=True)
class Scenario:
    """A road, its traffic and the ego's start; `recurring` puts new stopped cars on every lap."""

    road: Road
    start_s_m: float = 0.0
    offset_m: float = 0.0
    heading_error_rad: float = 0.0
    speed_mps: float = 0.0
    lights: tuple[TrafficLight, ...] = ()
    cars: tuple[StoppedCar, ...] = ()
    recurring: bool = False


def endless(seed: int) -> Scenario:
    """The circuit that a device drives for as long as it likes: signals on it, and new stopped cars every lap."""
    rng = np.random.default_rng([seed, 2])
    road = circuit(seed)
    lights = tuple(
        TrafficLight(_stop_line(straight, rng), float(rng.uniform(0, 27))) for straight in _slots(road)[::2]
    )
    start = road.straights[0].start_s_m + 5.0
    return Scenario(road, start_s_m=start, lights=lights, recurring=True)


def cars_of_lap(road: Road, seed: int, lap: int) -> tuple[StoppedCar, ...]:
    """The stopped cars of one lap of the endless circuit, on the straights that have no signal."""
    rng = np.random.default_rng([seed, 3, lap])
    cars = []
    for straight in _slots(road)[1::2]:
        place = lap * road.length_m + straight.start_s_m + rng.uniform(_APPROACH_M, straight.length_m - 10)
        car = StoppedCar(float(place), float(rng.uniform(4, 9)), car_colour(rng))
        if rng.random() < 0.6:
            cars.append(car)
    return tuple(cars)


def lane_keeping(seed: int) -> Scenario:
    """An empty road, entered somewhere at speed, off centre and askew."""
    rng = np.random.default_rng([seed, 4])
    road = circuit(seed)
    return Scenario(
        road,
        start_s_m=float(rng.uniform(0, road.length_m)),
        offset_m=float(rng.uniform(-0.6, 0.6)),
        heading_error_rad=float(rng.uniform(-0.06, 0.06)),
        speed_mps=float(rng.uniform(4, 10)),
    )


def red_light(seed: int) -> Scenario:
    """A signal ahead that is red on arrival and turns green after 9 to 14 s."""
    rng = np.random.default_rng([seed, 5])
    road = circuit(seed)
    straight = _pick(road, rng)
    stop = _stop_line(straight, rng)
    until_green = float(rng.uniform(9, 14))
    light = TrafficLight(stop, offset_s=100 - until_green, green_s=40, yellow_s=4, red_s=56)
    speed = float(rng.uniform(4, 10))
    return Scenario(road, start_s_m=stop - float(rng.uniform(40, 60)), speed_mps=speed, lights=(light,))


def stopped_car(seed: int) -> Scenario:
    """A car stopped in the lane ahead, that drives off when it has been waited for."""
    rng = np.random.default_rng([seed, 6])
    road = circuit(seed)
    straight = _pick(road, rng)
    rear = straight.start_s_m + float(rng.uniform(_APPROACH_M, straight.length_m - 10))
    car = StoppedCar(rear, float(rng.uniform(3, 6)), car_colour(rng))
    speed = float(rng.uniform(4, 10))
    return Scenario(road, start_s_m=rear - float(rng.uniform(40, 60)), speed_mps=speed, cars=(car,))


def car_colour(rng: np.random.Generator) -> Colour:
    """Any paint, from dark to light."""
    red, green, blue = (float(part) for part in rng.uniform(25, 225, 3))
    return red, green, blue


def _slots(road: Road) -> list[Straight]:
    """The straights long enough to be seen along."""
    return [straight for straight in road.straights if straight.length_m >= _SLOT_M]


def _pick(road: Road, rng: np.random.Generator) -> Straight:
    slots = _slots(road)
    return slots[int(rng.integers(len(slots)))]


def _stop_line(straight: Straight, rng: np.random.Generator) -> float:
    return straight.start_s_m + float(rng.uniform(_APPROACH_M, straight.length_m - 25))


def perturbed(seed: int) -> Scenario:
    """A start for training: any offset to 1.5 m, heading to 0.2 rad, speed to 14 m/s, perhaps a signal or a car near."""
    rng = np.random.default_rng([seed, 7])
    road = circuit(int(rng.integers(1 << 30)))
    straight = _pick(road, rng)
    kind = rng.random()
    start = float(rng.uniform(0, road.length_m))
    if rng.random() < 0.5:
        start = straight.end_s_m + float(rng.uniform(-30, 60))  # curves are where steering is learnt
    lights: tuple[TrafficLight, ...] = ()
    cars: tuple[StoppedCar, ...] = ()
    wide = float(rng.choice([0.3, 1.0]))
    if kind < 0.42:
        stop = _stop_line(straight, rng)
        lights = (TrafficLight(stop, float(rng.uniform(0, 20)), 8.0, 4.0, 8.0),)
        start = stop - 4.1 - float(rng.choice([rng.uniform(-6, 12), rng.uniform(5, 70)]))
    elif kind < 0.72:
        rear = straight.start_s_m + float(rng.uniform(_APPROACH_M, straight.length_m - 10))
        cars = (StoppedCar(rear, float(rng.uniform(0, 6)), car_colour(rng)),)
        start = rear - 4.1 - float(rng.choice([rng.uniform(3, 12), rng.uniform(5, 70)]))
    return Scenario(
        road,
        start_s_m=start,
        offset_m=float(rng.uniform(-1.5, 1.5)) * wide,
        heading_error_rad=float(rng.uniform(-0.2, 0.2)) * wide,
        speed_mps=_start_speed(rng, (lights or cars) != ()),
        lights=lights,
        cars=cars,
    )


def _start_speed(rng: np.random.Generator, hazard: bool) -> float:
    """Often at rest, more so before a hazard; else anything up to 14 m/s, mostly below 11."""
    if rng.random() < (0.3 if hazard else 0.2):
        return 0.0
    return float(rng.uniform(0, 14) if rng.random() < 0.25 else rng.uniform(0, 11))
