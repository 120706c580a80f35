"""A small builder of TFLite graphs from named weights.

Owns: operators, stored tensors and the layers that the reference graphs are made of. A layer's matrix is stored
as int8 codes in (outputs, inputs) layout, with one scale an output, and turned into float32 in the graph.
Must not know: which graphs are built.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from models.quantise.int8 import int8_from_weight
from models.runtime import tflite_schema as tfl
from models.runtime.flatbuffer import Table
from models.runtime.tflite_schema import Element, Kernel
from models.runtime.tflite_shapes import Operand, made_by

MIN_WEIGHTS = 1024
"""Matrices with fewer weights stay float32, as in `models.quantise.apply`."""
_RELU = 1


class Store:
    """What the subgraphs of one file share: operator codes and stored bytes."""

    def __init__(self, weights: Mapping[str, NDArray[np.float32]], heads: int) -> None:
        self.weights, self.heads = weights, heads
        self.codes: dict[tuple[Kernel, int], int] = {}
        self.buffers: dict[bytes, int] = {b"": 0}

    def model(self, *subgraphs: tfl.Subgraph) -> tfl.Model:
        """The file."""
        codes = [
            tfl.OperatorCode(deprecated_code=min(kernel, 127), version=version, code=kernel)
            for kernel, version in self.codes
        ]
        buffers = tuple(tfl.Buffer(content) for content in self.buffers)
        return tfl.Model(tfl.VERSION, tuple(codes), subgraphs, buffers)


class GraphBuilder:
    """Collects one subgraph; every method returns the number of the tensor that it computes."""

    def __init__(self, name: str, store: Store) -> None:
        self._name, self._store = name, store
        self._tensors: list[tfl.Tensor] = []
        self._operators: list[tfl.Operator] = []
        self._stored: dict[str, int] = {}
        self._inputs: list[int] = []
        self._constants: dict[int, NDArray[np.generic]] = {}

    def input(self, name: str, element: Element, *shape: int) -> int:
        """A tensor that is fed."""
        self._inputs.append(self._tensor(tfl.Tensor(shape, element, 0, name)))
        return self._inputs[-1]

    def op(self, kernel: Kernel, *inputs: int, options: Table | None = None, version: int = 1) -> int:
        """One operator with one output."""
        return self.ops(kernel, inputs, options, version)[0]

    def ops(
        self, kernel: Kernel, inputs: Sequence[int], options: Table | None = None, version: int = 1
    ) -> list[int]:
        """One operator; its outputs' shapes follow from its inputs."""
        code = self._store.codes.setdefault((kernel, version), len(self._store.codes))
        made = made_by(kernel, [self._operand(each) for each in inputs], options)
        outputs = [
            self._tensor(
                tfl.Tensor(each.shape, each.element, 0, f"{kernel.name.lower()}_{len(self._tensors)}")
            )
            for each in made
        ]
        kind = tfl.OPTIONS_OF[kernel] if options is not None else 0
        self._operators.append(tfl.Operator(code, tuple(inputs), tuple(outputs), kind, options))
        return outputs

    def shape(self, value: int) -> tuple[int, ...]:
        """Dimensions of a tensor."""
        return self._tensors[value].shape

    def named(self, value: int, name: str, *shape: int) -> int:
        """Give a value its public name and shape."""
        result = self.reshape(value, *shape)
        old = self._tensors[result]
        self._tensors[result] = tfl.Tensor(old.shape, old.element, 0, name)
        return result

    def constant(self, array: NDArray[np.generic], name: str) -> int:
        """A stored tensor; equal names share one."""
        if name not in self._stored:
            self._stored[name] = self._keep(array, name, None)
        return self._stored[name]

    def number(self, value: float) -> int:
        """A float32 scalar."""
        return self.constant(np.array(value, np.float32), f"number_{value}")

    def index(self, *values: int) -> int:
        """An int32 vector."""
        return self.constant(np.array(values, np.int32), "index_" + "_".join(map(str, values)))

    def weight(self, name: str) -> int:
        """A parameter as the checkpoint holds it."""
        return self.constant(self._store.weights[name], name)

    def reshape(self, value: int, *shape: int) -> int:
        """The same elements in another shape."""
        return self.op(Kernel.RESHAPE, value, self.index(*shape))

    def transpose(self, value: int, *order: int) -> int:
        """Dimensions in another order."""
        return self.op(Kernel.TRANSPOSE, value, self.index(*order))

    def concat(self, *values: int, axis: int = 0) -> int:
        """Put values side by side along an axis."""
        return self.op(Kernel.CONCATENATION, *values, options=tfl.Concatenation(axis))

    def split(self, value: int, parts: int, axis: int) -> list[int]:
        """Equal parts of a value along an axis."""
        where = self.constant(np.array(axis, np.int32), f"axis_{axis}")
        return self.ops(Kernel.SPLIT, (where, value), tfl.Split(parts))

    def gather(self, table: int, indices: int) -> int:
        """Rows of a table."""
        return self.op(Kernel.GATHER, table, indices, options=tfl.Gather(0))

    def calc(self, kernel: Kernel, left: int, right: int) -> int:
        """ADD, SUB, MUL or DIV of two values that broadcast."""
        return self.op(kernel, left, right, options=tfl.Fused())

    def add(self, left: int, right: int) -> int:
        """Sum."""
        return self.calc(Kernel.ADD, left, right)

    def linear(self, name: str, value: int, relu: bool = False) -> int:
        """value · weightᵀ + bias, and what is negative cut away where `relu`."""
        options = tfl.FullyConnected(_RELU if relu else 0)
        operands = value, self._matrix(f"{name}.weight"), self.weight(f"{name}.bias")
        return self.op(Kernel.FULLY_CONNECTED, *operands, options=options)

    def norm(self, name: str, value: int) -> int:
        """Layer normalisation over the last axis of (n, D)."""
        away = self.calc(Kernel.SUB, value, self._mean(value))
        variance = self.add(self._mean(self.calc(Kernel.MUL, away, away)), self.number(1e-5))
        scaled = self.calc(Kernel.MUL, away, self.op(Kernel.RSQRT, variance))
        scaled = self.calc(Kernel.MUL, scaled, self.weight(f"{name}.weight"))
        return self.add(scaled, self.weight(f"{name}.bias"))

    def mlp(self, name: str, value: int) -> int:
        """Normalise, widen, narrow."""
        return self.linear(
            f"{name}.down", self.linear(f"{name}.up", self.norm(f"{name}.norm", value), relu=True)
        )

    def attend(self, query: int, key: int, value: int, mask: int | None = None) -> int:
        """Multi-head attention of (n, D) on (t, D); `mask`, where given, is added to the scores (n, t)."""
        width = self._tensors[query].shape[1]
        query = self.calc(Kernel.MUL, query, self.number((width // self._store.heads) ** -0.5))
        rows, columns, values = (self._by_head(each) for each in (query, key, value))
        score = self.op(Kernel.BATCH_MATMUL, rows, columns, options=tfl.BatchMatMul(turn_right=True))
        if mask is not None:
            score = self.add(score, mask)
        parts = self.op(Kernel.SOFTMAX, score, options=tfl.Softmax(1.0))
        mixed = self.op(Kernel.BATCH_MATMUL, parts, values, options=tfl.BatchMatMul())
        return self.reshape(self.transpose(mixed, 1, 0, 2), self._tensors[query].shape[0], width)

    def subgraph(self, *outputs: int) -> tfl.Subgraph:
        """What was built."""
        parts = tuple(self._tensors), tuple(self._inputs), outputs, tuple(self._operators)
        return tfl.Subgraph(*parts, self._name)

    def _by_head(self, value: int) -> int:
        rows, width = self._tensors[value].shape
        return self.transpose(
            self.reshape(value, rows, self._store.heads, width // self._store.heads), 1, 0, 2
        )

    def _mean(self, value: int) -> int:
        return self.op(Kernel.MEAN, value, self.index(1), options=tfl.Mean(keep_dims=True))

    def _matrix(self, name: str) -> int:
        weight = self._store.weights[name]
        if weight.size < MIN_WEIGHTS:
            return self.weight(name)
        if name not in self._stored:
            made = int8_from_weight(weight, 0)
            scales = tuple(map(float, made.scales))
            quantisation = tfl.Quantisation(scales, (0,) * len(scales), 0)
            codes = self._keep(made.codes, f"{name}.codes", quantisation)
            self._stored[name] = self.op(Kernel.DEQUANTIZE, codes, options=None, version=2)
        return self._stored[name]

    def _keep(self, array: NDArray[np.generic], name: str, quantisation: tfl.Quantisation | None) -> int:
        content = np.ascontiguousarray(array).tobytes()
        buffer = self._store.buffers.setdefault(content, len(self._store.buffers))
        element = Element[array.dtype.name.upper()]
        number = self._tensor(tfl.Tensor(array.shape, element, buffer, name, quantisation))
        self._constants[number] = array
        return number

    def _operand(self, number: int) -> Operand:
        tensor = self._tensors[number]
        return Operand(tensor.shape, Element(tensor.element), self._constants.get(number))

    def _tensor(self, tensor: tfl.Tensor) -> int:
        self._tensors.append(tensor)
        return len(self._tensors) - 1
