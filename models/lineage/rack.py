"""The rack: which chassis, NVLink cluster and trays a run used.

Owns: reading that identity from NVML (`nvmlPlatformInfo_v2_t`, `nvmlGpuFabricInfo` v3 and v4) or from a
platform file, for machines where NVML cannot be asked.
Must not know: claims, checkpoints.

What NVML says is the builder's word: no attestation token is asked for, so a rack is always `claimed`.
NVML sees the GPUs of its own host, hence one tray of a rack; a platform file may name all of them.
"""

import ctypes
import importlib
from dataclasses import dataclass
from typing import Annotated, Protocol, cast
from uuid import UUID

import msgspec

from models.errors import MalformedError
from models.lineage.facts import Count, Evidence, Gpu, Rack, Text, Tray

MAX_PLATFORM_BYTES = 1 << 20


class Nvml(Protocol):
    """The part of `pynvml` that is asked; its structures are filled through `ctypes.byref`."""

    NVMLError: type[Exception]

    def nvmlInit(self) -> None: ...  # noqa: N802 - NVML's name
    def nvmlShutdown(self) -> None: ...  # noqa: N802 - NVML's name
    def nvmlDeviceGetCount(self) -> int: ...  # noqa: N802 - NVML's name
    def nvmlDeviceGetHandleByIndex(self, index: int) -> object: ...  # noqa: N802 - NVML's name
    def nvmlDeviceGetName(self, handle: object) -> str: ...  # noqa: N802 - NVML's name
    def nvmlDeviceGetUUID(self, handle: object) -> str: ...  # noqa: N802 - NVML's name
    def nvmlDeviceGetPlatformInfo(self, handle: object, out: object) -> object: ...  # noqa: N802 - NVML's name
    def nvmlDeviceGetGpuFabricInfoV(self, handle: object, out: object) -> object: ...  # noqa: N802 - NVML's name
    def c_nvmlPlatformInfo_v2_t(self) -> ctypes.Structure: ...  # noqa: N802 - NVML's name
    def c_nvmlGpuFabricInfo_v3_t(self) -> ctypes.Structure: ...  # noqa: N802 - NVML's name


class _PlatformFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    system: Text
    chassis_serial: Text
    cluster_uuid: Text
    clique_id: Count
    trays: Annotated[tuple[Tray, ...], msgspec.Meta(max_length=64)] = ()
    emulated: bool


@dataclass(frozen=True)
class _Seat:
    """Where one GPU sits."""

    system: str
    chassis_serial: str
    cluster_uuid: str
    clique_id: int
    place: tuple[int, int, int]
    """Slot, tray index, host id."""
    gpu: Gpu


def rack_from_platform(data: bytes) -> Rack:
    """The rack that a platform file names: `{system, chassis_serial, cluster_uuid, clique_id, trays, emulated}`.

    Raises:
        MalformedError: too long, not JSON, a field unknown, missing or of another type.
    """
    if len(data) > MAX_PLATFORM_BYTES:
        raise MalformedError(f"a platform file of {len(data)} bytes; at most {MAX_PLATFORM_BYTES} are read")
    try:
        said = msgspec.json.decode(data, type=_PlatformFile, strict=True)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise MalformedError(f"the platform file: {error}") from error
    return Rack(
        system=said.system,
        chassis_serial=said.chassis_serial,
        cluster_uuid=said.cluster_uuid,
        clique_id=said.clique_id,
        emulated=said.emulated,
        evidence=Evidence.CLAIMED,
        trays=said.trays,
    )


def load_nvml() -> Nvml | None:
    """NVIDIA's `pynvml`, or `None` where it is not installed (`nvidia-ml-py` is optional)."""
    try:
        return cast("Nvml", importlib.import_module("pynvml"))
    except ImportError:
        return None


def rack_from_nvml(nvml: Nvml) -> Rack | None:
    """The rack that this host's GPUs sit in; `None` where there is no driver, no GPU or no rack identity.

    Raises:
        MalformedError: the GPUs of this host name different racks, or text that is none.
    """
    try:
        nvml.nvmlInit()
    except nvml.NVMLError:
        return None
    try:
        handles = [nvml.nvmlDeviceGetHandleByIndex(index) for index in range(nvml.nvmlDeviceGetCount())]
        return _rack_of([_seat(nvml, handle) for handle in handles])
    except nvml.NVMLError:
        return None
    finally:
        nvml.nvmlShutdown()


def _seat(nvml: Nvml, handle: object) -> _Seat:
    platform, fabric = nvml.c_nvmlPlatformInfo_v2_t(), nvml.c_nvmlGpuFabricInfo_v3_t()
    nvml.nvmlDeviceGetPlatformInfo(handle, ctypes.byref(platform))
    nvml.nvmlDeviceGetGpuFabricInfoV(handle, ctypes.byref(fabric))
    return _Seat(
        system=nvml.nvmlDeviceGetName(handle),
        chassis_serial=_ascii(_field(platform, "chassisSerialNumber")),
        cluster_uuid=_uuid(bytes(fabric.clusterUuid)),
        clique_id=fabric.cliqueId,
        place=(_byte(platform, "slotNumber"), _byte(platform, "trayIndex"), _byte(platform, "hostId")),
        gpu=Gpu(_byte(platform, "moduleId"), nvml.nvmlDeviceGetUUID(handle)),
    )


def _rack_of(seats: list[_Seat]) -> Rack | None:
    racks = {(seat.system, seat.chassis_serial, seat.cluster_uuid, seat.clique_id) for seat in seats}
    if len(racks) > 1:
        raise MalformedError(f"the GPUs of this host name {len(racks)} different racks; use a platform file")
    if not racks or not seats[0].chassis_serial:
        return None
    [(system, chassis_serial, cluster_uuid, clique_id)] = racks
    return Rack(
        system=system,
        chassis_serial=chassis_serial,
        cluster_uuid=cluster_uuid,
        clique_id=clique_id,
        emulated=False,
        evidence=Evidence.CLAIMED,
        trays=_trays_of(seats),
    )


def _trays_of(seats: list[_Seat]) -> tuple[Tray, ...]:
    gpus_at: dict[tuple[int, int, int], list[Gpu]] = {}
    for seat in seats:
        gpus_at.setdefault(seat.place, []).append(seat.gpu)
    return tuple(Tray(*place, gpus=tuple(gpus)) for place, gpus in sorted(gpus_at.items()))


def _field(structure: ctypes.Structure, name: str) -> bytes:
    """The bytes of a character field. The binding's own access decodes them as UTF-8, which numbers are not."""
    value = ctypes.Structure.__getattribute__(structure, name)
    if not isinstance(value, bytes):
        raise MalformedError(f"NVML's {name} is no character field in this binding")
    return value


def _byte(structure: ctypes.Structure, name: str) -> int:
    """A one-byte number, which the binding types as a character."""
    return _field(structure, name)[0]


def _ascii(value: bytes) -> str:
    try:
        return value.decode("ascii").strip()
    except UnicodeDecodeError as error:
        raise MalformedError(f"NVML's chassis serial is not ASCII: {value!r}") from error


def _uuid(value: bytes) -> str:
    return str(UUID(bytes=value)) if any(value) else ""
