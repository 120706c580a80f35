"""The inputs and outputs that each graph of a policy must have, by contract.

Owns: the table of `models.runtime.policy` as values, and the comparison of a graph with it.
Must not know: what happens between inputs and outputs.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
import onnx
from numpy.typing import NDArray

from models.contract import JointActions, PolicyContract
from models.errors import ModelNotAllowedError

_FLOAT, _INT64, _UINT8 = onnx.TensorProto.FLOAT, onnx.TensorProto.INT64, onnx.TensorProto.UINT8


class GraphRole(StrEnum):
    """The three graphs of a policy; the values are the roles of their files in `release.json`."""

    VISUAL = "visual"
    REASON = "reason"
    ACTION = "action"


class Axis(StrEnum):
    """A dimension that the contract does not number."""

    LAYERS = "L"
    """Numbered by the graph, and the same wherever it stands."""
    WIDTH = "D"
    """Likewise."""
    FREE = "free"
    """Must be symbolic: it differs from call to call."""
    ANY = "any"


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """Element type (ONNX number) and dimensions; a number of the contract may be symbolic in the graph."""

    element: int
    dims: tuple[int | Axis, ...]


@dataclass(frozen=True, slots=True)
class Signature:
    """Names and specs of all inputs and outputs."""

    inputs: dict[str, TensorSpec]
    outputs: dict[str, TensorSpec]


def signature_of(role: GraphRole, contract: PolicyContract) -> Signature:
    """What the graph of `role` must look like. Raises `ModelNotAllowedError` where cameras differ in size."""
    makers = {GraphRole.VISUAL: _visual, GraphRole.REASON: _reason, GraphRole.ACTION: _action}
    return makers[role](contract)


def action_width(contract: PolicyContract) -> int:
    """Values in one waypoint: two for a unicycle, else one a joint."""
    space = contract.action_space
    return len(space.names) if isinstance(space, JointActions) else 2


def action_limits(contract: PolicyContract) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Lowest and highest value of each column of a plan, float32 (A,)."""
    space = contract.action_space
    if isinstance(space, JointActions):
        return np.array(space.lower, np.float32), np.array(space.upper, np.float32)
    lowest = (-space.max_braking_mps2, -space.max_curvature_per_m)
    highest = (space.max_acceleration_mps2, space.max_curvature_per_m)
    return np.array(lowest, np.float32), np.array(highest, np.float32)


def _visual(contract: PolicyContract) -> Signature:
    sizes = {(camera.height_px, camera.width_px) for camera in contract.cameras}
    if len(sizes) != 1:
        raise ModelNotAllowedError(
            f"contract {contract.name}: its cameras have {len(sizes)} sizes; one is run"
        )
    height, width = sizes.pop()
    frames = sum(camera.frames for camera in contract.cameras)
    return Signature(
        {
            "frames": TensorSpec(_UINT8, (frames, height, width, 3)),
            "ego_history": TensorSpec(_FLOAT, (contract.ego_history.steps, 4)),
            "instruction": TensorSpec(_INT64, (1,)),
        },
        {"prefix": TensorSpec(_FLOAT, (Axis.ANY, Axis.WIDTH))},
    )


def _reason(contract: PolicyContract) -> Signature:
    cache = TensorSpec(_FLOAT, (Axis.LAYERS, Axis.FREE, Axis.WIDTH))
    grown = TensorSpec(_FLOAT, (Axis.LAYERS, Axis.ANY, Axis.WIDTH))
    return Signature(
        {
            "prefix": TensorSpec(_FLOAT, (Axis.FREE, Axis.WIDTH)),
            "tokens": TensorSpec(_INT64, (Axis.FREE,)),
            "past_key": cache,
            "past_value": cache,
        },
        {
            "logits": TensorSpec(_FLOAT, (len(contract.reasoning.vocabulary),)),
            "key": grown,
            "value": grown,
        },
    )


def _action(contract: PolicyContract) -> Signature:
    cache = TensorSpec(_FLOAT, (Axis.LAYERS, Axis.FREE, Axis.WIDTH))
    waypoints = TensorSpec(_FLOAT, (contract.horizon_steps, action_width(contract)))
    return Signature(
        {"key": cache, "value": cache, "state": waypoints, "time": TensorSpec(_FLOAT, (1,))},
        {"velocity": waypoints},
    )


class Comparison:
    """Compares one graph with its signature, and learns the sizes that the contract leaves to it."""

    def __init__(self, role: GraphRole) -> None:
        self._role = role
        self.learnt: dict[Axis, int] = {}

    def check(self, graph: onnx.GraphProto, signature: Signature) -> None:
        """Raise `ModelNotAllowedError` at the first difference; `learnt` holds L and D afterwards."""
        self._side("input", graph.input, signature.inputs)
        self._side("output", graph.output, signature.outputs)

    def _side(self, side: str, values: Iterable[onnx.ValueInfoProto], wanted: dict[str, TensorSpec]) -> None:
        names = [value.name for value in values]
        if sorted(names) != sorted(wanted):
            raise ModelNotAllowedError(
                f"{self._role} graph: {side}s are {names[:16]}; the contract needs {sorted(wanted)}"
            )
        for value in values:
            self._value(f"{self._role} graph: {side} {value.name!r}", value, wanted[value.name], side)

    def _value(self, where: str, value: onnx.ValueInfoProto, spec: TensorSpec, side: str) -> None:
        tensor = value.type.tensor_type
        if value.type.WhichOneof("value") != "tensor_type" or tensor.elem_type != spec.element:
            wanted = onnx.TensorProto.DataType.Name(spec.element)
            raise ModelNotAllowedError(f"{where} is not a tensor of {wanted}")
        if not tensor.HasField("shape") or len(tensor.shape.dim) != len(spec.dims):
            raise ModelNotAllowedError(f"{where} does not have {len(spec.dims)} dimensions")
        for index, (dim, wanted_dim) in enumerate(zip(tensor.shape.dim, spec.dims, strict=True)):
            number = dim.dim_value if dim.HasField("dim_value") else None
            self._dim(f"{where}, dimension {index},", number, wanted_dim, side)

    def _dim(self, where: str, number: int | None, wanted: int | Axis, side: str) -> None:
        if wanted is Axis.ANY:
            return
        if wanted is Axis.FREE:
            if number is not None:
                raise ModelNotAllowedError(f"{where} is fixed at {number}; it must be free")
            return
        if number is None:
            if isinstance(wanted, Axis) and side == "input":
                raise ModelNotAllowedError(f"{where} has no fixed size")
            return
        expected = self.learnt.setdefault(wanted, number) if isinstance(wanted, Axis) else wanted
        if number != expected:
            raise ModelNotAllowedError(f"{where} is {number}; {expected} is needed")
