"""The SQLite file behind a store: its engine, its settings, and what its errors mean."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Self

from sqlalchemy import URL, Connection, Engine, NullPool, PoolProxiedConnection, QueuePool, create_engine, event, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from profiler_service.errors import DatabaseError
from profiler_service.storage.database import BUSY_TIMEOUT_S, CHECK_TIMEOUT_S, KEPT_CONNECTIONS, Database, Patience

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
_PASSING = frozenset(
    {
        sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_READONLY,
        sqlite3.SQLITE_BUSY,
        sqlite3.SQLITE_LOCKED,
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_PROTOCOL,
    }
)
"""Codes of problems that may be over later: others end, a disk gets room again, file descriptors are given back."""

_PRIMARY_CODE = 0xFF
"""SQLite's extended result codes hold the primary one in their lowest byte."""


@contextmanager
def translated(path: Path) -> Iterator[None]:
    """Within it, errors of the database are raised as DatabaseError that names `path`."""
    try:
        yield
    except (DBAPIError, sqlite3.Error) as error:
        raise database_error(path, error) from error


def database_error(path: Path, error: Exception) -> DatabaseError:
    """What that error of SQLite or SQLAlchemy means for the owner of the file."""
    original = error.orig if isinstance(error, DBAPIError) else error
    code = getattr(original, "sqlite_errorcode", None)
    primary = None if code is None else code & _PRIMARY_CODE
    problem, hint = _KNOWN.get(primary or 0, ("it failed", "Run `profiler-service doctor`."))
    return DatabaseError(f"database {path}: {problem} ({original})", hint=hint, passing=primary in _PASSING)


PRAGMAS: Mapping[str, str] = MappingProxyType(
    {
        "synchronous": "NORMAL",  # with a write-ahead log, a killed process loses nothing, a power cut the last commits
        "foreign_keys": "ON",
    }
)


class SqliteDatabase(Database):
    """One file.

    Args:
        path: the file.
        pragmas: SQLite settings of every connection.
        timeout_s: how long a transaction waits for another writer.
        patience: tries transactions again, and says how long they wait; by default none is.

    Raises:
        DatabaseError: there is no such file.
    """

    def __init__(
        self,
        path: Path,
        *,
        pragmas: Mapping[str, str] = PRAGMAS,
        timeout_s: float = BUSY_TIMEOUT_S,
        patience: Patience | None = None,
    ) -> None:
        super().__init__(path, patience)
        self._path, self._pragmas = path, pragmas
        if patience is not None:
            timeout_s = patience.busy_timeout_s
        self._engine = sqlite_engine(path, pragmas, timeout_s=timeout_s)
        self._writer = self._engine.execution_options(**IMMEDIATE)
        # The path alone would lead new connections to whatever lies there later.
        self._file = _FileIdentity(path)

    def check(self) -> None:
        """Raises DatabaseError unless the file is still there, is the one that was opened, and can be written.

        While another thread is writing to it, which may take seconds for large tables, that shows as much.
        """
        engine = sqlite_engine(self._path, self._pragmas, timeout_s=CHECK_TIMEOUT_S, kept=False)

        def transaction() -> None:
            self._file.require()
            written = self._written.any
            mode = {} if written else IMMEDIATE
            with translated(self._path), engine.execution_options(**mode).begin() as connection:
                # A new connection reads the file's first page again. The update changes no row, but SQLite begins even an
                # immediate transaction on a read-only file until one tries to write.
                connection.execute(text("SELECT version_num FROM alembic_version")).one()
                if not written:
                    connection.execute(text("UPDATE tables SET info = '' WHERE 0"))

        self._patiently(transaction)

    def close(self) -> None:
        """Close every connection that is not in use."""
        self._engine.dispose()

    def _again(self, patience: Patience) -> Self:
        found = type(self)(self._path, pragmas=self._pragmas, patience=patience)
        found._file = self._file
        return found

    def _reading(self) -> AbstractContextManager[Session]:
        return self._session(self._engine)

    @contextmanager
    def _writing(self) -> Iterator[Session]:
        with self._session(self._writer) as session:
            session.connection()  # takes the write lock now
            yield session

    @contextmanager
    def _session(self, engine: Engine) -> Iterator[Session]:
        self._file.require()
        with translated(self._path), Session(engine) as session, session.begin():
            yield session


class _FileIdentity:
    """Which file was opened. Connections outlive its removal, and what they write then is lost when they are closed.

    It is looked at, never opened: closing it would give up the locks that SQLite holds on it for this process. Any number of
    threads may look at once.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._known: tuple[int, int] | None = None
        self._size = 0
        self.require()

    def require(self) -> None:
        """Raises DatabaseError unless the same file is there, whole."""
        known_size = self._size  # before the look: the file may grow after it, and another thread see that first
        try:
            found = self._path.stat()
        except OSError as error:
            raise DatabaseError(
                f"database {self._path}: the file was removed or moved ({error.strerror})",
                hint="Put it back, or restart on another file.",
                passing=True,
            ) from error
        identity = (found.st_dev, found.st_ino)
        if self._known is None:
            self._known = identity
        if identity != self._known:
            raise DatabaseError(
                f"database {self._path}: another file has taken its place",
                hint="Restart to use that one, or put the first one back: nothing is written until then.",
                passing=True,
            )
        if found.st_size < known_size:
            raise DatabaseError(
                f"database {self._path}: it is damaged (cut from {known_size} to {found.st_size} bytes)",
                hint="Stop, restore it with `profiler-service restore`, and start again.",
            )
        self._size = max(self._size, found.st_size)


IMMEDIATE = {"sqlite_begin": "IMMEDIATE"}
"""Execution option of a connection whose transactions take the write lock when they begin."""


def sqlite_engine(path: Path, pragmas: Mapping[str, str], *, timeout_s: float = BUSY_TIMEOUT_S, kept: bool = True) -> Engine:
    """An engine on that file that begins transactions itself, since Python's driver would begin them late or never.

    Transactions are deferred, except under the execution option `IMMEDIATE`.

    Args:
        path: the file.
        pragmas: SQLite settings of every connection.
        timeout_s: how long a transaction waits for a lock.
        kept: whether connections are kept for the next transaction.
    """
    url, connect_args = URL.create("sqlite", database=str(path)), {"timeout": timeout_s}
    if kept:
        engine = create_engine(url, connect_args=connect_args, poolclass=QueuePool, pool_size=KEPT_CONNECTIONS, max_overflow=-1)
    else:
        engine = create_engine(url, connect_args=connect_args, poolclass=NullPool)

    @event.listens_for(engine, "connect")
    def settle(connection: sqlite3.Connection, _record: PoolProxiedConnection) -> None:
        connection.isolation_level = None
        for name, value in pragmas.items():
            shortest = min(int(value), int(1e3 * timeout_s)) if name == "busy_timeout" else value
            connection.execute(f"PRAGMA {name}={shortest}")

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        mode = connection.get_execution_options().get("sqlite_begin", "DEFERRED")
        connection.exec_driver_sql(f"BEGIN {mode}")

    return engine
