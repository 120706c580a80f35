"""The rack's identity: from a platform file, from NVML, and never from a guess."""

import ctypes
import json
from dataclasses import dataclass, field
from typing import Any, cast

import pynvml
import pytest

from models.errors import MalformedError
from models.lineage.facts import Evidence, Tray
from models.lineage.rack import rack_from_nvml, rack_from_platform

PLATFORM: dict[str, Any] = {
    "system": "Vera Rubin NVL72",
    "chassis_serial": "EMU7200000042",
    "cluster_uuid": "e0d1c2b3-a495-4867-9978-8a9bacbdcedf",
    "clique_id": 1,
    "trays": [{"slot": 3, "tray_index": 2, "host_id": 1, "gpus": [{"module_id": 1, "uuid": "GPU-1"}]}],
    "emulated": True,
}


class FakeNvmlError(Exception):
    """What the binding raises for a driver, a GPU or a function that is not there."""


@dataclass
class FakeNvml:
    """A host with GPUs in one tray; fills the real binding's structures, through pointers."""

    serials: list[bytes] = field(default_factory=lambda: [b"1820325000123"] * 4)
    cluster: bytes = bytes(range(1, 17))
    driver: bool = True
    rack_aware: bool = True
    open: int = 0
    NVMLError: type[Exception] = FakeNvmlError

    def nvmlInit(self) -> None:  # noqa: N802 - NVML's name
        if not self.driver:
            raise FakeNvmlError("driver not loaded")
        self.open += 1

    def nvmlShutdown(self) -> None:  # noqa: N802 - NVML's name
        self.open -= 1

    def nvmlDeviceGetCount(self) -> int:  # noqa: N802 - NVML's name
        return len(self.serials)

    def nvmlDeviceGetHandleByIndex(self, index: int) -> object:  # noqa: N802 - NVML's name
        return index

    def nvmlDeviceGetName(self, handle: object) -> str:  # noqa: N802 - NVML's name
        return "NVIDIA GB300"

    def nvmlDeviceGetUUID(self, handle: object) -> str:  # noqa: N802 - NVML's name
        return f"GPU-{handle}"

    def nvmlDeviceGetPlatformInfo(self, handle: object, out: object) -> object:  # noqa: N802 - NVML's name
        if not self.rack_aware:
            raise FakeNvmlError("not supported")
        assert isinstance(handle, int)
        info = out._obj  # type: ignore[attr-defined] # what byref points to
        info.chassisSerialNumber = self.serials[handle]
        info.slotNumber, info.trayIndex, info.hostId = b"\x08", b"\xf0", b"\x01"
        info.moduleId = bytes([handle + 1])
        return None

    def nvmlDeviceGetGpuFabricInfoV(self, handle: object, out: object) -> object:  # noqa: N802 - NVML's name
        info = out._obj  # type: ignore[attr-defined] # what byref points to
        info.clusterUuid[:] = self.cluster
        info.cliqueId = 7
        return None

    def c_nvmlPlatformInfo_v2_t(self) -> ctypes.Structure:  # noqa: N802 - NVML's name
        return cast("ctypes.Structure", pynvml.c_nvmlPlatformInfo_v2_t())

    def c_nvmlGpuFabricInfo_v3_t(self) -> ctypes.Structure:  # noqa: N802 - NVML's name
        return cast("ctypes.Structure", pynvml.c_nvmlGpuFabricInfo_v3_t())


def test_a_platform_file_names_an_emulated_rack_and_is_only_claimed() -> None:
    rack = rack_from_platform(json.dumps(PLATFORM).encode())
    assert (rack.chassis_serial, rack.emulated, rack.evidence) == ("EMU7200000042", True, Evidence.CLAIMED)
    assert (rack.trays[0].slot, rack.trays[0].gpus[0].uuid) == (3, "GPU-1")


@pytest.mark.parametrize(
    "change",
    [
        {"emulated": "yes"},
        {"emulated": None},
        {"attested": True},
        {"chassis_serial": "x\x1b[0m"},
        {"clique_id": -1},
        {"trays": [{"slot": 1}]},
    ],
)
def test_a_platform_file_with_anything_odd_is_refused(change: dict[str, object]) -> None:
    with pytest.raises(MalformedError):
        rack_from_platform(json.dumps(PLATFORM | change).encode())


def test_a_platform_file_must_say_whether_the_rack_is_emulated() -> None:
    said = {key: value for key, value in PLATFORM.items() if key != "emulated"}
    with pytest.raises(MalformedError, match="emulated"):
        rack_from_platform(json.dumps(said).encode())


def test_nvml_names_the_rack_and_the_place_of_each_gpu_in_it() -> None:
    nvml = FakeNvml()
    rack = rack_from_nvml(nvml)
    assert rack is not None
    assert (rack.system, rack.chassis_serial, rack.clique_id) == ("NVIDIA GB300", "1820325000123", 7)
    assert rack.cluster_uuid == "01020304-0506-0708-090a-0b0c0d0e0f10"
    assert (rack.emulated, rack.evidence) == (False, Evidence.CLAIMED)
    [tray] = rack.trays
    assert isinstance(tray, Tray)
    assert (tray.slot, tray.tray_index, tray.host_id) == (8, 240, 1)
    assert [(gpu.module_id, gpu.uuid) for gpu in tray.gpus] == [(n + 1, f"GPU-{n}") for n in range(4)]
    assert nvml.open == 0


@pytest.mark.parametrize(
    "nvml",
    [FakeNvml(driver=False), FakeNvml(rack_aware=False), FakeNvml(serials=[]), FakeNvml(serials=[b""])],
    ids=["no driver", "no rack", "no GPU", "no serial"],
)
def test_without_a_rack_identity_none_is_made_up(nvml: FakeNvml) -> None:
    assert rack_from_nvml(nvml) is None
    assert nvml.open == 0


def test_a_host_whose_gpus_name_two_racks_is_refused() -> None:
    with pytest.raises(MalformedError, match="2 different racks"):
        rack_from_nvml(FakeNvml(serials=[b"A", b"B"]))


def test_a_gpu_outside_any_cluster_has_an_empty_cluster_and_not_a_uuid_of_zeros() -> None:
    rack = rack_from_nvml(FakeNvml(cluster=bytes(16)))
    assert rack is not None
    assert rack.cluster_uuid == ""
