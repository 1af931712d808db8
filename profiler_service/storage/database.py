"""The SQLite file behind a store: its engine, its settings, the two kinds of transaction, and what its errors mean."""

from __future__ import annotations

import copy
import sqlite3
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TypeVar

from sqlalchemy import URL, Connection, Engine, NullPool, PoolProxiedConnection, QueuePool, create_engine, event, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from profiler_service.errors import DatabaseError

Result = TypeVar("Result")

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


BUSY_TIMEOUT_S = 30.0
"""How long a writer waits for another; transactions here take milliseconds, so longer means that one hangs."""

PRAGMAS: Mapping[str, str] = MappingProxyType(
    {
        "synchronous": "NORMAL",  # with a write-ahead log, a killed process loses nothing, a power cut the last commits
        "foreign_keys": "ON",
    }
)


CHECK_TIMEOUT_S = 2.0
"""How long `Database.check` waits for a writer: who asks whether the file can be written wants to know soon."""


@dataclass(frozen=True)
class Patience:
    """How long transactions are tried again while the file cannot be used for a passing reason.

    Attributes:
        limit_s: after which the problem is raised.
        on_wait: called with the problem before each new attempt.
        stopped: once true, the problem is raised.
        busy_timeout_s: how long one attempt waits for another writer.
        pause_s: between two attempts.
        clock: seconds that never go back. sleep: for so many seconds.
    """

    limit_s: float
    on_wait: Callable[[DatabaseError], None]
    stopped: Callable[[], bool]
    busy_timeout_s: float = 2.0
    pause_s: float = 0.5
    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep

    def tried(self, transaction: Callable[[], Result]) -> Result:
        """What the transaction returns, as soon as it succeeds. Raises DatabaseError when that takes too long."""
        start_s = self.clock()
        while True:
            try:
                return transaction()
            except DatabaseError as problem:
                if not problem.passing or self.stopped() or self.clock() - start_s >= self.limit_s:
                    raise
                self.on_wait(problem)
            self.sleep(self.pause_s)


class Database:
    """Connections to one file, for any number of threads. Each thread that asks gets one: nobody waits for a connection.

    Args:
        path: an existing database of the current schema; see `profiler_service.storage.upgrade`.
        pragmas: SQLite settings of every connection.
        patience: tries transactions again; by default none is.

    Raises:
        DatabaseError: there is no such file.
    """

    def __init__(self, path: Path, *, pragmas: Mapping[str, str] = PRAGMAS, patience: Patience | None = None) -> None:
        self.path = path
        self._pragmas, self._patience = pragmas, patience
        timeout_s = BUSY_TIMEOUT_S if patience is None else patience.busy_timeout_s
        self._engine = sqlite_engine(path, pragmas, timeout_s=timeout_s)
        self._writer = self._engine.execution_options(**IMMEDIATE)
        # The path alone would lead new connections to whatever lies there later.
        self._file = _FileIdentity(path)
        self._writing = _Writing()
        self._guard: Callable[[Session], None] | None = None

    def guarded(self, guard: Callable[[Session], None]) -> Database:
        """The same connections; each `write` calls the guard first, in its transaction, and does nothing where that raises."""
        found = copy.copy(self)
        found._guard = guard
        return found

    def patient(self, patience: Patience) -> Database:
        """The same file by connections of its own, which wait as told."""
        found = Database(self.path, pragmas=self._pragmas, patience=patience)
        found._file, found._writing = self._file, self._writing
        return found

    def read(self, function: Callable[[Session], Result]) -> Result:
        """What the function makes of one consistent state. Raises DatabaseError."""

        def transaction() -> Result:
            with self._session(self._engine) as session:
                return function(session)

        return self._patiently(transaction)

    def write(self, function: Callable[[Session], Result]) -> Result:
        """What the function returns, once all that it changed is committed; nothing is where it raises anything.

        It holds the write lock from the start: a transaction that reads and then writes can neither deadlock with
        another one nor act on what another has changed meanwhile. A patient database may call it several times.

        Raises:
            DatabaseError: the file cannot be used.
        """

        def transaction() -> Result:
            with self._session(self._writer) as session:
                session.connection()  # takes the write lock now
                with self._writing:
                    if self._guard is not None:
                        self._guard(session)
                    return function(session)

        return self._patiently(transaction)

    def check(self) -> None:
        """Raises DatabaseError unless the file is still there, is the one that was opened, and can be written.

        While another thread is writing to it, which may take seconds for large tables, that shows as much.
        """
        engine = sqlite_engine(self.path, self._pragmas, timeout_s=CHECK_TIMEOUT_S, kept=False)

        def transaction() -> None:
            self._file.require()
            written = self._writing.anybody
            mode = {} if written else IMMEDIATE
            with translated(self.path), engine.execution_options(**mode).begin() as connection:
                # A new connection reads the file's first page again. The update changes no row, but SQLite begins even an
                # immediate transaction on a read-only file until one tries to write.
                connection.execute(text("SELECT version_num FROM alembic_version")).one()
                if not written:
                    connection.execute(text("UPDATE tables SET info = '' WHERE 0"))

        self._patiently(transaction)

    def close(self) -> None:
        """Close every connection that is not in use."""
        self._engine.dispose()

    @contextmanager
    def _session(self, engine: Engine) -> Iterator[Session]:
        self._file.require()
        with translated(self.path), Session(engine) as session, session.begin():
            yield session

    def _patiently(self, transaction: Callable[[], Result]) -> Result:
        return transaction() if self._patience is None else self._patience.tried(transaction)


class _Writing:
    """How many threads hold the write lock of this process's connections: one, or none."""

    def __init__(self) -> None:
        self._count = 0

    @property
    def anybody(self) -> bool:
        return self._count > 0

    def __enter__(self) -> None:
        self._count += 1  # by whoever holds SQLite's write lock, hence by one thread at a time

    def __exit__(self, *_: object) -> None:
        self._count -= 1


class _FileIdentity:
    """Which file was opened. Connections outlive its removal, and what they write then is lost when they are closed.

    It is looked at, never opened: closing it would give up the locks that SQLite holds on it for this process.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._known: tuple[int, int] | None = None
        self._size = 0
        self.require()

    def require(self) -> None:
        """Raises DatabaseError unless the same file is there, whole."""
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
        if found.st_size < self._size:
            raise DatabaseError(
                f"database {self._path}: it is damaged (cut from {self._size} to {found.st_size} bytes)",
                hint="Stop, restore it with `profiler-service restore`, and start again.",
            )
        self._size = found.st_size


IMMEDIATE = {"sqlite_begin": "IMMEDIATE"}
"""Execution option of a connection whose transactions take the write lock when they begin."""


_KEPT_CONNECTIONS = 5
"""Idle ones; more are opened where more are needed at once, which costs a fraction of a millisecond each."""


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
        engine = create_engine(
            url, connect_args=connect_args, poolclass=QueuePool, pool_size=_KEPT_CONNECTIONS, max_overflow=-1
        )
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
