"""Locks that a PostgreSQL server keeps for a process, by a connection that does nothing else."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

from sqlalchemy import text
from sqlalchemy.orm import Session

from profiler_service.storage.location import PostgresUrl
from profiler_service.storage.postgres_database import connected, lock_key, translated

if TYPE_CHECKING:
    import psycopg

SOMEBODY = "another process"

_HOLDERS = (
    "FROM pg_locks WHERE locktype = 'advisory' AND granted AND objsubid = 1 "
    "AND database = (SELECT oid FROM pg_database WHERE datname = current_database()) "
    "AND classid::bigint << 32 | objid::bigint = "
)


class AdvisoryLock:
    """One lock of a database on a server. It is free again the moment its holder's connection ends, however it ends.

    A holder that lives may lose it: the server restarts, or the network fails. Whoever writes on the strength of the lock asks
    `held_in` first, in the transaction that writes. Writers come one at a time, so nobody who takes the lock later has written
    before that transaction ends.

    Args:
        url: of the database.
        name: of the lock.
    """

    def __init__(self, url: PostgresUrl, name: str) -> None:
        self._url, self._key = url, lock_key(name)
        self._connection: psycopg.Connection[Any] | None = None

    def acquire(self) -> bool:
        """Whether it is held now; nobody is waited for. Raises DatabaseError where the server cannot be asked."""
        self.release()
        with translated(self._url):
            connection = connected(self._url)
            try:
                connection.autocommit = True
                row = connection.execute("SELECT pg_try_advisory_lock(%s)", (self._key,)).fetchone()
            except BaseException:
                connection.close()
                raise
        if row is None or not row[0]:
            connection.close()
            return False
        self._connection = connection
        return True

    def release(self) -> None:
        """Let others have it."""
        connection, self._connection = self._connection, None
        if connection is not None:
            with suppress(Exception):  # one that was lost holds nothing
                connection.close()

    def alive(self) -> bool:
        """Whether the connection that holds it is still there. Not while another thread uses this."""
        if self._connection is None:
            return False
        try:
            self._connection.execute("SELECT 1")
        except Exception:  # whatever is wrong with it, the lock is gone with it
            return False
        return True

    def held_in(self, session: Session) -> bool:
        """Whether this still holds it, as the server knows it at this point of the transaction."""
        if self._connection is None:
            return False
        statement = text(f"SELECT count(*) {_HOLDERS} :key AND pid = :pid")
        found = session.execute(statement, {"key": self._key, "pid": self._connection.info.backend_pid})
        return bool(found.scalar_one())

    def holder(self) -> str:
        """Who holds it, for people."""
        with translated(self._url), connected(self._url) as connection:
            row = connection.execute(
                f"SELECT application_name FROM pg_stat_activity WHERE pid IN (SELECT pid {_HOLDERS} %s)",  # noqa: S608 - likewise
                (self._key,),
            ).fetchone()
        return (row[0] if row is not None else "") or SOMEBODY
