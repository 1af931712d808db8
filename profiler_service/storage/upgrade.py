"""Brings a database file to this release's schema, and refuses files that are not ours or newer than we are."""

from __future__ import annotations

import sqlite3
import time
from datetime import UTC, datetime
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine, inspect

from profiler_service.errors import NewerDatabaseError, StorageError
from profiler_service.storage.database import BUSY_TIMEOUT_S, IMMEDIATE, sqlite_engine, translated
from profiler_service.storage.upkeep import backup

_MIGRATIONS = Path(__file__).parent / "migrations"


def upgrade(path: Path) -> None:
    """Run the migrations that the file lacks, all or none. A file that is refused is left as it was.

    A missing or empty file becomes an empty database. Of one that is changed, a copy is kept beside it. Several processes
    may do this at once.

    Raises:
        NewerDatabaseError: a later release wrote it.
        StorageError: it is no database, another program's, or cannot be read or written.
    """
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


def alembic_config(connection: Connection | None = None) -> Config:
    """Where the migrations are, and the connection they run on."""
    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS).replace("%", "%%"))
    config.attributes["connection"] = connection
    return config


def _is_current(connection: Connection, scripts: ScriptDirectory, path: Path) -> bool:
    """Whether nothing is to be done. Raises what `upgrade` raises for files that are not ours to upgrade."""
    found = MigrationContext.configure(connection).get_current_revision()
    if found is None:
        if inspect(connection).get_table_names():
            raise StorageError(f"database {path}: it belongs to another program", hint="Name another file with --database.")
        return False
    known = {script.revision for script in scripts.walk_revisions()}
    if found not in known:
        raise NewerDatabaseError(
            f"database {path}: its schema {found} is newer than this release's {scripts.get_current_head()}",
            hint="Upgrade opclock, or name another file with --database.",
        )
    return found == scripts.get_current_head()


def _keep_a_copy(path: Path, head: str) -> None:
    """Of what will be changed, since migrations only go forward. Raises StorageError where there is no room for it."""
    if path.exists() and path.stat().st_size:
        backup(path, path.with_name(f"{path.name}.before-{head}-{datetime.now(UTC):%Y%m%dT%H%M%S%f}"))


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
