"""The policy contract: what a policy sees, what it proposes, and in which units.

Owns: the one contract type of all policies, what no contract may say, and whether a contract fits a plant.
Must not know: any particular policy, runtime or vehicle.
"""

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


class EgoHistorySpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`steps` rows of (x_m, y_m, yaw_rad, speed_mps) in the rig frame at t0, oldest first, `dt_s` apart.

    The rig frame is x forward, y left, z up, origin at the rear axle; the last row is t0 itself.
    """

    steps: _Count
    dt_s: _Interval


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


class PolicyContract(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a policy consumes and produces: `horizon_steps` waypoints, `dt_s` apart, from t0 on."""

    name: str
    cameras: tuple[CameraSpec, ...]
    ego_history: EgoHistorySpec
    instructions: tuple[str, ...]
    reasoning: ReasoningSpec
    action_space: UnicycleActions | JointActions
    horizon_steps: _Count
    dt_s: _Interval
    flow_steps: _Count


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
    """
    offered = {camera.name: camera for camera in plant.cameras}
    for camera in contract.cameras:
        if offered.get(camera.name) != camera:
            raise ContractMismatchError(
                f"policy {contract.name} needs camera {camera}; plant {plant.name} offers "
                f"{offered.get(camera.name, 'no camera of that name')}"
            )
    if contract.ego_history != plant.ego_history:
        raise ContractMismatchError(
            f"ego history differs: {contract.ego_history} against {plant.ego_history}"
        )
    unknown = set(plant.instructions) - set(contract.instructions)
    if unknown:
        raise ContractMismatchError(
            f"policy {contract.name} does not know the instructions {sorted(unknown)}"
        )
    _check_actions(contract.action_space, plant.action_space)


def _check_actions(wanted: UnicycleActions | JointActions, obeyed: UnicycleActions | JointActions) -> None:
    if type(wanted) is not type(obeyed):
        raise ContractMismatchError(
            f"action space differs: {type(wanted).__name__} against {type(obeyed).__name__}"
        )
    if not isinstance(wanted, JointActions) or not isinstance(obeyed, JointActions):
        return
    if (wanted.names, wanted.units) != (obeyed.names, obeyed.units):
        raise ContractMismatchError(f"joints differ: {wanted.names} against {obeyed.names}")
