"""NVFP4 lowered for a processor without FP4 keeps every weight, to the last bit."""

import ml_dtypes
import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from models.errors import ModelNotAllowedError
from models.quantise.apply import Precision, quantise
from models.quantise.nvfp4 import nvfp4_from_weight
from models.runtime.lowering import lower

_E2M1 = np.array([0, 0.5, 1, 1.5, 2, 3, 4, 6], np.float32)


def _matmul(weight: NDArray[np.float32]) -> onnx.ModelProto:
    rows, columns = weight.shape
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        "graph",
        [helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, ["n", rows])],
        [helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, ["n", columns])],
        [numpy_helper.from_array(weight, "w")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 23)], ir_version=11)


def _weights_of(model_bytes: bytes, name: str) -> NDArray[np.float32]:
    """What the runtime itself dequantises `name` to."""
    model = onnx.ModelProto.FromString(model_bytes)
    del model.graph.output[:]
    model.graph.output.append(helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None))
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    rows = model.graph.input[0].type.tensor_type.shape.dim[1].dim_value
    weights: NDArray[np.float32] = session.run([name], {"x": np.zeros((1, rows), np.float32)})[0]
    return weights


def _nvfp4_bytes(weight: NDArray[np.float32]) -> bytes:
    return bytes(quantise({"g": _matmul(weight)}, Precision.NVFP4).graphs["g"].SerializeToString())


def _cases() -> dict[str, NDArray[np.float32]]:
    rng = np.random.default_rng(1)
    zero_blocks = rng.normal(0, 1, (64, 32)).astype(np.float32)
    zero_blocks[16:48] = 0
    mixed = rng.normal(0, 1, (64, 32)).astype(np.float32)
    mixed[:16] *= np.float32(3e-6)  # their FP8 block scales are subnormal
    return {
        "normal": rng.normal(0, 1, (64, 32)).astype(np.float32),
        "heavy tails": rng.standard_cauchy((64, 48)).astype(np.float32),
        "blocks of zeros": zero_blocks,
        "nothing but zeros": np.zeros((64, 32), np.float32),
        "subnormal block scales": mixed,
        "tiny": (rng.normal(0, 1, (64, 32)) * 1e-36).astype(np.float32),
        "huge": (rng.normal(0, 1, (64, 32)) * 1e36).astype(np.float32),
        "odd output axis": rng.normal(0, 1, (80, 37)).astype(np.float32),
    }


@pytest.mark.parametrize("name", list(_cases()))
def test_lowered_weights_equal_the_dequantised_ones_exactly(name: str) -> None:
    weight = _cases()[name]
    lowered = lower(_nvfp4_bytes(weight))
    assert np.array_equal(_weights_of(lowered, "w"), nvfp4_from_weight(weight, axis=0).dequantised())


@pytest.mark.parametrize("seed", range(24))
def test_random_tensors_of_any_size_and_scale_are_kept_exactly(seed: int) -> None:
    rng = np.random.default_rng(seed)
    shape = 16 * int(rng.integers(4, 12)), int(rng.integers(16, 70))
    weight = (rng.normal(0, 1, shape) * 10.0 ** rng.uniform(-39, 36)).astype(np.float32)
    weight[rng.random(shape) < rng.choice([0.0, 0.5, 0.97])] = 0
    lowered = lower(_nvfp4_bytes(weight))
    assert np.array_equal(_weights_of(lowered, "w"), nvfp4_from_weight(weight, axis=0).dequantised())


def test_the_subnormal_case_has_subnormal_scales() -> None:
    scales = nvfp4_from_weight(_cases()["subnormal block scales"], axis=0).block_scales.astype(np.float32)
    assert 0 < scales[scales > 0].min() < 2.0**-6


def test_the_quantised_weights_are_e2m1_values_times_their_scales() -> None:
    weight = _cases()["normal"]
    quantised = nvfp4_from_weight(weight, axis=0)
    assert set(np.abs(quantised.codes.astype(np.float32)).ravel()) <= set(_E2M1)
    assert quantised.codes.dtype == ml_dtypes.float4_e2m1fn
    assert quantised.block_scales.shape == (4, 32)


def test_the_release_keeps_standard_fp4_that_the_checker_accepts() -> None:
    data = _nvfp4_bytes(_cases()["normal"])
    model = onnx.ModelProto.FromString(data)
    onnx.checker.check_model(model, full_check=True)
    types = {tensor.data_type for tensor in model.graph.initializer}
    assert {onnx.TensorProto.FLOAT4E2M1, onnx.TensorProto.FLOAT8E4M3FN} <= types
    codes = next(t for t in model.graph.initializer if t.data_type == onnx.TensorProto.FLOAT4E2M1)
    assert len(codes.raw_data) == 64 * 32 // 2


def test_codes_lie_in_the_release_as_the_standard_says_the_first_of_two_in_the_low_nibble() -> None:
    weight = _cases()["normal"]
    model = onnx.ModelProto.FromString(_nvfp4_bytes(weight))
    stored = {tensor.name: tensor for tensor in model.graph.initializer}
    packed = np.frombuffer(stored["w.codes"].raw_data, np.uint8)
    codes = np.stack([packed & 15, packed >> 4], axis=1).reshape(weight.shape)
    values = np.where(codes < 8, 1, -1) * _E2M1[codes & 7]
    scales = numpy_helper.to_array(stored["w.block_scale"]).astype(np.float32)
    scales = scales * numpy_helper.to_array(stored["w.tensor_scale"])
    decoded = values.astype(np.float32) * np.repeat(scales, 16, axis=0)
    assert np.array_equal(decoded, nvfp4_from_weight(weight, axis=0).dequantised())


def test_nothing_of_fp4_is_left_after_lowering() -> None:
    model = onnx.ModelProto.FromString(lower(_nvfp4_bytes(_cases()["normal"])))
    types = {tensor.data_type for tensor in model.graph.initializer}
    assert types == {onnx.TensorProto.INT8, onnx.TensorProto.FLOAT}
    assert [node.op_type for node in model.graph.node] == ["DequantizeLinear", "MatMul"]


def test_a_graph_without_fp4_is_left_as_it_is() -> None:
    data = _matmul(_cases()["normal"]).SerializeToString()
    assert lower(data) is data


def test_int4_needs_no_lowering() -> None:
    data = quantise({"g": _matmul(_cases()["normal"])}, Precision.INT4).graphs["g"].SerializeToString()
    assert lower(data) is data


def test_a_scale_that_cannot_be_halved_is_refused_and_not_rounded() -> None:
    model = onnx.ModelProto.FromString(_nvfp4_bytes(_cases()["normal"]))
    for tensor in model.graph.initializer:
        if tensor.name == "w.tensor_scale":
            tensor.CopyFrom(numpy_helper.from_array(np.asarray(np.float32(1.4e-45)), tensor.name))
        if tensor.name == "w.block_scale":
            odd = np.ones(tuple(tensor.dims)).astype(ml_dtypes.float8_e4m3fn)
            tensor.CopyFrom(numpy_helper.from_array(odd, tensor.name))
    with pytest.raises(ModelNotAllowedError, match="halved"):
        lower(model.SerializeToString())


def test_fp4_read_by_another_operator_is_refused() -> None:
    model = onnx.ModelProto.FromString(_nvfp4_bytes(_cases()["normal"]))
    model.graph.node.append(helper.make_node("Shape", ["w.codes"], ["shape"]))
    with pytest.raises(ModelNotAllowedError, match="directly"):
        lower(model.SerializeToString())
