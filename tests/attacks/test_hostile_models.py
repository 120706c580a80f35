"""Graphs that a policy must never be loaded from: each is refused before a runtime sees it, by its own sentence."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from models.errors import ModelNotAllowedError
from models.quantise.apply import Precision, quantise
from models.runtime.inspect import inspect
from models.runtime.load import load_policy
from models.runtime.signature import GraphRole
from tests.fakes.tiny_policy import tiny_contract, tiny_graphs, tiny_release

Spoil = Callable[[onnx.ModelProto], None]


def _tensor(model: onnx.ModelProto, name: str = "key_weight") -> onnx.TensorProto:
    found: onnx.TensorProto = next(each for each in model.graph.initializer if each.name == name)
    return found


def _outside(location: str) -> Spoil:
    def spoil(model: onnx.ModelProto) -> None:
        tensor = _tensor(model)
        tensor.ClearField("raw_data")
        tensor.data_location = TensorProto.EXTERNAL
        tensor.external_data.add(key="location", value=location)

    return spoil


def _mentions_a_file(model: onnx.ModelProto) -> None:
    _tensor(model).external_data.add(key="location", value="key.bin")


def _outside_in_an_attribute(model: onnx.ModelProto) -> None:
    value = numpy_helper.from_array(np.zeros(1, np.float32), "value")
    value.data_location = TensorProto.EXTERNAL
    value.external_data.add(key="location", value="../../etc/passwd")
    model.graph.node.append(helper.make_node("Constant", [], ["loose"], value=value))


def _foreign_operator(model: onnx.ModelProto) -> None:
    model.graph.node[0].domain = "com.example"
    model.opset_import.append(helper.make_opsetid("com.example", 1))


def _foreign_import(model: onnx.ModelProto) -> None:
    model.opset_import.append(helper.make_opsetid("com.microsoft", 1))


def _foreign_operator_without_import(model: onnx.ModelProto) -> None:
    model.graph.node[0].domain = "ai.onnx.ml"


def _function(model: onnx.ModelProto) -> None:
    node = helper.make_node("Identity", ["a"], ["b"])
    model.functions.append(helper.make_function("", "Tanh", ["a"], ["b"], [node], model.opset_import))


def _training(model: onnx.ModelProto) -> None:
    model.training_info.add().algorithm.name = "sgd"


def _branch(model: onnx.ModelProto) -> None:
    output = helper.make_tensor_value_info("inner", TensorProto.FLOAT, [1])
    body = helper.make_graph([helper.make_node("Identity", ["time"], ["inner"])], "body", [], [output])
    model.graph.node.append(helper.make_node("If", ["c"], ["d"], then_branch=body, else_branch=body))


def _random(model: onnx.ModelProto) -> None:
    model.graph.node.append(helper.make_node("RandomNormal", [], ["noise"], shape=[2, 2]))


def _unknown_operator(model: onnx.ModelProto) -> None:
    model.graph.node.append(helper.make_node("Shell", [], ["noise"]))


def _sparse(model: onnx.ModelProto) -> None:
    values = numpy_helper.from_array(np.ones(1, np.float32), "sparse")
    indices = numpy_helper.from_array(np.zeros(1, np.int64), "indices")
    model.graph.sparse_initializer.append(helper.make_sparse_tensor(values, indices, [1 << 40]))


def _opset(version: int) -> Spoil:
    def spoil(model: onnx.ModelProto) -> None:
        model.opset_import[0].version = version

    return spoil


def _ir(version: int) -> Spoil:
    def spoil(model: onnx.ModelProto) -> None:
        model.ir_version = version

    return spoil


def _two_opsets(model: onnx.ModelProto) -> None:
    model.opset_import.append(helper.make_opsetid("", 18))


def _weight(value: float) -> Spoil:
    def spoil(model: onnx.ModelProto) -> None:
        weights = numpy_helper.to_array(_tensor(model)).copy()
        weights[3, 3] = value
        _tensor(model).CopyFrom(numpy_helper.from_array(weights, "key_weight"))

    return spoil


def _truncated_tensor(model: onnx.ModelProto) -> None:
    tensor = _tensor(model)
    tensor.raw_data = tensor.raw_data[:-4]


def _weight_in_the_field_of_another_type(model: onnx.ModelProto) -> None:
    tensor = _tensor(model)
    tensor.ClearField("raw_data")
    tensor.int32_data.extend([1] * (32 * 32))


def _weight_in_two_fields(model: onnx.ModelProto) -> None:
    _tensor(model).float_data.extend([1.0] * (32 * 32))


def _claims_terabytes(model: onnx.ModelProto) -> None:
    _tensor(model).dims[:] = [1 << 20, 1 << 20]


def _negative_dimension(model: onnx.ModelProto) -> None:
    _tensor(model).dims[:] = [-32, -32]


def _strings(model: onnx.ModelProto) -> None:
    model.graph.initializer.append(numpy_helper.from_array(np.array(["hello"], object), "text"))


def _segment(model: onnx.ModelProto) -> None:
    _tensor(model).segment.begin = 0


def _doubles(model: onnx.ModelProto) -> None:
    model.graph.initializer.append(numpy_helper.from_array(np.zeros(2), "doubles"))


def _blows_up(model: onnx.ModelProto) -> None:
    model.graph.initializer.append(numpy_helper.from_array(np.array([1 << 20, 1 << 20]), "vast"))
    model.graph.node.append(helper.make_node("ConstantOfShape", ["vast"], ["bomb"]))


def _shapes_that_do_not_meet(model: onnx.ModelProto) -> None:
    _tensor(model).CopyFrom(numpy_helper.from_array(np.zeros((31, 32), np.float32), "key_weight"))


def _reads_what_nobody_wrote(model: onnx.ModelProto) -> None:
    model.graph.node[3].input[0] = "nowhere"


def _written_twice(model: onnx.ModelProto) -> None:
    model.graph.node.append(helper.make_node("Identity", ["tokens"], ["words"]))


def _unknown_attribute(model: onnx.ModelProto) -> None:
    model.graph.node[2].attribute.append(helper.make_attribute("trigger", 1))


def _also_in_the_runtimes_format(model: onnx.ModelProto) -> None:
    model.producer_name = "ORTM and more"


def _settings_for_the_runtime(model: onnx.ModelProto) -> None:
    model.metadata_props.add(key="ort_config", value='{"session_options": {"intra_op_num_threads": 64}}')


def _renamed_input(model: onnx.ModelProto) -> None:
    model.graph.input[0].name = "prefixes"


def _extra_input(model: onnx.ModelProto) -> None:
    model.graph.input.append(helper.make_tensor_value_info("trigger", TensorProto.FLOAT, [1]))


def _missing_output(model: onnx.ModelProto) -> None:
    del model.graph.output[2]


def _input_of_another_type(model: onnx.ModelProto) -> None:
    model.graph.input[1].type.tensor_type.elem_type = TensorProto.INT32


def _input_of_another_rank(model: onnx.ModelProto) -> None:
    model.graph.input[2].type.tensor_type.shape.dim.add().dim_value = 1


def _another_vocabulary(model: onnx.ModelProto) -> None:
    model.graph.output[0].type.tensor_type.shape.dim[0].dim_value = 17


def _fixed_length(model: onnx.ModelProto) -> None:
    model.graph.input[1].type.tensor_type.shape.dim[0].dim_value = 1


def _width_left_open(model: onnx.ModelProto) -> None:
    model.graph.input[2].type.tensor_type.shape.dim[2].dim_param = "d"


def _sequence_input(model: onnx.ModelProto) -> None:
    model.graph.input[1].type.CopyFrom(
        helper.make_sequence_type_proto(helper.make_tensor_type_proto(TensorProto.INT64, [None]))
    )


def _weight_is_an_input(model: onnx.ModelProto) -> None:
    model.graph.initializer.append(numpy_helper.from_array(np.zeros(1, np.int64), "tokens"))


def _four_bits(**attributes: object) -> Spoil:
    """The product with `key_weight` in four bits, its attributes changed; `None` takes one away."""

    def spoil(model: onnx.ModelProto) -> None:
        made = quantise({"reason": model}, Precision.INT4).graphs["reason"]
        model.CopyFrom(made)
        node = _product(model)
        kept = [each for each in node.attribute if each.name not in attributes]
        del node.attribute[:]
        node.attribute.extend(kept)
        wanted = {name: value for name, value in attributes.items() if value is not None}
        node.attribute.extend(helper.make_attribute(name, value) for name, value in wanted.items())

    return spoil


def _product(model: onnx.ModelProto) -> onnx.NodeProto:
    found: onnx.NodeProto = next(each for each in model.graph.node if "key_weight.codes" in each.input)
    return found


def _four_bits_then(spoil: Spoil) -> Spoil:
    def both(model: onnx.ModelProto) -> None:
        _four_bits()(model)
        spoil(model)

    return both


def _another_of_its_domain(model: onnx.ModelProto) -> None:
    model.graph.node.append(helper.make_node("Inverse", ["past_key"], ["loose"], domain="com.microsoft"))


def _of_standard_onnx(model: onnx.ModelProto) -> None:
    _product(model).domain = ""


def _two_imports_of_its_domain(model: onnx.ModelProto) -> None:
    model.opset_import.append(helper.make_opsetid("com.microsoft", 1))


def _no_import_of_its_domain(model: onnx.ModelProto) -> None:
    del model.opset_import[1]


def _another_version_of_its_domain(model: onnx.ModelProto) -> None:
    model.opset_import[1].version = 2


def _import_of_a_third_domain(model: onnx.ModelProto) -> None:
    model.opset_import.append(helper.make_opsetid("com.example", 1))


def _codes_of(shape: tuple[int, ...]) -> Spoil:
    def spoil(model: onnx.ModelProto) -> None:
        codes = numpy_helper.from_array(np.zeros(shape, np.uint8), "key_weight.codes")
        _tensor(model, "key_weight.codes").CopyFrom(codes)

    return spoil


def _codes_of_another_type(model: onnx.ModelProto) -> None:
    codes = numpy_helper.from_array(np.zeros((32, 1, 16), np.int8), "key_weight.codes")
    _tensor(model, "key_weight.codes").CopyFrom(codes)


def _scale_that_is_infinite(model: onnx.ModelProto) -> None:
    scales = numpy_helper.from_array(np.full((32, 1), np.inf, np.float32), "key_weight.scale")
    _tensor(model, "key_weight.scale").CopyFrom(scales)


def _too_few_scales(model: onnx.ModelProto) -> None:
    scales = numpy_helper.from_array(np.ones((31, 1), np.float32), "key_weight.scale")
    _tensor(model, "key_weight.scale").CopyFrom(scales)


def _too_many_zero_points(model: onnx.ModelProto) -> None:
    points = numpy_helper.from_array(np.zeros((32, 9), np.uint8), "key_weight.zero_point")
    _tensor(model, "key_weight.zero_point").CopyFrom(points)


def _codes_that_are_computed(model: onnx.ModelProto) -> None:
    model.graph.node.insert(0, helper.make_node("Identity", ["key_weight.codes"], ["computed"]))
    product = next(each for each in model.graph.node if each.op_type == "MatMulNBits")
    product.input[1] = "computed"


def _columns_in_another_order(model: onnx.ModelProto) -> None:
    model.graph.initializer.append(numpy_helper.from_array(np.zeros(32, np.int32), "order"))
    _product(model).input.append("order")


def _two_tensors_of_one_name(model: onnx.ModelProto) -> None:
    model.graph.initializer.append(
        numpy_helper.from_array(np.zeros((32, 1, 16), np.uint8), "key_weight.codes")
    )


def _product_of_another_width(model: onnx.ModelProto) -> None:
    """Consistent in itself, but not with what it is multiplied with."""
    for name, shape, element in (
        ("codes", (32, 2, 16), np.uint8),
        ("scale", (32, 2), np.float32),
        ("zero_point", (32, 1), np.uint8),
    ):
        tensor = numpy_helper.from_array(np.ones(shape, element), f"key_weight.{name}")
        _tensor(model, f"key_weight.{name}").CopyFrom(tensor)
    for attribute in _product(model).attribute:
        if attribute.name == "K":
            attribute.i = 64


_HOSTILE: dict[str, tuple[Spoil, str]] = {
    "weights above its folder": (_outside("../../secret.bin"), "another file"),
    "weights at an absolute path": (_outside("/etc/passwd"), "another file"),
    "weights in a plain file beside it": (_outside("weights.bin"), "another file"),
    "weights here that also name a file": (_mentions_a_file, "another file"),
    "external data in an attribute": (_outside_in_an_attribute, "another file"),
    "operator of a custom domain": (_foreign_operator, "only standard ONNX"),
    "import of the runtime's own domain": (_foreign_import, "only standard ONNX"),
    "operator of a domain not imported": (_foreign_operator_without_import, "only standard ONNX"),
    "function that replaces an operator": (_function, "functions"),
    "training graphs": (_training, "training"),
    "branch": (_branch, "subgraph"),
    "random numbers of its own": (_random, "operator that is not allowed"),
    "operator that does not exist": (_unknown_operator, "operator that is not allowed"),
    "sparse tensor": (_sparse, "sparse"),
    "old opset": (_opset(9), "opset 9"),
    "opset of the future": (_opset(99), "opset 99"),
    "IR version of the future": (_ir(99), "IR version 99"),
    "two opsets": (_two_opsets, "2 opsets"),
    "weight that is not a number": (_weight(float("nan")), "not finite"),
    "weight that is infinite": (_weight(float("inf")), "not finite"),
    "tensor with bytes missing": (_truncated_tensor, "its dimensions need"),
    "tensor in another type's field": (_weight_in_the_field_of_another_type, "another type's field"),
    "tensor stored twice": (_weight_in_two_fields, "stored twice"),
    "tensor that claims terabytes": (_claims_terabytes, "impossible dimensions"),
    "negative dimensions": (_negative_dimension, "impossible dimensions"),
    "text": (_strings, "element type"),
    "float64": (_doubles, "element type"),
    "tensor in segments": (_segment, "segments"),
    "few bytes that blow up": (_blows_up, "would have the shape"),
    "shapes that do not meet": (_shapes_that_do_not_meet, "contradicts itself"),
    "value that nobody wrote": (_reads_what_nobody_wrote, "contradicts itself"),
    "value written twice": (_written_twice, "contradicts itself"),
    "attribute that its operator does not have": (_unknown_attribute, "contradicts itself"),
    "two formats in one file": (_also_in_the_runtimes_format, "own format"),
    "settings for the runtime": (_settings_for_the_runtime, "settings for the runtime"),
    "renamed input": (_renamed_input, "the contract needs"),
    "extra input": (_extra_input, "the contract needs"),
    "missing output": (_missing_output, "the contract needs"),
    "input of another type": (_input_of_another_type, "not a tensor of INT64"),
    "input that is a sequence": (_sequence_input, "not a tensor of INT64"),
    "input of another rank": (_input_of_another_rank, "dimensions"),
    "another vocabulary": (_another_vocabulary, "is 17; 16 is needed"),
    "fixed length": (_fixed_length, "must be free"),
    "width left open": (_width_left_open, "no fixed size"),
    "stored tensor in place of an input": (_weight_is_an_input, "inputs and stored tensors"),
    "four bits with another K": (_four_bits(K=64), r"K 64, N 32 and blocks of 32 need \[32, 2, 16\]"),
    "four bits with another N": (_four_bits(N=1 << 40), "N 1099511627776"),
    "four bits of nothing": (_four_bits(K=0), "multiplies 0 by 32"),
    "four bits with a negative N": (_four_bits(N=-32), "multiplies 32 by -32"),
    "eight bits": (_four_bits(bits=8), "weights of 8 bits; 4 are allowed"),
    "two bits": (_four_bits(bits=2), "weights of 2 bits; 4 are allowed"),
    "four bits in a huge block": (_four_bits(block_size=1 << 30), "blocks of 1073741824"),
    "four bits in blocks of nothing": (_four_bits(block_size=0), "blocks of 0"),
    "four bits in an odd block": (_four_bits(block_size=48), "blocks of 48"),
    "four bits that round activations": (_four_bits(accuracy_level=4), "rounds its activations"),
    "four bits without a K": (_four_bits(K=None), "integers called"),
    "four bits with K as a fraction": (_four_bits(K=32.0), "integers called"),
    "four bits packed for one processor": (_four_bits(weight_prepacked=1), "integers called"),
    "four bits with columns reordered": (_four_bits_then(_columns_in_another_order), "5 inputs"),
    "four bits with codes of another shape": (_four_bits_then(_codes_of((32, 16))), "codes of the shape"),
    "four bits with codes of another type": (_four_bits_then(_codes_of_another_type), "and type 3"),
    "four bits with too few scales": (_four_bits_then(_too_few_scales), "scales of the shape"),
    "four bits with an infinite scale": (_four_bits_then(_scale_that_is_infinite), "not finite"),
    "four bits with too many zero points": (
        _four_bits_then(_too_many_zero_points),
        "zero points of the shape",
    ),
    "four bits of computed codes": (_four_bits_then(_codes_that_are_computed), "codes that are not stored"),
    "four bits of codes stored under one name twice": (
        _four_bits_then(_two_tensors_of_one_name),
        "contradicts itself",
    ),
    "four bits that do not meet their input": (
        _four_bits_then(_product_of_another_width),
        "contradicts itself",
    ),
    "four bits of standard ONNX": (_four_bits_then(_of_standard_onnx), "operator that is not allowed"),
    "another operator of the runtime's domain": (
        _four_bits_then(_another_of_its_domain),
        "of which only MatMulNBits is allowed",
    ),
    "runtime's domain imported twice": (_four_bits_then(_two_imports_of_its_domain), "once, in version 1"),
    "runtime's domain not imported": (_four_bits_then(_no_import_of_its_domain), "once, in version 1"),
    "runtime's domain of the future": (_four_bits_then(_another_version_of_its_domain), "once, in version 1"),
    "a third domain beside the runtime's": (_four_bits_then(_import_of_a_third_domain), "only standard ONNX"),
}


@pytest.mark.parametrize("name", list(_HOSTILE))
def test_a_hostile_graph_is_refused_by_its_own_sentence(name: str) -> None:
    spoil, sentence = _HOSTILE[name]
    model = tiny_graphs()["reason"]
    spoil(model)
    with pytest.raises(ModelNotAllowedError, match=sentence):
        inspect(model.SerializeToString(), GraphRole.REASON, tiny_contract())


@pytest.mark.parametrize("name", list(_HOSTILE))
def test_a_policy_with_a_hostile_graph_is_not_loaded(name: str) -> None:
    graphs = tiny_graphs()
    _HOSTILE[name][0](graphs["reason"])
    with pytest.raises(ModelNotAllowedError):
        load_policy(tiny_release(graphs), threads=1)


@pytest.mark.parametrize("role", list(GraphRole))
def test_the_graphs_that_the_hostile_ones_are_made_of_are_allowed(role: GraphRole) -> None:
    report = inspect(tiny_graphs()[role].SerializeToString(), role, tiny_contract())
    assert report.nodes > 0
    assert report.width in (0, 32)


@pytest.mark.parametrize("role", list(GraphRole))
def test_graphs_in_four_bits_as_we_make_them_are_allowed(role: GraphRole) -> None:
    model = quantise(tiny_graphs(), Precision.INT4).graphs[role]
    report = inspect(model.SerializeToString(), role, tiny_contract())
    assert ("MatMulNBits" in report.operators) == (role is not GraphRole.VISUAL)


@pytest.mark.parametrize(
    "data",
    [b"", b"\x80\x04\x95pickle", b"\xff" * 64, b"{}", b"PK\x03\x04" + bytes(60)],
    ids=["nothing", "pickle", "noise", "json", "zip"],
)
def test_bytes_that_are_no_model_are_refused(data: bytes) -> None:
    with pytest.raises(ModelNotAllowedError):
        inspect(data, GraphRole.VISUAL, tiny_contract())


def test_a_graph_in_another_graphs_place_is_refused() -> None:
    data = tiny_graphs()["action"].SerializeToString()
    with pytest.raises(ModelNotAllowedError, match="the contract needs"):
        inspect(data, GraphRole.REASON, tiny_contract())


def test_a_model_beyond_the_size_bound_is_not_even_parsed() -> None:
    data = tiny_graphs()["reason"].SerializeToString()
    with pytest.raises(ModelNotAllowedError, match="bytes; between"):
        inspect(data, GraphRole.REASON, tiny_contract(), max_bytes=len(data) - 1)


def test_a_truncated_or_flipped_model_is_refused_or_still_allowed_but_never_an_accident() -> None:
    data = tiny_graphs()["reason"].SerializeToString()
    rng = np.random.default_rng(2)
    for _ in range(300):
        spoilt = bytearray(data[: rng.integers(1, len(data) + 1)])
        for place in rng.integers(0, len(spoilt), 4):
            spoilt[place] ^= 1 << int(rng.integers(0, 8))
        try:
            inspect(bytes(spoilt), GraphRole.REASON, tiny_contract())
        except ModelNotAllowedError:
            continue


def test_inspection_opens_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "weights.bin").write_bytes(np.zeros((32, 32), np.float32).tobytes())
    model = tiny_graphs()["reason"]
    _outside("weights.bin")(model)
    with pytest.raises(ModelNotAllowedError, match="another file"):
        inspect(model.SerializeToString(), GraphRole.REASON, tiny_contract())
