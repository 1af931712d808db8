"""The SQLite file behind a store: its engine, its settings, and the two kinds of transaction."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType

from sqlalchemy import URL, Connection, Engine, PoolProxiedConnection, create_engine, event
from sqlalchemy.orm import Session

from profiler_service.storage.failures import translated

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
