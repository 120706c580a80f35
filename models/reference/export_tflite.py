"""From a reference checkpoint to the three TFLite graphs of a policy; no TensorFlow.

Owns: the graphs `visual`, `reason` and `action`, in the names, shapes and types of `models.runtime.inspect_tflite`.
Must not know: how weights were trained, how graphs are run.
"""

import argparse
import math
from pathlib import Path

import numpy as np

from models.reference.checkpoint import Config, Weights, check_servable, read_checkpoint
from models.reference.sizes import (
    EGO_SCALE,
    MIN_TIME_LEFT,
    PATCH_PX,
    TIME_FREQUENCIES,
    WAYPOINTS_PER_TOKEN,
    Sizes,
)
from models.reference.tflite_graph import GraphBuilder, Store
from models.runtime import tflite_schema as tfl
from models.runtime.tflite_schema import Element, Kernel

_HIDDEN = -1e9


def export_tflite(checkpoint_dir: Path) -> dict[str, tfl.Model]:
    """The three graphs of the checkpoint in `checkpoint_dir`, by name.

    Raises `ContractMismatchError` where the contract isn't one that this architecture can serve.
    """
    config, weights = read_checkpoint(checkpoint_dir)
    check_servable(config)
    return {
        "visual": _visual(config, weights),
        "reason": _reason(config, weights),
        "action": _action(config, weights),
    }


def write_tflite(checkpoint_dir: Path, out: Path) -> None:
    """Write `visual.tflite`, `reason.tflite` and `action.tflite` into `out`."""
    out.mkdir(parents=True, exist_ok=True)
    for name, model in export_tflite(checkpoint_dir).items():
        (out / f"{name}.tflite").write_bytes(tfl.bytes_from_model(model))


def capacity_of(config: Config) -> int:
    """T: positions that a cache holds; the prefix, bos and the longest reasoning."""
    return config.sizes.prefix + 1 + config.contract.reasoning.max_tokens


def _visual(config: Config, weights: Weights) -> tfl.Model:
    contract, sizes = config.contract, config.sizes
    store = Store(weights, sizes.heads)
    graph = GraphBuilder("visual", store)
    count, steps = sum(camera.frames for camera in contract.cameras), contract.ego_history.steps
    frames = graph.input("frames", Element.UINT8, count, sizes.height_px, sizes.width_px, 3)
    history = graph.input("ego_history", Element.FLOAT32, steps, 4)
    instruction = graph.input("instruction", Element.INT64, 1)
    pixels = graph.op(Kernel.CAST, frames)
    pixels = graph.calc(Kernel.SUB, graph.calc(Kernel.DIV, pixels, graph.number(127.5)), graph.number(1.0))
    parts = graph.split(pixels, sizes.cameras, axis=0)
    seen = [_pyramid(graph, f"cameras.{index}", part, config) for index, part in enumerate(parts)]
    scaled = graph.calc(Kernel.MUL, history, graph.constant(np.array(EGO_SCALE, np.float32), "ego_scale"))
    ego = graph.linear("ego1", graph.reshape(scaled, 1, 4 * steps), relu=True)
    told = graph.gather(graph.weight("instruction.weight"), instruction)
    prefix = graph.concat(*seen, graph.linear("ego2", ego), told)
    return store.model(graph.subgraph(graph.named(prefix, "prefix", sizes.prefix, sizes.width)))


def _pyramid(graph: GraphBuilder, name: str, frames: int, config: Config) -> int:
    """Frames (n, height, width, 3) of one camera → its tokens."""
    sizes, count = config.sizes, config.contract.cameras[0].frames
    rows, columns = sizes.height_px // PATCH_PX, sizes.width_px // PATCH_PX
    x = graph.reshape(frames, count, rows, PATCH_PX, columns, PATCH_PX * 3)
    x = graph.transpose(x, 1, 3, 0, 2, 4)
    x = graph.reshape(x, rows * columns, count * PATCH_PX * PATCH_PX * 3)
    x = _relu_sum(graph, graph.linear(f"{name}.patch", x), graph.weight(f"{name}.place0"))
    x = _merged(graph, x, (rows, columns, sizes.patch_width))
    x = _relu_sum(graph, graph.linear(f"{name}.merge1", x), graph.weight(f"{name}.place1"))
    x = graph.add(x, graph.mlp(name, x))
    x = _merged(graph, x, (rows // 2, columns // 2, sizes.merge_width))
    return graph.add(graph.linear(f"{name}.merge2", x), graph.weight(f"{name}.place2"))


def _relu_sum(graph: GraphBuilder, left: int, right: int) -> int:
    return graph.op(Kernel.ADD, left, right, options=tfl.Fused(activation=1))


def _merged(graph: GraphBuilder, value: int, grid: tuple[int, int, int]) -> int:
    """Put 2 × 2 neighbours of a (rows, columns, width) grid side by side."""
    rows, columns, width = grid
    value = graph.reshape(value, rows // 2, 2, columns // 2, 2, width)
    return graph.reshape(graph.transpose(value, 0, 2, 1, 3, 4), rows * columns // 4, 4 * width)


def _reason(config: Config, weights: Weights) -> tfl.Model:
    store = Store(weights, config.sizes.heads)
    return store.model(_prefill(config, store), _step(config, store))


def _prefill(config: Config, store: Store) -> tfl.Subgraph:
    """The prefix and the first token at once: the prefix sees itself, the token sees all."""
    sizes = config.sizes
    count = sizes.prefix + 1
    graph = GraphBuilder("prefill", store)
    prefix = graph.input("prefix", Element.FLOAT32, sizes.prefix, sizes.width)
    token = graph.input("tokens", Element.INT64, 1)
    word = graph.gather(graph.weight("words.weight"), token)
    place = graph.gather(graph.weight("word_places"), graph.index(sizes.prefix))
    x = graph.concat(prefix, graph.add(word, place))
    hidden = np.zeros((count, count), np.float32)
    hidden[:-1, -1] = _HIDDEN
    mask = graph.constant(hidden, "mask")
    keys, values = [], []
    for index in range(sizes.layers):
        query, key, value = _qkv(graph, f"layers.{index}", x)
        x = _after_attention(graph, f"layers.{index}", x, graph.attend(query, key, value, mask))
        keys.append(graph.reshape(key, 1, count, sizes.width))
        values.append(graph.reshape(value, 1, count, sizes.width))
    last = graph.gather(x, graph.index(sizes.prefix))
    return _reasoned(graph, config, last, (graph.concat(*keys), graph.concat(*values)))


def _step(config: Config, store: Store) -> tfl.Subgraph:
    """One token behind a cache of fixed size, whose unfilled positions the mask hides; its own key and value."""
    sizes, capacity = config.sizes, capacity_of(config)
    graph = GraphBuilder("step", store)
    token = graph.input("tokens", Element.INT64, 1)
    position = graph.input("position", Element.INT64, 1)
    mask = graph.input("mask", Element.FLOAT32, 1, capacity)
    past = [
        graph.split(graph.input(name, Element.FLOAT32, sizes.layers, capacity, sizes.width), sizes.layers, 0)
        for name in ("past_key", "past_value")
    ]
    mask = graph.concat(mask, graph.constant(np.zeros((1, 1), np.float32), "seen"), axis=1)
    word = graph.gather(graph.weight("words.weight"), token)
    x = graph.add(word, graph.gather(graph.weight("word_places"), position))
    keys, values = [], []
    for index in range(sizes.layers):
        query, key, value = _qkv(graph, f"layers.{index}", x)
        all_keys, all_values = (
            graph.concat(graph.reshape(cache[index], capacity, sizes.width), new)
            for cache, new in zip(past, (key, value), strict=True)
        )
        x = _after_attention(graph, f"layers.{index}", x, graph.attend(query, all_keys, all_values, mask))
        keys.append(graph.reshape(key, 1, 1, sizes.width))
        values.append(graph.reshape(value, 1, 1, sizes.width))
    return _reasoned(graph, config, x, (graph.concat(*keys), graph.concat(*values)))


def _qkv(graph: GraphBuilder, name: str, x: int) -> list[int]:
    return graph.split(graph.linear(f"{name}.qkv", graph.norm(f"{name}.norm", x)), 3, axis=1)


def _after_attention(graph: GraphBuilder, name: str, x: int, mixed: int) -> int:
    x = graph.add(x, graph.linear(f"{name}.out", mixed))
    return graph.add(x, graph.mlp(f"{name}.mlp", x))


def _reasoned(graph: GraphBuilder, config: Config, last: int, cache: tuple[int, int]) -> tfl.Subgraph:
    """The last position's logits, and the keys and values that are new."""
    words = len(config.contract.reasoning.vocabulary)
    logits = graph.named(graph.linear("logits", graph.norm("norm", last)), "logits", words)
    shape = graph.shape(cache[0])
    key, value = (graph.named(each, name, *shape) for each, name in zip(cache, ("key", "value"), strict=True))
    return graph.subgraph(logits, key, value)


def _action(config: Config, weights: Weights) -> tfl.Model:
    sizes, horizon = config.sizes, config.contract.horizon_steps
    store = Store(weights, sizes.heads)
    graph = GraphBuilder("action", store)
    past = _cache(graph, sizes, capacity_of(config))
    mask = graph.input("mask", Element.FLOAT32, 1, capacity_of(config))
    state = graph.input("state", Element.FLOAT32, horizon, 2)
    time = graph.input("time", Element.FLOAT32, 1)
    pairs = graph.reshape(state, horizon // WAYPOINTS_PER_TOKEN, 2 * WAYPOINTS_PER_TOKEN)
    x = graph.add(graph.linear("state", pairs), graph.weight("action_places"))
    x = graph.add(x, graph.linear("time", _moment(graph, time)))
    for index in range(sizes.layers):
        name = f"action_layers.{index}"
        query = graph.linear(f"{name}.cross_query", graph.norm(f"{name}.cross_norm", x))
        seen = graph.attend(query, past[0][index], past[1][index], mask)
        x = graph.add(x, graph.linear(f"{name}.cross_out", seen))
        x = _after_attention(graph, name, x, graph.attend(*_qkv(graph, name, x)))
    plan = graph.reshape(graph.linear("waypoints", graph.norm("action_norm", x)), horizon, 2)
    away = graph.calc(Kernel.SUB, plan, state)
    left = graph.calc(Kernel.SUB, graph.number(1.0), time)
    left = graph.op(Kernel.MAXIMUM, left, graph.number(MIN_TIME_LEFT), options=tfl.Plain())
    velocity = graph.named(graph.calc(Kernel.DIV, away, left), "velocity", horizon, 2)
    return store.model(graph.subgraph(velocity))


def _cache(graph: GraphBuilder, sizes: Sizes, capacity: int) -> list[list[int]]:
    """Keys and values by layer, each (T, D)."""
    inputs = [
        graph.input(name, Element.FLOAT32, sizes.layers, capacity, sizes.width) for name in ("key", "value")
    ]
    return [
        [graph.reshape(layer, capacity, sizes.width) for layer in graph.split(each, sizes.layers, 0)]
        for each in inputs
    ]


def _moment(graph: GraphBuilder, time: int) -> int:
    """The flow's time as (1, 16) of sines and cosines; a cosine is a sine a quarter turn on."""
    frequencies = np.array(TIME_FREQUENCIES * 2, np.float32).reshape(1, -1)
    turns = np.repeat(np.array([0, math.pi / 2], np.float32), len(TIME_FREQUENCIES)).reshape(1, -1)
    angle = graph.calc(Kernel.MUL, graph.reshape(time, 1, 1), graph.constant(frequencies, "frequencies"))
    return graph.op(Kernel.SIN, graph.add(angle, graph.constant(turns, "turns")))


def main() -> None:
    """`python -m models.reference.export_tflite --checkpoint DIR --out DIR`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--checkpoint", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    write_tflite(arguments.checkpoint, arguments.out)


if __name__ == "__main__":
    main()
