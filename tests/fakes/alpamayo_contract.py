"""Contracts of policies that are not ours: Alpamayo 1.5's, and a humanoid arm's; with plants that fit them.

Owns: the figures of `alpamayo1.5` as published (cameras, history, horizon, limits, flow steps, sampling).
Two things in it are stand-ins. The vocabulary: the real one has some 150 000 words, which as text are more than the
1 MiB that `release.json` may have; a contract cannot hold it yet. The scales of the action graph and the
instructions: no page that we have states them. The arm is nobody's: seven joints with plausible limits.
"""

import msgspec

from models.contract import (
    CameraSpec,
    EgoHistorySpec,
    JointActions,
    PlantSpec,
    PolicyContract,
    ReasoningSpec,
    SamplingSpec,
    UnicycleActions,
)

_HEIGHT_PX, _WIDTH_PX, _FRAMES, _RATE_HZ = 320, 576, 4, 10.0
_CAMERAS = ("cross_left_120", "front_wide_120", "cross_right_120", "front_tele_30")
_MORE_CAMERAS = ("rear_left_70", "rear_tele_30", "rear_right_70")
_INSTRUCTIONS = ("keep lane", "turn left", "turn right")
_JOINTS = {
    "shoulder_pitch": 3.0,
    "shoulder_roll": 1.6,
    "shoulder_yaw": 2.6,
    "elbow": 2.2,
    "wrist_roll": 1.9,
    "wrist_pitch": 1.6,
    "wrist_yaw": 1.6,
}
"""Range to either side, in radians."""


def alpamayo_contract() -> PolicyContract:
    """Alpamayo 1.5: four cameras, 1.6 s of history, words and one plan drawn, 6.4 s of acceleration and curvature."""
    return PolicyContract(
        name="alpamayo-1.5",
        cameras=tuple(_camera(name) for name in _CAMERAS),
        ego_history=EgoHistorySpec(steps=16, dt_s=0.1),
        instructions=_INSTRUCTIONS,
        reasoning=ReasoningSpec(
            ("<|cot_start|>", "<|traj_future_start|>", "clear", "stop"), bos=0, eos=1, max_tokens=256
        ),
        action_space=UnicycleActions(
            max_acceleration_mps2=9.8,
            max_braking_mps2=9.8,
            max_curvature_per_m=0.2,
            scale_acceleration_mps2=1.0,
            scale_curvature_per_m=1.0,
        ),
        horizon_steps=64,
        dt_s=0.1,
        flow_steps=10,
        sampling=SamplingSpec(temperature=0.6, top_p=0.98, samples=1),
    )


def alpamayo_plant() -> PlantSpec:
    """A vehicle with all seven of its cameras, which gives one instruction."""
    contract = alpamayo_contract()
    return PlantSpec(
        name="seven cameras",
        cameras=tuple(_camera(name) for name in (*_MORE_CAMERAS, *reversed(_CAMERAS))),
        ego_history=contract.ego_history,
        instructions=_INSTRUCTIONS[:1],
        action_space=contract.action_space,
    )


def greedy(contract: PolicyContract) -> PolicyContract:
    """`contract` with the sampling that is done here."""
    return msgspec.structs.replace(contract, sampling=None)


def arm_contract() -> PolicyContract:
    """The left arm of a humanoid: one camera, seven joints, 1.6 s of their angles ahead at 50 Hz.

    Its history is of the body's pose: a contract cannot ask for past joint angles yet.
    """
    return PolicyContract(
        name="left-arm",
        cameras=(CameraSpec("head", 224, 224, 2, 30.0),),
        ego_history=EgoHistorySpec(steps=8, dt_s=0.02),
        instructions=("take the cup", "put it down"),
        reasoning=ReasoningSpec(("<bos>", "<eos>", "reach", "grasp"), bos=0, eos=1, max_tokens=32),
        action_space=JointActions(
            names=tuple(_JOINTS),
            units=("rad",) * len(_JOINTS),
            lower=tuple(-range_rad for range_rad in _JOINTS.values()),
            upper=tuple(_JOINTS.values()),
        ),
        horizon_steps=80,
        dt_s=0.02,
        flow_steps=4,
    )


def arm_plant() -> PlantSpec:
    """A humanoid whose left arm is that."""
    contract = arm_contract()
    return PlantSpec(
        "humanoid", contract.cameras, contract.ego_history, contract.instructions, contract.action_space
    )


def _camera(name: str) -> CameraSpec:
    return CameraSpec(name, _HEIGHT_PX, _WIDTH_PX, _FRAMES, _RATE_HZ)
