"""NVFP4 graphs for processors that have no FP4: rewritten at load, exact in every weight.

Owns: the rewriting of `DequantizeLinear(FLOAT4E2M1 codes, block scales)` into the same with int8 codes.
An E2M1 value times two is an integer of at most 12, so int8 codes of 2·value with block scales of half the size
give bit for bit the product that value · scale gives, as long as half the scale is a float32.
Must not know: how the weights were quantised, or what the graph computes.
"""

import numpy as np
import onnx
from numpy.typing import NDArray

from models.errors import ModelNotAllowedError

_FP4 = onnx.TensorProto.FLOAT4E2M1


def lower(model_bytes: bytes) -> bytes:
    """`model_bytes` without FLOAT4E2M1; returned as they are where there is none.

    Raises:
        ModelNotAllowedError: FP4 stands elsewhere than under a DequantizeLinear with stored scales, or a scale
            is too small to be halved exactly.
    """
    model = onnx.ModelProto.FromString(model_bytes)
    codes = {tensor.name: tensor for tensor in model.graph.initializer if tensor.data_type == _FP4}
    if not codes:
        return model_bytes
    _Lowering(model.graph).run(codes)
    return bytes(model.SerializeToString(deterministic=True))


class _Lowering:
    """One graph being rewritten in place."""

    def __init__(self, graph: onnx.GraphProto) -> None:
        self._graph = graph
        self._stored = {tensor.name: tensor for tensor in graph.initializer}
        self._producers = {name: node for node in graph.node for name in node.output}

    def run(self, codes: dict[str, onnx.TensorProto]) -> None:
        for node in self._graph.node:
            if node.op_type == "DequantizeLinear" and node.input[0] in codes:
                self._lower_node(node, codes[node.input[0]])
            elif any(name in codes for name in node.input):
                raise ModelNotAllowedError(
                    f"node {node.name[:80]!r} ({node.op_type}) uses FP4 codes directly"
                )
        for tensor in codes.values():
            doubled = np.rint(onnx.numpy_helper.to_array(tensor).astype(np.float32) * 2).astype(np.int8)
            tensor.CopyFrom(onnx.numpy_helper.from_array(doubled, tensor.name))
        self._drop_unused()

    def _lower_node(self, node: onnx.NodeProto, codes: onnx.TensorProto) -> None:
        if len(node.input) != 2:
            raise ModelNotAllowedError(f"FP4 tensor {codes.name[:80]!r} has a zero point; E2M1 has none")
        name = f"{codes.name}.halved_scale"
        if name not in self._stored:
            halved = _halved(self._scale(node.input[1]), codes.name)
            self._stored[name] = onnx.numpy_helper.from_array(halved, name)
            self._graph.initializer.append(self._stored[name])
        node.input[1] = name

    def _scale(self, name: str) -> NDArray[np.float32]:
        """The scales called `name`: stored as float32, or stored quantised with a scale of their own."""
        if name in self._stored:
            array: NDArray[np.float32] = onnx.numpy_helper.to_array(self._stored[name])
            if array.dtype == np.float32:
                return array
        node = self._producers.get(name)
        inner = [self._stored.get(each) for each in node.input] if node is not None else []
        if node is None or node.op_type != "DequantizeLinear" or len(inner) != 2:
            raise ModelNotAllowedError(
                f"FP4 scale {name[:80]!r} is neither stored nor dequantised from storage"
            )
        block, tensor = inner
        if block is None or tensor is None or tensor.dims or tensor.data_type != onnx.TensorProto.FLOAT:
            raise ModelNotAllowedError(f"FP4 scale {name[:80]!r} does not have one stored scale of its own")
        small = onnx.numpy_helper.to_array(block).astype(np.float32)
        return np.asarray(small * onnx.numpy_helper.to_array(tensor), np.float32)

    def _drop_unused(self) -> None:
        """Remove the dequantisations of scales that nothing reads any more, and what they read."""
        read = {name for node in self._graph.node for name in node.input}
        wanted = read | {value.name for value in self._graph.output}
        kept = [node for node in self._graph.node if wanted & set(node.output)]
        del self._graph.node[:]
        self._graph.node.extend(kept)
        read = {name for node in kept for name in node.input}
        tensors = [tensor for tensor in self._graph.initializer if tensor.name in read]
        del self._graph.initializer[:]
        self._graph.initializer.extend(tensors)


def _halved(scale: NDArray[np.float32], name: str) -> NDArray[np.float32]:
    halved = np.asarray(scale * np.float32(0.5), np.float32)
    if not np.array_equal(halved * np.float32(2), scale):
        raise ModelNotAllowedError(f"FP4 tensor {name[:80]!r} has a scale too small to be halved exactly")
    return halved
