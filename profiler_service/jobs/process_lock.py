"""Locks between processes. The operating system holds them: they are free again the moment their holder dies, however it dies.

A lock is on an open file. On Linux a socket that has a name and no file guards it as well, so that deleting the file lets
nobody else in. A process that is stopped (SIGSTOP) or slow keeps its locks, whatever the clock says: nobody takes over what it
may still write to. Jobs of a database on a server are locked there (`profiler_service.storage.advisory_lock`).
"""

from __future__ import annotations

import errno
import hashlib
import os
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from filelock import FileLock, Timeout

from profiler_service.errors import JobConflictError, JobHeldError
from profiler_service.storage.location import Location, PostgresUrl

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from profiler_service.storage.advisory_lock import AdvisoryLock

SOMEBODY = "another process"


class ProcessLock:
    """One lock, and who holds it.

    Args:
        path: of its file. Beside it is a file that says who holds it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file, self._holder = FileLock(path, mode=0o666), path.with_suffix(".holder")
        self._name = f"\0opclock-{hashlib.sha256(os.fsencode(path.resolve())).hexdigest()}"
        self._socket: socket.socket | None = None

    def acquire(self, timeout_s: float = 0.0) -> bool:
        """Whether it is held now. Raises OSError where its file cannot be made or opened."""
        try:
            self._file.acquire(timeout=timeout_s)
        except Timeout:
            return False
        if not self._guard():
            self._file.release()
            return False
        self._write()
        return True

    def release(self) -> None:
        """Let others have it."""
        with suppress(OSError):
            self._holder.unlink(missing_ok=True)
        if self._socket is not None:
            self._socket.close()
        self._file.release()

    def holder(self) -> str:
        """Who holds it, for people."""
        try:
            return self._holder.read_text(errors="replace")[:200] or SOMEBODY
        except OSError:
            return SOMEBODY

    def _guard(self) -> bool:
        if sys.platform != "linux":
            return True
        guard = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            guard.bind(self._name)
        except OSError as error:
            guard.close()
            if error.errno != errno.EADDRINUSE:
                self._file.release()
                raise
            return False
        self._socket = guard
        return True

    def _write(self) -> None:
        """Say who this is, for those who wait. Not vital: a full disk must not keep anybody from measuring."""
        command = " ".join([Path(sys.argv[0]).name, *(word for word in sys.argv[1:2] if not word.startswith("-"))])
        with suppress(OSError):
            self._holder.write_text(f"process {os.getpid()} ({command}) on {socket.gethostname()}")
            self._holder.chmod(0o666)


def run_lock(location: Location, job_id: str) -> ProcessLock | AdvisoryLock:
    """What the process holds that runs the job: a file beside the database, or a lock that its server keeps."""
    if isinstance(location, PostgresUrl):
        from profiler_service.storage.advisory_lock import AdvisoryLock

        return AdvisoryLock(location, f"job {job_id}")
    return ProcessLock(location.with_name(f"{location.name}.{job_id[:16]}.lock"))


def is_run(location: Location, job_id: str) -> bool:
    """Whether a process runs the job. Raises OSError or DatabaseError where its lock cannot be tried."""
    lock = run_lock(location, job_id)
    if not lock.acquire():
        return True
    lock.release()
    return False


@contextmanager
def sole_run(location: Location, job_id: str) -> Iterator[Callable[[Session], None] | None]:
    """Keep other processes from running the job for the length of a `with` block.

    Yields:
        What each write has to call first, since a server's lock can be lost while its holder lives: it raises JobHeldError
        where another process runs the job meanwhile, and JobConflictError where one has ended it. None for a file, whose
        lock cannot be lost.

    Raises:
        JobHeldError: another process runs it.
        DatabaseError: the server cannot be asked.
        OSError: the lock's file, beside the database, cannot be made.
    """
    lock = run_lock(location, job_id)
    if not lock.acquire():
        raise _held(lock, job_id)
    try:
        yield None if isinstance(lock, ProcessLock) else partial(_require_held, lock, job_id)
    finally:
        if isinstance(lock, ProcessLock):
            with suppress(OSError):
                lock.path.unlink(missing_ok=True)
        lock.release()


def _require_held(lock: AdvisoryLock, job_id: str, session: Session) -> None:
    if lock.held_in(session):
        return
    if not lock.acquire():
        raise _held(lock, job_id)
    from profiler_service.storage import job_rows

    job = job_rows.get(session, job_id)
    if job.state.final:
        raise JobConflictError(f"job {job_id} was ended by another process while the server's lock on it was lost: {job.state}")


def _held(lock: ProcessLock | AdvisoryLock, job_id: str) -> JobHeldError:
    return JobHeldError(f"{lock.holder()} runs job {job_id}", hint="It ends there, or goes on here when that process ends.")
