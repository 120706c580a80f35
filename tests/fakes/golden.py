"""Writes the entries of `tests/golden`: a release, a message of each kind, the layouts of the boards, contracts.

Owns: what the examples say. A file that exists is never written again; `tests/golden/README.md` says why.
"""

import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import msgspec

from agent.board import change, records
from agent.board.layout import Layout
from agent.board.records import ACTUATION, ActuationRecord
from agent.board.seqlock import BoardWriter
from models.contract import PolicyContract, SamplingSpec
from models.digest import digest_of
from models.release.golden import golden_bytes
from models.runtime.simulated import SimulatedPolicy
from models.trust.keyset import init_development_keys
from models.wire import messages as m
from tests.fakes.alpamayo_contract import alpamayo_contract, arm_contract
from tests.fakes.repositories import Recipe, make_release, small_contract, small_files
from tests.fakes.tiny_policy import tiny_observation

ENTRIES = Path(__file__).parents[1] / "golden/entries"
BOARD_RECORD = ActuationRecord(10_000_042, 123_456, -1.5, 0.02)
BOARD_MONO_NS = 987_654_321
_DIGEST = digest_of(b"a release")
_BOOT = "11111111-2222-3333-4444-555555555555"


class LayoutLine(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A layout, and the fingerprint that its files carry."""

    name: str
    fields: tuple[str, ...]
    format: str
    fingerprint: int


def layouts() -> tuple[Layout[ActuationRecord], ...]:
    """Every layout in use, in the order of their module."""
    named = (*vars(records).values(), *vars(change).values())
    return tuple(value for value in named if isinstance(value, Layout))


def line_of(layout: Layout[ActuationRecord]) -> LayoutLine:
    """What is kept of `layout`."""
    return LayoutLine(layout.name, layout.kind._fields, layout.fields, layout.fingerprint)


def contracts() -> dict[str, PolicyContract]:
    """A contract of each form: nothing stated but what the first release had, sampling stated, joints, several plans."""
    six = msgspec.structs.replace(small_contract(), sampling=SamplingSpec(0.0, 1.0, 6))
    return {
        "small": small_contract(),
        "alpamayo-1.5": alpamayo_contract(),
        "left-arm": arm_contract(),
        "six-plans": six,
    }


def contract_bytes(contract: PolicyContract) -> bytes:
    """`contract` as it stands in `release.json`."""
    return msgspec.json.encode(contract, order="sorted")


def simulated_policy() -> SimulatedPolicy:
    """The policy whose decisions the golden release carries."""
    return SimulatedPolicy(small_contract(), _DIGEST)


def examples() -> Iterator[tuple[str, m.Message]]:
    """(file name without its suffix, message): one a kind, and one for each thing that a request may ask for."""
    yield "Connection", m.Connection(m.ConnectionKind.BROKEN, _BOOT, "thor-t5000", "0.1.0")
    yield "UpdateStatus", _update()
    yield "LoopFigures", _loop()
    yield "PowerFigures", _power()
    yield "PolicyFigures", _policy()
    yield (
        "DeviceState",
        m.DeviceState(
            1_764_000_000_000_000_000,
            _BOOT,
            "thor-t5000",
            _DIGEST,
            "",
            True,
            _update(),
            _loop(),
            _power(),
            _policy(),
        ),
    )
    yield (
        "DeviceState.silent",
        m.DeviceState(
            1, _BOOT, "thor-t5000", "", "", False, m.UpdateStatus(m.UpdatePhase.IDLE), None, None, None
        ),
    )
    yield (
        "DeviceState.emulated",
        m.DeviceState(1, _BOOT, "thor-t5000", "", "", False, _update(), None, _power(), None, emulated=True),
    )
    yield "DeviceState.envelope", _state_with_all()
    yield "HostFigures", _host()
    yield "HostFigures.gpu", msgspec.structs.replace(_host(), gpu_share=0.875)
    yield "LoopFigures.odometer", msgspec.structs.replace(_loop(), odometer_m=1234.5)
    yield "PowerFigures.energy", _energy()
    yield "PowerFigures.mode", msgspec.structs.replace(_energy(), power_mode="120W")
    yield "EnvelopeOrder", m.EnvelopeOrder(1_764_000_003_000_000_000, 62.5, 1_764_003_603_000_000_000)
    yield "EnvelopeOrder.withdrawn", m.EnvelopeOrder(1_764_000_004_000_000_000, None)
    yield "DecisionRecord", _decision()
    yield "DecisionRecord.six-plans", msgspec.structs.replace(_decision(), plan_samples=6)
    yield "EventRecord", _event()
    yield (
        "TelemetryBatch",
        m.TelemetryBatch(
            _BOOT, 42, 1_764_000_001_000_000_000, (_decision(),), (_event(),), _loop(), _power(), 3
        ),
    )
    yield "TelemetryBatch.empty", m.TelemetryBatch(_BOOT, 43, 1_764_000_002_000_000_000)
    yield "BatchAck", m.BatchAck(_BOOT, 42)
    yield "ReleaseOffer", m.ReleaseOffer(_DIGEST, "nightly")
    yield from _requests()
    yield "Refusal", m.Refusal(m.RefusalCode.UNKNOWN, "no such metadata")


def _requests() -> Iterator[tuple[str, m.Message]]:
    metadata = m.MetadataRequest(m.Repository.DIRECTOR, "2.root.json")
    target = m.TargetRequest("policy/0a1b.builders.json")
    piece = m.RangeRequest(_DIGEST, 65536, 1 << 20)
    for ask in (metadata, target, piece):
        yield type(ask).__name__, ask
        yield f"ContentRequest.{type(ask).__struct_config__.tag}", m.ContentRequest("q.7", ask)


def _update() -> m.UpdateStatus:
    return m.UpdateStatus(m.UpdatePhase.TRIAL, _DIGEST, 10, 20, "digest-mismatch", "a “quoted” detail – ü")


def _loop() -> m.LoopFigures:
    return m.LoopFigures(
        "driving", 6000, 0, 40_000, 90_000, 400_000, 2, 8.25, 110_000_000, "fifo:50 mlock core:1"
    )


def _power() -> m.PowerFigures:
    return m.PowerFigures(70.0, 61.5, 54.25, 1_575_000_000, 9.5, 3600.125, "ok")


def _energy() -> m.PowerFigures:
    return msgspec.structs.replace(
        _power(), envelope_source="fleet", joules_per_decision=9.75, joules_per_m=11.5
    )


def _host() -> m.HostFigures:
    return m.HostFigures(0.25, 12_345_678_901, 134_140_059_648, 512_000_000_000)


def _state_with_all() -> m.DeviceState:
    return m.DeviceState(
        *(1_764_000_000_000_000_000, _BOOT, "thor-t5000", _DIGEST, "", False, _update(), _loop(), _energy()),
        policy=None,
        envelope_sequence=1_764_000_003_000_000_000,
        host=_host(),
    )


def _policy() -> m.PolicyFigures:
    return m.PolicyFigures(_DIGEST, "1.0.0", "nvfp4", 420, 1, 31_000_000, 44_000_000, "red light, stop")


def _decision() -> m.DecisionRecord:
    return m.DecisionRecord(
        sequence=10_000_042,
        release_digest=_DIGEST,
        observed_utc_ns=1_764_000_000_500_000_000,
        latency_ns=31_000_000,
        visual_ns=9_000_000,
        reason_ns=12_000_000,
        action_ns=10_000_000,
        tokens=4,
        reasoning="red light, stop",
        plan=((-1.5, 0.0), (-1.25, 0.001)),
        flow_steps=5,
        seed=17,
        ticks=12,
        first_tick_utc_ns=1_764_000_000_540_000_000,
        applied_acceleration_mps2=-1.5,
        applied_curvature_per_m=0.0,
        interventions=1,
        energy_j=7.5,
    )


def _event() -> m.EventRecord:
    return m.EventRecord(
        1_764_000_000_900_000_000, "update-refused", _DIGEST, "[digest-mismatch] visual.onnx"
    )


def _write_missing(path: Path, data: bytes) -> None:
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)


def _write_release(name: str) -> None:
    folder = ENTRIES / "releases" / name
    folder.mkdir(parents=True)  # and so never into one that exists
    observation = tiny_observation(contract=small_contract())
    files = {**small_files(name), "golden": golden_bytes(simulated_policy(), [observation])}
    with tempfile.TemporaryDirectory() as place:
        keys = init_development_keys(Path(place) / "keys")
        digest = make_release(folder / "release", keys, recipe=Recipe(files=files))
        (folder / "builders.json").write_bytes((Path(place) / "keys/public/builders.json").read_bytes())
    (folder / "identity.txt").write_text(f"{digest}\n", encoding="ascii")


def _write_boards() -> None:
    path = ENTRIES / "boards/layouts.jsonl"
    _write_missing(path, b"")
    known = path.read_bytes()
    for layout in layouts():
        line = msgspec.json.encode(line_of(layout)) + b"\n"
        if line not in known:
            with path.open("ab") as file:
                file.write(line)
    board = path.with_name("actuation.board")
    if not board.exists():
        with BoardWriter(board, ACTUATION) as writer:
            writer.write(BOARD_RECORD, BOARD_MONO_NS)


def write(release: str) -> None:
    """Write what is missing; raises `FileExistsError` where there is a release of that name."""
    for name, message in examples():
        _write_missing(ENTRIES / "messages/v1" / f"{name}.json", m.encode(message))
    for name, contract in contracts().items():
        _write_missing(ENTRIES / "contracts" / f"{name}.json", contract_bytes(contract))
    _write_boards()
    if release:
        _write_release(release)


if __name__ == "__main__":
    write(sys.argv[1] if len(sys.argv) > 1 else "")
