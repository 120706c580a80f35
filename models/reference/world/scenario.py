"""Scenarios: what stands and moves on a road, and where a drive starts; a small file that can be saved and shared.

Owns: the scenario and its file, the endless circuit, and the perturbed starts that training uses.
Must not know: how a drive unfolds, who drives; the classes of test are `models.reference.world.classes`.
"""

import msgspec
import numpy as np

from models.errors import MalformedError
from models.reference.world.road import Road, Straight, circuit, way
from models.reference.world.things import (
    Blockage,
    Colour,
    CutIn,
    Dropout,
    Fork,
    LeadCar,
    Officer,
    StoppedCar,
    StopSign,
    TrafficLight,
    Walker,
    WorkZone,
)

KEEP_LANE, TURN_LEFT, TURN_RIGHT = "keep lane", "turn left", "turn right"
APPROACH_M = 55.0
_SLOT_M = 95.0
_BEYOND_M = 300.0
_MAX_FILE_BYTES = 1 << 16


class Scenario(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """A road, what is on it, and the ego's start; `recurring` puts new stopped cars on every lap.

    The road is the circuit of `circuit_seed`, or with a `fork` the way through it that `instruction` asks for.
    """

    circuit_seed: int
    start_s_m: float = 0.0
    offset_m: float = 0.0
    heading_error_rad: float = 0.0
    speed_mps: float = 0.0
    lights: tuple[TrafficLight, ...] = ()
    signs: tuple[StopSign, ...] = ()
    cars: tuple[StoppedCar, ...] = ()
    leads: tuple[LeadCar, ...] = ()
    cut_ins: tuple[CutIn, ...] = ()
    blockages: tuple[Blockage, ...] = ()
    officers: tuple[Officer, ...] = ()
    walkers: tuple[Walker, ...] = ()
    works: tuple[WorkZone, ...] = ()
    dropouts: tuple[Dropout, ...] = ()
    fork: Fork | None = None
    instruction: str = KEEP_LANE
    recurring: bool = False

    @property
    def road(self) -> Road:
        """The road that the ego is to follow."""
        if self.fork is None:
            return circuit(self.circuit_seed)
        return _way_through(self.fork, self.instruction)

    @property
    def side_roads(self) -> tuple[Road, ...]:
        """The roads that can be seen at the fork and are not to be followed."""
        if self.fork is None:
            return ()
        others = {KEEP_LANE, TURN_LEFT, TURN_RIGHT} - {self.instruction}
        return tuple(_way_through(self.fork, other) for other in sorted(others))


def _way_through(fork: Fork, instruction: str) -> Road:
    if instruction == TURN_LEFT:
        return way(fork.s_m, fork.angle_rad, fork.left_radius_m, _BEYOND_M)
    if instruction == TURN_RIGHT:
        return way(fork.s_m, -fork.angle_rad, fork.right_radius_m, _BEYOND_M)
    return way(fork.s_m, 0.0, 0.0, _BEYOND_M)


def bytes_from_scenario(scenario: Scenario) -> bytes:
    """The scenario's file: JSON, only what differs from an empty road."""
    return msgspec.json.format(msgspec.json.encode(scenario), indent=2) + b"\n"


def scenario_from_bytes(data: bytes) -> Scenario:
    """Read a scenario's file. Raises `MalformedError` where it is too long, no scenario, or of an unknown form."""
    if len(data) > _MAX_FILE_BYTES:
        raise MalformedError(f"a scenario of {len(data)} bytes; at most {_MAX_FILE_BYTES} are read")
    try:
        return msgspec.json.decode(data, type=Scenario, strict=True)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise MalformedError(f"not a scenario: {error}") from error


def endless(seed: int) -> Scenario:
    """The circuit that a device drives for as long as it likes: signals on it, and new stopped cars every lap."""
    rng = np.random.default_rng([seed, 2])
    road = circuit(seed)
    lights = tuple(
        TrafficLight(stop_line(straight, rng), float(rng.uniform(0, 27))) for straight in slots(road)[::2]
    )
    start = road.straights[0].start_s_m + 5.0
    return Scenario(seed, start_s_m=start, lights=lights, recurring=True)


def cars_of_lap(road: Road, seed: int, lap: int) -> tuple[StoppedCar, ...]:
    """The stopped cars of one lap of the endless circuit, on the straights that have no signal."""
    rng = np.random.default_rng([seed, 3, lap])
    cars = []
    for straight in slots(road)[1::2]:
        place = lap * road.length_m + straight.start_s_m + rng.uniform(APPROACH_M, straight.length_m - 10)
        car = StoppedCar(float(place), float(rng.uniform(4, 9)), car_colour(rng))
        if rng.random() < 0.6:
            cars.append(car)
    return tuple(cars)


def car_colour(rng: np.random.Generator) -> Colour:
    """Any paint, from dark to light."""
    red, green, blue = (float(part) for part in rng.uniform(25, 225, 3))
    return red, green, blue


def slots(road: Road) -> list[Straight]:
    """The straights long enough to be seen along."""
    return [straight for straight in road.straights if straight.length_m >= _SLOT_M]


def pick(road: Road, rng: np.random.Generator) -> Straight:
    """One of the long straights."""
    found = slots(road)
    return found[int(rng.integers(len(found)))]


def stop_line(straight: Straight, rng: np.random.Generator) -> float:
    """A place for a line on a long straight, with room to see it and to go on."""
    return straight.start_s_m + float(rng.uniform(APPROACH_M, straight.length_m - 25))


def perturbed(seed: int) -> Scenario:
    """A start for training: any offset to 1.5 m, heading to 0.2 rad, speed to 14 m/s, perhaps a signal or a car near."""
    rng = np.random.default_rng([seed, 7])
    circuit_seed = int(rng.integers(1 << 30))
    road = circuit(circuit_seed)
    straight = pick(road, rng)
    kind = rng.random()
    start = float(rng.uniform(0, road.length_m))
    if rng.random() < 0.5:
        start = straight.end_s_m + float(rng.uniform(-30, 60))  # curves are where steering is learnt
    lights: tuple[TrafficLight, ...] = ()
    cars: tuple[StoppedCar, ...] = ()
    wide = float(rng.choice([0.3, 1.0]))
    if kind < 0.42:
        stop = stop_line(straight, rng)
        lights = (TrafficLight(stop, float(rng.uniform(0, 20)), 8.0, 4.0, 8.0),)
        start = stop - 4.1 - float(rng.choice([rng.uniform(-6, 12), rng.uniform(5, 70)]))
    elif kind < 0.72:
        rear = straight.start_s_m + float(rng.uniform(APPROACH_M, straight.length_m - 10))
        cars = (StoppedCar(rear, float(rng.uniform(0, 6)), car_colour(rng)),)
        start = rear - 4.1 - float(rng.choice([rng.uniform(3, 12), rng.uniform(5, 70)]))
    return Scenario(
        circuit_seed,
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
