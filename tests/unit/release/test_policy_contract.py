"""The contract holds policies that are not ours, keeps one form of bytes, and names what does not fit."""

from typing import Any

import msgspec
import pytest

from agent.control.gate import DEVICE_LIMITS, GateLimits
from models.contract import (
    GREEDY,
    CameraSpec,
    EgoHistorySpec,
    JointActions,
    PlantSpec,
    PolicyContract,
    SamplingSpec,
    UnicycleActions,
    check_fits,
    check_sampling,
    check_sound,
)
from models.errors import ContractMismatchError, MalformedError
from models.release.manifest import bytes_from_manifest, manifest_from_bytes
from tests.fakes.alpamayo_contract import (
    alpamayo_contract,
    alpamayo_plant,
    arm_contract,
    arm_plant,
    greedy,
)
from tests.fakes.repositories import small_contract
from tests.fakes.tiny_policy import tiny_release

FIT = {"alpamayo": (alpamayo_contract(), alpamayo_plant()), "arm": (arm_contract(), arm_plant())}
changed = msgspec.structs.replace


def manifest_bytes(contract: PolicyContract) -> bytes:
    return bytes_from_manifest(changed(tiny_release().manifest, contract=contract))


def with_camera(plant: PlantSpec, name: str, **changes: Any) -> PlantSpec:
    """`plant` whose camera `name` is another."""
    seen = (changed(camera, **changes) if camera.name == name else camera for camera in plant.cameras)
    return changed(plant, cameras=tuple(seen))


def with_actions(plant: PlantSpec, **changes: Any) -> PlantSpec:
    return changed(plant, action_space=changed(plant.action_space, **changes))


def joints() -> JointActions:
    actions = arm_contract().action_space
    assert isinstance(actions, JointActions)
    return actions


@pytest.mark.parametrize("name", list(FIT))
def test_a_contract_of_another_policy_is_sound_and_survives_a_release_byte_for_byte(name: str) -> None:
    contract, _ = FIT[name]
    check_sound(contract)
    data = manifest_bytes(contract)
    read = manifest_from_bytes(data)[0]
    assert read.contract == contract
    assert bytes_from_manifest(read) == data


@pytest.mark.parametrize("name", list(FIT))
def test_a_plant_that_offers_all_that_a_policy_needs_and_more_fits(name: str) -> None:
    contract, plant = FIT[name]
    check_fits(contract, plant)
    spare = CameraSpec("spare", 10, 10, 1, 1.0)
    check_fits(contract, changed(plant, cameras=(spare, *plant.cameras)))


def test_alpamayo_needs_four_of_seven_cameras_in_its_own_order() -> None:
    contract, plant = FIT["alpamayo"]
    assert [camera.name for camera in contract.cameras] == [
        "cross_left_120",
        "front_wide_120",
        "cross_right_120",
        "front_tele_30",
    ]
    assert len(plant.cameras) == 7
    assert contract.horizon_steps * contract.dt_s == pytest.approx(6.4)
    assert contract.ego_history.steps * contract.ego_history.dt_s == pytest.approx(1.6)


CAR, ARM = alpamayo_plant(), arm_plant()
TELE = "front_tele_30"
DIFFERENT: dict[str, tuple[PolicyContract, PlantSpec, str]] = {
    "a missing camera": (
        alpamayo_contract(),
        changed(CAR, cameras=tuple(camera for camera in CAR.cameras if camera.name != TELE)),
        r"needs camera front_tele_30, which plant seven cameras does not have",
    ),
    "a lower image": (
        alpamayo_contract(),
        with_camera(CAR, TELE, height_px=240),
        r"camera front_tele_30: the policy needs height_px 320, the plant has 240",
    ),
    "a wider image": (
        alpamayo_contract(),
        with_camera(CAR, TELE, width_px=640),
        r"front_tele_30: .*width_px 576, the plant has 640",
    ),
    "fewer frames": (
        alpamayo_contract(),
        with_camera(CAR, TELE, frames=2),
        r"front_tele_30: .*frames 4, the plant has 2",
    ),
    "another rate": (
        alpamayo_contract(),
        with_camera(CAR, TELE, rate_hz=30.0),
        r"front_tele_30: .*rate_hz 10\.0, the plant has 30\.0",
    ),
    "a shorter history": (
        alpamayo_contract(),
        changed(CAR, ego_history=EgoHistorySpec(8, 0.1)),
        r"ego history: the policy needs steps 16, the plant has 8",
    ),
    "a denser history": (
        alpamayo_contract(),
        changed(CAR, ego_history=EgoHistorySpec(16, 0.05)),
        r"ego history: .*dt_s 0\.1, the plant has 0\.05",
    ),
    "an instruction that it does not know": (
        alpamayo_contract(),
        changed(CAR, instructions=("keep lane", "park")),
        r"alpamayo-1\.5 does not know the instructions \['park'\]",
    ),
    "joints instead of a vehicle": (
        alpamayo_contract(),
        changed(CAR, action_space=joints()),
        r"plans are of unicycle, the plant obeys joints",
    ),
    "a vehicle instead of joints": (
        arm_contract(),
        changed(ARM, action_space=CAR.action_space),
        r"plans are of joints, the plant obeys unicycle",
    ),
    "a camera that the arm lacks": (
        arm_contract(),
        changed(ARM, cameras=()),
        r"left-arm needs camera head",
    ),
    "another rate of the arm's camera": (
        arm_contract(),
        with_camera(ARM, "head", rate_hz=15.0),
        r"camera head: .*rate_hz 30\.0, the plant has 15\.0",
    ),
    "another history of the arm": (
        arm_contract(),
        changed(ARM, ego_history=EgoHistorySpec(8, 0.01)),
        r"ego history: .*dt_s 0\.02, the plant has 0\.01",
    ),
    "an instruction that the arm does not know": (
        arm_contract(),
        changed(ARM, instructions=("wave",)),
        r"\['wave'\]",
    ),
    "another joint": (
        arm_contract(),
        with_actions(ARM, names=("hip", *joints().names[1:])),
        r"joint 1: the policy moves shoulder_pitch in rad, the plant has hip in rad",
    ),
    "joints in another order": (
        arm_contract(),
        with_actions(ARM, names=(*joints().names[:5], "wrist_yaw", "wrist_pitch")),
        r"joint 6: the policy moves wrist_pitch in rad, the plant has wrist_yaw in rad",
    ),
    "another unit": (
        arm_contract(),
        with_actions(ARM, units=("deg", *joints().units[1:])),
        r"joint 1: .*shoulder_pitch in rad, the plant has shoulder_pitch in deg",
    ),
    "a joint too few": (
        arm_contract(),
        with_actions(ARM, names=joints().names[:6], units=joints().units[:6]),
        r"moves 7 joints, the plant has 6",
    ),
    "a joint too many": (
        arm_contract(),
        with_actions(ARM, names=(*joints().names, "grip"), units=(*joints().units, "m")),
        r"moves 7 joints, the plant has 8",
    ),
}


@pytest.mark.parametrize("name", list(DIFFERENT))
def test_each_single_difference_is_refused_by_a_sentence_that_names_it(name: str) -> None:
    contract, plant, sentence = DIFFERENT[name]
    with pytest.raises(ContractMismatchError, match=sentence) as refusal:
        check_fits(contract, plant)
    assert refusal.value.code == "contract-mismatch"
    assert len(str(refusal.value)) <= 160, "what the state of a device shows of a reason"


def test_a_weaker_vehicle_fits_and_its_own_limits_bound_no_plan() -> None:
    """The gate takes the stricter of the device's and the release's limits; a plant's are known to nobody but itself."""
    weaker = with_actions(CAR, max_braking_mps2=4.0, max_acceleration_mps2=1.0, max_curvature_per_m=0.1)
    check_fits(alpamayo_contract(), weaker)
    actions = alpamayo_contract().action_space
    assert isinstance(actions, UnicycleActions)
    promised = GateLimits(
        actions.max_acceleration_mps2,
        actions.max_braking_mps2,
        DEVICE_LIMITS.max_jerk_mps3,
        actions.max_curvature_per_m,
        DEVICE_LIMITS.max_curvature_rate_per_ms,
        DEVICE_LIMITS.max_lateral_mps2,
        DEVICE_LIMITS.max_speed_mps,
    )
    held = DEVICE_LIMITS.stricter(promised)
    assert (held.max_acceleration_mps2, held.max_braking_mps2, held.max_curvature_per_m) == (4.0, 8.0, 0.2)


def test_an_arm_with_a_narrower_range_fits_as_well() -> None:
    narrow = with_actions(ARM, lower=(-0.1,) * 7, upper=(0.1,) * 7)
    check_fits(arm_contract(), narrow)


def test_what_every_release_meant_is_left_out_of_the_bytes() -> None:
    data = manifest_bytes(small_contract())
    assert not [word for word in (b'"frame":', b'"seed":', b'"sampling":') if word in data]
    assert small_contract().sampled == GREEDY


HISTORY, WORDS = b'"ego_history":{"dt_s":0.1,', b'"go","stop"]}'
"""Each is followed by where a field that is left out would stand."""


@pytest.mark.parametrize(
    ("after", "said"),
    [
        (HISTORY, b'"frame":"rig-t0",'),
        (WORDS, b',"seed":"per-decision"'),
        (WORDS, b',"sampling":null'),
        (WORDS, b',"sampling":{"samples":1,"temperature":0.0,"top_p":1.0}'),
    ],
)
def test_there_is_no_second_way_to_say_the_same(after: bytes, said: bytes) -> None:
    data = manifest_bytes(small_contract())
    assert data.count(after) == 1
    with pytest.raises(MalformedError, match=r"canonical|left unsaid"):
        manifest_from_bytes(data.replace(after, after + said))


def test_a_frame_or_a_seed_that_this_version_does_not_know_is_malformed() -> None:
    data = manifest_bytes(small_contract())
    for after, said in ((HISTORY, b'"frame":"map",'), (WORDS, b',"seed":"fixed"')):
        with pytest.raises(MalformedError, match="Invalid enum value"):
            manifest_from_bytes(data.replace(after, after + said))


@pytest.mark.parametrize(
    "sampling",
    [
        SamplingSpec(-0.1, 1.0, 1),
        SamplingSpec(10.1, 1.0, 1),
        SamplingSpec(0.6, 0.0, 1),
        SamplingSpec(0.6, 1.1, 1),
        SamplingSpec(0.6, 0.98, 0),
        SamplingSpec(0.6, 0.98, 257),
        SamplingSpec(0.0, 0.98, 1),
        GREEDY,
    ],
    ids=str,
)
def test_a_sampling_that_cannot_be_or_contradicts_itself_is_malformed(sampling: SamplingSpec) -> None:
    with pytest.raises(MalformedError):
        manifest_from_bytes(manifest_bytes(changed(small_contract(), sampling=sampling)))


@pytest.mark.parametrize(
    "sampling",
    [SamplingSpec(0.6, 1.0, 1), SamplingSpec(0.6, 0.98, 1), SamplingSpec(0.6, 0.98, 6)],
    ids=str,
)
def test_a_sampling_that_is_not_done_here_is_refused_and_never_ignored(sampling: SamplingSpec) -> None:
    asking = changed(small_contract(), sampling=sampling)
    assert manifest_from_bytes(manifest_bytes(asking))[0].contract == asking
    with pytest.raises(ContractMismatchError, match=f"temperature {sampling.temperature} and top_p"):
        check_sampling(asking)


def test_greedy_words_and_any_number_of_plans_are_done_here() -> None:
    check_sampling(small_contract())
    check_sampling(greedy(alpamayo_contract()))
    several = changed(small_contract(), sampling=SamplingSpec(0.0, 1.0, 6))
    assert manifest_from_bytes(manifest_bytes(several))[0].contract == several
    check_sampling(several)
    with pytest.raises(ContractMismatchError, match=r"temperature 0\.6 and top_p 0\.98"):
        check_sampling(alpamayo_contract())
