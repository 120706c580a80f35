"""Messages and records as a plausible device and repository make them, for the fleet server's tests."""

import msgspec

from fleet.records import KnownRelease, Parcel
from models.contract import CameraSpec, EgoHistorySpec, PolicyContract, ReasoningSpec, UnicycleActions
from models.digest import Digest, digest_of
from models.release.manifest import ReleaseFile, ReleaseLimits, ReleaseManifest, bytes_from_manifest
from models.wire.messages import (
    DecisionRecord,
    DeviceState,
    EventRecord,
    LoopFigures,
    PolicyFigures,
    PowerFigures,
    TelemetryBatch,
    UpdatePhase,
    UpdateStatus,
)

RELEASE = digest_of(b"a release")
BOOT = "5d7a5f1e-0001"
START_UTC_NS = 1_790_000_000_000_000_000


def decision(sequence: int, release_digest: str = RELEASE) -> DecisionRecord:
    """The decision `sequence`, 100 ms after the one before."""
    observed_utc_ns = START_UTC_NS + sequence * 100_000_000
    return DecisionRecord(
        sequence=sequence,
        release_digest=release_digest,
        observed_utc_ns=observed_utc_ns,
        latency_ns=41_000_000,
        visual_ns=9_000_000,
        reason_ns=24_000_000,
        action_ns=8_000_000,
        tokens=12,
        reasoning="red light ahead so stop at the line",
        plan=tuple((-1.2 + step / 50, 0.004) for step in range(32)),
        flow_steps=5,
        seed=sequence,
        ticks=10,
        first_tick_utc_ns=observed_utc_ns + 43_000_000,
        applied_acceleration_mps2=-1.2,
        applied_curvature_per_m=0.004,
        interventions=0,
        energy_j=9.4,
    )


def batch(sequence: int, decisions: int = 5, boot: str = BOOT) -> TelemetryBatch:
    """The batch `sequence` with its decisions, which no other batch of the boot has."""
    first = sequence * decisions
    return TelemetryBatch(
        boot=boot,
        sequence=sequence,
        utc_ns=START_UTC_NS + sequence * 500_000_000,
        decisions=tuple(decision(first + number) for number in range(decisions)),
        events=(EventRecord(START_UTC_NS + sequence, "trial-passed", RELEASE, "30 s"),)
        if not sequence
        else (),
    )


def parcel(device: str, sequence: int, decisions: int = 5, boot: str = BOOT) -> Parcel:
    """The batch as ingest hands it to the store."""
    return parcel_of(device, batch(sequence, decisions, boot))


def parcel_of(device: str, made: TelemetryBatch) -> Parcel:
    """Any batch as ingest hands it to the store."""
    records = tuple(msgspec.json.encode(one).decode() for one in made.decisions)
    return Parcel(device, made.utc_ns + 1, made, records)


def state(utc_ns: int = START_UTC_NS, decisions: int = 100, live_digest: str = RELEASE) -> DeviceState:
    """A device that drives well."""
    return DeviceState(
        utc_ns=utc_ns,
        boot=BOOT,
        hardware="thor-t5000",
        live_digest=live_digest,
        fallback_digest="",
        on_trial=False,
        update=UpdateStatus(UpdatePhase.IDLE),
        loop=LoopFigures(
            "driving", 60_000, 3, 38_000, 91_000, 410_000, 2, 11.4, 62_000_000, "fifo:50 mlock core:1"
        ),
        power=PowerFigures(120.0, 96.5, 61.2, 1_386_000_000, 10.0, 48_211.0, "ok"),
        policy=PolicyFigures(
            live_digest,
            "1.0.0",
            "nvfp4",
            decisions,
            0,
            41_000_000,
            58_000_000,
            "clear road so keep the speed",
        ),
    )


def contract() -> PolicyContract:
    """A small contract."""
    return PolicyContract(
        name="mini",
        cameras=(CameraSpec("front", 8, 8, 2, 10.0),),
        ego_history=EgoHistorySpec(16, 0.1),
        instructions=("follow the lane",),
        reasoning=ReasoningSpec(("<bos>", "<eos>", "stop"), 0, 1, 8),
        action_space=UnicycleActions(2.5, 6.0, 0.2, 1.0, 0.05),
        horizon_steps=32,
        dt_s=0.1,
        flow_steps=5,
    )


def manifest(
    counter: int = 1, files: tuple[ReleaseFile, ...] = (), ancestors: tuple[str, ...] = ()
) -> ReleaseManifest:
    """A release's manifest."""
    checkpoint = digest_of(b"checkpoint")
    return ReleaseManifest(
        name="mini",
        version=f"1.0.{counter}",
        counter=counter,
        hardware=("thor-t5000",),
        precision="nvfp4",
        contract=contract(),
        limits=ReleaseLimits(90.0, 20.0, 4.0, 10.0, 0.05, 0.005, (40.0, 130.0)),
        files=files,
        model_digest=digest_of(b"model %d" % counter),
        checkpoint_digest=checkpoint,
        ancestors=tuple(sorted({checkpoint, *ancestors})),
        created_utc="2026-11-01T00:00:00Z",
    )


def known_release(counter: int = 1, ancestors: tuple[str, ...] = ()) -> KnownRelease:
    """A release as the catalogue knows it."""
    made = manifest(counter, (), ancestors)
    data = bytes_from_manifest(made)
    path = f"releases/{made.name}/{made.version}/release.json"
    return KnownRelease(digest_of(data), path, len(data), made, Digest("sha256:" + "5" * 64))
