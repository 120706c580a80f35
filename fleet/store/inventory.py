"""Devices, releases and assignments in SQL.

Owns: their rows. Must not know: who ordered what, or why.
"""

from collections.abc import Sequence

import msgspec
from sqlalchemy import Engine, Row, func, insert, select, update

from fleet.records import Assignment, AssignmentState, KnownRelease, Presence, StoredDevice
from fleet.store import tables
from fleet.store.connect import reading, transaction
from models.digest import Digest
from models.wire.messages import DeviceState

_Values = dict[str, object]


class SqlInventoryStore:
    """Implements `fleet.ports.InventoryStore`; safe to use from several threads."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def put_devices(self, devices: Sequence[StoredDevice]) -> None:
        """Insert or replace; the first sight of a device is kept. Raises `StoreError`."""
        table = tables.devices
        with transaction(self._engine) as connection:
            for device in devices:
                values = _device_values(device)
                changed = update(table).where(table.c.device == device.device).values(values)
                if not connection.execute(changed).rowcount:
                    first = {"device": device.device, "first_seen_utc_ns": device.first_seen_utc_ns}
                    connection.execute(insert(table).values(values | first))

    def devices(self) -> tuple[StoredDevice, ...]:
        """All devices by name."""
        with reading(self._engine) as connection:
            rows = connection.execute(select(tables.devices).order_by(tables.devices.c.device))
            return tuple(_device_from_row(row) for row in rows)

    def put_release(self, release: KnownRelease, ancestors: Sequence[Digest], seen_utc_ns: int) -> None:
        """Insert a release with everything it descends from; no-op where it is there."""
        with transaction(self._engine) as connection:
            table = tables.releases
            if connection.execute(select(table.c.digest).where(table.c.digest == release.digest)).first():
                return
            connection.execute(insert(table).values(_release_values(release, seen_utc_ns)))
            rows = [{"release_digest": release.digest, "ancestor": ancestor} for ancestor in ancestors]
            if rows:
                connection.execute(insert(tables.release_ancestors), rows)

    def descended_from(self, ancestor: Digest) -> tuple[Digest, ...]:
        """Releases whose ancestry holds `ancestor`."""
        table = tables.release_ancestors
        wanted = select(table.c.release_digest).where(table.c.ancestor == ancestor)
        with reading(self._engine) as connection:
            rows = connection.execute(wanted.order_by(table.c.release_digest)).scalars()
            return tuple(Digest(digest) for digest in rows)

    def add_assignment(self, assignment: Assignment) -> Assignment:
        """Write an order down and number it."""
        values: _Values = {
            "device": assignment.device,
            "release_digest": assignment.release_digest,
            "ordered_utc_ns": assignment.ordered_utc_ns,
            "state": assignment.state.value,
            "detail": assignment.detail,
        }
        with transaction(self._engine) as connection:
            added = connection.execute(
                insert(tables.assignments).values(values).returning(tables.assignments)
            )
            return _assignment_from_row(added.one())

    def settle_assignment(self, number: int, state: AssignmentState, detail: str) -> None:
        """Say what became of an order."""
        table = tables.assignments
        with transaction(self._engine) as connection:
            settled = update(table).where(table.c.number == number)
            connection.execute(settled.values(state=state.value, detail=detail[:500]))

    def assignments(self, limit: int) -> tuple[Assignment, ...]:
        """The latest orders, newest first."""
        table = tables.assignments
        with reading(self._engine) as connection:
            rows = connection.execute(select(table).order_by(table.c.number.desc()).limit(limit))
            return tuple(_assignment_from_row(row) for row in rows)

    def assignment_of(self, device: str) -> Assignment | None:
        """The latest signed order of a device."""
        table = tables.assignments
        wanted = select(table).where(table.c.device == device, table.c.state == AssignmentState.SIGNED.value)
        with reading(self._engine) as connection:
            row = connection.execute(wanted.order_by(table.c.number.desc()).limit(1)).first()
        return _assignment_from_row(row) if row is not None else None

    def current_assignments(self) -> tuple[Assignment, ...]:
        """The latest signed order of every device, by device."""
        table = tables.assignments
        signed = table.c.state == AssignmentState.SIGNED.value
        latest = select(func.max(table.c.number)).where(signed).group_by(table.c.device)
        with reading(self._engine) as connection:
            rows = connection.execute(
                select(table).where(table.c.number.in_(latest)).order_by(table.c.device)
            )
            return tuple(_assignment_from_row(row) for row in rows)


def _device_values(device: StoredDevice) -> _Values:
    state = msgspec.json.encode(device.state).decode() if device.state is not None else ""
    return {
        "hardware": device.hardware,
        "agent_version": device.agent_version,
        "boot": device.boot,
        "presence": device.presence.value,
        "last_seen_utc_ns": device.last_seen_utc_ns,
        "state_json": state,
    }


def _device_from_row(row: Row[tuple[object, ...]]) -> StoredDevice:
    return StoredDevice(
        row.device,
        row.hardware,
        row.agent_version,
        row.boot,
        Presence(row.presence),
        row.first_seen_utc_ns,
        row.last_seen_utc_ns,
        _state_from_text(row.state_json),
    )


def _state_from_text(text: str) -> DeviceState | None:
    """None for a state that another version of the server wrote: the next one comes within a second."""
    try:
        return msgspec.json.decode(text, type=DeviceState) if text else None
    except msgspec.DecodeError:
        return None


def _release_values(release: KnownRelease, seen_utc_ns: int) -> _Values:
    manifest = release.manifest
    return {
        "digest": release.digest,
        "name": manifest.name,
        "version": manifest.version,
        "counter": manifest.counter,
        "first_seen_utc_ns": seen_utc_ns,
    }


def _assignment_from_row(row: Row[tuple[object, ...]]) -> Assignment:
    return Assignment(
        row.number,
        row.device,
        row.release_digest,
        row.ordered_utc_ns,
        AssignmentState(row.state),
        row.detail,
    )
