"""Samples for training: many perturbed drives, labelled by the expert.

Owns: driving worlds in step and cutting samples from them. The driver may be the expert with noise on its
commands, or the policy under training (DAgger: its own mistakes, the expert's labels).
Must not know: networks; a driver is a function from observations to plans.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from models.reference import expert, manoeuvre
from models.reference.contract import EOS, INSTRUCTIONS, MAX_TOKENS, reference_contract
from models.reference.sentence import sentence
from models.reference.starts import training_world
from models.reference.world import path
from models.reference.world.drive import Situation
from models.reference.world.observe import ObservationHistory
from models.reference.world.road import Road
from models.reference.world.things import Gesture, Hand, LightColour

Driver = Callable[["Samples"], NDArray[np.float32]]
"""Samples of one instant (their labels unread) to plans (n, H, 2) in SI units."""

_STRIDE = 4
_STEP_S = 0.1
_COLOURS = (LightColour.RED, LightColour.YELLOW, LightColour.GREEN)


@dataclass(frozen=True, slots=True)
class Samples:
    """n samples: frames uint8 (n, N, h, w, 3), ego_history (n, steps, 4), instruction int64 (n,), plan (n, 2, H, 2)
    in SI units, tokens int64 (n, 2, MAX_TOKENS) padded with `<eos>`, their number (n, 2), and scene facts (n, 28).

    Of two plans and sentences the first are the expert's; the second are what would follow from the same sight had
    it decided otherwise, so that the plan is learnt from the words and not from the sight alone.
    """

    frames: NDArray[np.uint8]
    ego_history: NDArray[np.float32]
    instruction: NDArray[np.int64]
    plan: NDArray[np.float32]
    tokens: NDArray[np.int64]
    token_count: NDArray[np.int64]
    facts: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.plan)


def joined(parts: list[Samples]) -> Samples:
    """All samples of `parts`, in order."""
    return Samples(
        *(np.concatenate([getattr(part, item.name) for part in parts]) for item in fields(Samples))
    )


def collect(seed: int, worlds: int, seconds: float, driver: Driver | None = None) -> Samples:
    """Drive `worlds` training worlds for `seconds`, a sample of each every 0.4 s.

    Without a `driver` the expert drives. Commands carry wandering noise in either case.
    """
    drives = [_Drive(seed * 100_003 + index) for index in range(worlds)]
    parts = []
    for step in range(round(seconds / _STEP_S)):
        phase = step % _STRIDE
        for drive in drives:
            drive.observe(seeing=phase >= _STRIDE - 2)
        if phase == _STRIDE - 1:
            part = joined([drive.sample() for drive in drives])
            parts.append(part)
            plans = part.plan[:, 0] if driver is None else driver(part)
            for drive, plan in zip(drives, plans, strict=True):
                drive.plan, drive.planned_step = plan, step
        for drive in drives:
            drive.advance(step)
    return joined(parts)


class _Drive:
    """One world with its history, the plan being driven, and the noise on its commands."""

    def __init__(self, seed: int) -> None:
        contract = reference_contract()
        self._rng = np.random.default_rng([seed, 9])
        self._world = training_world(seed)
        self._history = ObservationHistory(contract.cameras, contract.ego_history)
        self._cameras = [camera.name for camera in contract.cameras]
        self._frames: dict[str, NDArray[np.uint8]] | None = None
        self._noise = np.zeros(2)
        self._noise_scale = float(self._rng.choice([0.0, 0.5, 1.0]))
        standing = self._world.ego.speed_mps == 0.0
        self._held_steps = (
            int(self._rng.integers(0, 24)) if standing else 0
        )  # at rest, with every reason to go
        self.plan = expert.plan(self._world.situation, self._world.road)
        self.planned_step = 0

    def observe(self, *, seeing: bool) -> None:
        """Add this instant to the history; frames that no sample will show aren't rendered."""
        if seeing or self._frames is None:
            self._frames = self._world.render()
        ego = self._world.ego
        self._history.add(0, self._frames, (ego.x_m, ego.y_m, ego.yaw_rad, ego.speed_mps))

    def sample(self) -> Samples:
        """One sample at this instant."""
        observation = self._history.observation(0, 0)
        situation, road = self._world.situation, self._world.road
        said = sentence(situation, road)
        other, imagined = self._otherwise(situation, said)
        (tokens, count), (others, other_count) = _padded(said), _padded(other)
        plans = [expert.plan(situation, road), expert.plan(imagined, road)]
        return Samples(
            np.concatenate([observation.frames[name] for name in self._cameras])[None],
            observation.ego_history[None],
            np.array([INSTRUCTIONS.index(self._world.instruction)], np.int64),
            np.stack(plans)[None],
            np.stack([tokens, others])[None],
            np.array([[count, other_count]], np.int64),
            _facts(situation, road)[None],
        )

    def _otherwise(self, situation: Situation, said: str) -> tuple[str, Situation]:
        """The sentence with another decision, and where that would be right; the same ones where there is none."""
        right = manoeuvre.decided(said)
        others = manoeuvre.alternatives(situation, right)
        if others:
            decision = str(self._rng.choice(others))
            imagined = manoeuvre.imagined(situation, right, decision)
            if imagined is not None:
                return manoeuvre.otherwise(said, decision), imagined
        return said, situation

    def advance(self, step: int) -> None:
        """Drive on for one step."""
        pull = 0.85 * self._noise
        self._noise = pull + self._noise_scale * self._rng.normal(0, [0.5, 0.006])
        acceleration, curvature = self.plan[step - self.planned_step] + self._noise
        if self._world.ego.speed_mps < 0.1:
            acceleration -= self._noise[0]
        if step < self._held_steps:
            acceleration = -1.0
        self._world.step(float(acceleration), float(curvature), _STEP_S)


def _padded(said: str) -> tuple[NDArray[np.int64], int]:
    """MAX_TOKENS tokens, and how many of them were said."""
    tokens = np.full(MAX_TOKENS, EOS, np.int64)
    words = expert.tokens_of(said)[:MAX_TOKENS]
    tokens[: len(words)] = words
    return tokens, len(words)


def _facts(situation: Situation, road: Road) -> NDArray[np.float32]:
    """What the visual tokens should show, each of order one."""
    ahead = road.at(situation.s_m + np.array([3.0, 8.0, 15.0, 25.0, 40.0]))[3] * 30
    gap = situation.light_gap_m
    near = math.exp(-gap / 20)
    lights = [near if situation.light is colour else 0.0 for colour in _COLOURS]
    room = [min(gap, 60.0) / 20, min(situation.car_gap_m, 60.0) / 20, math.exp(-situation.car_gap_m / 20)]
    must = [1.0 if situation.light in _COLOURS[:2] and gap < 60 else 0.0]
    close = [min(gap, 8.0) / 4, min(situation.car_gap_m, 12.0) / 6]
    pose = [situation.offset_m, situation.heading_error_rad * 5]
    people = [_near(situation.hand_gap_m) * (situation.hand is hand) for hand in Hand]
    people += [_near(situation.walker_gap_m) * (situation.gesture is meant) for meant in Gesture]
    sign = [_near(situation.sign_gap_m), min(situation.sign_gap_m, 8.0) / 4]
    aside = path.offset_m(situation.path, situation.s_m + np.array([2.0, 8.0, 16.0, 28.0]))
    merging = [float(situation.car_merges)]
    return np.array(
        [*pose, *ahead, *lights, *room, *must, *close, *people, *sign, *aside, *merging], np.float32
    )


def _near(gap_m: float) -> float:
    """1 at the bumper, a third of it 20 m away, 0 where nothing is."""
    return math.exp(-max(gap_m, 0.0) / 20)
