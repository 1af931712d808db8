"""SQLite's errors in our words: what is wrong with the file, and what to do about it."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

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
    """What that error of SQLite or SQLAlchemy means for whoever keeps the file."""
    original = error.orig if isinstance(error, DBAPIError) else error
    code = getattr(original, "sqlite_errorcode", None)
    known = None if code is None else _KNOWN.get(code & _PRIMARY_CODE)
    problem, hint = known or ("it failed", "Run `profiler-service doctor`.")
    return StorageError(f"database {path}: {problem} ({original})", hint=hint)
