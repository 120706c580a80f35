"""A release's graphs in a loop of ONNX Runtime's alone: `python -P -m bench.bare RELEASE OBSERVATIONS THREADS`.

Owns: the least that a decision takes, as one would write it without Roskva. Must not know: boards, the policy port.

For each line `count period_s` on its input it decides so often at that pace, and prints the milliseconds of each as a JSON
list. Sessions are opened as `models.runtime.onnx` opens them.
"""

import json
import os
import sys
import time
from pathlib import Path

import msgspec
import numpy as np
import onnxruntime
from numpy.typing import NDArray

from models.contract import UnicycleActions
from models.release.manifest import MANIFEST_NAME, ReleaseManifest
from models.runtime.lowering import lower

_NICER = 5
"""As a policy worker is."""
Arrays = dict[str, NDArray[np.generic]]


class Bare:
    """Three sessions and the numbers of the contract."""

    def __init__(self, release: Path, threads: int) -> None:
        manifest = msgspec.json.decode((release / MANIFEST_NAME).read_bytes(), type=ReleaseManifest)
        self._spec, self._contract = manifest.contract.reasoning, manifest.contract
        self._visual, self._reason, self._action = (
            _opened(release / f"model/{role}.onnx", threads) for role in ("visual", "reason", "action")
        )
        space = manifest.contract.action_space
        assert isinstance(space, UnicycleActions)
        self._scale = np.array((space.scale_acceleration_mps2, space.scale_curvature_per_m), np.float32)
        past = next(each.shape for each in self._reason.get_inputs() if each.name == "past_key")
        self._layers, self._width = past[0], past[2]

    def decide(self, seen: Arrays, seed: int) -> NDArray[np.float32]:
        """The plan on one observation."""
        prefix = self._visual.run(["prefix"], seen)[0]
        nothing = np.zeros((0, self._width), np.float32)
        empty = np.zeros((self._layers, 0, self._width), np.float32)
        logits, key, value = self._said(prefix, self._spec.bos, empty, empty)
        for _ in range(self._spec.max_tokens):
            token = int(np.argmax(logits))
            if token == self._spec.eos:
                break
            logits, key, value = self._said(nothing, token, key, value)
        steps = self._contract.flow_steps
        state = np.random.default_rng(seed).standard_normal((self._contract.horizon_steps, 2), np.float32)
        for index in range(steps):
            moment = np.array([index / steps], np.float32)
            feed = {"key": key, "value": value, "state": state, "time": moment}
            state = state + np.float32(1 / steps) * self._action.run(["velocity"], feed)[0]
        return np.asarray(state * self._scale, np.float32)

    def _said(
        self, prefix: NDArray[np.float32], token: int, key: NDArray[np.float32], value: NDArray[np.float32]
    ) -> list[NDArray[np.float32]]:
        tokens = np.array([token], np.int64)
        feed = {"prefix": prefix, "tokens": tokens, "past_key": key, "past_value": value}
        outputs: list[NDArray[np.float32]] = self._reason.run(["logits", "key", "value"], feed)
        return outputs


def _opened(path: Path, threads: int) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.add_session_config_entry("session.inter_op.allow_spinning", "0")
    options.add_session_config_entry("session.disable_quant_qdq", "1")
    return onnxruntime.InferenceSession(lower(path.read_bytes()), options, providers=["CPUExecutionProvider"])


def main(release: Path, observations: Path, threads: int) -> None:
    """Decide as the lines on the input say."""
    os.nice(_NICER)
    bare, seen = Bare(release, threads), _observations(observations)
    made = 0
    for line in sys.stdin:
        count, period_s = line.split()
        took_ms = []
        due_s = time.monotonic()
        for _ in range(int(count)):
            time.sleep(max(0.0, due_s - time.monotonic()))
            due_s += float(period_s)
            began_ns = time.monotonic_ns()
            bare.decide(seen[made % len(seen)], made)
            took_ms.append((time.monotonic_ns() - began_ns) / 1e6)
            made += 1
        sys.stdout.write(json.dumps(took_ms) + "\n")
        sys.stdout.flush()


def _observations(path: Path) -> list[Arrays]:
    with np.load(path) as arrays:
        names = ("frames", "ego_history", "instruction")
        columns = [arrays[name] for name in names]
    return [dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True)]


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]))
