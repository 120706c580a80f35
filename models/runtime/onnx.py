"""Runs a release's three ONNX graphs on the processor.

Owns: opening the graphs from verified bytes, and feeding them.
Must not know: files, how a decision is made of what the graphs say.

Weights are dequantised once, at load. Left alone, ONNX Runtime would turn blocked int8 weights into
`MatMulNBits`, which rounds the activations too: measured 0.03 off at unit scale, against 1e-6.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from models.contract import PolicyContract
from models.digest import Digest
from models.errors import ModelNotAllowedError, PolicyFailedError
from models.runtime.decide import Decider, Floats
from models.runtime.inspect import ModelReport, inspect
from models.runtime.lowering import lower
from models.runtime.signature import GraphRole

_Feed = Mapping[str, NDArray[np.generic]]
_OUTPUTS = {
    GraphRole.VISUAL: ["prefix"],
    GraphRole.REASON: ["logits", "key", "value"],
    GraphRole.ACTION: ["velocity"],
}


@dataclass(frozen=True, slots=True)
class _Cache:
    """Keys and values of all layers, each float32 (L, T, D)."""

    key: Floats
    value: Floats


class _Graphs:
    """The `Graphs` port; the cache grows by what the reason graph returns."""

    def __init__(
        self, sessions: Mapping[GraphRole, onnxruntime.InferenceSession], reason: ModelReport
    ) -> None:
        self._sessions = sessions
        self._no_prefix = np.zeros((0, reason.width), np.float32)
        self._empty = np.zeros((reason.layers, 0, reason.width), np.float32)

    def see(self, frames: NDArray[np.uint8], ego_history: Floats, instruction: int) -> Floats:
        told = np.array([instruction], np.int64)
        feed: _Feed = {"frames": frames, "ego_history": ego_history, "instruction": told}
        return self._run(GraphRole.VISUAL, feed)[0]

    def begin(self, prefix: Floats, token: int) -> tuple[Floats, _Cache]:
        return self._reason(prefix, token, _Cache(self._empty, self._empty))

    def extend(self, token: int, cache: _Cache) -> tuple[Floats, _Cache]:
        return self._reason(self._no_prefix, token, cache)

    def velocity(self, cache: _Cache, state: Floats, moment: float) -> Floats:
        time = np.array([moment], np.float32)
        feed: _Feed = {"key": cache.key, "value": cache.value, "state": state, "time": time}
        return self._run(GraphRole.ACTION, feed)[0]

    def _reason(self, prefix: Floats, token: int, past: _Cache) -> tuple[Floats, _Cache]:
        tokens = np.array([token], np.int64)
        feed: _Feed = {"prefix": prefix, "tokens": tokens, "past_key": past.key, "past_value": past.value}
        logits, key, value = self._run(GraphRole.REASON, feed)
        return logits, _Cache(key, value)

    def _run(self, role: GraphRole, feed: _Feed) -> list[Floats]:
        try:
            outputs: list[Floats] = self._sessions[role].run(_OUTPUTS[role], dict(feed))
        except Exception as error:  # the runtime's errors have no root of their own
            _check_memory(error)
            raise PolicyFailedError(f"{role} graph: {str(error)[:300]}") from error
        return outputs


class OnnxPolicy(Decider[_Cache]):
    """A release, loaded into ONNX Runtime on the processor."""

    def __init__(
        self,
        release_digest: Digest,
        contract: PolicyContract,
        graphs: Mapping[GraphRole, bytes],
        threads: int,
    ) -> None:
        """Inspect and open `graphs`. Raises `ModelNotAllowedError`."""
        reports = {role: inspect(graphs[role], role, contract) for role in GraphRole}
        _check_cut(reports)
        sessions = {role: _opened(lower(graphs[role]), role, threads) for role in GraphRole}
        super().__init__(release_digest, contract, _Graphs(sessions, reports[GraphRole.REASON]))


def _check_cut(reports: Mapping[GraphRole, ModelReport]) -> None:
    """The three graphs must agree on width and layers."""
    widths = {str(role): report.width for role, report in reports.items() if report.width}
    layers = {str(role): report.layers for role, report in reports.items() if report.layers}
    for what, sizes in (("width", widths), ("number of layers", layers)):
        if len(set(sizes.values())) != 1:
            raise ModelNotAllowedError(f"the graphs do not agree on their {what}: {sizes}")


_NO_MEMORY = ("bad_alloc", "Failed to allocate memory")


def _check_memory(error: Exception) -> None:
    """Raise `MemoryError` where the runtime got no memory: it has no error of its own for that, and no graph is to blame."""
    if isinstance(error, MemoryError) or any(words in str(error) for words in _NO_MEMORY):
        raise MemoryError(str(error)[:300]) from error


def _opened(graph: bytes, role: GraphRole, threads: int) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    options.log_severity_level = 3
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.add_session_config_entry("session.inter_op.allow_spinning", "0")
    # Left to guess, the runtime takes bytes with "ORTM" in the fifth place for its own format, uninspected.
    options.add_session_config_entry("session.load_model_format", "ONNX")
    options.add_session_config_entry("session.disable_quant_qdq", "1")  # the module's charter says why
    try:
        return onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # the runtime's errors have no root of their own
        _check_memory(error)
        raise ModelNotAllowedError(
            f"{role} graph: ONNX Runtime does not open it: {str(error)[:300]}"
        ) from error
