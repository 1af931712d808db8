"""The database as a file that is looked after: copies while it is in use, putting one back, one service at a time, and warnings
about where it lies and what reads it.
"""

from __future__ import annotations

import fcntl
import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

from profiler_service.errors import DatabaseError, ServiceStartError, StorageError
from profiler_service.storage import server_upkeep
from profiler_service.storage.location import Location, PostgresUrl
from profiler_service.storage.sqlite_database import translated

_PAGES_PER_STEP = 1_024
"""Pages that are copied at once; between two such steps others may write."""

NETWORK_FILE_SYSTEMS = frozenset(
    {
        "nfs",
        "nfs4",
        "cifs",
        "smb3",
        "smbfs",
        "9p",
        "afs",
        "ceph",
        "glusterfs",
        "fuse.glusterfs",
        "fuse.sshfs",
        "lustre",
        "beegfs",
    }
)
"""Types in /proc/self/mountinfo on which SQLite's locks and its shared memory cannot be relied on."""

_WAL_RESET_FROM, _WAL_RESET_FIXED = (3, 7, 0), (3, 51, 3)
_WAL_RESET_BACKPORTS = ((3, 44, 6), (3, 50, 7))
"""Source: https://sqlite.org/wal.html#walresetbug. Releases of those two lines have the correction from these on."""


def backup(path: Location, copy: Path) -> int:
    """Copy a database that may be in use, to one consistent state.

    Args:
        path: the database's file.
        copy: the new file; it appears when it is complete.

    Returns:
        Its size in bytes.

    Raises:
        StorageError: there is such a file already, one of the two cannot be used, or the database is on a server.
    """
    if isinstance(path, PostgresUrl):
        raise server_upkeep.refuse_backup(path, copy)
    if copy.exists():
        raise StorageError(f"{copy} exists already", hint="Name a new file: backups are never overwritten.")
    _require_file(path)
    part = copy.with_name(f".{copy.name}.{os.getpid()}")
    try:
        with translated(path), closing(_connected(path)) as source, closing(sqlite3.connect(part)) as target:
            source.backup(target, pages=_PAGES_PER_STEP)
            target.execute("PRAGMA journal_mode=DELETE")  # one file, without a log beside it
        require_sound(part)
        _sync(part)
        part.replace(copy)
    except OSError as error:
        raise StorageError(f"cannot write {copy}: {error.strerror}", hint="Check its directory and the disk.") from error
    finally:
        for suffix in ("", "-wal", "-shm", "-journal"):
            part.with_name(part.name + suffix).unlink(missing_ok=True)
    return copy.stat().st_size


def restore(copy: Path, path: Location) -> Path | None:
    """Put a copy in the database's place. What was there is kept beside it, also a log that was left without its database.

    Args:
        copy: made by `backup`.
        path: the database's file; no service may be using it.

    Returns:
        Where the former database is now; None where there was none.

    Raises:
        ServiceStartError: a service uses it.
        StorageError: the copy is damaged, one of the files cannot be used, or the database is on a server.
    """
    if isinstance(path, PostgresUrl):
        raise server_upkeep.refuse_restore(path, copy)
    _require_file(copy)
    require_sound(copy)
    with sole_use(path) if path.exists() else _nothing():
        part = path.with_name(f".{path.name}.{os.getpid()}")
        try:
            with translated(copy), closing(_connected(copy)) as source, closing(sqlite3.connect(part)) as target:
                source.backup(target)
            _sync(part)
            former = _set_aside(path)
            part.replace(path)
        except OSError as error:
            raise StorageError(f"cannot write {path}: {error.strerror}", hint="Check its directory and the disk.") from error
        finally:
            part.unlink(missing_ok=True)
    return former


def require_sound(path: Location) -> None:
    """Raises DatabaseError where the file is damaged, or a server cannot read a row, and says how. Reads all of it."""
    if isinstance(path, PostgresUrl):
        server_upkeep.require_sound(path)
        return
    with translated(path), closing(_connected(path)) as connection:
        found = [str(row[0]) for row in connection.execute("PRAGMA quick_check(3)")]
    if found != ["ok"]:
        raise DatabaseError(
            f"database {path}: it is damaged ({'; '.join(found)})",
            hint="Restore it with `profiler-service restore`, or name another file with --database.",
        )


@contextmanager
def sole_use(path: Location) -> Iterator[None]:
    """Keep other services off a database for the length of a `with` block, in which it is opened and closed.

    The lock is on the file itself, so that nothing can be deleted to get round it. Not on network file systems, where it would
    keep SQLite out too. For a database on a server, the server keeps it.

    Raises:
        ServiceStartError: another service has it.
    """
    if isinstance(path, PostgresUrl):
        with server_upkeep.sole_use(path):
            yield
        return
    if network_file_system(path) is not None:
        yield
        return
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError:  # whoever opens it as a database says what is wrong with it
        yield
        return
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ServiceStartError(
                f"another service uses the database {path}",
                hint="Stop that one, or name another file with --database.",
            ) from error
        yield
    finally:
        os.close(descriptor)


def network_file_system(path: Path, mounts: Path = Path("/proc/self/mountinfo")) -> str | None:
    """The type of the network file system that the file is on; None where it is on none, as far as can be known."""
    try:
        lines = mounts.read_text().splitlines()
    except OSError:
        return None
    where, kind = Path("/"), ""
    target = path.resolve()
    for line in lines:
        fields, _, rest = line.partition(" - ")
        mounted = Path(fields.split()[4].encode().decode("unicode_escape"))
        if target.is_relative_to(mounted) and len(mounted.parts) >= len(where.parts):
            where, kind = mounted, rest.split()[0]
    return kind if kind in NETWORK_FILE_SYSTEMS else None


def has_wal_reset_bug(version: tuple[int, int, int]) -> bool:
    """Whether that release of SQLite may damage a database when two connections write at once, which is very rare.

    Distributions may have corrected it without changing the version.
    """
    corrected = any(version[:2] == fixed[:2] and version >= fixed for fixed in _WAL_RESET_BACKPORTS)
    return _WAL_RESET_FROM <= version < _WAL_RESET_FIXED and not corrected


def warnings(path: Location, version: tuple[int, int, int] = sqlite3.sqlite_version_info[:3]) -> list[str]:
    """What its owner should know about the database, for people; empty where there is nothing."""
    if isinstance(path, PostgresUrl):
        return server_upkeep.warnings(path)
    found = []
    if (kind := network_file_system(path)) is not None:
        found.append(
            f"the database {path} is on a network file system ({kind}), where SQLite may lose or damage data; "
            "put it on a local disk with --database"
        )
    if has_wal_reset_bug(version):
        found.append(
            f"SQLite {'.'.join(map(str, version))} has the WAL-reset bug (3.7.0 to 3.51.2) unless your distribution corrected "
            "it: in very rare cases it damages a database. Upgrade to 3.51.3, or take backups (docs/operations.md)"
        )
    return found


def _require_file(path: Path) -> None:
    if not path.is_file():
        raise StorageError(f"there is no file {path}", hint="Check the name.")


def _connected(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(f"{path.resolve().as_uri()}?mode=rw", uri=True, timeout=30.0)


def _sync(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())


def _set_aside(path: Path) -> Path | None:
    """Rename the database and what SQLite keeps beside it: it would write what a log holds into whatever lies there later."""
    existed = path.exists()
    if existed:
        with suppress(DatabaseError), translated(path), closing(_connected(path)) as connection:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")  # a damaged one is kept as it is
    former = path.with_name(f"{path.name}.before-restore-{datetime.now(UTC):%Y%m%dT%H%M%S%f}")
    for suffix in ("-wal", "-shm", "-journal", ""):
        beside = path.with_name(path.name + suffix)
        if beside.exists():
            beside.rename(former.with_name(former.name + suffix))
    return former if existed else None


@contextmanager
def _nothing() -> Iterator[None]:
    yield
