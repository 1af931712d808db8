"""What the system refuses a job for now: file descriptors and room on a disk, and for how long a job waits for them."""

from __future__ import annotations

import errno
from time import perf_counter

from profiler_service.errors import DISK_FULL, FullDiskError

PASSING = frozenset({errno.EMFILE, errno.ENFILE, *DISK_FULL})
"""Of the system's errors: others give file descriptors back, and make room."""


class Refusals:
    """For how long the system has refused what a job needs.

    Args:
        limit_s: how long it may, from its first refusal on, while the job gets no further.
    """

    def __init__(self, limit_s: float) -> None:
        self._limit_s = limit_s
        self._since_s = 0.0
        self._reached: tuple[float, ...] = ()

    def too_long(self, progress: tuple[float, ...]) -> bool:
        """Take in a refusal, and how far the job was then; whether the first one was too long ago."""
        furthest = tuple(map(max, progress, self._reached)) if self._reached else progress
        if furthest != self._reached:
            self._since_s, self._reached = perf_counter(), furthest
        return perf_counter() - self._since_s >= self._limit_s


def passing_problem(error: OSError | FullDiskError) -> str:
    """What the job lacks for now, and what would help; empty for an error that does not pass."""
    if isinstance(error, FullDiskError):
        return error.message
    if error.errno not in PASSING:
        return ""
    if error.errno in DISK_FULL:
        return f"{error.strerror}{f': {error.filename}' if error.filename else ''}; room must be made there"
    return f"{error.strerror}; other connections and files must be closed"
