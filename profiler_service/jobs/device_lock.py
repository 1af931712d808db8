"""One lock per device of the machine: whatever services and commands there are, only one measures at a time.

The lock is the operating system's, on an open file: it is free again the moment its holder dies, however it dies. On Linux a
socket that has a name and no file guards it as well, so that deleting the file lets nobody else in.
"""

from __future__ import annotations

import errno
import hashlib
import os
import socket
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from profiler_service.errors import JobError

_POLL_S = 0.2
"""How often a busy lock is tried, and whether to go on waiting is asked."""


def lock_directory() -> Path:
    """The machine's directory of temporary files, which every user may write to wherever there are users at all.

    Users, or containers, whose TMPDIR differ must be given one directory of locks (OPCLOCK_LOCK_DIR).
    """
    return Path(tempfile.gettempdir())


@contextmanager
def device_lock(
    device: str, *, on_wait: Callable[[str], None], stopped: Callable[[], bool], directory: Path | None = None
) -> Iterator[bool]:
    """Hold the device for the length of a `with` block.

    Args:
        device: as its target names it.
        on_wait: called once if somebody else holds it, with who that is.
        stopped: asked while waiting; once true, the block is entered without the lock.
        directory: of the lock's file; the machine's by default.

    Yields:
        Whether the device is held.

    Raises:
        JobError: the lock's file cannot be made.
    """
    name = hashlib.sha256(device.encode()).hexdigest()[:16]
    path = (directory or lock_directory()) / f"opclock-{name}.lock"
    lock, holder = _Lock(path, device), path.with_suffix(".holder")
    held = lock.acquire(0)
    if not held:
        on_wait(_read(holder))
        while not held and not stopped():
            held = lock.acquire(_POLL_S)
    try:
        if held:
            _write(holder)
        yield held
    finally:
        if held:
            with suppress(OSError):
                holder.unlink(missing_ok=True)
            lock.release()


class _Lock:
    """The lock of one device, on a file and, where there are such, on a name."""

    def __init__(self, path: Path, device: str) -> None:
        self._file, self._device = FileLock(path, mode=0o666), device
        self._name = f"\0opclock-{hashlib.sha256(os.fsencode(path.resolve())).hexdigest()}"
        self._socket: socket.socket | None = None

    def acquire(self, timeout_s: float) -> bool:
        """Whether it is held now. Raises JobError where it cannot be made."""
        if not _acquire(self._file, self._device, timeout_s):
            return False
        if sys.platform != "linux":
            return True
        guard = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            guard.bind(self._name)
        except OSError as error:
            guard.close()
            if error.errno != errno.EADDRINUSE:
                raise
            self._file.release()
            return False
        self._socket = guard
        return True

    def release(self) -> None:
        """Let others have it."""
        if self._socket is not None:
            self._socket.close()
        self._file.release()


def _write(holder: Path) -> None:
    """Say who this is, for those who wait. Not vital: a full disk must not keep anybody from measuring."""
    command = " ".join([Path(sys.argv[0]).name, *(word for word in sys.argv[1:2] if not word.startswith("-"))])
    with suppress(OSError):
        holder.write_text(f"process {os.getpid()} ({command}) on {socket.gethostname()}")
        holder.chmod(0o666)


def _read(holder: Path) -> str:
    """Who holds the device, for people."""
    try:
        return holder.read_text(errors="replace")[:200] or "another process"
    except OSError:
        return "another process"


def _acquire(lock: FileLock, device: str, timeout_s: float) -> bool:
    try:
        lock.acquire(timeout=timeout_s)
    except Timeout:
        return False
    except OSError as error:
        raise JobError(
            f"cannot lock the device {device!r}: {error}",
            hint=f"Make {lock.lock_file} and its directory {Path(lock.lock_file).parent} writable for this user, or set "
            "OPCLOCK_LOCK_DIR to a directory that all who measure on this device can write to.",
        ) from error
    return True
