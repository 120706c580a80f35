"""Runs a release's three ONNX graphs on the processor.

Owns: opening the graphs from verified bytes, and the decision: see, reason, act.
Must not know: files, who asks, whether the plan is any good (the gate and the worker judge, NaN included).

Weights are dequantised once, at load. Left alone, ONNX Runtime would turn blocked int8 weights into
`MatMulNBits`, which rounds the activations too: measured 0.03 off at unit scale, against 1e-6.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from models.contract import JointActions, PolicyContract
from models.digest import Digest
from models.errors import ModelNotAllowedError, PolicyFailedError
from models.release.content import ReleaseContent
from models.runtime.inspect import ModelReport, inspect
from models.runtime.lowering import lower
from models.runtime.policy import Decision, Knobs, Latency, Observation
from models.runtime.signature import GraphRole, action_limits, action_width

_Floats = NDArray[np.float32]
_OUTPUTS = {
    GraphRole.VISUAL: ["prefix"],
    GraphRole.REASON: ["logits", "key", "value"],
    GraphRole.ACTION: ["velocity"],
}


@dataclass(frozen=True, slots=True)
class _Cache:
    """Keys and values of all layers, each float32 (L, T, D)."""

    key: _Floats
    value: _Floats


class OnnxPolicy:
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
        self._digest, self._contract = release_digest, contract
        self._sessions = {role: _opened(lower(graphs[role]), role, threads) for role in GraphRole}
        reason = reports[GraphRole.REASON]
        self._no_prefix = np.zeros((0, reason.width), np.float32)
        self._empty = np.zeros((reason.layers, 0, reason.width), np.float32)

    @classmethod
    def load(cls, release: ReleaseContent, threads: int) -> "OnnxPolicy":
        """Load a verified release to run on `threads` threads. Raises `ModelNotAllowedError`."""
        graphs = {role: release.read(role) for role in GraphRole}
        return cls(release.digest, release.manifest.contract, graphs, threads)

    @property
    def release_digest(self) -> Digest:
        """Identity of the release that this policy was loaded from."""
        return self._digest

    @property
    def contract(self) -> PolicyContract:
        """What it consumes and produces."""
        return self._contract

    def decide(self, observation: Observation, knobs: Knobs, seed: int) -> Decision:
        """Decide on `observation`; knobs above the contract's numbers count as those.

        Raises:
            PolicyFailedError: the runtime failed, or a graph's output has not the contract's shape.
        """
        flow_steps = max(1, min(knobs.flow_steps, self._contract.flow_steps))
        start_ns = time.perf_counter_ns()
        prefix = self._see(observation)
        seen_ns = time.perf_counter_ns()
        tokens, cache = self._reason(prefix, knobs.max_reasoning_tokens)
        reasoned_ns = time.perf_counter_ns()
        plan = self._act(cache, flow_steps, seed)
        acted_ns = time.perf_counter_ns()
        return Decision(
            release_digest=self._digest,
            observation_sequence=observation.sequence,
            observation_ns=observation.mono_ns,
            plan=plan,
            tokens=tokens,
            reasoning=words_of(tokens, self._contract),
            latency=Latency(seen_ns - start_ns, reasoned_ns - seen_ns, acted_ns - reasoned_ns),
            flow_steps=flow_steps,
            seed=seed,
        )

    def _see(self, observation: Observation) -> _Floats:
        frames = np.concatenate([observation.frames[camera.name] for camera in self._contract.cameras])
        feed: dict[str, NDArray[np.generic]] = {
            "frames": frames,
            "ego_history": observation.ego_history,
            "instruction": np.array([observation.instruction], np.int64),
        }
        prefix: _Floats = self._run(GraphRole.VISUAL, feed)[0]
        return prefix

    def _reason(self, prefix: _Floats, max_tokens: int) -> tuple[tuple[int, ...], _Cache]:
        """Greedy tokens until eos; the cache holds the prefix, bos and every token but eos."""
        spec = self._contract.reasoning
        tokens: list[int] = []
        token, cache = self._step(prefix, spec.bos, _Cache(self._empty, self._empty))
        while len(tokens) < min(max_tokens, spec.max_tokens):
            tokens.append(token)
            if token == spec.eos:
                break
            token, cache = self._step(self._no_prefix, token, cache)
        return tuple(tokens), cache

    def _step(self, prefix: _Floats, token: int, past: _Cache) -> tuple[int, _Cache]:
        feed: dict[str, NDArray[np.generic]] = {
            "prefix": prefix,
            "tokens": np.array([token], np.int64),
            "past_key": past.key,
            "past_value": past.value,
        }
        logits, key, value = self._run(GraphRole.REASON, feed)
        if logits.shape != (len(self._contract.reasoning.vocabulary),):
            raise PolicyFailedError(f"reason graph: logits have the shape {logits.shape}")
        return int(np.argmax(logits)), _Cache(key, value)

    def _act(self, cache: _Cache, flow_steps: int, seed: int) -> _Floats:
        """The flow from noise to a plan, by Euler's method, in the contract's units and limits."""
        shape = (self._contract.horizon_steps, action_width(self._contract))
        state = np.random.default_rng(seed).standard_normal(shape, np.float32)
        step = np.float32(1 / flow_steps)
        for index in range(flow_steps):
            moment = np.array([index / flow_steps], np.float32)
            feed = {"key": cache.key, "value": cache.value, "state": state, "time": moment}
            velocity = self._run(GraphRole.ACTION, feed)[0]
            if velocity.shape != shape:
                raise PolicyFailedError(f"action graph: velocity has the shape {velocity.shape}")
            state = state + step * velocity
        return plan_from_state(state, self._contract)

    def _run(self, role: GraphRole, feed: Mapping[str, NDArray[np.generic]]) -> list[_Floats]:
        try:
            outputs: list[_Floats] = self._sessions[role].run(_OUTPUTS[role], dict(feed))
        except Exception as error:  # the runtime's errors have no root of their own
            raise PolicyFailedError(f"{role} graph: {str(error)[:300]}") from error
        return outputs


def plan_from_state(state: _Floats, contract: PolicyContract) -> _Floats:
    """`state` (H, A) times the contract's scales, clipped to its limits; NaN stays NaN."""
    space = contract.action_space
    if not isinstance(space, JointActions):
        state = state * np.array((space.scale_acceleration_mps2, space.scale_curvature_per_m), np.float32)
    return np.clip(state, *action_limits(contract))


def words_of(tokens: tuple[int, ...], contract: PolicyContract) -> str:
    """The reasoning as text, without eos."""
    spec = contract.reasoning
    return " ".join(spec.vocabulary[token] for token in tokens if token != spec.eos)


def _check_cut(reports: Mapping[GraphRole, ModelReport]) -> None:
    """The three graphs must agree on width and layers."""
    widths = {str(role): report.width for role, report in reports.items() if report.width}
    layers = {str(role): report.layers for role, report in reports.items() if report.layers}
    for what, sizes in (("width", widths), ("number of layers", layers)):
        if len(set(sizes.values())) != 1:
            raise ModelNotAllowedError(f"the graphs do not agree on their {what}: {sizes}")


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
        raise ModelNotAllowedError(
            f"{role} graph: ONNX Runtime does not open it: {str(error)[:300]}"
        ) from error
