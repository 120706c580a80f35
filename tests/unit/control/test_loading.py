"""The real loader of a policy worker, over a small release that is signed and runs."""

import subprocess
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import NoReturn

import msgspec
import pytest

from agent.app.worker import VerifiedLoader
from agent.board.layout import text_from
from agent.board.records import WORKER, Worker, WorkerRecord, WorkerState, worker_board
from agent.board.seqlock import BoardReader
from agent.control.publish import Post
from agent.control.worker import Surroundings, serve
from models.contract import PlantSpec, PolicyContract
from models.digest import Digest
from models.errors import (
    DigestMismatchError,
    GoldenMismatchError,
    MetadataError,
    ModelNotAllowedError,
    RoskvaError,
)
from models.reference.checkpoint import read_checkpoint
from models.reference.export_tflite import export_tflite
from models.release.golden import full_knobs, golden_bytes
from models.release.precision import GraphFormat
from models.runtime.load import RUNTIMES, load_policy
from models.runtime.tflite import TflitePolicy, interpreter_class
from models.runtime.tflite_schema import bytes_from_model
from models.trust.keyset import policy_of
from models.trust.policy import bytes_from_policy
from tests.fakes.build_site import REFERENCE_CHECKPOINT
from tests.fakes.clock import FakeClock
from tests.fakes.repositories import Recipe, Site, make_release
from tests.fakes.tiny_policy import tiny_contract, tiny_graphs, tiny_observation, tiny_release

OTHER = Digest("sha256:" + "ee" * 32)


def release_files(golden_seed: int = 0) -> dict[str, bytes]:
    """The graphs of one policy, and the golden outputs of the policy of `golden_seed`."""
    graphs = {role: model.SerializeToString() for role, model in tiny_graphs().items()}
    judged = load_policy(tiny_release(tiny_graphs(golden_seed)), threads=1)
    return {**graphs, "golden": golden_bytes(judged, [tiny_observation(n) for n in range(2)])}


def tflite_recipe(precision: str = "tflite-int8") -> Recipe:
    """A release of TFLite graphs; its golden outputs are none, for a test that ends before they are read."""
    graphs = {role: bytes_from_model(model) for role, model in export_tflite(REFERENCE_CHECKPOINT).items()}
    contract = read_checkpoint(REFERENCE_CHECKPOINT)[0].contract
    return Recipe(
        files={**graphs, "golden": b"never read"},
        contract=contract,
        precision=precision,
        chunk_bytes=65536,
    )


class Device:
    """A device's root with one release in slot a."""

    def __init__(self, root: Path, recipe: Recipe) -> None:
        self.root, state = root / "device", root / "device/var/lib/roskva"
        site = Site(root)
        self.slot = state / "slots/a"
        self.digest = make_release(self.slot, site.keys, recipe=recipe)
        self.trust_policy = state / "trust/builders.json"
        self.trust_policy.parent.mkdir(parents=True)
        self.trust_policy.write_bytes(bytes_from_policy(policy_of(site.keys)))
        self.run = self.root / "run/roskva"
        self.run.mkdir(parents=True)
        (self.root / "etc/roskva").mkdir(parents=True)
        (self.root / "etc/roskva/agent.toml").write_text('[device]\nid = "d"\nfleet = "f"\n')

    def loader(self, digest: Digest | None = None) -> VerifiedLoader:
        return VerifiedLoader(self.slot, digest or self.digest, self.trust_policy, threads=1)

    def worker(self, contract: PolicyContract, *extra: str) -> tuple[int | None, WorkerRecord]:
        """Run the worker program until it is loaded or ends: its exit status, None where it runs, and its board."""
        plant = PlantSpec(
            "tiny", contract.cameras, contract.ego_history, contract.instructions, contract.action_space
        )
        (self.run / "plant.json").write_bytes(msgspec.json.encode(plant))
        words = ["--root", str(self.root), "--place", "a", "--slot", "a", "--digest", self.digest]
        program = [sys.executable, "-P", "-m", "agent.app.worker", *words, "--epoch", "1", *extra]
        process = subprocess.Popen(program)
        try:
            status = _end_or_loaded(process, self.run / worker_board(Worker.A), bool(extra))
        finally:
            process.terminate()
            process.wait(20)
        return status, _board(self.run / worker_board(Worker.A))

    def serve(self, loader: VerifiedLoader) -> tuple[int, WorkerRecord]:
        """Be the worker with `loader` for a release that it will not load: the exit status, and its board."""

        def connect(contract: PolicyContract) -> NoReturn:
            raise AssertionError(f"the plant was asked to fit {contract.name}")

        around = Surroundings(self.run, FakeClock(), loader, connect, decision_hz=10.0, stopping=lambda: True)
        status = serve(Post(Worker.A, "a", self.digest, epoch=1, pid=1), around)
        return status, _board(self.run / worker_board(Worker.A))


def _end_or_loaded(process: subprocess.Popen[bytes], board: Path, candidate: bool) -> int | None:
    loaded = WorkerState.SHADOW if candidate else WorkerState.READY
    for _ in range(300):
        try:
            return process.wait(0.1)
        except subprocess.TimeoutExpired:
            if board.exists() and _state(board) == loaded:
                return None
    raise AssertionError("the worker neither ends nor has loaded")


def _state(path: Path) -> int:
    with BoardReader(path, WORKER) as reader:
        stamped = reader.read()
    return stamped.record.state if stamped else 0  # made, and nothing written yet


def _board(path: Path) -> WorkerRecord:
    with BoardReader(path, WORKER) as reader:
        stamped = reader.read()
    assert stamped is not None
    return stamped.record


@pytest.fixture(scope="module")
def files() -> dict[str, bytes]:
    return release_files()


def tiny_recipe(files: dict[str, bytes], precision: str = "int8") -> Recipe:
    return Recipe(files=files, contract=tiny_contract(), precision=precision, chunk_bytes=65536)


@pytest.fixture
def device(tmp_path: Path, files: dict[str, bytes]) -> Device:
    return Device(tmp_path, tiny_recipe(files))


def test_a_release_that_holds_is_loaded_and_decides(device: Device) -> None:
    loaded = device.loader().load()
    decision = loaded.policy.decide(tiny_observation(), full_knobs(loaded.policy.contract), seed=1)
    assert decision.release_digest == device.digest
    assert (loaded.version, loaded.precision) == ("1.0.0", "int8")


def test_one_changed_byte_in_a_graph_keeps_it_out_of_the_runtime(device: Device) -> None:
    graph = device.slot / "model/action.onnx"
    data = bytearray(graph.read_bytes())
    data[len(data) // 2] ^= 1
    graph.write_bytes(data)
    with pytest.raises(DigestMismatchError, match="action"):
        device.loader().load()


def test_another_release_than_the_ordered_one_is_not_loaded(device: Device) -> None:
    with pytest.raises(DigestMismatchError):
        device.loader(OTHER).load()


def test_without_an_admitted_trust_policy_nothing_is_loaded(device: Device) -> None:
    device.trust_policy.unlink()
    with pytest.raises(MetadataError, match=r"builders\.json"):
        device.loader().load()


def test_a_trust_policy_that_knows_other_builders_loads_nothing(device: Device, tmp_path: Path) -> None:
    stranger = Site(tmp_path / "elsewhere")
    device.trust_policy.write_bytes(bytes_from_policy(policy_of(stranger.keys)))
    with pytest.raises(RoskvaError) as refusal:
        device.loader().load()
    assert refusal.value.exit_code == 4


def test_a_policy_that_does_not_reproduce_its_golden_outputs_here_is_refused(tmp_path: Path) -> None:
    with pytest.raises(GoldenMismatchError):
        Device(tmp_path, tiny_recipe(release_files(golden_seed=1))).loader().load()


def test_onnx_graphs_that_are_signed_as_tflite_are_refused_by_inspection(
    tmp_path: Path, files: dict[str, bytes]
) -> None:
    with pytest.raises(ModelNotAllowedError, match="visual graph: its identifier is"):
        Device(tmp_path, tiny_recipe(files, "tflite-int8")).loader().load()


def test_tflite_graphs_that_are_signed_as_int8_are_refused_by_inspection(tmp_path: Path) -> None:
    with pytest.raises(ModelNotAllowedError, match=r"visual graph: (not an ONNX model|IR version)"):
        Device(tmp_path, tflite_recipe("int8")).loader().load()


def test_without_a_tflite_interpreter_the_worker_tells_a_refusal_and_what_to_install(tmp_path: Path) -> None:
    bare = Device(tmp_path, tflite_recipe())
    missing = partial(TflitePolicy, interpreter=lambda: interpreter_class(("no_such_package.interpreter",)))
    runtimes = {**RUNTIMES, GraphFormat.TFLITE: replace(RUNTIMES[GraphFormat.TFLITE], open=missing)}
    loader = replace(bare.loader(), open_release=partial(load_policy, runtimes=runtimes))
    status, board = bare.serve(loader)
    assert (status, board.state) == (3, WorkerState.REFUSED)
    assert text_from(board.reason) == "runtime-missing"
    assert "install ai-edge-litert" in text_from(board.detail)


def test_the_worker_program_is_ready_with_a_release_that_holds(device: Device) -> None:
    status, board = device.worker(tiny_contract())
    assert status is None
    assert (board.state, text_from(board.version)) == (WorkerState.READY, "1.0.0")


def test_a_release_that_holds_loads_within_what_a_candidate_may_take_and_waits_to_be_admitted(
    device: Device,
) -> None:
    status, board = device.worker(tiny_contract(), "--candidate")
    assert status is None
    assert (board.state, text_from(board.version)) == (WorkerState.SHADOW, "1.0.0")


def test_the_worker_program_says_why_it_refuses_and_ends_with_that_status(device: Device) -> None:
    (device.slot / "planted.txt").write_text("hello")
    status, board = device.worker(tiny_contract())
    assert status == 4
    assert board.state == WorkerState.REFUSED
    assert "planted.txt" in text_from(board.detail)


def test_the_worker_program_refuses_a_plant_that_lacks_a_camera(device: Device) -> None:
    blind = msgspec.structs.replace(tiny_contract(), cameras=())
    status, board = device.worker(blind)
    assert (status, text_from(board.reason)) == (3, "contract-mismatch")
