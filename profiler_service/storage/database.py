"""The SQLite file behind a store: its engine, its settings, the two kinds of transaction, and what its errors mean."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType

from sqlalchemy import URL, Connection, Engine, PoolProxiedConnection, create_engine, event
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.orm import Session

from profiler_service.errors import StorageError

_ANOTHER_FILE = "Name another file with --database, or restore this one from a copy."
_KNOWN: dict[int, tuple[str, str]] = {
    sqlite3.SQLITE_FULL: ("the disk is full", "Free some space and run again; everything committed so far is kept."),
    sqlite3.SQLITE_READONLY: (
        "it may not be written",
        "Allow this user to write the file and its directory, or name another file with --database.",
    ),
    sqlite3.SQLITE_BUSY: ("another process keeps it locked", "Wait for that process or end it, then run again."),
    sqlite3.SQLITE_LOCKED: ("another thread keeps it locked", "Run again."),
    sqlite3.SQLITE_CORRUPT: ("it is damaged", _ANOTHER_FILE),
    sqlite3.SQLITE_NOTADB: ("it is not an SQLite database", _ANOTHER_FILE),
    sqlite3.SQLITE_CANTOPEN: (
        "it cannot be opened",
        "Check that its directory exists and that this user may read and write there.",
    ),
    sqlite3.SQLITE_IOERR: ("the disk failed to read or write it", "Check the disk and its file system, then run again."),
}
_PRIMARY_CODE = 0xFF
"""SQLite's extended result codes hold the primary one in their lowest byte."""


@contextmanager
def translated(path: Path) -> Iterator[None]:
    """Within it, errors of the database are raised as StorageError that names `path`."""
    try:
        yield
    except (DBAPIError, PoolTimeoutError, sqlite3.Error) as error:
        raise storage_error(path, error) from error


def storage_error(path: Path, error: Exception) -> StorageError:
    """What that error of SQLite or SQLAlchemy means for the owner of the file."""
    original = error.orig if isinstance(error, DBAPIError) else error
    code = getattr(original, "sqlite_errorcode", None)
    known = None if code is None else _KNOWN.get(code & _PRIMARY_CODE)
    problem, hint = known or ("it failed", "Run `profiler-service doctor`.")
    return StorageError(f"database {path}: {problem} ({original})", hint=hint)


BUSY_TIMEOUT_S = 30.0
"""How long a writer waits for another; transactions here take milliseconds, so longer means that one hangs."""

PRAGMAS: Mapping[str, str] = MappingProxyType(
    {
        "synchronous": "NORMAL",  # with a write-ahead log, a killed process loses nothing, a power cut the last commits
        "foreign_keys": "ON",
    }
)


class Database:
    """Connections to one file, for any number of threads.

    Args:
        path: an existing database of the current schema; see `profiler_service.storage.upgrade`.
        pragmas: SQLite settings of every connection.
    """

    def __init__(self, path: Path, *, pragmas: Mapping[str, str] = PRAGMAS) -> None:
        self.path = path
        self._engine = sqlite_engine(path, pragmas)
        self._writer = self._engine.execution_options(**IMMEDIATE)

    @contextmanager
    def reading(self) -> Iterator[Session]:
        """A session that sees one consistent state. Raises StorageError."""
        with translated(self.path), Session(self._engine) as session, session.begin():
            yield session

    @contextmanager
    def writing(self) -> Iterator[Session]:
        """A session that commits at the end, or rolls back on any exception. Raises StorageError.

        It holds the write lock from the start: a transaction that reads and then writes can neither deadlock with
        another one nor act on what another has changed meanwhile.
        """
        with translated(self.path), Session(self._writer) as session, session.begin():
            yield session

    def close(self) -> None:
        """Close every connection that is not in use."""
        self._engine.dispose()


IMMEDIATE = {"sqlite_begin": "IMMEDIATE"}
"""Execution option of a connection whose transactions take the write lock when they begin."""


def sqlite_engine(path: Path, pragmas: Mapping[str, str]) -> Engine:
    """An engine on that file that begins transactions itself, since Python's driver would begin them late or never.

    Transactions are deferred, except under the execution option `IMMEDIATE`.
    """
    engine = create_engine(URL.create("sqlite", database=str(path)), connect_args={"timeout": BUSY_TIMEOUT_S})

    @event.listens_for(engine, "connect")
    def settle(connection: sqlite3.Connection, _record: PoolProxiedConnection) -> None:
        connection.isolation_level = None
        for name, value in pragmas.items():
            connection.execute(f"PRAGMA {name}={value}")

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        mode = connection.get_execution_options().get("sqlite_begin", "DEFERRED")
        connection.exec_driver_sql(f"BEGIN {mode}")

    return engine
