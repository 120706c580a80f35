"""Envelope orders in SQL.

Owns: their rows. Must not know: who ordered what, or whether a device obeys.
"""

from collections.abc import Sequence
from dataclasses import asdict

from sqlalchemy import Engine, func, insert, select

from fleet.records import StoredEnvelope
from fleet.store import tables
from fleet.store.connect import reading, transaction


class SqlEnvelopeStore:
    """Implements `fleet.ports.EnvelopeStore`; safe to use from several threads."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def add_envelopes(self, orders: Sequence[StoredEnvelope]) -> tuple[StoredEnvelope, ...]:
        """Write orders down, all or none, and number them. Raises `StoreError`."""
        table, added = tables.envelopes, []
        with transaction(self._engine) as connection:
            for order in orders:
                values = {name: value for name, value in asdict(order).items() if name != "number"}
                row = connection.execute(insert(table).values(values).returning(table))
                added.append(StoredEnvelope(*row.one()))
        return tuple(added)

    def envelopes(self, limit: int) -> tuple[StoredEnvelope, ...]:
        """The latest orders, newest first."""
        table = tables.envelopes
        with reading(self._engine) as connection:
            rows = connection.execute(select(table).order_by(table.c.number.desc()).limit(limit))
            return tuple(StoredEnvelope(*row) for row in rows)

    def current_envelopes(self) -> tuple[StoredEnvelope, ...]:
        """The latest order of every device, by device."""
        table = tables.envelopes
        latest = select(func.max(table.c.number)).group_by(table.c.device)
        wanted = select(table).where(table.c.number.in_(latest)).order_by(table.c.device)
        with reading(self._engine) as connection:
            return tuple(StoredEnvelope(*row) for row in connection.execute(wanted))
