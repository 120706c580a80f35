"""The exported graphs are the table of `models.runtime.policy`, and compute what the network computes."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray

from models.reference.checkpoint import read_checkpoint
from models.reference.contract import BOS
from models.reference.export import export_graphs
from models.reference.world.drive import World
from models.reference.world.observe import ObservationHistory

CHECKPOINT = Path(__file__).parents[3] / "models" / "reference" / "checkpoint"
Floats = NDArray[np.float32]


@pytest.fixture(scope="module")
def graphs() -> dict[str, onnx.ModelProto]:
    return export_graphs(CHECKPOINT)


@pytest.fixture(scope="module")
def sessions(graphs: dict[str, onnx.ModelProto]) -> dict[str, onnxruntime.InferenceSession]:
    return {
        name: onnxruntime.InferenceSession(graph.SerializeToString(), providers=["CPUExecutionProvider"])
        for name, graph in graphs.items()
    }


def _observed() -> tuple[NDArray[np.uint8], Floats, NDArray[np.int64]]:
    contract = read_checkpoint(CHECKPOINT)[0].contract
    world, history = World(3), ObservationHistory(contract.cameras, contract.ego_history)
    for _ in range(20):
        ego = world.ego
        history.add(0, world.render(), (ego.x_m, ego.y_m, ego.yaw_rad, ego.speed_mps))
        world.step(1.0, 0.001, 0.1)
    observation = history.observation(0, 0)
    frames = np.concatenate([observation.frames[camera.name] for camera in contract.cameras])
    return frames, observation.ego_history, np.array([0], np.int64)


def _prefix(sessions: dict[str, onnxruntime.InferenceSession]) -> Floats:
    feed = dict(zip(("frames", "ego_history", "instruction"), _observed(), strict=True))
    prefix: Floats = sessions["visual"].run(["prefix"], feed)[0]
    return prefix


def _reasoned(
    session: onnxruntime.InferenceSession, prefix: Floats, tokens: list[int], past: tuple[Floats, Floats]
) -> tuple[Floats, Floats, Floats]:
    feed = {
        "prefix": prefix,
        "tokens": np.array(tokens, np.int64),
        "past_key": past[0],
        "past_value": past[1],
    }
    logits, key, value = session.run(["logits", "key", "value"], feed)
    return logits, key, value


def _empty() -> tuple[Floats, Floats]:
    sizes = read_checkpoint(CHECKPOINT)[0].sizes
    nothing = np.zeros((sizes.layers, 0, sizes.width), np.float32)
    return nothing, nothing


def test_export_needs_no_pytorch() -> None:
    program = (
        "import sys; from pathlib import Path; from models.reference.export import export_graphs; "
        f"export_graphs(Path({str(CHECKPOINT)!r})); sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


def test_inputs_and_outputs_are_named_and_typed_as_the_runtime_expects(
    graphs: dict[str, onnx.ModelProto],
) -> None:
    named = {
        name: ([port.name for port in graph.graph.input], [port.name for port in graph.graph.output])
        for name, graph in graphs.items()
    }
    assert named == {
        "visual": (["frames", "ego_history", "instruction"], ["prefix"]),
        "reason": (["prefix", "tokens", "past_key", "past_value"], ["logits", "key", "value"]),
        "action": (["key", "value", "state", "time"], ["velocity"]),
    }
    assert graphs["visual"].graph.input[0].type.tensor_type.elem_type == onnx.TensorProto.UINT8
    assert graphs["visual"].opset_import[0].version == 23


def test_every_weight_matrix_can_be_cut_into_nvfp4_blocks(graphs: dict[str, onnx.ModelProto]) -> None:
    found = 0
    for graph in graphs.values():
        shapes = {tensor.name: tuple(tensor.dims) for tensor in graph.graph.initializer}
        for node in graph.graph.node:
            if node.op_type == "MatMul" and node.input[1] in shapes:
                assert shapes[node.input[1]][0] % 16 == 0, node.input[1]
                found += 1
    assert found > 40


def test_reasoning_word_by_word_equals_reasoning_at_once(
    sessions: dict[str, onnxruntime.InferenceSession],
) -> None:
    prefix, words = _prefix(sessions), [BOS, 3, 4, 2, 5]
    at_once = _reasoned(sessions["reason"], prefix, words, _empty())
    _, key, value = _reasoned(sessions["reason"], prefix, words[:1], _empty())
    for word in words[1:]:
        stepped = _reasoned(sessions["reason"], prefix[:0], [word], (key, value))
        _, key, value = stepped
    for one, other in zip(at_once, stepped, strict=True):
        assert np.abs(one - other).max() < 1e-4


def test_later_words_do_not_change_what_earlier_ones_put_into_the_cache(
    sessions: dict[str, onnxruntime.InferenceSession],
) -> None:
    prefix = _prefix(sessions)
    _, key, _ = _reasoned(sessions["reason"], prefix, [BOS, 3], _empty())
    _, other, _ = _reasoned(sessions["reason"], prefix, [BOS, 3, 9, 9], _empty())
    assert np.abs(key - other[:, : key.shape[1]]).max() < 1e-5


def test_the_last_euler_step_lands_on_the_plan_whatever_the_noise_was(
    sessions: dict[str, onnxruntime.InferenceSession],
) -> None:
    _, key, value = _reasoned(sessions["reason"], _prefix(sessions), [BOS], _empty())
    plans = []
    for seed in range(2):
        state = np.random.default_rng(seed).standard_normal((64, 2), np.float32)
        for step in range(4):
            feed = {"key": key, "value": value, "state": state, "time": np.array([step / 4], np.float32)}
            state = state + sessions["action"].run(["velocity"], feed)[0] / 4
        plans.append(state)
    assert np.abs(plans[0] - plans[1]).mean() < 0.15


def test_the_graphs_compute_what_the_network_computes(
    sessions: dict[str, onnxruntime.InferenceSession],
) -> None:
    torch = pytest.importorskip("torch")
    from models.reference.network import ReferenceNetwork

    config, weights = read_checkpoint(CHECKPOINT)
    network = ReferenceNetwork(config.sizes)
    network.load_state_dict({name: torch.from_numpy(value) for name, value in weights.items()}, strict=False)
    frames, ego, instruction = _observed()
    words = [BOS, 7, 8, 2]
    noise = np.random.default_rng(0).standard_normal((64, 2), np.float32)
    with torch.no_grad():
        seen = network.see(
            torch.from_numpy(frames)[None], torch.from_numpy(ego)[None], torch.from_numpy(instruction)
        )
        logits, cache = network.reason(seen, torch.tensor([words]))
        plan = network.act(cache, torch.from_numpy(noise)[None], torch.tensor([0.25]))[0].numpy()
    prefix = _prefix(sessions)
    said, key, value = _reasoned(sessions["reason"], prefix, words, _empty())
    feed = {"key": key, "value": value, "state": noise, "time": np.array([0.25], np.float32)}
    velocity = sessions["action"].run(["velocity"], feed)[0]
    assert np.abs(prefix - seen[0].numpy()).max() < 1e-4
    assert np.abs(said - logits[0, -1].numpy()).max() < 1e-4
    assert np.abs(key[-1] - cache.keys[-1][0].numpy()).max() < 1e-4
    assert np.abs(velocity * 0.75 + noise - plan).max() < 1e-4
