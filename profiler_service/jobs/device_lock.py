"""One lock per device of the machine: whatever services and commands there are, only one measures at a time."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from profiler_service.errors import JobError
from profiler_service.jobs.process_lock import ProcessLock
from profiler_service.jobs.refusals import PASSING

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
        OSError: there are no file descriptors left for now, or no room on its disk.
    """
    name = hashlib.sha256(device.encode()).hexdigest()[:16]
    path = (directory or lock_directory()) / f"opclock-{name}.lock"
    lock = ProcessLock(path)
    held = _acquire(lock, device, 0)
    if not held:
        on_wait(lock.holder())
        while not held and not stopped():
            held = _acquire(lock, device, _POLL_S)
    try:
        yield held
    finally:
        if held:
            lock.release()


def _acquire(lock: ProcessLock, device: str, timeout_s: float) -> bool:
    try:
        return lock.acquire(timeout_s)
    except OSError as error:
        if error.errno in PASSING:
            raise
        raise JobError(
            f"cannot lock the device {device!r}: {error}",
            hint=f"Make {lock.path} and its directory {lock.path.parent} writable for this user, or set "
            "OPCLOCK_LOCK_DIR to a directory that all who measure on this device can write to.",
        ) from error
