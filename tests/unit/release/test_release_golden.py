"""Golden outputs hold a device to what the release was seen to decide."""

from dataclasses import replace

import msgspec
import numpy as np
import pytest

from models.errors import GoldenMismatchError, MalformedError
from models.quantise.apply import Precision, quantise
from models.release import golden
from models.release.tensors import Tensors, bytes_from_tensors, tensors_from_bytes
from models.runtime.load import load_policy
from models.runtime.simulated import Failure, SimulatedPolicy, SimulatedSettings
from tests.fakes.tiny_policy import MemoryRelease, tiny_contract, tiny_graphs, tiny_observation, tiny_release


def _released(precision: Precision = Precision.NVFP4) -> MemoryRelease:
    graphs = quantise(tiny_graphs(), precision).graphs
    policy = load_policy(tiny_release(graphs), threads=1)
    return tiny_release(graphs, golden.golden_bytes(policy, [tiny_observation(n) for n in range(3)]))


def _changed(
    release: MemoryRelease, name: str, value: np.ndarray[tuple[int, ...], np.dtype[np.generic]]
) -> MemoryRelease:
    tensors, metadata = tensors_from_bytes(release.contents["golden"])
    data = bytes_from_tensors({**tensors, name: value}, metadata)
    return replace(release, contents={**release.contents, "golden": data})


@pytest.mark.parametrize("precision", list(Precision))
def test_a_release_reproduces_its_own_golden_outputs(precision: Precision) -> None:
    release = _released(precision)
    golden.check(load_policy(release, threads=1), release)


def test_another_precision_does_not_pass_for_the_one_that_was_released() -> None:
    release = _released(Precision.NVFP4)
    other = load_policy(_released(Precision.INT8), threads=1)
    with pytest.raises(GoldenMismatchError):
        golden.check(other, release)


@pytest.mark.parametrize(("gap", "fits"), [(0.9, True), (1.1, False), (float("nan"), False)])
@pytest.mark.parametrize("column", [0, 1])
def test_a_plan_may_be_off_by_the_tolerance_and_by_no_more(gap: float, fits: bool, column: int) -> None:
    release = _released()
    limits = release.manifest.limits
    tolerance = (limits.golden_tolerance_acceleration_mps2, limits.golden_tolerance_curvature_per_m)[column]
    plan = np.array(tensors_from_bytes(release.contents["golden"])[0]["1.plan"], np.float32)
    plan[3, column] += np.float32(gap * tolerance)
    changed = _changed(release, "1.plan", plan)
    policy = load_policy(release, threads=1)
    if fits:
        golden.check(policy, changed)
        return
    with pytest.raises(GoldenMismatchError, match="golden case 1"):
        golden.check(policy, changed)


def test_a_policy_that_says_other_words_is_a_mismatch() -> None:
    release = _released()
    changed = _changed(release, "2.tokens", np.array([3, 3, 1], np.int64))
    with pytest.raises(GoldenMismatchError, match="tokens"):
        golden.check(load_policy(release, threads=1), changed)


@pytest.mark.parametrize("failure", [Failure.NOT_FINITE, Failure.WRONG_SHAPE, Failure.BEYOND_LIMITS])
def test_a_broken_policy_does_not_pass(failure: Failure) -> None:
    good = SimulatedPolicy(tiny_contract(), tiny_release().digest)
    release = tiny_release(golden=golden.golden_bytes(good, [tiny_observation()]))
    golden.check(good, release)
    broken = SimulatedPolicy(tiny_contract(), release.digest, SimulatedSettings(failure=failure))
    with pytest.raises(GoldenMismatchError):
        golden.check(broken, release)


def test_a_policy_whose_plans_are_not_finite_gets_no_golden_outputs() -> None:
    broken = SimulatedPolicy(
        tiny_contract(), tiny_release().digest, SimulatedSettings(failure=Failure.NOT_FINITE)
    )
    with pytest.raises(GoldenMismatchError, match="not finite"):
        golden.golden_bytes(broken, [tiny_observation()])


def test_cases_come_back_as_they_were_written() -> None:
    observation = tiny_observation(7)
    policy = SimulatedPolicy(tiny_contract(), tiny_release().digest)
    (case,) = golden.cases_from_bytes(golden.golden_bytes(policy, [observation]), tiny_contract())
    assert np.array_equal(case.observation.frames["left"], observation.frames["left"])
    assert np.array_equal(case.observation.ego_history, observation.ego_history)
    assert case.tokens == policy.decide(observation, golden.full_knobs(tiny_contract()), 1).tokens


def _spoilt() -> dict[str, tuple[Tensors, dict[str, str]]]:
    policy = SimulatedPolicy(tiny_contract(), tiny_release().digest)
    tensors, metadata = tensors_from_bytes(golden.golden_bytes(policy, [tiny_observation()]))
    without = {name: each for name, each in tensors.items() if name != "0.frames.left"}
    return {
        "a camera is missing": (without, metadata),
        "a frame has another size": (
            {**tensors, "0.frames.left": np.zeros((2, 4, 4, 3), np.uint8)},
            metadata,
        ),
        "a frame has another type": (
            {**tensors, "0.frames.left": np.zeros((2, 8, 8, 3), np.float32)},
            metadata,
        ),
        "a tensor of no case": ({**tensors, "1.plan": tensors["0.plan"]}, metadata),
        "no cases": (tensors, {**metadata, "cases": "0"}),
        "more cases than there are": (tensors, {**metadata, "cases": "2"}),
        "a million cases": (tensors, {**metadata, "cases": "1000000"}),
        "cases that are no number": (tensors, {**metadata, "cases": "-1"}),
        "cases of five thousand digits": (tensors, {**metadata, "cases": "1" * 5000}),
        "cases in other digits": (tensors, {**metadata, "cases": "\u0661"}),
        "a negative seed": ({**tensors, "0.seed": np.array([-1])}, metadata),
        "an instruction that is not there": ({**tensors, "0.instruction": np.array([2])}, metadata),
        "another format": (tensors, {**metadata, "format": "other"}),
    }


@pytest.mark.parametrize("name", list(_spoilt()))
def test_golden_outputs_that_do_not_fit_the_contract_are_refused(name: str) -> None:
    tensors, metadata = _spoilt()[name]
    with pytest.raises(MalformedError):
        golden.cases_from_bytes(bytes_from_tensors(tensors, metadata), tiny_contract())


def test_tolerances_are_the_releases_own() -> None:
    release = _released()
    limits = msgspec.structs.replace(
        release.manifest.limits,
        golden_tolerance_acceleration_mps2=100.0,
        golden_tolerance_curvature_per_m=100.0,
    )
    lenient = replace(release, manifest=msgspec.structs.replace(release.manifest, limits=limits))
    plan = np.array(tensors_from_bytes(release.contents["golden"])[0]["0.plan"], np.float32) + 1
    changed = _changed(lenient, "0.plan", plan)
    golden.check(load_policy(release, threads=1), changed)
