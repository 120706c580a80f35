"""From a reference checkpoint to the three graphs of a policy; no PyTorch.

Owns: the graphs `visual`, `reason` and `action`, in the names, shapes and types of `models.runtime.policy`.
Must not know: how weights were trained, how graphs are run or quantised.
"""

import argparse
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto

from models.reference.checkpoint import Config, Weights, check_servable, read_checkpoint
from models.reference.graph import GraphBuilder, Port, floats
from models.reference.sizes import (
    EGO_SCALE,
    MIN_TIME_LEFT,
    PATCH_PX,
    TIME_FREQUENCIES,
    WAYPOINTS_PER_TOKEN,
    Sizes,
)

GRAPHS = ("visual", "reason", "action")


def export_graphs(checkpoint_dir: Path) -> dict[str, onnx.ModelProto]:
    """The three graphs of the checkpoint in `checkpoint_dir`, checked, by name.

    Raises `ContractMismatchError` where the contract isn't one that this architecture can serve.
    """
    config, weights = read_checkpoint(checkpoint_dir)
    check_servable(config)
    return {
        "visual": _visual(config, weights),
        "reason": _reason(config, weights),
        "action": _action(config, weights),
    }


def write_graphs(checkpoint_dir: Path, out: Path) -> None:
    """Write `visual.onnx`, `reason.onnx` and `action.onnx` into `out`."""
    out.mkdir(parents=True, exist_ok=True)
    for name, model in export_graphs(checkpoint_dir).items():
        (out / f"{name}.onnx").write_bytes(model.SerializeToString())


def _visual(config: Config, weights: Weights) -> onnx.ModelProto:
    contract, sizes = config.contract, config.sizes
    graph = GraphBuilder(weights, sizes.heads)
    pixels = graph.op("Div", graph.op("Cast", "frames", to=TensorProto.FLOAT), graph.number(127.5))
    pixels = graph.op("Sub", pixels, graph.number(1.0))
    parts = graph.split(pixels, sizes.cameras, axis=0)
    seen = [_pyramid(graph, f"cameras.{index}", part, config) for index, part in enumerate(parts)]
    scaled = graph.op("Mul", "ego_history", graph.constant(np.array(EGO_SCALE, np.float32), "ego_scale"))
    ego = graph.linear("ego1", graph.op("Reshape", scaled, graph.index(1, -1)))
    ego = graph.linear("ego2", graph.op("Relu", ego))
    told = graph.op("Gather", graph.weight("instruction.weight"), "instruction", axis=0)
    graph.named(graph.op("Concat", *seen, ego, told, axis=0), "prefix")
    count = sum(camera.frames for camera in contract.cameras)
    inputs = (
        Port("frames", TensorProto.UINT8, (count, sizes.height_px, sizes.width_px, 3)),
        floats("ego_history", contract.ego_history.steps, 4),
        Port("instruction", TensorProto.INT64, (1,)),
    )
    return graph.model("visual", inputs, (floats("prefix", sizes.prefix, sizes.width),))


def _pyramid(graph: GraphBuilder, name: str, frames: str, config: Config) -> str:
    """Frames (n, height, width, 3) of one camera → its tokens."""
    sizes, count = config.sizes, config.contract.cameras[0].frames
    rows, columns = sizes.height_px // PATCH_PX, sizes.width_px // PATCH_PX
    x = graph.op("Reshape", frames, graph.index(count, rows, PATCH_PX, columns, PATCH_PX, 3))
    x = graph.op("Transpose", x, perm=[1, 3, 0, 2, 4, 5])
    x = graph.op("Reshape", x, graph.index(rows * columns, count * PATCH_PX * PATCH_PX * 3))
    x = graph.op("Add", graph.linear(f"{name}.patch", x), graph.weight(f"{name}.place0"))
    x = _merged(graph, graph.op("Relu", x), (rows, columns, sizes.patch_width))
    x = graph.op("Add", graph.linear(f"{name}.merge1", x), graph.weight(f"{name}.place1"))
    x = graph.op("Relu", x)
    x = graph.op("Add", x, graph.mlp(name, x))
    x = _merged(graph, x, (rows // 2, columns // 2, sizes.merge_width))
    return graph.op("Add", graph.linear(f"{name}.merge2", x), graph.weight(f"{name}.place2"))


def _merged(graph: GraphBuilder, value: str, grid: tuple[int, int, int]) -> str:
    """Put 2 × 2 neighbours of a (rows, columns, width) grid side by side."""
    rows, columns, width = grid
    value = graph.op("Reshape", value, graph.index(rows // 2, 2, columns // 2, 2, width))
    value = graph.op("Transpose", value, perm=[0, 2, 1, 3, 4])
    return graph.op("Reshape", value, graph.index(rows * columns // 4, 4 * width))


def _reason(config: Config, weights: Weights) -> onnx.ModelProto:
    contract, sizes = config.contract, config.sizes
    graph = GraphBuilder(weights, sizes.heads)
    places, mask = _places_and_mask(graph)
    words = graph.op("Gather", graph.weight("words.weight"), "tokens", axis=0)
    words = graph.op("Add", words, graph.op("Gather", graph.weight("word_places"), places, axis=0))
    x = graph.op("Concat", "prefix", words, axis=0)
    keys, values = [], []
    for index in range(sizes.layers):
        x, key, value = _reason_layer(graph, index, x, mask)
        keys.append(graph.op("Unsqueeze", key, graph.index(0)))
        values.append(graph.op("Unsqueeze", value, graph.index(0)))
    last = graph.op("Gather", x, graph.constant(np.array(-1, np.int64), "last"), axis=0)
    last = graph.norm("norm", graph.op("Unsqueeze", last, graph.index(0)))
    graph.named(graph.op("Squeeze", graph.linear("logits", last), graph.index(0)), "logits")
    graph.named(graph.op("Concat", *keys, axis=0), "key")
    graph.named(graph.op("Concat", *values, axis=0), "value")
    inputs = (
        floats("prefix", "P", sizes.width),
        Port("tokens", TensorProto.INT64, ("S",)),
        floats("past_key", sizes.layers, "T", sizes.width),
        floats("past_value", sizes.layers, "T", sizes.width),
    )
    outputs = (
        floats("logits", len(contract.reasoning.vocabulary)),
        floats("key", sizes.layers, "T_next", sizes.width),
        floats("value", sizes.layers, "T_next", sizes.width),
    )
    return graph.model("reason", inputs, outputs)


def _reason_layer(graph: GraphBuilder, index: int, x: str, mask: str) -> tuple[str, str, str]:
    """One causal layer behind its cache; its output, all keys and all values."""
    name = f"layers.{index}"
    qkv = graph.linear(f"{name}.qkv", graph.norm(f"{name}.norm", x))
    query, key, value = graph.split(qkv, 3, axis=1)
    layer = graph.constant(np.array(index, np.int64), f"layer_{index}")
    key = graph.op("Concat", graph.op("Gather", "past_key", layer, axis=0), key, axis=0)
    value = graph.op("Concat", graph.op("Gather", "past_value", layer, axis=0), value, axis=0)
    x = graph.op("Add", x, graph.linear(f"{name}.out", graph.attend(query, key, value, mask)))
    return graph.op("Add", x, graph.mlp(f"{name}.mlp", x)), key, value


def _places_and_mask(graph: GraphBuilder) -> tuple[str, str]:
    """Absolute places of the tokens (S,), and what may not be seen as a large negative number (P+S, T+P+S).

    The prefix sees all of itself; a token sees everything before it.
    """
    past = graph.op("Shape", "past_key", start=1, end=2)
    first = graph.op("Add", past, graph.op("Shape", "prefix", start=0, end=1))
    end = graph.op("Add", first, graph.op("Shape", "tokens", start=0, end=1))
    zero, one = graph.constant(np.array(0, np.int64), "zero"), graph.constant(np.array(1, np.int64), "one")
    past, first, end = (graph.op("Squeeze", value, graph.index(0)) for value in (past, first, end))
    rows = graph.op("Max", graph.op("Range", past, end, one), graph.op("Sub", first, one))
    rows = graph.op("Unsqueeze", rows, graph.index(1))
    columns = graph.op("Unsqueeze", graph.op("Range", zero, end, one), graph.index(0))
    hidden = graph.op("Greater", columns, rows)
    return graph.op("Range", first, end, one), graph.op(
        "Mul", graph.op("Cast", hidden, to=TensorProto.FLOAT), graph.number(-1e9)
    )


def _action(config: Config, weights: Weights) -> onnx.ModelProto:
    contract, sizes = config.contract, config.sizes
    graph = GraphBuilder(weights, sizes.heads)
    pairs = graph.op("Reshape", "state", graph.index(-1, 2 * WAYPOINTS_PER_TOKEN))
    x = graph.op("Add", graph.linear("state", pairs), graph.weight("action_places"))
    x = graph.op("Add", x, graph.linear("time", _moment(graph)))
    for index in range(sizes.layers):
        x = _action_layer(graph, index, x)
    plan = graph.linear("waypoints", graph.norm("action_norm", x))
    away = graph.op("Sub", graph.op("Reshape", plan, graph.index(contract.horizon_steps, 2)), "state")
    left = graph.op("Max", graph.op("Sub", graph.number(1.0), "time"), graph.number(MIN_TIME_LEFT))
    graph.named(graph.op("Div", away, left), "velocity")
    inputs = (*_cache_ports(sizes), floats("state", contract.horizon_steps, 2), floats("time", 1))
    return graph.model("action", inputs, (floats("velocity", contract.horizon_steps, 2),))


def _cache_ports(sizes: Sizes) -> tuple[Port, Port]:
    return floats("key", sizes.layers, "T", sizes.width), floats("value", sizes.layers, "T", sizes.width)


def _moment(graph: GraphBuilder) -> str:
    """The flow's time as (1, 16) of sines and cosines."""
    angle = graph.op("Mul", "time", graph.constant(np.array(TIME_FREQUENCIES, np.float32), "frequencies"))
    waves = graph.op("Concat", graph.op("Sin", angle), graph.op("Cos", angle), axis=0)
    return graph.op("Unsqueeze", waves, graph.index(0))


def _action_layer(graph: GraphBuilder, index: int, x: str) -> str:
    name = f"action_layers.{index}"
    layer = graph.constant(np.array(index, np.int64), f"layer_{index}")
    key, value = (graph.op("Gather", cache, layer, axis=0) for cache in ("key", "value"))
    query = graph.linear(f"{name}.cross_query", graph.norm(f"{name}.cross_norm", x))
    x = graph.op("Add", x, graph.linear(f"{name}.cross_out", graph.attend(query, key, value)))
    own = graph.split(graph.linear(f"{name}.qkv", graph.norm(f"{name}.norm", x)), 3, axis=1)
    x = graph.op("Add", x, graph.linear(f"{name}.out", graph.attend(own[0], own[1], own[2])))
    return graph.op("Add", x, graph.mlp(f"{name}.mlp", x))


def main() -> None:
    """`python -m models.reference.export --checkpoint DIR --out DIR`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--checkpoint", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    write_graphs(arguments.checkpoint, arguments.out)


if __name__ == "__main__":
    main()
