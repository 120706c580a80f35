"""Which runtime opens a release: the one its precision names, after inspection, and a plain refusal without one."""

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import pytest

from models import reference
from models.contract import PolicyContract
from models.errors import ConfigurationError, ModelNotAllowedError
from models.reference.checkpoint import read_checkpoint
from models.reference.export_tflite import export_tflite
from models.release.precision import GraphFormat, ReleasePrecision
from models.runtime.load import RUNTIMES, Runtime, RuntimeMissingError, check_runtime, load_policy
from models.runtime.onnx import OnnxPolicy
from models.runtime.signature import GraphRole
from models.runtime.tflite import TflitePolicy, interpreter_class
from models.runtime.tflite_schema import bytes_from_model
from tests.fakes.tiny_policy import MemoryRelease, tiny_contract, tiny_graphs, tiny_release

CHECKPOINT = Path(next(iter(reference.__path__))) / "checkpoint"
CONTRACT = read_checkpoint(CHECKPOINT)[0].contract
ONNX = {str(role): model.SerializeToString() for role, model in tiny_graphs().items()}
_IN_ONNX = [each for each in ReleasePrecision if each is not ReleasePrecision.TFLITE_INT8]


@pytest.fixture(scope="module")
def tflite() -> dict[str, bytes]:
    return {role: bytes_from_model(model) for role, model in export_tflite(CHECKPOINT).items()}


def release(precision: str, contents: dict[str, bytes], contract: PolicyContract) -> MemoryRelease:
    tiny = tiny_release()
    manifest = msgspec.structs.replace(tiny.manifest, precision=precision, contract=contract)
    return MemoryRelease(tiny.digest, manifest, contents)


def never_asked() -> Any:
    raise AssertionError("an interpreter was asked for")


def not_installed() -> Any:
    return interpreter_class(("no_such_package.interpreter",))


def with_tflite(interpreter: Any) -> dict[GraphFormat, Runtime]:
    """The runtimes of a device whose TFLite interpreter is this one."""
    opened = partial(TflitePolicy, interpreter=interpreter)
    return {**RUNTIMES, GraphFormat.TFLITE: replace(RUNTIMES[GraphFormat.TFLITE], open=opened)}


@pytest.mark.parametrize("precision", [*_IN_ONNX, "fp6", "TFLite-int8", ""])
def test_a_precision_that_is_not_tflite_is_opened_as_onnx_whatever_it_is_called(precision: str) -> None:
    assert isinstance(load_policy(release(precision, ONNX, tiny_contract()), threads=1), OnnxPolicy)


def test_tflite_int8_is_opened_in_tflite(tflite: dict[str, bytes]) -> None:
    try:
        interpreter_class()
    except ConfigurationError as error:
        pytest.skip(str(error))
    policy = load_policy(release("tflite-int8", tflite, CONTRACT), threads=1)
    assert isinstance(policy, TflitePolicy)
    assert policy.contract == CONTRACT


@pytest.mark.parametrize("liar", list(GraphRole))
def test_one_onnx_graph_under_tflite_int8_is_refused_before_an_interpreter_is_asked_for(
    liar: GraphRole, tflite: dict[str, bytes]
) -> None:
    lying = release("tflite-int8", {**tflite, liar: ONNX[liar]}, CONTRACT)
    with pytest.raises(ModelNotAllowedError, match=f"{liar} graph: its identifier is"):
        load_policy(lying, 1, with_tflite(never_asked))


@pytest.mark.parametrize("precision", _IN_ONNX)
@pytest.mark.parametrize("liar", list(GraphRole))
def test_one_tflite_graph_under_an_onnx_precision_is_refused_by_inspection(
    liar: GraphRole, precision: ReleasePrecision, tflite: dict[str, bytes]
) -> None:
    """Not by ONNX Runtime, whose refusals say that it does not open a graph."""
    lying = release(precision, {**ONNX, liar: tflite[liar]}, tiny_contract())
    with pytest.raises(ModelNotAllowedError, match=rf"{liar} graph: (not an ONNX model|IR version)"):
        load_policy(lying, threads=1)


def test_without_an_interpreter_a_tflite_release_is_refused_with_what_to_install(
    tflite: dict[str, bytes],
) -> None:
    with pytest.raises(RuntimeMissingError, match="install ai-edge-litert") as refusal:
        load_policy(release("tflite-int8", tflite, CONTRACT), 1, with_tflite(not_installed))
    assert (refusal.value.code, refusal.value.exit_code) == ("runtime-missing", 3)


def test_without_an_interpreter_a_graph_that_is_not_allowed_is_still_refused_as_such(
    tflite: dict[str, bytes],
) -> None:
    lying = release("tflite-int8", {**tflite, "action": ONNX["action"]}, CONTRACT)
    with pytest.raises(ModelNotAllowedError, match="action graph"):
        load_policy(lying, 1, with_tflite(not_installed))


def test_a_device_without_an_interpreter_runs_its_onnx_releases() -> None:
    opened = load_policy(release("int8", ONNX, tiny_contract()), 1, with_tflite(not_installed))
    assert isinstance(opened, OnnxPolicy)


def test_a_device_can_tell_what_it_lacks_before_anything_is_loaded() -> None:
    check_runtime("int8")
    lacking = replace(RUNTIMES[GraphFormat.TFLITE], packages=lambda: ("no_such_package", "nor_this"))
    runtimes = {**RUNTIMES, GraphFormat.TFLITE: lacking}
    check_runtime("nvfp4", runtimes)
    with pytest.raises(RuntimeMissingError, match="install no-such-package or nor-this"):
        check_runtime("tflite-int8", runtimes)
