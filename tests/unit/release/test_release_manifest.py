"""`release.json` promises nothing that no device could keep: such a release does not even parse."""

from typing import Any

import msgspec
import pytest

from models.contract import JointActions, PolicyContract
from models.errors import MalformedError
from models.release.manifest import (
    MAX_MANIFEST_BYTES,
    ReleaseFile,
    ReleaseManifest,
    bytes_from_manifest,
    chunk_bytes_for,
    manifest_from_bytes,
)
from models.wire.messages import MAX_RANGE_BYTES
from tests.fakes.repositories import small_contract
from tests.fakes.tiny_policy import tiny_release

JOINTS = JointActions(("a", "b"), ("rad", "rad"), (-1.0, -1.0), (1.0, 1.0))


def manifest(**changes: Any) -> ReleaseManifest:
    return msgspec.structs.replace(tiny_release().manifest, **changes)


def contract(**changes: Any) -> PolicyContract:
    return msgspec.structs.replace(small_contract(), **changes)


def part(name: str, **changes: Any) -> PolicyContract:
    """A contract in which one part is changed."""
    return contract(**{name: msgspec.structs.replace(getattr(small_contract(), name), **changes)})


IMPOSSIBLE: dict[str, PolicyContract] = {
    "time that stands still": contract(dt_s=0.0),
    "time that runs backwards": contract(dt_s=-0.1),
    "no waypoints": contract(horizon_steps=0),
    "a billion waypoints": contract(horizon_steps=10**9),
    "no flow steps": contract(flow_steps=0),
    "endless flow steps": contract(flow_steps=1 << 40),
    "the same camera twice": contract(cameras=small_contract().cameras * 2),
    "an image without height": contract(
        cameras=(msgspec.structs.replace(small_contract().cameras[0], height_px=0),)
    ),
    "no history": part("ego_history", steps=0),
    "no instructions": contract(instructions=()),
    "a start token outside the vocabulary": part("reasoning", bos=4),
    "an end token outside the vocabulary": part("reasoning", eos=4),
    "a negative end token": part("reasoning", eos=-1),
    "endless reasoning": part("reasoning", max_tokens=1 << 40),
    "a negative limit": part("action_space", max_curvature_per_m=-0.1),
    "no joints": contract(action_space=JointActions((), (), (), ())),
    "a joint without a limit": contract(action_space=msgspec.structs.replace(JOINTS, upper=(1.0,))),
    "a joint that can go nowhere": contract(action_space=msgspec.structs.replace(JOINTS, lower=(-1.0, 2.0))),
}


@pytest.mark.parametrize("name", list(IMPOSSIBLE))
def test_a_contract_that_no_device_can_keep_is_malformed(name: str) -> None:
    with pytest.raises(MalformedError):
        manifest_from_bytes(bytes_from_manifest(manifest(contract=IMPOSSIBLE[name])))


def test_contracts_that_make_sense_are_read() -> None:
    for sound in (small_contract(), contract(action_space=JOINTS), part("reasoning", max_tokens=0)):
        assert manifest_from_bytes(bytes_from_manifest(manifest(contract=sound)))[0].contract == sound


@pytest.mark.parametrize("changes", [{"counter": 1 << 63}, {"counter": 10**30}, {"counter": -1}])
def test_a_counter_that_no_floor_can_keep_is_malformed(changes: dict[str, int]) -> None:
    with pytest.raises(MalformedError):
        manifest_from_bytes(bytes_from_manifest(manifest(**changes)))


@pytest.mark.parametrize(
    "field",
    ["decision_p99_ms", "max_speed_mps", "golden_tolerance_curvature_per_m", "max_joules_per_decision"],
)
def test_a_negative_limit_is_malformed(field: str) -> None:
    limits = msgspec.structs.replace(tiny_release().manifest.limits, **{field: -1.0})
    with pytest.raises(MalformedError):
        manifest_from_bytes(bytes_from_manifest(manifest(limits=limits)))


def test_a_release_that_promises_no_energy_says_nothing_of_it_and_one_that_does_says_how_much() -> None:
    silent = bytes_from_manifest(manifest())
    assert b"joules" not in silent
    limits = msgspec.structs.replace(tiny_release().manifest.limits, max_joules_per_decision=9.5)
    assert (
        manifest_from_bytes(bytes_from_manifest(manifest(limits=limits)))[0].limits.max_joules_per_decision
        == 9.5
    )
    spelled = silent.replace(b'"max_jerk_mps3"', b'"max_joules_per_decision":null,"max_jerk_mps3"')
    with pytest.raises(MalformedError):
        manifest_from_bytes(spelled)


def test_an_envelope_whose_top_is_below_its_bottom_is_malformed() -> None:
    limits = msgspec.structs.replace(tiny_release().manifest.limits, validated_envelope_w=(130.0, 40.0))
    with pytest.raises(MalformedError, match="envelope"):
        manifest_from_bytes(bytes_from_manifest(manifest(limits=limits)))


@pytest.mark.parametrize("size_bytes", [1, 1 << 20, 512 << 20, (512 << 20) + 1, 1 << 30, 13 << 30])
def test_a_release_as_large_as_thirteen_gibibytes_has_a_manifest_that_is_read_and_chunks_that_are_fetched(
    size_bytes: int,
) -> None:
    chunk_bytes = chunk_bytes_for(size_bytes)
    chunks = ("sha256:" + "ab" * 32,) * -(-size_bytes // chunk_bytes)
    large = ReleaseFile("visual.onnx", "visual", size_bytes, chunks[0], chunk_bytes, chunks)
    data = bytes_from_manifest(manifest(files=(large,)))
    assert len(data) < MAX_MANIFEST_BYTES
    assert 65536 <= chunk_bytes <= MAX_RANGE_BYTES
    assert manifest_from_bytes(data)[0].size_bytes >= size_bytes
