"""A database on a PostgreSQL server as something that is looked after: one service at a time, whether it can be read, warnings,
and the commands that copy it.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event, Thread

import structlog
from sqlalchemy import inspect, text

from profiler_service.errors import DatabaseError, ServiceStartError, StorageError
from profiler_service.storage.advisory_lock import AdvisoryLock
from profiler_service.storage.location import PostgresUrl
from profiler_service.storage.postgres_database import postgres_engine, translated

log = structlog.get_logger(__name__)

_LOOK_S = 10.0
"""How often a service looks whether it still holds its lock: a server that was restarted has forgotten it."""


@contextmanager
def sole_use(url: PostgresUrl, look_s: float = _LOOK_S) -> Iterator[None]:
    """Keep other services off a database for the length of a `with` block. A lock that the server lost is taken again.

    Args:
        url: of the database.
        look_s: how often it is looked whether the lock is still there.

    Raises:
        ServiceStartError: another service has it.
        DatabaseError: the server cannot be asked.
    """
    lock = AdvisoryLock(url, "service")
    if not lock.acquire():
        raise ServiceStartError(
            f"another service uses the database {url}: {lock.holder()}",
            hint="Stop that one, or name another database with --database.",
        )
    ended = Event()
    keeper = Thread(target=_keep, args=(lock, url, ended, look_s), name="database lock", daemon=True)
    keeper.start()
    try:
        yield
    finally:
        ended.set()
        keeper.join(look_s)
        lock.release()


def _keep(lock: AdvisoryLock, url: PostgresUrl, ended: Event, look_s: float) -> None:
    lost = False
    while not ended.wait(look_s):
        try:
            if lock.alive():
                continue
            if lock.acquire():
                log.warning("the server lost this service's lock, which holds again", database=str(url))
                lost = False
            elif not lost:
                lost = True
                log.error("another service uses the database; stop one of them", database=str(url), holder=lock.holder())
        except DatabaseError as problem:
            log.debug("the lock on the database cannot be looked at", reason=problem.message)


def require_sound(url: PostgresUrl) -> None:
    """Raises DatabaseError where the server cannot read every row. Reads all of them."""
    with translated(url), postgres_engine(url, kept=False).connect() as connection:
        quoted = connection.dialect.identifier_preparer.quote_identifier
        for table in inspect(connection).get_table_names():
            connection.exec_driver_sql(f"SELECT sum(length(each_row::text)) FROM {quoted(table)} AS each_row")  # noqa: S608


def warnings(url: PostgresUrl) -> list[str]:
    """What its owner should know about the server, for people; empty where there is nothing."""
    with translated(url), postgres_engine(url, kept=False).connect() as connection:
        statement = text("SELECT name FROM pg_settings WHERE name IN ('fsync', 'full_page_writes') AND setting = 'off'")
        off = sorted(connection.scalars(statement))
    return [f"{name} is off on the server of {url}: a crash or a power cut may damage the database" for name in off]


def refuse_backup(url: PostgresUrl, copy: Path) -> StorageError:
    """Why there is none of ours, with the command that copies a database on a server while it is in use."""
    command = f"pg_dump --format=custom --file={shlex.quote(str(copy))} --dbname={shlex.quote(str(url))}"
    return StorageError(f"database {url}: PostgreSQL has a backup command of its own", hint=f"Run: {command}")


def refuse_restore(url: PostgresUrl, copy: Path) -> StorageError:
    """Likewise for putting a copy in the database's place."""
    command = (
        "pg_restore --clean --if-exists --no-owner --single-transaction "
        f"--dbname={shlex.quote(str(url))} {shlex.quote(str(copy))}"
    )
    return StorageError(
        f"database {url}: PostgreSQL has a restore command of its own", hint=f"Stop the service, then run: {command}"
    )
