"""A checkpoint of any size: the reference network, made as wide as it takes, with seeded random weights.

Owns: which width fills a size, and the weights. Must not know: releases, servers, devices.

Random weights, so that their bytes can neither be compressed nor shared with another release. Such a policy drives nowhere;
to whoever builds, signs, ships and hashes it, it is as any other.
"""

import math
from pathlib import Path

import msgspec
import numpy as np
from safetensors.numpy import save_file

from models.reference.checkpoint import Config, Weights, read_checkpoint
from models.reference.sizes import Sizes

_STEP = 16
"""Of widths: NVFP4's block, and a multiple of the number of heads."""
Shape = tuple[int, ...]


def write_large(source: Path, folder: Path, size_bytes: int, seed: int) -> None:
    """Make the reference checkpoint in `source` one of at least `size_bytes` of weights in the new `folder`."""
    config, weights = read_checkpoint(source)
    shapes = {name: weight.shape for name, weight in weights.items()}
    sizes = msgspec.structs.replace(config.sizes, width=width_that_fills(shapes, config.sizes, size_bytes))
    folder.mkdir()
    large = Config(config.architecture, config.contract, sizes)
    (folder / "config.json").write_bytes(msgspec.json.encode(large))
    save_file(
        _random(weights, shapes_at(shapes, config.sizes, sizes.width), seed),
        folder / "model.safetensors",
        metadata={"format": "np"},
    )


def width_that_fills(shapes: dict[str, Shape], sizes: Sizes, size_bytes: int) -> int:
    """The smallest width, not below that of `sizes`, at which float32 weights have at least `size_bytes`."""
    width = sizes.width
    while _bytes_of(shapes_at(shapes, sizes, width)) < size_bytes:
        width += _STEP
    return width


def shapes_at(shapes: dict[str, Shape], sizes: Sizes, width: int) -> dict[str, Shape]:
    """The same weights' shapes in a network of `width`."""
    wider = {factor * sizes.width: factor * width for factor in (1, sizes.mlp_factor, 3)}
    return {
        # What the first layer reads are pixels, of which there are as many as ever.
        name: shape if ".patch." in name else tuple(wider.get(length, length) for length in shape)
        for name, shape in shapes.items()
    }


def _bytes_of(shapes: dict[str, Shape]) -> int:
    return sum(4 * math.prod(shape) for shape in shapes.values())


def _random(weights: Weights, shapes: dict[str, Shape], seed: int) -> Weights:
    """Matrices that keep the size of what they multiply; scales and biases as they were trained, over and over."""
    draw = np.random.default_rng(seed)
    return {
        name: draw.standard_normal(shape, np.float32) * np.float32(shape[-1] ** -0.5)
        if len(shape) > 1
        else np.resize(weights[name], shape)
        for name, shape in shapes.items()
    }
