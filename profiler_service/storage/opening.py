"""Opens a database: a file or one on a server, brought to this release's schema."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from profiler_service.errors import StorageError
from profiler_service.storage.database import BUSY_TIMEOUT_S, Database
from profiler_service.storage.location import Location
from profiler_service.storage.postgres_database import PostgresDatabase
from profiler_service.storage.sqlite_database import PRAGMAS, SqliteDatabase
from profiler_service.storage.upgrade import upgrade


def open_database(
    location: Location,
    *,
    create: bool = True,
    pragmas: Mapping[str, str] = PRAGMAS,
    busy_timeout_s: float = BUSY_TIMEOUT_S,
) -> Database:
    """A database that can be read and written; see `Store.open` for what it takes and raises."""
    if isinstance(location, Path):
        _require_place(location, create=create)
    upgrade(location, create=create)
    database: Database
    if isinstance(location, Path):
        database = SqliteDatabase(location, pragmas=pragmas, timeout_s=busy_timeout_s)
    else:
        database = PostgresDatabase(location, timeout_s=busy_timeout_s)
    try:
        database.check()
    except StorageError:
        database.close()
        raise
    return database


def _require_place(path: Path, *, create: bool) -> None:
    """Raises StorageError unless there is, or can be made, a file of that name."""
    if path.is_dir():
        raise StorageError(f"database {path}: it is a directory", hint="Name a file in it with --database.")
    if not path.parent.is_dir():
        raise StorageError(
            f"database {path}: the directory {path.parent} does not exist",
            hint="Make that directory, or name another file with --database.",
        )
    if not create and not path.exists():
        raise StorageError(
            f"database {path}: there is no such file",
            hint="Name another file with --database, or measure into this one with `profiler-service profile`.",
        )
