"""Opening the database: SQLite in WAL mode by default, PostgreSQL by URL.

Owns: the engine's settings, and that SQLAlchemy's errors leave as ours. Must not know: any table's meaning.

SQLite runs with synchronous=FULL: a device deletes a batch once it is acknowledged, so the commit before the
acknowledgement has to survive a power cut. In WAL mode NORMAL may lose the last commits; FULL adds one fsync a
transaction, and ingest puts everything that waits into one transaction.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.exc import SQLAlchemyError

from fleet.errors import StoreError
from fleet.store.tables import metadata

BUSY_TIMEOUT_S = 5


class _Cursor(Protocol):
    def execute(self, statement: str) -> object: ...

    def close(self) -> None: ...


class _DriverConnection(Protocol):
    def cursor(self) -> _Cursor: ...


def sqlite_url(path: Path) -> str:
    """The URL of a SQLite database in a file."""
    return f"sqlite:///{path}"


def connect(url: str) -> Engine:
    """Open the database and create what is missing. Raises `StoreError`."""
    try:
        if url.startswith("sqlite"):
            engine = create_engine(url, connect_args={"timeout": BUSY_TIMEOUT_S})
            event.listen(engine, "connect", _set_up_sqlite)
        else:
            engine = create_engine(url, pool_pre_ping=True)
        metadata.create_all(engine)
    except (SQLAlchemyError, ImportError) as error:
        raise StoreError(f"cannot open the database: {_first_line(error)}") from error
    return engine


@contextmanager
def transaction(engine: Engine) -> Iterator[Connection]:
    """A transaction that commits at the end. Raises `StoreError` for everything that the database refuses."""
    try:
        with engine.begin() as connection:
            yield connection
    except SQLAlchemyError as error:
        raise StoreError(_first_line(error)) from error


def _set_up_sqlite(connection: _DriverConnection, _: object) -> None:
    cursor = connection.cursor()
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "journal_size_limit=67108864"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:300]
