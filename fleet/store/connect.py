"""Opening the database: SQLite in WAL mode by default, PostgreSQL by URL.

Owns: the engine's settings, and that SQLAlchemy's errors leave as ours. Must not know: any table's meaning.

SQLite runs with synchronous=FULL: a device deletes a batch once it is acknowledged, so the commit before the
acknowledgement has to survive a power cut. In WAL mode NORMAL may lose the last commits; FULL adds one fsync a
transaction, and ingest puts everything that waits into one transaction.
"""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.exc import SQLAlchemyError

from fleet.errors import StoreError
from fleet.store.tables import metadata

BUSY_TIMEOUT_S = 5
_WRITES = "writes"


def sqlite_url(path: Path) -> str:
    """The URL of a SQLite database in a file."""
    return f"sqlite:///{path}"


def connect(url: str) -> Engine:
    """Open the database and create what is missing. Raises `StoreError`."""
    try:
        if url.startswith("sqlite"):
            engine = create_engine(url, connect_args={"timeout": BUSY_TIMEOUT_S})
            event.listen(engine, "connect", _set_up_sqlite)
            event.listen(engine, "begin", _begin_sqlite)
        else:
            engine = create_engine(url, pool_pre_ping=True)
        metadata.create_all(engine)
    except (SQLAlchemyError, ImportError) as error:
        raise StoreError(f"cannot open the database: {_first_line(error)}") from error
    return engine


@contextmanager
def transaction(engine: Engine) -> Iterator[Connection]:
    """A writing transaction that commits at the end. Raises `StoreError` for everything that the database refuses."""
    with reading(engine.execution_options(**{_WRITES: True})) as connection:
        yield connection


@contextmanager
def reading(engine: Engine) -> Iterator[Connection]:
    """A reading transaction, which waits for no writer. Raises `StoreError` as above."""
    try:
        with engine.begin() as connection:
            yield connection
    except SQLAlchemyError as error:
        raise StoreError(_first_line(error)) from error


def _set_up_sqlite(connection: sqlite3.Connection, _: object) -> None:
    # Python's driver would begin transactions by itself, and only before the first change.
    connection.isolation_level = None
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "journal_size_limit=67108864"):
        connection.execute(f"PRAGMA {pragma}")


def _begin_sqlite(connection: Connection) -> None:
    """Writers take the lock first: what they look up cannot change before they write, and they wait in turn."""
    writes = connection.get_execution_options().get(_WRITES)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:300]
