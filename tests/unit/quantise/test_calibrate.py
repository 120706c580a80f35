"""Calibration: the set has a name, the moments are of what flows, and a searched scale is never the worse one."""

from dataclasses import replace

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from models.errors import ModelNotAllowedError, UsageError
from models.quantise.apply import Precision, quantise
from models.quantise.calibrate import Calibration, calibrate, observations_digest
from models.quantise.clipping import clipping_from_moments
from models.quantise.int4 import int4_from_weight
from models.quantise.int8 import int8_from_weight
from models.quantise.nvfp4 import nvfp4_from_weight
from tests.fakes.tiny_policy import tiny_contract, tiny_graphs, tiny_observation

_SET = tuple(tiny_observation(seed) for seed in range(3))
_QUANTISED = [each for each in Precision if each is not Precision.FLOAT32]


@pytest.fixture(scope="module")
def calibration() -> Calibration:
    return calibrate(tiny_graphs(), tiny_contract(), _SET)


def test_a_set_is_named_by_what_a_policy_sees_of_it_and_by_nothing_else() -> None:
    one, frames = _SET[0], {name: frame.copy() for name, frame in _SET[0].frames.items()}
    same = replace(one, sequence=99, mono_ns=99, frames=dict(reversed(frames.items())))
    assert observations_digest([one]) == observations_digest([same])
    frames["left"][0, 0, 0, 0] ^= 1
    history = one.ego_history.copy()
    history[0, 0] += 1
    others = [replace(one, frames=frames), replace(one, ego_history=history), replace(one, instruction=1)]
    assert len({observations_digest([each]) for each in (one, *others)}) == 4
    assert observations_digest(_SET) != observations_digest(_SET[::-1])
    assert observations_digest(_SET) != observations_digest(_SET[:2])


def test_moments_are_the_mean_squares_of_what_feeds_a_weight(calibration: Calibration) -> None:
    pixels = [np.concatenate([each.frames["left"], each.frames["right"]]) / 255 for each in _SET]
    expected = np.square(np.stack(pixels)).mean(axis=(0, 1, 2, 3))
    assert np.allclose(calibration.moments["visual", "patch_weight"], expected, rtol=1e-5)
    histories = np.stack([each.ego_history.ravel() for each in _SET]).astype(np.float64)
    assert np.allclose(
        calibration.moments["visual", "ego_weight"], np.square(histories).mean(axis=0), rtol=1e-5
    )


def test_every_weight_that_is_multiplied_with_has_a_moment_for_each_input(calibration: Calibration) -> None:
    sizes = {key: moments.shape for key, moments in calibration.moments.items()}
    assert sizes == {
        ("visual", "patch_weight"): (3,),
        ("visual", "ego_weight"): (16,),
        ("reason", "key_weight"): (32,),
        ("reason", "value_weight"): (32,),
        ("reason", "query_weight"): (32,),
        ("reason", "word_weight"): (64,),
        ("action", "state_weight"): (16,),
        ("action", "plan_weight"): (32,),
        ("action", "out_weight"): (64,),
    }


def test_calibrating_twice_gives_the_same_moments_and_leaves_the_graphs_alone(
    calibration: Calibration,
) -> None:
    graphs = tiny_graphs()
    untouched = {role: model.SerializeToString(deterministic=True) for role, model in graphs.items()}
    again = calibrate(graphs, tiny_contract(), _SET)
    assert all(np.array_equal(again.moments[key], calibration.moments[key]) for key in calibration.moments)
    assert untouched == {role: model.SerializeToString(deterministic=True) for role, model in graphs.items()}


def test_a_set_of_nothing_is_refused() -> None:
    with pytest.raises(UsageError, match="at least one"):
        calibrate(tiny_graphs(), tiny_contract(), ())


def test_a_graph_that_no_device_would_run_is_not_run_for_calibration() -> None:
    graphs = tiny_graphs()
    graphs["reason"].graph.node.append(onnx.helper.make_node("RandomNormal", [], ["noise"], shape=[2, 2]))
    with pytest.raises(ModelNotAllowedError, match="not allowed"):
        calibrate(graphs, tiny_contract(), _SET)


def _cost(error: NDArray[np.float32], importance: NDArray[np.float64]) -> float:
    return float((np.square(error.astype(np.float64)) * importance[:, None]).sum())


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from(_QUANTISED), st.integers(1, 4), st.integers(1, 20))
def test_a_searched_scale_never_costs_more_than_the_largest_weights(
    seed: int, precision: Precision, blocks: int, outputs: int
) -> None:
    rng = np.random.default_rng(seed)
    weight = rng.standard_t(3, (blocks * 32, outputs)).astype(np.float32)
    clipping = clipping_from_moments(rng.exponential(1, blocks * 32) ** 3)
    if precision is Precision.INT8:
        made = [int8_from_weight(weight, 1, 0, each).dequantised() for each in (None, clipping)]
    elif precision is Precision.INT4:
        made = [int4_from_weight(weight, each).dequantised() for each in (None, clipping)]
    else:
        made = [nvfp4_from_weight(weight, 0, each).dequantised() for each in (None, clipping)]
    without, searched = (_cost(each - weight, clipping.importance) for each in made)
    assert searched <= without * (1 + 1e-9)


def test_a_weight_that_nothing_feeds_is_clipped_and_one_that_much_feeds_is_kept() -> None:
    weight = np.random.default_rng(1).normal(0, 0.1, (32, 1)).astype(np.float32)
    weight[7] = 1.0
    loud, quiet = np.ones(32), np.ones(32)
    loud[7], quiet[7] = 1e4, 0.0
    kept, clipped = (
        int4_from_weight(weight, clipping_from_moments(moments)).dequantised()[7, 0]
        for moments in (loud, quiet)
    )
    assert abs(kept - 1) < 0.05
    assert clipped < 0.9


def test_moments_of_nothing_weigh_all_inputs_alike() -> None:
    assert np.array_equal(clipping_from_moments(np.zeros(4)).importance, np.ones(4))
    assert np.all(clipping_from_moments(np.array([0.0, 1.0])).importance > 0)


@pytest.mark.parametrize("precision", _QUANTISED)
def test_the_report_names_the_set_and_the_layers_that_it_was_used_for(
    calibration: Calibration, precision: Precision
) -> None:
    report = quantise(tiny_graphs(), precision, frozenset(), calibration).report
    assert report.calibration is not None
    assert report.calibration.observations == 3
    assert report.calibration.digest == observations_digest(_SET)
    assert "3 observations" in report.rounding
    assert all(layer.calibrated for layer in report.quantised)
    assert not any(layer.calibrated for layer in report.left_alone)


@pytest.mark.parametrize("precision", list(Precision))
def test_without_a_set_the_report_says_so(precision: Precision) -> None:
    report = quantise(tiny_graphs(), precision).report
    assert report.calibration is None
    assert report.rounding == "none" or "no calibration set" in report.rounding
    assert not any(layer.calibrated for layer in report.layers)


def test_float32_is_not_said_to_be_calibrated(calibration: Calibration) -> None:
    assert quantise(tiny_graphs(), Precision.FLOAT32, frozenset(), calibration).report.calibration is None


def test_a_set_of_other_graphs_moves_no_scale(calibration: Calibration) -> None:
    strange = replace(calibration, moments={("reason", "key_weight"): np.ones(5)})
    made, plain = (
        quantise(tiny_graphs(), Precision.INT8, frozenset(), each).graphs["reason"]
        for each in (strange, None)
    )
    assert made.SerializeToString(deterministic=True) == plain.SerializeToString(deterministic=True)
