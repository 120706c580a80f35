"""The reference policy's contract, and the plant that fits it.

Owns: cameras, history, vocabulary, action space and horizon of the reference policy.
Must not know: weights, runtimes, how the world is drawn.
"""

from models.contract import (
    CameraSpec,
    EgoHistorySpec,
    PlantSpec,
    PolicyContract,
    ReasoningSpec,
    UnicycleActions,
)
from models.reference.world.rig import CAMERAS
from models.reference.world.scenario import KEEP_LANE, TURN_LEFT, TURN_RIGHT

FRAMES = 2
FRAME_RATE_HZ = 10.0
HISTORY_STEPS = 16
HORIZON_STEPS = 64
DT_S = 0.1
FLOW_STEPS = 4
SCALE_ACCELERATION_MPS2 = 2.0
SCALE_CURVATURE_PER_M = 0.03
MAX_TOKENS = 14
INSTRUCTIONS = (KEEP_LANE, TURN_LEFT, TURN_RIGHT)
_WORDS = (
    "<bos> <eos> . road clear straight curve left right light red yellow green car stopped ahead near far "
    "junction open stop at the line wait keep distance drifted steer back decide go slow recover behind "
    "follow pass lane turn moving in person hand crossing unclear officer obey sign dark emergency blocked "
    "cones camera"
)
VOCABULARY = tuple(_WORDS.split())
BOS, EOS = 0, 1


def reference_contract() -> PolicyContract:
    """What the reference policy consumes and produces."""
    return PolicyContract(
        name="reference",
        cameras=_cameras(),
        ego_history=_history(),
        instructions=INSTRUCTIONS,
        reasoning=ReasoningSpec(vocabulary=VOCABULARY, bos=BOS, eos=EOS, max_tokens=MAX_TOKENS),
        action_space=_actions(),
        horizon_steps=HORIZON_STEPS,
        dt_s=DT_S,
        flow_steps=FLOW_STEPS,
    )


def reference_plant() -> PlantSpec:
    """What the reference world's vehicle offers a policy; its circuits have no junction to turn at."""
    return PlantSpec(
        name="reference world",
        cameras=_cameras(),
        ego_history=_history(),
        instructions=INSTRUCTIONS[:1],
        action_space=_actions(),
    )


def _cameras() -> tuple[CameraSpec, ...]:
    return tuple(
        CameraSpec(camera.name, camera.height_px, camera.width_px, FRAMES, FRAME_RATE_HZ)
        for camera in CAMERAS
    )


def _history() -> EgoHistorySpec:
    return EgoHistorySpec(steps=HISTORY_STEPS, dt_s=DT_S)


def _actions() -> UnicycleActions:
    return UnicycleActions(
        max_acceleration_mps2=3.0,
        max_braking_mps2=6.0,
        max_curvature_per_m=0.2,
        scale_acceleration_mps2=SCALE_ACCELERATION_MPS2,
        scale_curvature_per_m=SCALE_CURVATURE_PER_M,
    )
