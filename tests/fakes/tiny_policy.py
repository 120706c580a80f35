"""A policy of a few thousand weights in the shape of a real one, for tests that need graphs and no checkpoint.

Owns: a contract, three hand-written graphs that fit it, an observation, and a release held in memory.
"""

from dataclasses import dataclass

import numpy as np
import onnx
from onnx import numpy_helper

from models.contract import (
    CameraSpec,
    EgoHistorySpec,
    PolicyContract,
    ReasoningSpec,
    UnicycleActions,
)
from models.digest import Digest, digest_of
from models.release.manifest import ReleaseLimits, ReleaseManifest
from models.runtime.policy import Observation

WIDTH = 32
_HEADER = '<ir_version: 11, opset_import: ["" : 23]>'

_VISUAL = """
visual (uint8[4, 8, 8, 3] frames, float[4, 4] ego_history, int64[1] instruction) => (float[6, 32] prefix)
{
    pixels = Cast <to = 1> (frames)
    small = Mul (pixels, pixel_scale)
    channels = Transpose <perm = [0, 3, 1, 2]> (small)
    patches = Conv <kernel_shape = [8, 8], strides = [8, 8]> (channels, patch_weight)
    seen = Reshape (patches, seen_shape)
    history = Reshape (ego_history, history_shape)
    ego = MatMul (history, ego_weight)
    told = Gather (instruction_table, instruction)
    joined = Concat <axis = 0> (seen, ego, told)
    prefix = Tanh (joined)
}
"""
_REASON = """
reason (float[p, 32] prefix, int64[s] tokens, float[1, t, 32] past_key, float[1, t, 32] past_value)
    => (float[16] logits, float[1, u, 32] key, float[1, u, 32] value)
{
    words = Gather (word_table, tokens)
    x = Concat <axis = 0> (prefix, words)
    new_key = MatMul (x, key_weight)
    new_value = MatMul (x, value_weight)
    key1 = Unsqueeze (new_key, zero)
    value1 = Unsqueeze (new_value, zero)
    key = Concat <axis = 1> (past_key, key1)
    value = Concat <axis = 1> (past_value, value1)
    last = Slice (x, minus_one, most, zero)
    query = MatMul (last, query_weight)
    keys = Squeeze (key, zero)
    values = Squeeze (value, zero)
    turned = Transpose <perm = [1, 0]> (keys)
    scores = MatMul (query, turned)
    parts = Softmax <axis = 1> (scores)
    mixed = MatMul (parts, values)
    both = Concat <axis = 1> (mixed, last)
    rows = Gemm <transB = 1> (both, word_weight)
    logits = Reshape (rows, logits_shape)
}
"""
_ACTION = """
action (float[1, t, 32] key, float[1, t, 32] value, float[8, 2] state, float[1] time) => (float[8, 2] velocity)
{
    flat = Reshape (state, flat_shape)
    moved = MatMul (flat, state_weight)
    query = Add (moved, time)
    keys = Squeeze (key, zero)
    values = Squeeze (value, zero)
    turned = Transpose <perm = [1, 0]> (keys)
    scores = MatMul (query, turned)
    parts = Softmax <axis = 1> (scores)
    mixed = MatMul (parts, values)
    wide = MatMul (mixed, plan_weight)
    bent = Tanh (wide)
    narrow = MatMul (bent, out_weight)
    target = Reshape (narrow, plan_shape)
    velocity = Sub (target, state)
}
"""

_PROBE_VISUAL = """
visual (uint8[4, 8, 8, 3] frames, float[4, 4] ego_history, int64[1] instruction) => (float[6, 32] prefix)
{
    pixels = Cast <to = 1> (frames)
    flat = Reshape (pixels, flat_shape)
    first = Gather <axis = 0> (flat, zero)
    prefix = Expand (first, prefix_shape)
}
"""
_PROBE_REASON = """
reason (float[p, 32] prefix, int64[s] tokens, float[1, t, 32] past_key, float[1, t, 32] past_value)
    => (float[16] logits, float[1, u, 32] key, float[1, u, 32] value)
{
    blank = Gather (word_table, tokens)
    new = Concat <axis = 0> (prefix, blank)
    one = Unsqueeze (new, zero)
    key = Concat <axis = 1> (past_key, one)
    value = Concat <axis = 1> (past_value, one)
    length = Shape <start = 1, end = 2> (key)
    wanted = Cast <to = 1> (length)
    away = Sub (ids, wanted)
    far = Abs (away)
    logits = Neg (far)
}
"""
_PROBE_ACTION = """
action (float[1, t, 32] key, float[1, t, 32] value, float[8, 2] state, float[1] time) => (float[8, 2] velocity)
{
    flat = Reshape (value, all)
    seen = Gather <axis = 0> (flat, zero)
    rate = Add (seen, time)
    velocity = Expand (rate, plan_shape)
}
"""


def tiny_contract() -> PolicyContract:
    """Two cameras of 8 × 8, 16 words, 8 waypoints."""
    return PolicyContract(
        name="tiny",
        cameras=(CameraSpec("left", 8, 8, 2, 10.0), CameraSpec("right", 8, 8, 2, 10.0)),
        ego_history=EgoHistorySpec(steps=4, dt_s=0.1),
        instructions=("keep lane", "turn left"),
        reasoning=ReasoningSpec(("<bos>", "<eos>", *(f"word{n}" for n in range(14))), 0, 1, 6),
        action_space=UnicycleActions(3.0, 6.0, 0.2, 2.0, 0.03),
        horizon_steps=8,
        dt_s=0.1,
        flow_steps=4,
    )


def tiny_graphs(seed: int = 0) -> dict[str, onnx.ModelProto]:
    """The three graphs, with weights drawn from `seed`."""
    rng = np.random.default_rng(seed)

    def weight(*shape: int) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
        return rng.normal(0.0, 0.3, shape).astype(np.float32)

    return {
        "visual": _model(
            _VISUAL,
            pixel_scale=np.array(1 / 255, np.float32),
            patch_weight=weight(WIDTH, 3, 8, 8),
            seen_shape=np.array([4, WIDTH]),
            history_shape=np.array([1, 16]),
            ego_weight=weight(16, WIDTH),
            instruction_table=weight(2, WIDTH),
        ),
        "reason": _model(
            _REASON,
            word_table=weight(16, WIDTH),
            key_weight=weight(WIDTH, WIDTH),
            value_weight=weight(WIDTH, WIDTH),
            query_weight=weight(WIDTH, WIDTH),
            word_weight=weight(16, 2 * WIDTH),
            zero=np.array([0]),
            minus_one=np.array([-1]),
            most=np.array([1 << 40]),
            logits_shape=np.array([16]),
        ),
        "action": _model(
            _ACTION,
            state_weight=weight(16, WIDTH),
            plan_weight=weight(WIDTH, 64),
            out_weight=weight(64, 16),
            zero=np.array([0]),
            flat_shape=np.array([1, 16]),
            plan_shape=np.array([8, 2]),
        ),
    }


def probe_graphs() -> dict[str, onnx.ModelProto]:
    """Graphs that show what they were fed: the next token is the length of the cache, the velocity is the first
    value of the first frame plus the flow's time.
    """
    zero = np.array([0])
    return {
        "visual": _model(
            _PROBE_VISUAL, flat_shape=np.array([-1]), zero=zero, prefix_shape=np.array([6, WIDTH])
        ),
        "reason": _model(
            _PROBE_REASON,
            word_table=np.zeros((16, WIDTH), np.float32),
            zero=zero,
            ids=np.arange(16, dtype=np.float32),
        ),
        "action": _model(_PROBE_ACTION, all=np.array([-1]), zero=zero, plan_shape=np.array([8, 2])),
    }


def tiny_observation(seed: int = 0, contract: PolicyContract | None = None) -> Observation:
    """Noise in the shape that the contract wants."""
    contract = contract or tiny_contract()
    rng = np.random.default_rng(seed)
    frames = {
        camera.name: rng.integers(
            0, 256, (camera.frames, camera.height_px, camera.width_px, 3), dtype=np.uint8
        )
        for camera in contract.cameras
    }
    history = rng.normal(0, 1, (contract.ego_history.steps, 4)).astype(np.float32)
    return Observation(seed, 1_000 + seed, frames, history, 0)


@dataclass(frozen=True)
class MemoryRelease:
    """A `ReleaseContent` whose bytes were never on a disk."""

    digest: Digest
    manifest: ReleaseManifest
    contents: dict[str, bytes]

    def read(self, role: str) -> bytes:
        """The bytes of `role`."""
        return self.contents[role]


def tiny_release(graphs: dict[str, onnx.ModelProto] | None = None, golden: bytes = b"") -> MemoryRelease:
    """A release of `graphs` that names no files: loaders ask for roles only."""
    contents = {role: model.SerializeToString() for role, model in (graphs or tiny_graphs()).items()}
    digest = digest_of(b"".join(contents.values()))
    manifest = ReleaseManifest(
        name="tiny",
        version="1.0.0",
        counter=1,
        hardware=("thor-t5000",),
        precision="float32",
        contract=tiny_contract(),
        limits=ReleaseLimits(200.0, 15.0, 4.0, 10.0, 0.02, 0.0005, (40.0, 120.0)),
        files=(),
        model_digest=digest,
        checkpoint_digest=digest,
        ancestors=(),
        created_utc="2026-01-01T00:00:00Z",
    )
    return MemoryRelease(digest, manifest, {**contents, "golden": golden})


def _model(text: str, **tensors: np.ndarray[tuple[int, ...], np.dtype[np.generic]]) -> onnx.ModelProto:
    model = onnx.parser.parse_model(_HEADER + text)
    model.graph.initializer.extend(numpy_helper.from_array(array, name) for name, array in tensors.items())
    return model
