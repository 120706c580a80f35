"""Quantisation keeps its error bounds, says what it left alone, and changes nothing else."""

import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from models.quantise.apply import MIN_WEIGHTS, Precision, quantise
from models.quantise.int8 import int8_from_weight
from models.quantise.nvfp4 import BLOCK, nvfp4_from_weight
from models.quantise.report import QuantisationReport
from models.runtime.lowering import lower
from tests.fakes.tiny_policy import tiny_graphs

_EXACT = onnxruntime.SessionOptions()
_EXACT.add_session_config_entry("session.disable_quant_qdq", "1")


def _report(precision: Precision) -> QuantisationReport:
    return quantise(tiny_graphs(), precision).report


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 40), st.integers(1, 20), st.floats(1e-30, 1e30))
def test_int8_is_never_further_off_than_half_a_step(seed: int, rows: int, columns: int, size: float) -> None:
    weight = (np.random.default_rng(seed).normal(0, 1, (rows, columns)) * size).astype(np.float32)
    quantised = int8_from_weight(weight, axis=1)
    step = quantised.scales.astype(np.float64)
    assert np.all(np.abs(quantised.dequantised() - weight.astype(np.float64)) <= 0.501 * step)


@pytest.mark.parametrize("axis", [0, 1])
def test_int8_uses_the_whole_range_of_codes_in_every_channel(axis: int) -> None:
    weight = np.random.default_rng(5).normal(0, 1, (12, 9)).astype(np.float32)
    weight *= np.logspace(-3, 3, weight.shape[axis]).reshape((-1, 1) if axis == 0 else (1, -1))
    codes = np.abs(int8_from_weight(weight, axis).codes.astype(np.int64))
    assert np.all(codes.max(axis=1 - axis) == 127)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 6), st.integers(1, 20), st.sampled_from([0, 1]))
def test_nvfp4_is_never_further_off_than_its_coarsest_gap(
    seed: int, blocks: int, others: int, axis: int
) -> None:
    rng = np.random.default_rng(seed)
    weight = rng.normal(0, 1, (blocks * BLOCK, others)).astype(np.float32)
    weight = weight if axis == 0 else weight.T
    error = np.moveaxis(np.abs(nvfp4_from_weight(weight, axis).dequantised() - weight), axis, -1)
    largest = np.abs(np.moveaxis(weight, axis, -1)).reshape(others, blocks, BLOCK).max(-1)
    # Half of E2M1's widest gap (4 to 6) in units of the largest weight, and FP8's rounding of the scale.
    assert np.all(error.reshape(others, blocks, BLOCK) <= largest[..., None] * (1 / 6 + 1 / 14))


def test_nvfp4_reproduces_weights_that_it_can_write_down() -> None:
    values = np.array([0, 0.5, 1, 1.5, 2, 3, 4, 6, -0.5, -1, -1.5, -2, -3, -4, -6, 6], np.float32)
    weight = np.stack([values, values * 256, np.zeros(16, np.float32)], axis=1)
    assert np.array_equal(nvfp4_from_weight(weight, 0).dequantised(), weight)


def test_nvfp4_refuses_blocks_that_do_not_come_out_even() -> None:
    with pytest.raises(ValueError, match="whole blocks"):
        nvfp4_from_weight(np.zeros((17, 4), np.float32), axis=0)


def test_every_weight_is_either_quantised_or_listed_with_its_reason() -> None:
    report = _report(Precision.NVFP4)
    reasons = {layer.weight: layer.left_alone for layer in report.left_alone}
    assert "convolution" in reasons["patch_weight"]
    assert "fewer than" in reasons["ego_weight"]
    assert "Gather" in reasons["word_table"]
    assert {layer.weight for layer in report.quantised} == {
        "key_weight", "value_weight", "query_weight", "word_weight", "plan_weight", "out_weight",
    }  # fmt: skip


def test_nvfp4_leaves_output_heads_alone_and_int8_does_not() -> None:
    heads = frozenset({"out_weight"})
    left = {precision: quantise(tiny_graphs(), precision, heads).report.left_alone for precision in Precision}
    assert "out_weight" in {layer.weight for layer in left[Precision.NVFP4] if "head" in layer.left_alone}
    assert "out_weight" not in {layer.weight for layer in left[Precision.INT8]}


def test_int4_quantises_products_and_lists_every_other_weight_with_its_reason() -> None:
    report = quantise(tiny_graphs(), Precision.INT4, frozenset({"out_weight"})).report
    reasons = {layer.weight: layer.left_alone for layer in report.left_alone}
    assert "Conv: int4 is for MatMul" in reasons["patch_weight"]
    assert "Gemm: int4 is for MatMul" in reasons["word_weight"]
    assert "Gather" in reasons["word_table"]
    assert "head" in reasons["out_weight"]
    assert {layer.weight for layer in report.quantised} == {
        "key_weight", "value_weight", "query_weight", "plan_weight",
    }  # fmt: skip


def test_int8_quantises_the_convolution_too() -> None:
    assert "patch_weight" in {layer.weight for layer in _report(Precision.INT8).quantised}


def test_a_reduction_axis_that_is_no_multiple_of_the_block_is_left_alone() -> None:
    rows = BLOCK * 4 + 1
    weight = np.ones((rows, MIN_WEIGHTS // 16), np.float32)
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        "graph",
        [helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [1, rows])],
        [helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, [1, weight.shape[1]])],
        [numpy_helper.from_array(weight, "w")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 23)], ir_version=11)
    made = quantise({"g": model}, Precision.NVFP4)
    assert "no multiple" in made.report.left_alone[0].left_alone
    assert np.array_equal(numpy_helper.to_array(made.graphs["g"].graph.initializer[0]), weight)


def _layer(operator: str, shape: tuple[int, ...], opset: int = 23, transposed: int = 0) -> onnx.ModelProto:
    """One operator over a random weight `w`, its input shaped to fit."""
    weight = np.random.default_rng(3).normal(0, 1, shape).astype(np.float32)
    reduction = shape[1] if operator == "Conv" or transposed else shape[0]
    dims = [2, reduction, 6, 6] if operator == "Conv" else [3, reduction]
    node = helper.make_node(operator, ["x", "w"], ["y"])
    if transposed:
        node.attribute.append(helper.make_attribute("transB", 1))
    graph = helper.make_graph(
        [node],
        "graph",
        [helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, dims)],
        [helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, None)],
        [numpy_helper.from_array(weight, "w")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=10)


def _output(model: onnx.ModelProto) -> NDArray[np.float32]:
    session = onnxruntime.InferenceSession(lower(model.SerializeToString()), _EXACT)
    dims = session.get_inputs()[0].shape
    x = np.random.default_rng(4).normal(0, 1, dims).astype(np.float32)
    output: NDArray[np.float32] = session.run(None, {"x": x})[0]
    return output


_LAYERS = {
    "MatMul": _layer("MatMul", (64, 40)),
    "Gemm": _layer("Gemm", (64, 40)),
    "Gemm with its weight transposed": _layer("Gemm", (40, 64), transposed=1),
    "Conv": _layer("Conv", (24, 8, 3, 3)),
    "MatMul of an older opset": _layer("MatMul", (64, 40), opset=18),
}


@pytest.mark.parametrize("name", list(_LAYERS))
@pytest.mark.parametrize("precision", [Precision.INT8, Precision.NVFP4])
def test_a_quantised_layer_computes_with_the_weights_that_its_codes_stand_for(
    name: str, precision: Precision
) -> None:
    model = _LAYERS[name]
    made = quantise({"g": model}, precision)
    weight = numpy_helper.to_array(model.graph.initializer[0])
    if made.report.quantised and precision is Precision.INT8:
        weight = int8_from_weight(weight, 0 if "Conv" in name or "transposed" in name else 1).dequantised()
    elif made.report.quantised:
        weight = nvfp4_from_weight(weight, 1 if "transposed" in name else 0).dequantised()
    expected = onnx.ModelProto.FromString(model.SerializeToString())
    expected.graph.initializer[0].CopyFrom(numpy_helper.from_array(weight, "w"))
    assert bool(made.report.quantised) == (name != "Conv" or precision is Precision.INT8)
    assert np.allclose(_output(made.graphs["g"]), _output(expected), rtol=1e-5, atol=1e-5)


def test_a_weight_that_is_read_along_two_axes_is_left_alone() -> None:
    model = _layer("MatMul", (64, 64))
    model.graph.node.append(helper.make_node("Gemm", ["x", "w"], ["z"], transB=1))
    report = quantise({"g": model}, Precision.INT8).report
    assert "different axes" in report.left_alone[0].left_alone


@pytest.mark.parametrize(
    ("precision", "most"), [(Precision.INT8, 0.02), (Precision.INT4, 0.11), (Precision.NVFP4, 0.13)]
)
def test_the_relative_weight_error_is_what_the_format_allows(precision: Precision, most: float) -> None:
    assert 0 < _report(precision).worst_relative_error < most


def test_smaller_formats_make_smaller_graphs() -> None:
    before = {precision: _report(precision).bytes_before for precision in Precision}
    after = {precision: _report(precision).bytes_after for precision in Precision}
    assert len(set(before.values())) == 1
    assert after[Precision.INT8] < after[Precision.FLOAT32]
    assert after[Precision.INT4] < after[Precision.FLOAT32]
    assert after[Precision.NVFP4] < after[Precision.FLOAT32]


@pytest.mark.parametrize("precision", list(Precision))
def test_quantising_twice_gives_the_same_bytes_and_leaves_the_input_alone(precision: Precision) -> None:
    graphs = tiny_graphs()
    untouched = {role: model.SerializeToString(deterministic=True) for role, model in graphs.items()}
    made = [quantise(graphs, precision).graphs for _ in range(2)]
    one, other = ({r: m.SerializeToString(deterministic=True) for r, m in graphs.items()} for graphs in made)
    assert one == other
    assert untouched == {role: model.SerializeToString(deterministic=True) for role, model in graphs.items()}


@pytest.mark.parametrize("precision", list(Precision))
def test_the_graphs_that_come_out_satisfy_the_checker(precision: Precision) -> None:
    for model in quantise(tiny_graphs(), precision).graphs.values():
        onnx.checker.check_model(model, full_check=True)
