"""Telemetry in SQL: batches, decisions, events, drives and what was set aside.

Owns: that each batch and each decision is kept once, in one transaction with everything that came with it.
Must not know: MQTT, HTTP.
"""

from collections.abc import Iterable, Sequence
from dataclasses import asdict

import msgspec
from sqlalchemy import Connection, Engine, Row, Table, delete, func, insert, select, tuple_, update
from sqlalchemy.sql import Select

from fleet.records import Drive, Parcel, Receipt, Rejection, ReleaseEnergy, StoredDecision, StoredEvent
from fleet.store import tables
from fleet.store.connect import reading, transaction
from fleet.store.energy import add_energy, energy_with
from models.digest import Digest
from models.errors import UnknownObjectError
from models.wire.messages import DecisionRecord

KEPT_REJECTIONS = 100
_KEYS_AT_ONCE = 256

_Key = tuple[str, str, int]
_Values = dict[str, object]


class SqlTelemetryStore:
    """Implements `fleet.ports.TelemetryStore`; safe to use from several threads."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def take(self, parcels: Sequence[Parcel], rejections: Sequence[Rejection]) -> tuple[Receipt, ...]:
        """Keep all of it in one transaction. Raises `StoreError`."""
        with transaction(self._engine) as connection:
            receipts = _take_parcels(connection, parcels)
            if rejections:
                _set_aside(connection, rejections[-KEPT_REJECTIONS:])
        return receipts

    def decision(self, device: str, boot: str, sequence: int) -> StoredDecision:
        """One decision. Raises `UnknownObjectError`."""
        table = tables.decisions
        wanted = select(table).where(
            table.c.device == device, table.c.boot == boot, table.c.sequence == sequence
        )
        with reading(self._engine) as connection:
            row = connection.execute(wanted).first()
        if row is None:
            raise UnknownObjectError(f"no decision {device}:{boot}:{sequence}")
        return _decision_from_row(row)

    def decisions(self, device: str, release_digest: str, limit: int) -> tuple[StoredDecision, ...]:
        """The latest decisions, newest first."""
        table = tables.decisions
        wanted: Select[tuple[object, ...]] = select(table)
        if device:
            wanted = wanted.where(table.c.device == device)
        if release_digest:
            wanted = wanted.where(table.c.release_digest == release_digest)
        wanted = wanted.order_by(table.c.observed_utc_ns.desc(), table.c.sequence.desc()).limit(limit)
        with reading(self._engine) as connection:
            return tuple(_decision_from_row(row) for row in connection.execute(wanted))

    def drives(self, release_digests: Sequence[Digest]) -> tuple[Drive, ...]:
        """Which devices drove with any of these releases."""
        table = tables.drives
        wanted = select(table).where(table.c.release_digest.in_(release_digests))
        wanted = wanted.order_by(table.c.device, table.c.first_utc_ns)
        with reading(self._engine) as connection:
            return tuple(Drive(*row) for row in connection.execute(wanted))

    def energy(self, release_digest: Digest) -> tuple[ReleaseEnergy, ...]:
        """What each device took with this release."""
        with reading(self._engine) as connection:
            return energy_with(connection, release_digest)

    def events(self, device: str, limit: int) -> tuple[StoredEvent, ...]:
        """The latest events, newest first."""
        table = tables.events
        wanted: Select[tuple[object, ...]] = select(table).order_by(table.c.number.desc()).limit(limit)
        if device:
            wanted = wanted.where(table.c.device == device)
        with reading(self._engine) as connection:
            return tuple(_event_from_row(row) for row in connection.execute(wanted))

    def rejections(self) -> tuple[Rejection, ...]:
        """The last messages set aside, newest first."""
        table = tables.rejected
        columns = [column for column in table.c if column.name != "number"]
        wanted = select(*columns).order_by(table.c.number.desc()).limit(KEPT_REJECTIONS)
        with reading(self._engine) as connection:
            return tuple(Rejection(*row) for row in connection.execute(wanted))


def _take_parcels(connection: Connection, parcels: Sequence[Parcel]) -> tuple[Receipt, ...]:
    unique = {
        (parcel.device, parcel.batch.boot, parcel.batch.sequence): parcel for parcel in reversed(parcels)
    }
    there = _there(connection, tables.batches, unique)
    new = [parcel for key, parcel in unique.items() if key not in there]
    counts = _keep_decisions(connection, new)
    if new:
        connection.execute(insert(tables.batches), [_batch_values(parcel) for parcel in new])
    if events := [values for parcel in new for values in _event_values(parcel)]:
        connection.execute(insert(tables.events), events)
    return tuple(Receipt(*key, counts.get(key, 0)) for key in unique)


def _keep_decisions(connection: Connection, parcels: Iterable[Parcel]) -> dict[_Key, int]:
    """Insert the decisions that are not there; how many were new, by batch."""
    fresh: dict[_Key, tuple[_Key, _Values]] = {}
    said: dict[_Key, DecisionRecord] = {}
    for parcel in parcels:
        batch = (parcel.device, parcel.batch.boot, parcel.batch.sequence)
        for decision, record in zip(parcel.batch.decisions, parcel.decisions_json, strict=True):
            key = (parcel.device, parcel.batch.boot, decision.sequence)
            fresh.setdefault(key, (batch, _decision_values(key, decision, record)))
            said.setdefault(key, decision)
    there = _there(connection, tables.decisions, fresh)
    rows = [(batch, values) for key, (batch, values) in fresh.items() if key not in there]
    if rows:
        connection.execute(insert(tables.decisions), [values for _, values in rows])
        _add_to_drives(connection, [values for _, values in rows])
        add_energy(connection, [(key[0], said[key]) for key in fresh if key not in there])
    counts: dict[_Key, int] = {}
    for batch, _ in rows:
        counts[batch] = counts.get(batch, 0) + 1
    return counts


def _there(connection: Connection, table: Table, keys: Iterable[_Key]) -> set[_Key]:
    """Which of these keys the table has."""
    columns = tuple_(table.c.device, table.c.boot, table.c.sequence)
    wanted = list(keys)
    found: set[_Key] = set()
    for start in range(0, len(wanted), _KEYS_AT_ONCE):
        some = wanted[start : start + _KEYS_AT_ONCE]
        rows = connection.execute(
            select(table.c.device, table.c.boot, table.c.sequence).where(columns.in_(some))
        )
        found.update((device, boot, sequence) for device, boot, sequence in rows)
    return found


def _add_to_drives(connection: Connection, decisions: Sequence[_Values]) -> None:
    table = tables.drives
    for drive in _drives_of(decisions):
        same = (table.c.device == drive.device) & (table.c.release_digest == drive.release_digest)
        row = connection.execute(select(table).where(same)).first()
        if row is None:
            connection.execute(insert(table).values(asdict(drive)))
            continue
        before = Drive(*row)
        values = {
            "decisions": before.decisions + drive.decisions,
            "first_utc_ns": min(before.first_utc_ns, drive.first_utc_ns),
            "last_utc_ns": max(before.last_utc_ns, drive.last_utc_ns),
        }
        connection.execute(update(table).where(same).values(values))


def _drives_of(decisions: Sequence[_Values]) -> list[Drive]:
    times: dict[tuple[str, str], list[int]] = {}
    for values in decisions:
        key = (str(values["device"]), str(values["release_digest"]))
        times.setdefault(key, []).append(int(str(values["observed_utc_ns"])))
    return [Drive(*key, len(seen), min(seen), max(seen)) for key, seen in times.items()]


def _set_aside(connection: Connection, rejections: Sequence[Rejection]) -> None:
    table = tables.rejected
    connection.execute(insert(table), [_rejection_values(rejection) for rejection in rejections])
    newest = connection.execute(select(func.max(table.c.number))).scalar_one()
    connection.execute(delete(table).where(table.c.number <= newest - KEPT_REJECTIONS))


def _batch_values(parcel: Parcel) -> _Values:
    batch = parcel.batch
    return {
        "device": parcel.device,
        "boot": batch.boot,
        "sequence": batch.sequence,
        "received_utc_ns": parcel.received_utc_ns,
        "utc_ns": batch.utc_ns,
        "decisions": len(batch.decisions),
        "decisions_lost": batch.decisions_lost,
    }


def _decision_values(key: _Key, decision: DecisionRecord, record: str) -> _Values:
    device, boot, sequence = key
    return {
        "device": device,
        "boot": boot,
        "sequence": sequence,
        "release_digest": decision.release_digest,
        "observed_utc_ns": decision.observed_utc_ns,
        "record": record,
    }


def _event_values(parcel: Parcel) -> Iterable[_Values]:
    for event in parcel.batch.events:
        yield {
            "device": parcel.device,
            "boot": parcel.batch.boot,
            "utc_ns": event.utc_ns,
            "kind": _text(event.kind),
            "release_digest": _text(event.release_digest),
            "detail": _text(event.detail),
        }


def _rejection_values(rejection: Rejection) -> _Values:
    return {
        "utc_ns": rejection.utc_ns,
        "device": rejection.device,
        "topic": _text(rejection.topic),
        "reason": _text(rejection.reason),
        "size_bytes": rejection.size_bytes,
        "head": rejection.head,
    }


def _text(text: str) -> str:
    """PostgreSQL keeps no NUL in text."""
    return text.replace("\x00", "\ufffd")


def _decision_from_row(row: Row[tuple[object, ...]]) -> StoredDecision:
    record = msgspec.json.decode(row.record, type=DecisionRecord)
    return StoredDecision(row.device, row.boot, record)


def _event_from_row(row: Row[tuple[object, ...]]) -> StoredEvent:
    return StoredEvent(row.device, row.boot, row.utc_ns, row.kind, row.release_digest, row.detail)
