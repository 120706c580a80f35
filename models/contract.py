"""The policy contract: what a policy sees, what it proposes, and in which units.

Owns: the one contract type of all policies, what no contract may say, and whether a contract fits a plant.
Must not know: any particular policy, runtime or vehicle.

A contract is part of `release.json`, whose bytes are signed: what has been added since the first release is left
out of the JSON where it says what every release of before meant, so that the old bytes stay the only ones.
"""

from enum import StrEnum
from typing import Annotated

import msgspec

from models.errors import ContractMismatchError, MalformedError

_Count = Annotated[int, msgspec.Meta(ge=1, le=1 << 14)]
_Token = Annotated[int, msgspec.Meta(ge=0, le=1 << 31)]
_Interval = Annotated[float, msgspec.Meta(gt=0, le=60)]
_Magnitude = Annotated[float, msgspec.Meta(ge=0)]


class CameraSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One camera: `frames` RGB images of (height_px, width_px), oldest first, `rate_hz` apart."""

    name: str
    height_px: _Count
    width_px: _Count
    frames: _Count
    rate_hz: Annotated[float, msgspec.Meta(gt=0)]


class Frame(StrEnum):
    """What poses are told in."""

    RIG_AT_T0 = "rig-t0"
    """x forward, y left, z up, origin at the rear axle, where the vehicle is at t0."""


class EgoHistorySpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """`steps` rows of (x_m, y_m, yaw_rad, speed_mps) in `frame`, oldest first, `dt_s` apart; the last is t0 itself."""

    steps: _Count
    dt_s: _Interval
    frame: Frame = Frame.RIG_AT_T0


class ReasoningSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The reasoning vocabulary, index = token id; `bos` starts a text, `eos` ends it."""

    vocabulary: tuple[str, ...]
    bos: _Token
    eos: _Token
    max_tokens: Annotated[int, msgspec.Meta(ge=0, le=1 << 14)]


class UnicycleActions(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="unicycle"):
    """Waypoints of (acceleration in m/s², curvature in 1/m); limits are magnitudes, braking apart.

    The action graph works in units of (scale_acceleration_mps2, scale_curvature_per_m).
    """

    max_acceleration_mps2: _Magnitude
    max_braking_mps2: _Magnitude
    max_curvature_per_m: _Magnitude
    scale_acceleration_mps2: float
    scale_curvature_per_m: float


class JointActions(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="joints"):
    """Waypoints of one value a joint, for arms and humanoids; all tuples have one entry a joint."""

    names: tuple[str, ...]
    units: tuple[str, ...]
    lower: tuple[float, ...]
    upper: tuple[float, ...]


class SeedSource(StrEnum):
    """Where the seed of the noise, and of words that are drawn, comes from."""

    PER_DECISION = "per-decision"
    """Whoever asks for a decision gives a whole number below 2⁶³ with it, and records it: the same one decides alike."""


class SamplingSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How a decision is drawn: the next word from the likeliest ones, and up to `samples` plans, each from noise of its own.

    Logits are divided by `temperature`; 0 takes the likeliest word. A word is drawn among the fewest that have the
    probability `top_p` together. Of several plans the one that is nearest to all others is followed, their medoid; how many
    are drawn is a knob.
    """

    temperature: Annotated[float, msgspec.Meta(ge=0, le=10)]
    top_p: Annotated[float, msgspec.Meta(gt=0, le=1)]
    samples: Annotated[int, msgspec.Meta(ge=1, le=256)]

    @property
    def greedy(self) -> bool:
        """Whether the words follow from the observation alone."""
        return self.temperature == 0


GREEDY = SamplingSpec(temperature=0.0, top_p=1.0, samples=1)
"""The likeliest words and one plan: what a contract without `sampling` asks for."""


class PolicyContract(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """What a policy consumes and produces: `horizon_steps` waypoints, `dt_s` apart, from t0 on.

    `sampling` is None, and only None, for `GREEDY`: read it through `sampled`.
    """

    name: str
    cameras: tuple[CameraSpec, ...]
    ego_history: EgoHistorySpec
    instructions: tuple[str, ...]
    reasoning: ReasoningSpec
    action_space: UnicycleActions | JointActions
    horizon_steps: _Count
    dt_s: _Interval
    flow_steps: _Count
    seed: SeedSource = SeedSource.PER_DECISION
    sampling: SamplingSpec | None = None

    @property
    def sampled(self) -> SamplingSpec:
        """How decisions are drawn, stated or not."""
        return self.sampling or GREEDY


class PlantSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a plant offers a policy: its cameras, its history, what it understands, what it obeys."""

    name: str
    cameras: tuple[CameraSpec, ...]
    ego_history: EgoHistorySpec
    instructions: tuple[str, ...]
    action_space: UnicycleActions | JointActions


def check_sound(contract: PolicyContract) -> None:
    """Raise `MalformedError` where `contract` contradicts itself in what the types of its fields do not show."""
    names = [camera.name for camera in contract.cameras]
    reasoning, actions = contract.reasoning, contract.action_space
    if len(set(names)) != len(names):
        raise MalformedError(f"contract {contract.name[:80]!r}: two cameras have one name")
    if not contract.instructions:
        raise MalformedError(f"contract {contract.name[:80]!r}: there is no instruction to give")
    if max(reasoning.bos, reasoning.eos) >= len(reasoning.vocabulary):
        raise MalformedError(f"contract {contract.name[:80]!r}: bos or eos is no token of the vocabulary")
    if isinstance(actions, JointActions) and not _are_sound(actions):
        raise MalformedError(
            f"contract {contract.name[:80]!r}: each joint needs a name, a unit, and a lower limit below its upper one"
        )
    if contract.sampling == GREEDY:
        raise MalformedError(f"contract {contract.name[:80]!r}: greedy words and one plan are left unsaid")
    if contract.sampled.greedy and contract.sampled.top_p != 1:
        raise MalformedError(f"contract {contract.name[:80]!r}: it draws no words, and yet says among which")


def _are_sound(joints: JointActions) -> bool:
    sizes = {len(joints.names), len(joints.units), len(joints.lower), len(joints.upper)}
    if len(sizes) != 1 or not joints.names:
        return False
    return all(low < high for low, high in zip(joints.lower, joints.upper, strict=True))


def check_fits(contract: PolicyContract, plant: PlantSpec) -> None:
    """Raise `ContractMismatchError`, naming the first difference, where `plant` cannot feed or obey `contract`.

    Every camera that the contract names must be there in the same shape and rate; the history must be
    equal; every instruction that the plant gives must be known; the action space must be of one kind
    and, for joints, of the same names, units and order.

    Limits are not compared: those of a contract are the most that its plans ask for, not what it needs.
    """
    offered = {camera.name: camera for camera in plant.cameras}
    for camera in contract.cameras:
        found = offered.get(camera.name)
        if found is None:
            raise ContractMismatchError(
                f"policy {contract.name} needs camera {camera.name}, which plant {plant.name} does not have"
            )
        _check_equal(f"camera {camera.name}", camera, found)
    _check_equal("ego history", contract.ego_history, plant.ego_history)
    unknown = set(plant.instructions) - set(contract.instructions)
    if unknown:
        raise ContractMismatchError(
            f"policy {contract.name} does not know the instructions {sorted(unknown)}"
        )
    _check_actions(contract.action_space, plant.action_space)


def check_sampling(contract: PolicyContract) -> None:
    """Raise `ContractMismatchError` where `contract` asks for words that are drawn.

    Every runtime of this version takes the likeliest word, and draws any number of plans. Doing it instead of what was
    asked for would be another policy than the one that was validated.
    """
    wanted = contract.sampled
    if not wanted.greedy:
        raise ContractMismatchError(
            f"policy {contract.name} draws its words, at temperature {wanted.temperature} and top_p {wanted.top_p}; "
            "here the likeliest ones are taken"
        )


def _check_equal(
    what: str, wanted: CameraSpec | EgoHistorySpec, offered: CameraSpec | EgoHistorySpec
) -> None:
    for field in wanted.__struct_fields__:
        needed, found = getattr(wanted, field), getattr(offered, field)
        if needed != found:
            raise ContractMismatchError(f"{what}: the policy needs {field} {needed}, the plant has {found}")


def _check_actions(wanted: UnicycleActions | JointActions, obeyed: UnicycleActions | JointActions) -> None:
    if isinstance(wanted, JointActions) and isinstance(obeyed, JointActions):
        _check_joints(wanted, obeyed)
    elif type(wanted) is not type(obeyed):
        raise ContractMismatchError(
            f"the policy's plans are of {_kind(wanted)}, the plant obeys {_kind(obeyed)}"
        )


def _check_joints(wanted: JointActions, obeyed: JointActions) -> None:
    moved, there = _joints(wanted), _joints(obeyed)
    for index, (joint, found) in enumerate(zip(moved, there, strict=False), start=1):
        if joint != found:
            raise ContractMismatchError(f"joint {index}: the policy moves {joint}, the plant has {found}")
    if len(moved) != len(there):
        raise ContractMismatchError(f"the policy moves {len(moved)} joints, the plant has {len(there)}")


def _joints(actions: JointActions) -> list[str]:
    # A plant is not checked to be sound: where it says too little, it has fewer joints.
    return [f"{name} in {unit}" for name, unit in zip(actions.names, actions.units, strict=False)]


def _kind(actions: UnicycleActions | JointActions) -> str:
    return str(actions.__struct_config__.tag)
