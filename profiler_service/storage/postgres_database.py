"""The PostgreSQL database behind a store: its connections, its one writer at a time, and what its errors mean."""

from __future__ import annotations

import hashlib
import os
import socket
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from sqlalchemy import Engine, NullPool, QueuePool, create_engine, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from profiler_service.errors import DatabaseError, StorageError
from profiler_service.storage.database import BUSY_TIMEOUT_S, CHECK_TIMEOUT_S, KEPT_CONNECTIONS, Database, Patience
from profiler_service.storage.location import PostgresUrl

if TYPE_CHECKING:
    import psycopg

_NO_CODE = "unreachable"
_WAIT = "Wait for that process or end it, then run again."
_KNOWN: dict[str, tuple[str, str]] = {
    _NO_CODE: (
        "the server cannot be reached, or refuses the connection",
        "Check that it runs and the URL's host, port, name and role. Give the password in PGPASSWORD or ~/.pgpass.",
    ),
    "08": ("the connection was lost", "Check that the server runs, then run again."),
    "57P": ("the server is stopping or starting", "Run again when it is up."),
    "53100": ("the server's disk is full", "Free some space there and run again; everything committed so far is kept."),
    "53300": ("the server has no connection left", "Raise its max_connections, or end other clients."),
    "53": ("the server is out of resources", "Look at its log, then run again."),
    "55P03": ("another process keeps it locked", _WAIT),
    "57014": ("the server took too long", "Run again; look for what else the server does."),
    "40": ("others wrote at the same time", "Run again."),
    "25006": ("it may not be written", "Name the primary server with --database, not one that only reads."),
    "25P03": ("this process was stopped in the middle of a transaction", "Run again."),
    "42501": ("the role may not do that", "Make the role the owner of the database (docs/operations.md)."),
    "3D000": ("there is no such database", "Make it with createdb (docs/operations.md), or name another with --database."),
    "42P01": ("its tables are missing", "Restore them with pg_restore, or name another database with --database."),
    "XX": ("it is damaged", "Look at the server's log. Restore it with pg_restore, or name another with --database."),
    "58": ("the server failed to read or write it", "Look at the server's log and at its disk, then run again."),
}
"""SQLSTATE, or how it begins, to what it means. Source: PostgreSQL's documentation, appendix A."""

_PASSING = (_NO_CODE, "08", "53", "55P03", "57", "40", "25006", "25P03", "58")
"""Of those, what may be over later: servers start again, disks get room, others end."""

_CONNECT_TIMEOUT_S = 10
_KEEPALIVE_IDLE_S = 30
_STALE_TRANSACTION_S = 120
"""After which the server ends a transaction whose process does nothing, so that a stopped one does not lock others out."""

_NAME_BYTES = 63
"""The server keeps so many of a connection's name."""


def database_error(url: PostgresUrl, error: Exception) -> DatabaseError:
    """What that error of psycopg or SQLAlchemy means for the owner of the database."""
    original = error.orig if isinstance(error, DBAPIError) and error.orig is not None else error
    code = getattr(original, "sqlstate", None)
    if code is None:
        code = _NO_CODE if type(original).__name__ in {"OperationalError", "ConnectionTimeout"} else ""
    known = max((begin for begin in _KNOWN if code.startswith(begin)), key=len, default=None)
    problem, hint = ("it failed", "Run `profiler-service doctor`.") if known is None else _KNOWN[known]
    said = url.without_secrets(next(iter(str(original).strip().splitlines()), type(original).__name__))
    return DatabaseError(f"database {url}: {problem} ({said})", hint=hint, passing=code.startswith(_PASSING))


@contextmanager
def translated(url: PostgresUrl) -> Iterator[None]:
    """Within it, errors of the database are raised as DatabaseError that names the URL, without its passwords."""
    import psycopg

    try:
        yield
    except (DBAPIError, psycopg.Error) as error:
        raise database_error(url, error) from error


class PostgresDatabase(Database):
    """One database of a PostgreSQL server.

    A writer holds an advisory lock until its transaction ends, so that there is one at a time, as on a file; it reads what the
    one before has committed. Readers wait for nobody: each sees the state at its first statement.

    Args:
        url: of the database.
        timeout_s: how long a transaction waits for another writer.
        patience: tries transactions again, and says how long they wait; by default none is.
    """

    def __init__(self, url: PostgresUrl, *, timeout_s: float = BUSY_TIMEOUT_S, patience: Patience | None = None) -> None:
        super().__init__(url, patience)
        self._url = url
        self._engine = postgres_engine(url, timeout_s=timeout_s if patience is None else patience.busy_timeout_s)
        self._reader = self._engine.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)

    def check(self) -> None:
        """Raises DatabaseError unless the server answers, and the database has its tables and can be written.

        While another thread is writing to it, that it can be is seen.
        """
        engine = postgres_engine(self._url, timeout_s=CHECK_TIMEOUT_S, kept=False)

        def transaction() -> None:
            with translated(self._url), engine.begin() as connection:
                if not self._written.any:
                    connection.execute(take_write_lock())
                connection.execute(text("SELECT version_num FROM alembic_version")).one()
                connection.execute(text("UPDATE tables SET info = '' WHERE false"))

        self._patiently(transaction)

    def close(self) -> None:
        """Close every connection that is not in use."""
        self._engine.dispose()

    def _again(self, patience: Patience) -> Self:
        return type(self)(self._url, patience=patience)

    def _reading(self) -> AbstractContextManager[Session]:
        return self._session(self._reader)

    @contextmanager
    def _writing(self) -> Iterator[Session]:
        with self._session(self._engine) as session:
            session.execute(take_write_lock())
            yield session

    @contextmanager
    def _session(self, engine: Engine) -> Iterator[Session]:
        with translated(self._url), Session(engine) as session, session.begin():
            yield session


def take_write_lock() -> Any:
    """A statement that waits until no other writer is left. Whoever writes executes it first; the transaction's end frees it.

    Not in a transaction with a snapshot (REPEATABLE READ), which would be older than the lock.
    """
    return text("SELECT pg_advisory_xact_lock(:key)").bindparams(key=lock_key("write"))


def lock_key(name: str) -> int:
    """The 64-bit key of the advisory lock of that name."""
    return int.from_bytes(hashlib.sha256(f"opclock {name}".encode()).digest()[:8], "big", signed=True)


def postgres_engine(url: PostgresUrl, *, timeout_s: float = BUSY_TIMEOUT_S, kept: bool = True) -> Engine:
    """An engine on that database. Transactions see what others have committed (READ COMMITTED) unless told otherwise.

    Args:
        url: of the database.
        timeout_s: how long a transaction waits for a lock.
        kept: whether connections are kept for the next transaction.

    Raises:
        StorageError: psycopg is not installed.
    """
    _require_driver()
    make: dict[str, Any] = {"poolclass": NullPool}
    if kept:
        make = {"poolclass": QueuePool, "pool_size": KEPT_CONNECTIONS, "max_overflow": -1, "pool_pre_ping": True}
    return create_engine("postgresql+psycopg://", creator=lambda: connected(url, timeout_s), hide_parameters=True, **make)


def connected(url: PostgresUrl, timeout_s: float = BUSY_TIMEOUT_S) -> psycopg.Connection[Any]:
    """A new connection.

    Args:
        url: of the database.
        timeout_s: how long its transactions wait for a lock.

    Raises:
        StorageError: psycopg is not installed, or libpq cannot read the URL.
        psycopg.OperationalError: there is no connection.
    """
    _require_driver()
    import psycopg

    defaults: dict[str, Any] = {
        "application_name": _process_name(),
        "connect_timeout": max(2, min(_CONNECT_TIMEOUT_S, int(timeout_s))),
        "keepalives_idle": _KEEPALIVE_IDLE_S,
    }
    try:
        given = psycopg.conninfo.conninfo_to_dict(url.secret())
    except psycopg.ProgrammingError as error:
        said = url.without_secrets(str(error).strip())
        raise StorageError(f"database {url}: libpq cannot read this URL ({said})", hint="Correct the URL.") from None
    connection = psycopg.connect(url.secret(), **{name: value for name, value in defaults.items() if name not in given})
    connection.adapters.register_dumper(str, _text_dumper())
    connection.autocommit = True
    connection.execute(f"SET lock_timeout = {max(1, int(1e3 * timeout_s))}")
    connection.execute(f"SET idle_in_transaction_session_timeout = '{_STALE_TRANSACTION_S}s'")
    connection.autocommit = False
    return connection


def _text_dumper() -> type[Any]:
    """Text for the server, which has no NUL characters: a message of some runtime's that has one is kept with U+FFFD there."""
    from psycopg.types.string import StrDumperUnknown

    class Dumper(StrDumperUnknown):
        def dump(self, obj: str) -> Any:
            return super().dump(obj.replace("\0", "\N{REPLACEMENT CHARACTER}"))

    return Dumper


def _require_driver() -> None:
    try:
        import psycopg  # noqa: F401
    except ImportError as error:
        raise StorageError(
            f"PostgreSQL needs the package psycopg ({error})", hint="Install it: pip install 'opclock[postgresql]'"
        ) from error


def _process_name() -> str:
    """What the server, and whoever waits for this process, calls it."""
    command = " ".join([Path(sys.argv[0]).name, *(word for word in sys.argv[1:2] if not word.startswith("-"))])
    name = f"process {os.getpid()} ({command}) on {socket.gethostname()}"
    return name.encode("ascii", "replace")[:_NAME_BYTES].decode()
