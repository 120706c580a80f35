"""Building a release of the reference checkpoint: what comes out holds, and what goes wrong leaves nothing."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import typer
from safetensors.numpy import load_file, save_file
from typer.testing import CliRunner, Result

from fleet.cli import release_build
from models.digest import digest_of
from models.errors import (
    ClaimError,
    ConfigurationError,
    HostileNameError,
    ModelNotAllowedError,
    RefusedError,
    UnknownObjectError,
    UsageError,
)
from models.lineage.claim import ParentRole, QuantiseParameters, Step, sign_claim
from models.lineage.record import SiteFacts, record_checkpoint
from models.quantise.calibrate import observations_digest
from models.release import golden
from models.release.build import (
    CALIBRATION_CASES,
    COMPARED_CASES,
    BuildStep,
    BuiltRelease,
    build,
)
from models.release.family import family_of
from models.release.manifest import manifest_from_bytes
from models.release.precision import ReleasePrecision
from models.release.verify import verify
from models.runtime.load import load_policy
from models.trust.keyset import KeyDirectory, policy_of
from models.trust.oms import sign
from tests.fakes.build_site import BuildSite, files_below, make_build_site

_FILES = {
    "release.json",
    "claims.jsonl",
    "golden.safetensors",
    "model/visual.onnx",
    "model/reason.onnx",
    "model/action.onnx",
}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("site")


@pytest.fixture(scope="module")
def site(place: Path) -> BuildSite:
    return make_build_site(place)


@pytest.fixture(scope="module")
def built(site: BuildSite, place: Path) -> BuiltRelease:
    return build(site.request(place / "releases" / "built"))


@pytest.fixture
def spoilt(site: BuildSite, tmp_path: Path) -> BuildSite:
    """A site whose checkpoint a test may change."""
    shutil.copytree(site.checkpoint, tmp_path / "checkpoint")
    return replace(site, checkpoint=tmp_path / "checkpoint")


def test_a_built_and_signed_release_verifies_loads_and_reproduces_its_golden_outputs(
    built: BuiltRelease, site: BuildSite, tmp_path: Path
) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(built.directory, copy)
    sign(copy, site.keys.private_key("publisher"))
    with verify(copy, built.digest, policy_of(site.keys)) as release:
        policy = load_policy(release, threads=1)
        golden.check(policy, release)
        assert policy.release_digest == built.digest


def test_a_release_holds_its_files_and_nothing_else(built: BuiltRelease) -> None:
    assert files_below(built.directory) == _FILES
    assert digest_of((built.directory / "release.json").read_bytes()) == built.digest
    assert [path.name for path in built.directory.parent.iterdir()] == [built.directory.name]


def test_the_claims_lead_from_the_model_files_to_the_checkpoint(built: BuiltRelease, site: BuildSite) -> None:
    chain = site.chain(built)
    assert [item.claim.step for item in chain.claims] == [
        Step.BUNDLE,
        Step.QUANTISE,
        Step.CONVERT,
        Step.PRETRAIN,
    ]
    assert chain.claims[-1].claim.subject_digest == built.manifest.checkpoint_digest
    assert tuple(sorted(chain.ancestors)) == built.manifest.ancestors


def test_the_quantise_claim_says_what_was_left_alone_and_what_it_cost(
    built: BuiltRelease, site: BuildSite
) -> None:
    claim = site.chain(built).claims[1].claim
    assert isinstance(claim.parameters, QuantiseParameters)
    assert claim.parameters.scheme == "nvfp4"
    assert claim.parameters.group_size == 16
    assert len(claim.parameters.excluded) == len(built.report.left_alone) > 0
    figures = {each.name: each.value for each in claim.internal.measurements}
    assert 0 < figures["worst_relative_weight_error"] < 0.15
    assert 0 < figures["plan_mean_difference_acceleration_mps2"] < 1
    assert figures["bytes_after"] < figures["bytes_before"] / 4


def test_the_quantise_claim_names_the_calibration_set_and_none_of_what_is_compared_on(
    built: BuiltRelease, site: BuildSite
) -> None:
    chain = site.chain(built)
    claim, used = chain.claims[1].claim, built.report.calibration
    assert isinstance(claim.parameters, QuantiseParameters)
    family = family_of(site.checkpoint)
    observations = family.observe(built.manifest.contract, COMPARED_CASES + CALIBRATION_CASES)
    assert used is not None
    assert used.digest == observations_digest(observations[COMPARED_CASES:])
    assert claim.parameters.calibration_samples == used.observations == CALIBRATION_CASES
    assert {each.digest for each in claim.parents if each.role is ParentRole.CALIBRATION} == {used.digest}
    assert used.digest in chain.ancestors
    assert ("roskva-quantise", "2") in {(tool.name, tool.version) for tool in claim.internal.tools}


def test_an_int4_release_verifies_and_says_that_it_is_not_calibrated(site: BuildSite, tmp_path: Path) -> None:
    built = build(site.request(tmp_path / "int4", ReleasePrecision.INT4))
    sign(built.directory, site.keys.private_key("publisher"))
    with verify(built.directory, built.digest, policy_of(site.keys)) as release:
        golden.check(load_policy(release, threads=1), release)
    claim = site.chain(built).claims[1].claim
    assert isinstance(claim.parameters, QuantiseParameters)
    assert (claim.parameters.scheme, claim.parameters.group_size) == ("int4", 32)
    assert claim.parameters.calibration_samples is None
    assert ParentRole.CALIBRATION not in {each.role for each in claim.parents}
    assert "no calibration set" in built.report.rounding
    assert built.report.bytes_after < built.report.bytes_before / 4


def test_a_float32_release_claims_no_quantisation(site: BuildSite, tmp_path: Path) -> None:
    built = build(site.request(tmp_path / "float", ReleasePrecision.FLOAT32))
    assert Step.QUANTISE not in {item.claim.step for item in site.chain(built).claims}


def test_building_again_gives_the_same_model_files(
    built: BuiltRelease, site: BuildSite, tmp_path: Path
) -> None:
    again = build(site.request(tmp_path / "again"))
    for name in _FILES - {"claims.jsonl", "release.json"}:
        assert (again.directory / name).read_bytes() == (built.directory / name).read_bytes(), name
    assert again.manifest.ancestors == built.manifest.ancestors
    assert again.manifest.model_digest == built.manifest.model_digest


def test_each_step_is_told_as_it_begins(site: BuildSite, tmp_path: Path) -> None:
    told: list[BuildStep] = []
    build(site.request(tmp_path / "told", ReleasePrecision.INT8), told.append)
    assert told == list(BuildStep)


def test_a_checkpoint_that_its_claim_does_not_describe_is_refused(
    spoilt: BuildSite, site: BuildSite, tmp_path: Path
) -> None:
    request = replace(spoilt.request(tmp_path / "out"), checkpoint_claim=site.claim())
    (spoilt.checkpoint / "README.md").write_text("another card\n")
    with pytest.raises(ClaimError, match="not of this checkpoint"):
        build(request)
    assert not (tmp_path / "out").exists()


def test_a_claim_by_a_builder_who_may_not_train_is_refused(site: BuildSite, tmp_path: Path) -> None:
    recorded = record_checkpoint(site.checkpoint, SiteFacts("2026-11-23T10:00:00Z", "test-run"))
    forged = sign_claim(recorded.claim, site.keys.private_key("builder-bundler"), "bundler")
    with pytest.raises(ClaimError):
        build(replace(site.request(tmp_path / "out"), checkpoint_claim=forged))


def test_a_family_that_nothing_can_export_is_refused_with_the_families_that_can(
    spoilt: BuildSite, tmp_path: Path
) -> None:
    (spoilt.checkpoint / "config.json").write_text('{"model_type": "alpamayo"}')
    with pytest.raises(RefusedError, match=r"'alpamayo'.*roskva-reference"):
        build(spoilt.request(tmp_path / "out"))


def test_a_folder_without_a_configuration_is_no_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"config\.json"):
        family_of(tmp_path)


def test_weights_that_are_not_numbers_make_no_release(spoilt: BuildSite, tmp_path: Path) -> None:
    path = spoilt.checkpoint / "model.safetensors"
    weights = load_file(path)
    name = next(name for name, value in weights.items() if value.ndim == 2)
    weights[name] = np.full_like(weights[name], np.nan)
    save_file(weights, path)
    with pytest.raises(ModelNotAllowedError, match="not finite"):
        build(spoilt.request(tmp_path / "out", ReleasePrecision.FLOAT32))
    assert not (tmp_path / "out").exists()


def test_an_existing_folder_is_never_overwritten(site: BuildSite, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    with pytest.raises(UsageError, match="never overwritten"):
        build(site.request(tmp_path / "out"))
    assert list((tmp_path / "out").iterdir()) == []


def test_a_build_that_fails_at_its_last_step_leaves_nothing_behind(site: BuildSite, tmp_path: Path) -> None:
    def told(step: BuildStep) -> None:
        if step is BuildStep.WRITE:
            (tmp_path / "releases" / "out").mkdir(parents=True)
            (tmp_path / "releases" / "out" / "in the way").touch()

    with pytest.raises(OSError, match="not empty"):
        build(site.request(tmp_path / "releases" / "out", ReleasePrecision.INT8), told)
    assert [path.name for path in (tmp_path / "releases").iterdir()] == ["out"]


@pytest.mark.parametrize("names", [{"name": "a/b"}, {"version": "1/2"}, {"name": ".."}])
def test_a_name_that_no_repository_could_publish_is_refused_first(
    site: BuildSite, tmp_path: Path, names: dict[str, str]
) -> None:
    with pytest.raises(HostileNameError):
        build(replace(site.request(tmp_path / "out"), **names))  # type: ignore[arg-type]


def test_missing_keys_are_named(site: BuildSite, tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    shutil.copytree(site.keys.path, keys)
    (keys / "builder-bundler.pem").unlink()
    with pytest.raises(UnknownObjectError, match="builder-bundler"):
        build(replace(site.request(tmp_path / "out"), keys=KeyDirectory(keys)))
    assert not (tmp_path / "out").exists()


def _command(site: BuildSite, folder: Path, *more: str) -> Result:
    app = typer.Typer()
    app.command()(release_build.build)
    (folder / "claim").write_bytes(site.claim())
    options = {
        "--claim": folder / "claim",
        "--precision": "nvfp4",
        "--name": "pilot",
        "--version": "2",
        "--counter": "2",
        "--keys": site.keys.path,
        "--out": folder / "out",
    }
    words = [str(word) for pair in options.items() for word in pair]
    return CliRunner().invoke(app, [str(site.checkpoint), *words, *more])


def test_the_command_writes_the_release_that_it_reports(site: BuildSite, tmp_path: Path) -> None:
    answer = json.loads(_command(site, tmp_path, "--json").stdout)
    assert answer["release_digest"] == digest_of((tmp_path / "out" / "release.json").read_bytes())
    assert answer["quantisation"]["precision"] == "nvfp4"
    assert answer["quantisation"]["difference"]["token_agreement"] > 0.5


def test_the_command_tells_people_what_quantisation_cost_and_left_alone(
    site: BuildSite, tmp_path: Path
) -> None:
    shown = _command(site, tmp_path).stdout
    for expected in ("model/action.onnx", "acceleration_mps2", "waypoints.weight (output head", "not signed"):
        assert expected in shown


@pytest.mark.parametrize("precision", list(ReleasePrecision))
def test_the_command_knows_every_precision_by_the_name_that_the_manifest_has(
    site: BuildSite, tmp_path: Path, precision: ReleasePrecision
) -> None:
    (tmp_path / "out").mkdir()
    result = _command(site, tmp_path, "--precision", str(precision))
    assert isinstance(result.exception, UsageError)  # about the folder: the word itself was understood
    assert "never overwritten" in str(result.exception)


def test_limits_from_a_file_are_what_the_release_promises(site: BuildSite, tmp_path: Path) -> None:
    limits = {
        "decision_p99_ms": 120.0,
        "max_speed_mps": 5.0,
        "max_lateral_mps2": 2.0,
        "max_jerk_mps3": 10.0,
        "golden_tolerance_acceleration_mps2": 0.1,
        "golden_tolerance_curvature_per_m": 0.001,
        "validated_envelope_w": [40.0, 70.0],
    }
    (tmp_path / "limits.json").write_text(json.dumps(limits))
    assert _command(site, tmp_path, "--limits", str(tmp_path / "limits.json")).exit_code == 0
    manifest, _ = manifest_from_bytes((tmp_path / "out" / "release.json").read_bytes())
    assert manifest.limits.max_speed_mps == 5.0


def test_a_promise_of_energy_stands_beside_the_limits_of_the_family(site: BuildSite, tmp_path: Path) -> None:
    assert _command(site, tmp_path, "--max-joules-per-decision", "9.5").exit_code == 0
    manifest, _ = manifest_from_bytes((tmp_path / "out" / "release.json").read_bytes())
    assert (manifest.limits.max_joules_per_decision, manifest.limits.decision_p99_ms) == (9.5, 250.0)


def test_limits_with_a_word_too_many_are_refused(site: BuildSite, tmp_path: Path) -> None:
    (tmp_path / "limits.json").write_text('{"max_speed": 5.0}')
    result = _command(site, tmp_path, "--limits", str(tmp_path / "limits.json"))
    assert isinstance(result.exception, ConfigurationError)
    assert not (tmp_path / "out").exists()
