"""Calibration: what flows into each weight of the float graphs, over a fixed set of observations.

Owns: which value feeds which weight, running the float graphs with those values exposed, their second moments per
input channel, and the set's digest. The graphs are inspected before they run, as a device inspects them.
Must not know: formats, how scales are searched for, where observations come from.
"""

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray

from models.contract import PolicyContract
from models.digest import Digest, digest_of
from models.errors import PolicyFailedError, UsageError
from models.quantise.report import CalibrationSet
from models.runtime.decide import Decider
from models.runtime.inspect import inspect
from models.runtime.policy import Knobs, Observation
from models.runtime.signature import GraphRole

_Values = Mapping[str, NDArray[np.generic]]
_Floats = NDArray[np.float32]
_UNRELEASED = digest_of(b"calibration")


@dataclass(frozen=True, slots=True)
class Calibration:
    """`moments[role, weight]`: float64 (K,), the mean square of each of the weight's K inputs, over `used`."""

    used: CalibrationSet
    moments: Mapping[tuple[str, str], NDArray[np.float64]]


def calibrate(
    graphs: Mapping[str, onnx.ModelProto], contract: PolicyContract, observations: Sequence[Observation]
) -> Calibration:
    """Decide once on each observation with the float `graphs` (by role), greedily and in all flow steps.

    The same graphs, observations and processor give the same moments: one thread, seeds by position.

    Raises:
        UsageError: there are no observations.
        ModelNotAllowedError: a graph is none that a device would run.
        PolicyFailedError: the runtime failed, or a weight is fed with what is not finite.
    """
    if not observations:
        raise UsageError("a calibration set holds at least one observation")
    taps = {role: _Tap(role, graphs[role], contract) for role in GraphRole}
    decider = Decider(_UNRELEASED, contract, _TappedGraphs(taps))
    knobs = Knobs(contract.reasoning.max_tokens, contract.flow_steps)
    for index, observation in enumerate(observations):
        decider.decide(observation, knobs, seed=index + 1)
    moments = {
        (str(role), weight): mean for role, tap in taps.items() for weight, mean in tap.moments().items()
    }
    return Calibration(CalibrationSet(len(observations), observations_digest(observations)), moments)


def observations_digest(observations: Sequence[Observation]) -> Digest:
    """The set's name: sha256 over what the policy sees of each observation, in the set's order.

    Of each: the instruction (int64), the ego history (float32), then each camera by name, its name and its frames
    (uint8); all little-endian, row by row, each part behind its length in bytes (uint64). Times are left out.
    """
    parts: list[bytes] = []
    for each in observations:
        parts += [struct.pack("<q", each.instruction), each.ego_history.astype("<f4").tobytes()]
        for name in sorted(each.frames):
            parts += [name.encode(), each.frames[name].tobytes()]
    return digest_of(b"".join(struct.pack("<Q", len(part)) + part for part in parts))


@dataclass(frozen=True, slots=True)
class _Feed:
    """The value that `weight` is multiplied with, and the axis of its input channels."""

    weight: str
    value: str
    axis: int


def _feeds(graph: onnx.GraphProto) -> tuple[_Feed, ...]:
    """Every reading of a stored weight by an operator that multiplies with it."""
    stored = {tensor.name: tensor for tensor in graph.initializer if len(tensor.dims) > 1}
    return tuple(
        _Feed(node.input[1], node.input[0], _channel_axis(node))
        for node in graph.node
        if len(node.input) > 1 and node.input[1] in stored and _channel_axis(node)
    )


def _channel_axis(node: onnx.NodeProto) -> int:
    """Of the activations; 0, which counts examples, where `node` multiplies with no weight that is known here."""
    attributes = {each.name: each.i for each in node.attribute}
    if node.op_type == "MatMul" or (node.op_type == "Gemm" and not attributes.get("transA")):
        return -1
    return 1 if node.op_type == "Conv" and attributes.get("group", 1) == 1 else 0


class _Tap:
    """One float graph, open, with what feeds its weights among its outputs."""

    def __init__(self, role: GraphRole, model: onnx.ModelProto, contract: PolicyContract) -> None:
        report = inspect(model.SerializeToString(), role, contract)
        self.layers, self.width = report.layers, report.width
        self._role, self._feeds = role, _feeds(model.graph)
        self._sums: dict[str, NDArray[np.float64]] = {}
        self._rows: dict[str, int] = {}
        given = {value.name for value in model.graph.input}
        self._exposed = tuple(dict.fromkeys(feed.value for feed in self._feeds if feed.value not in given))
        self._session = _opened(model, self._exposed)

    def run(self, outputs: Sequence[str], feed: _Values) -> list[_Floats]:
        """The `outputs`, float32, once what fed the weights is counted."""
        names = list(dict.fromkeys((*outputs, *self._exposed)))
        try:
            found = dict(zip(names, self._session.run(names, dict(feed)), strict=True))
        except Exception as error:  # the runtime's errors have no root of their own
            raise PolicyFailedError(f"{self._role} graph: {str(error)[:300]}") from error
        for each in self._feeds:
            self._count(each, feed[each.value] if each.value in feed else found[each.value])
        return [found[name] for name in outputs]

    def _count(self, feed: _Feed, value: NDArray[np.generic]) -> None:
        rows = np.moveaxis(value, feed.axis, -1).reshape(-1, value.shape[feed.axis]).astype(np.float64)
        self._sums[feed.weight] = self._sums.get(feed.weight, 0.0) + np.square(rows).sum(axis=0)
        self._rows[feed.weight] = self._rows.get(feed.weight, 0) + len(rows)

    def moments(self) -> dict[str, NDArray[np.float64]]:
        """The mean square of each input of each weight that was fed."""
        for weight, total in self._sums.items():
            if not np.isfinite(total).all():
                raise PolicyFailedError(f"{self._role} graph: what feeds {weight[:80]!r} is not finite")
        return {
            weight: total / self._rows[weight] for weight, total in self._sums.items() if self._rows[weight]
        }


def _opened(model: onnx.ModelProto, exposed: Sequence[str]) -> onnxruntime.InferenceSession:
    tapped = onnx.ModelProto.FromString(model.SerializeToString())
    known = {value.name for value in tapped.graph.output}
    tapped.graph.output.extend(onnx.ValueInfoProto(name=name) for name in exposed if name not in known)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(
        tapped.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )


_Cache = tuple[_Floats, _Floats]


class _TappedGraphs:
    """The `models.runtime.decide.Graphs` port over tapped graphs."""

    def __init__(self, taps: Mapping[GraphRole, _Tap]) -> None:
        self._taps = taps

    def see(self, frames: NDArray[np.uint8], ego_history: _Floats, instruction: int) -> _Floats:
        told = np.array([instruction], np.int64)
        feed: _Values = {"frames": frames, "ego_history": ego_history, "instruction": told}
        return self._taps[GraphRole.VISUAL].run(["prefix"], feed)[0]

    def begin(self, prefix: _Floats, token: int) -> tuple[_Floats, _Cache]:
        tap = self._taps[GraphRole.REASON]
        empty = np.zeros((tap.layers, 0, tap.width), np.float32)
        return self._reason(prefix, token, (empty, empty))

    def extend(self, token: int, cache: _Cache) -> tuple[_Floats, _Cache]:
        nothing = np.zeros((0, self._taps[GraphRole.REASON].width), np.float32)
        return self._reason(nothing, token, cache)

    def velocity(self, cache: _Cache, state: _Floats, moment: float) -> _Floats:
        key, value = cache
        feed: _Values = {"key": key, "value": value, "state": state, "time": np.array([moment], np.float32)}
        return self._taps[GraphRole.ACTION].run(["velocity"], feed)[0]

    def _reason(self, prefix: _Floats, token: int, past: _Cache) -> tuple[_Floats, _Cache]:
        tokens = np.array([token], np.int64)
        feed: _Values = {"prefix": prefix, "tokens": tokens, "past_key": past[0], "past_value": past[1]}
        logits, key, value = self._taps[GraphRole.REASON].run(["logits", "key", "value"], feed)
        return logits, (key, value)
