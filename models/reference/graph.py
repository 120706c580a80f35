"""A small builder of ONNX graphs from named weights.

Owns: nodes, initialisers and the layers that the reference graphs are made of. Weights are initialisers of
MatMul nodes in (in, out) layout, named as in the checkpoint, so that a quantiser finds them.
Must not know: which graphs are built.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

OPSET = 23
IR_VERSION = 11

Array = NDArray[np.float32] | NDArray[np.int64]
Attribute = int | float | tuple[int, ...] | list[int]


@dataclass(frozen=True, slots=True)
class Port:
    """An input or output: a name, an ONNX element type, and a shape; a word is a dimension free at run time."""

    name: str
    element: int
    shape: tuple[int | str, ...]


def floats(name: str, *shape: int | str) -> Port:
    """A float32 port."""
    return Port(name, TensorProto.FLOAT, shape)


class GraphBuilder:
    """Collects nodes; every method returns the name of the value that it computes."""

    def __init__(self, weights: Mapping[str, NDArray[np.float32]], heads: int) -> None:
        self._weights = weights
        self._heads = heads
        self._nodes: list[onnx.NodeProto] = []
        self._initialisers: dict[str, onnx.TensorProto] = {}

    def op(self, kind: str, *inputs: str, **attributes: Attribute) -> str:
        """One node with one output."""
        name = f"{kind.lower()}_{len(self._nodes)}"
        node = helper.make_node(kind, list(inputs), [name], name=name)
        node.attribute.extend(helper.make_attribute(key, value) for key, value in attributes.items())
        self._nodes.append(node)
        return name

    def split(self, value: str, parts: int, axis: int) -> list[str]:
        """Equal parts of a value along an axis."""
        names = [f"split_{len(self._nodes)}_{index}" for index in range(parts)]
        self._nodes.append(helper.make_node("Split", [value], names, axis=axis, num_outputs=parts))
        return names

    def named(self, value: str, name: str) -> None:
        """Give a value its public name."""
        self._nodes.append(helper.make_node("Identity", [value], [name], name=f"to_{name}"))

    def constant(self, array: Array, name: str = "") -> str:
        """An initialiser; equal names share one."""
        name = name or f"constant_{len(self._initialisers)}"
        if name not in self._initialisers:
            self._initialisers[name] = numpy_helper.from_array(np.array(array, order="C"), name)
        return name

    def number(self, value: float) -> str:
        """A float32 scalar."""
        return self.constant(np.array(value, np.float32), f"number_{value}")

    def index(self, *values: int) -> str:
        """An int64 vector."""
        return self.constant(np.array(values, np.int64), "index_" + "_".join(map(str, values)))

    def weight(self, name: str) -> str:
        """A parameter as the checkpoint holds it."""
        return self.constant(self._weights[name], name)

    def linear(self, name: str, value: str) -> str:
        """value · weight + bias."""
        matrix = self.constant(self._weights[f"{name}.weight"].T, f"{name}.weight")
        return self.op("Add", self.op("MatMul", value, matrix), self.weight(f"{name}.bias"))

    def norm(self, name: str, value: str) -> str:
        """Layer normalisation over the last axis."""
        scale, bias = self.weight(f"{name}.weight"), self.weight(f"{name}.bias")
        return self.op("LayerNormalization", value, scale, bias, axis=-1, epsilon=1e-5)

    def mlp(self, name: str, value: str) -> str:
        """Normalise, widen, narrow."""
        wide = self.op("Relu", self.linear(f"{name}.up", self.norm(f"{name}.norm", value)))
        return self.linear(f"{name}.down", wide)

    def attend(self, query: str, key: str, value: str, mask: str | None = None) -> str:
        """Multi-head attention of (n, D) on (t, D); `mask`, where given, is added to the scores (n, t)."""
        width = self._weights["norm.weight"].shape[0]
        size = width // self._heads
        query = self.op("Mul", query, self.number(size**-0.5))
        split, join = self.index(0, self._heads, size), self.index(0, width)
        rows = self.op("Transpose", self.op("Reshape", query, split), perm=[1, 0, 2])
        columns = self.op("Transpose", self.op("Reshape", key, split), perm=[1, 2, 0])
        values = self.op("Transpose", self.op("Reshape", value, split), perm=[1, 0, 2])
        score = self.op("MatMul", rows, columns)
        if mask is not None:
            score = self.op("Add", score, mask)
        mixed = self.op("MatMul", self.op("Softmax", score, axis=-1), values)
        return self.op("Reshape", self.op("Transpose", mixed, perm=[1, 0, 2]), join)

    def model(self, name: str, inputs: Sequence[Port], outputs: Sequence[Port]) -> onnx.ModelProto:
        """The checked model."""
        ports = [
            [helper.make_tensor_value_info(port.name, port.element, port.shape) for port in ports]
            for ports in (inputs, outputs)
        ]
        graph = helper.make_graph(self._nodes, name, ports[0], ports[1], list(self._initialisers.values()))
        model = helper.make_model(
            graph,
            opset_imports=[helper.make_opsetid("", OPSET)],
            ir_version=IR_VERSION,
            producer_name="roskva-reference",
        )
        onnx.checker.check_model(model, full_check=True)
        return model
