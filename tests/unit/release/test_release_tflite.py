"""A release in TFLite int8, from the reference checkpoint to a policy as a device loads it."""

from dataclasses import replace

import numpy as np
import onnx
import pytest

from models.errors import ConfigurationError
from models.lineage.claim import ParentRole, QuantiseParameters, Step
from models.quantise.apply import Precision, quantise
from models.quantise.report import QuantisationReport
from models.reference.export import export_graphs
from models.reference.tflite_graph import GraphBuilder, Store
from models.release import golden
from models.release.build import BuiltRelease, build
from models.release.family import UnknownFamilyError, family_of
from models.release.graphs import Material, check_makeable, make_graphs
from models.release.precision import ReleasePrecision, format_of
from models.release.tflite_report import TfliteExport, report_on
from models.release.verify import verify
from models.runtime.load import load_policy
from models.runtime.tflite import TflitePolicy, interpreter_class, interpreter_package
from models.runtime.tflite_schema import Element, Subgraph
from models.trust.keyset import policy_of
from models.trust.oms import sign
from tests.fakes.build_site import REFERENCE_CHECKPOINT, BuildSite, files_below, make_build_site


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> BuildSite:
    return make_build_site(tmp_path_factory.mktemp("site"))


@pytest.fixture(scope="module")
def built(site: BuildSite, tmp_path_factory: pytest.TempPathFactory) -> BuiltRelease:
    try:
        interpreter_class()
    except ConfigurationError as error:
        pytest.skip(str(error))
    out = tmp_path_factory.mktemp("releases") / "built"
    made = build(site.request(out, ReleasePrecision.TFLITE_INT8))
    sign(made.directory, site.keys.private_key("publisher"))
    return made


@pytest.fixture(scope="module")
def floats() -> dict[str, onnx.ModelProto]:
    return export_graphs(REFERENCE_CHECKPOINT)


@pytest.fixture(scope="module")
def material(floats: dict[str, onnx.ModelProto]) -> Material:
    return Material(family_of(REFERENCE_CHECKPOINT), REFERENCE_CHECKPOINT, floats)


def test_a_tflite_release_verifies_loads_into_tflite_and_reproduces_its_golden_outputs(
    built: BuiltRelease, site: BuildSite
) -> None:
    with verify(built.directory, built.digest, policy_of(site.keys)) as release:
        policy = load_policy(release, threads=1)
        golden.check(policy, release)
        assert isinstance(policy, TflitePolicy)
        assert policy.release_digest == built.digest


def test_a_tflite_release_holds_tflite_graphs_in_the_same_roles_and_no_others(built: BuiltRelease) -> None:
    graphs = {f"model/{role}.tflite" for role in ("visual", "reason", "action")}
    others = {"release.json", "model.oms.sig", "claims.jsonl", "golden.safetensors"}
    assert files_below(built.directory) == graphs | others
    assert {built.manifest.file_of(role).path for role in ("visual", "reason", "action")} == graphs
    assert built.manifest.precision == "tflite-int8"


def test_the_claims_lead_from_tflite_graphs_over_float32_ones_to_the_checkpoint(
    built: BuiltRelease, site: BuildSite
) -> None:
    claims = [item.claim for item in site.chain(built).claims]
    assert [claim.step for claim in claims] == [Step.BUNDLE, Step.QUANTISE, Step.CONVERT, Step.PRETRAIN]
    assert [claim.subject_name for claim in claims[1:3]] == ["graphs in tflite-int8", "graphs in float32"]
    assert claims[-1].subject_digest == built.manifest.checkpoint_digest


def test_the_quantise_claim_of_a_tflite_release_says_what_it_did_with_what_and_what_that_cost(
    built: BuiltRelease, site: BuildSite
) -> None:
    claim = site.chain(built).claims[1].claim
    assert isinstance(claim.parameters, QuantiseParameters)
    assert (claim.parameters.scheme, claim.parameters.calibration_samples) == ("tflite-int8", None)
    assert set(claim.parameters.excluded) == {
        f"{layer.graph}/{layer.weight}" for layer in built.report.left_alone
    }
    assert ParentRole.CALIBRATION not in {parent.role for parent in claim.parents}
    assert {"roskva-quantise", "onnxruntime", interpreter_package()} <= {
        tool.name for tool in claim.internal.tools
    }
    figures = {each.name: each.value for each in claim.internal.measurements}
    assert 0 < figures["worst_relative_weight_error"] < 0.02
    assert 0 < figures["plan_mean_difference_acceleration_mps2"] < 0.02
    assert figures["token_agreement"] > 0.9
    assert figures["bytes_after"] < figures["bytes_before"] * 0.36
    assert figures["bytes_after"] == sum(
        built.manifest.file_of(role).size_bytes for role in ("visual", "reason", "action")
    )


def test_tflite_int8_weights_are_off_by_what_uncalibrated_onnx_int8_weights_are(
    material: Material, floats: dict[str, onnx.ModelProto]
) -> None:
    """The same arithmetic on the same weights, read from two kinds of file: a report that read wrongly would differ."""
    ours = make_graphs(ReleasePrecision.TFLITE_INT8, material).report
    theirs = quantise(floats, Precision.INT8).report
    assert _errors(ours) == pytest.approx(_errors(theirs), rel=1e-6)
    assert _left(ours) == _left(theirs) != set()


def _errors(report: QuantisationReport) -> dict[str, float]:
    return {f"{layer.graph}/{layer.weight}": layer.relative_error for layer in report.quantised}


def _left(report: QuantisationReport) -> set[str]:
    return {f"{layer.graph}/{layer.weight}" for layer in report.left_alone}


def test_every_weight_that_tflite_graphs_leave_alone_has_its_reason(material: Material) -> None:
    left = make_graphs(ReleasePrecision.TFLITE_INT8, material).report.left_alone
    reasons = {layer.weight: layer.left_alone for layer in left}
    assert reasons["words.weight"] == "read by GATHER"
    assert reasons["action_places"] == "read by ADD"
    assert set(reasons.values()) == {"read by GATHER", "read by ADD"}


def test_a_matrix_of_few_weights_is_left_alone_and_one_that_two_subgraphs_share_counts_once() -> None:
    rng = np.random.default_rng(0)
    sizes = {"small": (4, 64), "large": (64, 4), "larger": (64, 64)}
    weights = {f"{name}.weight": rng.normal(size=shape).astype(np.float32) for name, shape in sizes.items()}
    weights |= {f"{name}.bias": np.zeros(shape[0], np.float32) for name, shape in sizes.items()}
    store = Store(weights, heads=1)
    model = store.model(*(_line_of_layers(name, store) for name in ("prefill", "step")))
    report = report_on(TfliteExport({"reason": model}, weights), 10, 5)
    assert [(layer.weight, layer.left_alone) for layer in report.layers] == [
        ("small.weight", "fewer than 1024 weights"),
        ("large.weight", "fewer than 1024 weights"),
        ("larger.weight", ""),
    ]


def _line_of_layers(name: str, store: Store) -> Subgraph:
    graph = GraphBuilder(name, store)
    value = graph.input("x", Element.FLOAT32, 1, 64)
    for layer in ("small", "large", "larger"):
        value = graph.linear(layer, value)
    return graph.subgraph(value)


@pytest.mark.parametrize("precision", list(ReleasePrecision))
def test_every_precision_makes_graphs_of_the_format_that_its_name_promises(
    precision: ReleasePrecision, material: Material
) -> None:
    made = make_graphs(precision, material)
    assert made.files.format is format_of(precision)
    assert made.report.precision == precision
    starts = {content[4:8] == b"TFL3" for content in made.files.contents.values()}
    assert starts == {precision is ReleasePrecision.TFLITE_INT8}


def test_a_family_that_nothing_exports_to_tflite_is_refused_for_tflite_alone() -> None:
    family = replace(family_of(REFERENCE_CHECKPOINT), tflite=None)
    check_makeable(family, ReleasePrecision.INT8)
    with pytest.raises(UnknownFamilyError, match="roskva-reference"):
        check_makeable(family, ReleasePrecision.TFLITE_INT8)


def test_the_tflite_graphs_of_a_checkpoint_are_the_same_bytes_each_time(
    built: BuiltRelease, material: Material
) -> None:
    again = make_graphs(ReleasePrecision.TFLITE_INT8, material).files.by_path()
    assert {path: (built.directory / path).read_bytes() for path in again} == again
