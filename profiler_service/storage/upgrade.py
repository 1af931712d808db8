"""Brings a database to this release's schema, and refuses databases that are not ours or newer than we are."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine, inspect

from profiler_service.errors import EmptyDatabaseError, NewerDatabaseError, StorageError
from profiler_service.storage import postgres_database
from profiler_service.storage.database import BUSY_TIMEOUT_S
from profiler_service.storage.location import Location, PostgresUrl
from profiler_service.storage.sqlite_database import IMMEDIATE, sqlite_engine, translated
from profiler_service.storage.upkeep import backup

_MIGRATIONS = Path(__file__).parent / "migrations"


def upgrade(location: Location, *, create: bool = True) -> None:
    """Run the migrations that the database lacks, all or none. One that is refused is left as it was.

    An empty database, or a missing or empty file, gets the tables. Of a file that is changed a copy is kept beside it; of a
    database on a server the tables are kept in a schema of their own. Several processes may do this at once.

    Args:
        location: of the database.
        create: whether an empty database on a server gets the tables.

    Raises:
        NewerDatabaseError: a later release wrote it.
        StorageError: it is no database, another program's, or cannot be read or written.
    """
    if isinstance(location, PostgresUrl):
        _upgrade_server(location, create=create)
    else:
        _upgrade_file(location)


def _upgrade_file(path: Path) -> None:
    # Foreign keys stay off: with them SQLite refuses to rebuild a table that others refer to, as migrations do.
    engine = sqlite_engine(path, {"foreign_keys": "OFF"})
    scripts = ScriptDirectory.from_config(alembic_config())
    try:
        with translated(path):
            with engine.connect() as connection, connection.begin():
                current = _is_current(connection, scripts, path)
            if not current:
                _keep_a_copy(path, str(scripts.get_current_head()))
                with engine.connect().execution_options(**IMMEDIATE) as connection, connection.begin():
                    if not _is_current(connection, scripts, path):
                        command.upgrade(alembic_config(connection), "head")
            _use_write_ahead_log(engine)
    finally:
        engine.dispose()


def _upgrade_server(url: PostgresUrl, *, create: bool) -> None:
    engine = postgres_database.postgres_engine(url, kept=False)
    scripts = ScriptDirectory.from_config(alembic_config())
    with postgres_database.translated(url):
        with engine.begin() as connection:
            current = _is_current(connection, scripts, url)
        if current:
            return
        with engine.begin() as connection:
            connection.execute(postgres_database.take_write_lock())
            if _is_current(connection, scripts, url):
                return
            tables = inspect(connection).get_table_names()
            if not tables and not create:
                raise EmptyDatabaseError(
                    f"database {url}: it has no tables yet",
                    hint="Name another one with --database, or measure into this one with `profiler-service profile`.",
                )
            _keep_the_tables(connection, tables, str(scripts.get_current_head()))
            command.upgrade(alembic_config(connection), "head")


def alembic_config(connection: Connection | None = None) -> Config:
    """Where the migrations are, and the connection they run on."""
    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS).replace("%", "%%"))
    config.attributes["connection"] = connection
    return config


def _is_current(connection: Connection, scripts: ScriptDirectory, location: Location) -> bool:
    """Whether nothing is to be done. Raises what `upgrade` raises for files that are not ours to upgrade."""
    found = MigrationContext.configure(connection).get_current_revision()
    if found is None:
        if inspect(connection).get_table_names():
            raise StorageError(f"database {location}: it belongs to another program", hint="Name another one with --database.")
        return False
    known = {script.revision for script in scripts.walk_revisions()}
    if found not in known:
        raise NewerDatabaseError(
            f"database {location}: its schema {found} is newer than this release's {scripts.get_current_head()}",
            hint="Upgrade opclock, or name another database with --database.",
        )
    return found == scripts.get_current_head()


def _keep_a_copy(path: Path, head: str) -> None:
    """Of what will be changed, since migrations only go forward. Raises StorageError where there is no room for it."""
    if path.exists() and path.stat().st_size:
        backup(path, path.with_name(f"{path.name}.before-{head}-{datetime.now(UTC):%Y%m%dT%H%M%S%f}"))


def _keep_the_tables(connection: Connection, tables: Iterable[str], head: str) -> None:
    """The same of a database on a server, within the transaction that migrates it."""
    quoted = connection.dialect.identifier_preparer.quote_identifier
    kept = [quoted(table) for table in tables]
    if kept:
        schema = quoted(f"before-{head}-{datetime.now(UTC):%Y%m%dT%H%M%S%f}")
        connection.exec_driver_sql(f"CREATE SCHEMA {schema}")
        for table in kept:
            connection.exec_driver_sql(f"CREATE TABLE {schema}.{table} AS TABLE {table}")


def _use_write_ahead_log(engine: Engine) -> None:
    """A property of the file, set once: with it readers never wait for the writer, nor the writer for them.

    SQLite refuses the change at once, without its usual wait, while another process happens to read the file.
    """
    deadline = time.monotonic() + BUSY_TIMEOUT_S
    connection = engine.raw_connection()
    try:
        while True:
            try:
                connection.cursor().execute("PRAGMA journal_mode=WAL")
            except sqlite3.OperationalError as error:
                if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                    raise
                time.sleep(0.01)
            else:
                return
    finally:
        connection.close()
