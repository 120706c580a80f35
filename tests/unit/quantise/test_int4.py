"""INT4: what ONNX Runtime multiplies with is, to float32's rounding, what we say that the codes stand for."""

import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from models.quantise.apply import Precision, quantise
from models.quantise.int4 import BLOCK, int4_from_weight

_ROUNDING = 2.0**-20
"""Of the sum of the products' sizes; float32 rounds one product to 2⁻²⁴, and there are at most a few hundred."""


def _matmul(weight: NDArray[np.float32]) -> onnx.ModelProto:
    inputs, outputs = weight.shape
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        "graph",
        [helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, ["n", inputs])],
        [helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, ["n", outputs])],
        [numpy_helper.from_array(weight, "w")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 23)], ir_version=11)


def _product(model: onnx.ModelProto, x: NDArray[np.float32]) -> NDArray[np.float32]:
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    found: NDArray[np.float32] = session.run(["y"], {"x": x})[0]
    return found


def _weight(seed: int, inputs: int, outputs: int, size: float) -> NDArray[np.float32]:
    """Random weights, some blocks of zeros, some of one sign."""
    rng = np.random.default_rng(seed)
    weight = rng.normal(0, 1, (inputs, outputs))
    weight[: inputs // 3, : outputs // 2] = 0
    weight[inputs // 2 :, outputs // 2] = np.abs(weight[inputs // 2 :, outputs // 2])
    return (weight * size).astype(np.float32)


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    inputs=st.integers(1, 150),
    outputs=st.integers(1, 70),
    rows=st.sampled_from([1, 2, 5, 33]),
    size=st.sampled_from([1.0, 1e-3, 1e30, 1e-30, 1e-37, 1e-39, 1e-44]),
)
def test_the_runtime_multiplies_with_our_dequantised_weights(
    seed: int, inputs: int, outputs: int, rows: int, size: float
) -> None:
    weight = _weight(seed, -(-1024 // outputs) + inputs, outputs, size)
    made = quantise({"g": _matmul(weight)}, Precision.INT4)
    assert [node.op_type for node in made.graphs["g"].graph.node] == ["MatMulNBits"]
    x = np.random.default_rng(seed + 1).normal(0, 1, (rows, len(weight))).astype(np.float32)
    exact = int4_from_weight(weight).dequantised().astype(np.float64)
    bound = np.abs(x).astype(np.float64) @ np.abs(exact) * _ROUNDING
    assert np.all(np.abs(_product(made.graphs["g"], x) - x.astype(np.float64) @ exact) <= bound)


def test_each_weight_is_read_back_alone_as_we_dequantise_it() -> None:
    weight = _weight(3, 75, 37, 1.0)
    made = quantise({"g": _matmul(weight)}, Precision.INT4).graphs["g"]
    found = _product(made, np.eye(75, dtype=np.float32))
    assert np.allclose(found, int4_from_weight(weight).dequantised(), rtol=1e-6, atol=1e-7)


@settings(max_examples=60, deadline=None)
@given(
    st.integers(0, 10_000),
    st.integers(1, 100),
    st.integers(1, 20),
    st.sampled_from([1.0, 1e-39, 1e-44, 1e37]),
)
def test_int4_is_never_further_off_than_a_step(seed: int, inputs: int, outputs: int, size: float) -> None:
    weight = _weight(seed, inputs, outputs, size)
    quantised = int4_from_weight(weight)
    step = np.repeat(quantised.scales, BLOCK, axis=0)[:inputs].astype(np.float64)
    assert np.all(np.abs(quantised.dequantised().astype(np.float64) - weight) <= 1.001 * step)


def test_zero_stays_zero_and_a_block_of_zeros_stays_one() -> None:
    weight = _weight(5, 96, 8, 1.0)
    weight[::7] = 0
    dequantised = int4_from_weight(weight).dequantised()
    assert np.all(dequantised[weight == 0] == 0)
    assert np.all(int4_from_weight(np.zeros((40, 3), np.float32)).dequantised() == 0)


def test_int4_reproduces_weights_that_it_can_write_down() -> None:
    blocks = np.random.default_rng(6).permuted(np.tile(np.arange(16), (10, 2)), axis=1)
    weight = ((blocks.reshape(5, 64).T - 5) * 0.25).astype(np.float32)
    assert np.array_equal(int4_from_weight(weight).dequantised(), weight)


def test_the_largest_numbers_of_float32_become_no_infinities() -> None:
    weight = np.array([[3.4e38], [-3.4e38]], np.float32)
    dequantised = int4_from_weight(weight).dequantised()
    assert np.isfinite(dequantised).all()
    assert np.all(np.sign(dequantised) == np.sign(weight))


def test_a_weight_that_two_matmuls_read_is_stored_once() -> None:
    model = _matmul(_weight(7, 64, 64, 1.0))
    model.graph.node.append(helper.make_node("MatMul", ["y", "w"], ["z"]))
    model.graph.output[0].name = "z"
    graph = quantise({"g": model}, Precision.INT4).graphs["g"].graph
    assert [node.op_type for node in graph.node] == ["MatMulNBits", "MatMulNBits"]
    assert sorted(tensor.name for tensor in graph.initializer) == ["w.codes", "w.scale", "w.zero_point"]


@pytest.mark.parametrize("other", ["Gemm", "Transpose"])
def test_a_weight_that_another_operator_reads_is_left_alone_with_its_reason(other: str) -> None:
    model = _matmul(_weight(8, 64, 64, 1.0))
    inputs = ["y", "w"] if other == "Gemm" else ["w"]
    model.graph.node.append(helper.make_node(other, inputs, ["z"]))
    report = quantise({"g": model}, Precision.INT4).report
    assert f"read by {other}" in report.left_alone[0].left_alone
    assert not report.quantised
