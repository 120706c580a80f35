"""What the ONNX policy adds to the port: it loads what is coherent, and hides nothing."""

from typing import Any

import numpy as np
import onnx
import onnx.reference
import pytest
from onnx import numpy_helper

from models.errors import ModelNotAllowedError
from models.runtime.onnx import OnnxPolicy, plan_from_state
from models.runtime.policy import Knobs
from tests.fakes.tiny_policy import tiny_contract, tiny_graphs, tiny_observation, tiny_release


def _with_initialiser(model: onnx.ModelProto, name: str, array: np.ndarray) -> None:
    for tensor in model.graph.initializer:
        if tensor.name == name:
            tensor.CopyFrom(numpy_helper.from_array(array, name))


def _evaluated(model: onnx.ModelProto, feed: dict[str, Any]) -> Any:
    """The first output by ONNX's own reference implementation."""
    outputs: Any = onnx.reference.ReferenceEvaluator(model).run(None, feed)
    return outputs[0]


def test_a_plan_that_is_not_finite_reaches_the_caller_as_it_is() -> None:
    graphs = tiny_graphs()
    _with_initialiser(graphs["action"], "out_weight", np.full((64, 16), 3e38, np.float32))
    policy = OnnxPolicy.load(tiny_release(graphs), threads=1)
    plan = policy.decide(tiny_observation(), Knobs(2, 4), seed=0).plan
    assert not np.isfinite(plan).all()


def test_a_state_in_scaled_units_becomes_a_plan_inside_the_limits() -> None:
    state = np.array([[1.0, 1.0], [100.0, -100.0], [-100.0, np.nan]], np.float32)
    plan = plan_from_state(state, tiny_contract())
    assert plan[0] == pytest.approx([2.0, 0.03])
    assert plan[1] == pytest.approx([3.0, -0.2])
    assert plan[2, 0] == pytest.approx(-6.0)
    assert np.isnan(plan[2, 1])


def test_graphs_of_different_width_are_not_loaded_together() -> None:
    graphs = tiny_graphs()
    for value in graphs["action"].graph.input:
        if value.name in ("key", "value"):
            value.type.tensor_type.shape.dim[2].dim_value = 16
    with pytest.raises(ModelNotAllowedError):
        OnnxPolicy.load(tiny_release(graphs), threads=1)


def test_reasoning_longer_than_the_knob_allows_is_cut_and_not_faked() -> None:
    policy = OnnxPolicy.load(tiny_release(), threads=1)
    observation = tiny_observation()
    whole = policy.decide(observation, Knobs(6, 1), seed=0).tokens
    for most in range(len(whole)):
        assert policy.decide(observation, Knobs(most, 1), seed=0).tokens == whole[:most]


def test_decoding_with_a_cache_says_what_decoding_at_once_says() -> None:
    policy = OnnxPolicy.load(tiny_release(), threads=1)
    observation = tiny_observation(4)
    tokens = policy.decide(observation, Knobs(6, 1), seed=0).tokens
    graph = tiny_graphs()["reason"]
    prefix = _evaluated(
        tiny_graphs()["visual"],
        {
            "frames": np.concatenate(list(observation.frames.values())),
            "ego_history": observation.ego_history,
            "instruction": np.array([0]),
        },
    )
    empty = np.zeros((1, 0, 32), np.float32)
    said = [0]
    for expected in tokens:
        feed = {"prefix": prefix, "tokens": np.array(said), "past_key": empty, "past_value": empty}
        assert int(np.argmax(_evaluated(graph, feed))) == expected
        said.append(expected)
