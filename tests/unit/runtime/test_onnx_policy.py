"""What the ONNX policy adds to the port: it loads what is coherent, and hides nothing."""

import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import onnx
import onnx.reference
import pytest
from onnx import numpy_helper

from models.errors import ModelNotAllowedError, PolicyFailedError
from models.quantise.apply import Precision, quantise
from models.quantise.nvfp4 import nvfp4_from_weight
from models.runtime.decide import plan_from_state
from models.runtime.load import load_policy
from models.runtime.policy import Knobs, Observation
from tests.fakes.tiny_policy import probe_graphs, tiny_contract, tiny_graphs, tiny_observation, tiny_release


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
    policy = load_policy(tiny_release(graphs), threads=1)
    plan = policy.decide(tiny_observation(), Knobs(2, 4), seed=0).plan
    assert not np.isfinite(plan).all()


@pytest.mark.parametrize(
    "spoil",
    [
        lambda seen: replace(seen, instruction=1 << 40),
        lambda seen: replace(seen, ego_history=seen.ego_history[:-1]),
        lambda seen: replace(seen, frames={name: each[:, :-1] for name, each in seen.frames.items()}),
    ],
    ids=["unknown instruction", "short history", "cut frames"],
)
def test_what_the_runtime_cannot_do_is_a_failed_decision_and_not_a_foreign_error(
    spoil: Callable[[Observation], Observation],
) -> None:
    policy = load_policy(tiny_release(), threads=1)
    with pytest.raises(PolicyFailedError, match="visual graph"):
        policy.decide(spoil(tiny_observation()), Knobs(2, 1), seed=0)
    assert policy.decide(tiny_observation(), Knobs(2, 1), seed=0).plan.shape == (8, 2)


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
        load_policy(tiny_release(graphs), threads=1)


def test_reasoning_longer_than_the_knob_allows_is_cut_and_not_faked() -> None:
    policy = load_policy(tiny_release(), threads=1)
    observation = tiny_observation()
    whole = policy.decide(observation, Knobs(6, 1), seed=0).tokens
    for most in range(len(whole)):
        assert policy.decide(observation, Knobs(most, 1), seed=0).tokens == whole[:most]


def test_every_token_but_the_end_enters_the_cache_once() -> None:
    policy = load_policy(tiny_release(probe_graphs()), threads=1)
    tokens = policy.decide(tiny_observation(), Knobs(6, 1), seed=0).tokens
    assert tokens == (7, 8, 9, 10, 11, 12)  # six prefix positions and bos come before the first


@pytest.mark.parametrize("steps", [1, 2, 4])
def test_the_flow_goes_from_the_seeds_noise_by_eulers_method(steps: int) -> None:
    policy = load_policy(tiny_release(probe_graphs()), threads=1)
    plan = policy.decide(_lit("right", 255), Knobs(0, steps), seed=9).plan
    noise = np.random.default_rng(9).standard_normal((8, 2), np.float32)
    mean_time = sum(index / steps for index in range(steps)) / steps
    assert plan == pytest.approx(plan_from_state(noise + np.float32(mean_time), tiny_contract()), abs=1e-6)


def test_cameras_are_fed_in_the_contracts_order_whatever_order_they_come_in() -> None:
    policy = load_policy(tiny_release(probe_graphs()), threads=1)
    noise = np.random.default_rng(9).standard_normal((8, 2), np.float32)
    for name, first in (("left", 1), ("right", 0)):
        plan = policy.decide(_lit(name, 1), Knobs(0, 1), seed=9).plan
        assert plan == pytest.approx(plan_from_state(noise + np.float32(first), tiny_contract()), abs=1e-6)


def _lit(camera: str, brightness: int) -> Observation:
    """An observation, dark but for one camera, which comes first."""
    observation = tiny_observation()
    dark = {name: np.zeros_like(frames) for name, frames in observation.frames.items()}
    return replace(
        observation,
        frames={camera: np.full_like(dark[camera], brightness)}
        | dark
        | {camera: np.full_like(dark[camera], brightness)},
    )


def test_a_quantised_policy_computes_with_exactly_the_weights_that_its_codes_stand_for() -> None:
    graphs, plain = tiny_graphs(), tiny_graphs()
    for layer in quantise(graphs, Precision.NVFP4).report.quantised:
        tensor = next(each for each in plain[layer.graph].graph.initializer if each.name == layer.weight)
        axis = 1 if layer.weight == "word_weight" else 0
        weight = nvfp4_from_weight(numpy_helper.to_array(tensor), axis).dequantised()
        _with_initialiser(plain[layer.graph], layer.weight, weight)
    exact = load_policy(tiny_release(plain), threads=1)
    quantised = load_policy(tiny_release(quantise(graphs, Precision.NVFP4).graphs), threads=1)
    for seed in range(8):
        one, other = (each.decide(tiny_observation(seed), Knobs(6, 4), seed) for each in (exact, quantised))
        assert one.tokens == other.tokens
        assert one.plan == pytest.approx(other.plan, abs=1e-5)


def test_decoding_with_a_cache_says_what_decoding_at_once_says() -> None:
    policy = load_policy(tiny_release(), threads=1)
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


STARVED = """
import os, resource
from models.release.golden import full_knobs
import models.runtime.onnx
from models.runtime.load import load_policy
from tests.fakes.tiny_policy import tiny_observation, tiny_release

release = tiny_release()

def outcome(more_bytes):
    taken = next(line for line in open("/proc/self/status") if line.startswith("VmData"))
    limit = int(taken.split()[1]) * 1024 + more_bytes
    resource.setrlimit(resource.RLIMIT_DATA, (limit, resource.RLIM_INFINITY))
    try:
        policy = load_policy(release, threads=1)
        policy.decide(tiny_observation(), full_knobs(policy.contract), 1)
    except Exception as error:
        return type(error).__name__
    return "decided"

for quarters in range(4, 48):
    child = os.fork()
    if child == 0:
        print(outcome(quarters << 18), flush=True)
        os._exit(0)
    os.waitpid(child, 0)
"""
"""Loads and decides with more and more memory, each time in a process of its own."""


def test_a_graph_is_not_blamed_for_memory_that_is_not_there() -> None:
    done = subprocess.run([sys.executable, "-c", STARVED], capture_output=True, text=True, check=True)
    outcomes = set(done.stdout.split())
    assert outcomes >= {"MemoryError", "decided"}
    assert not outcomes & {"ModelNotAllowedError", "PolicyFailedError"}
