"""Errors on the target box.

::

    ProfilerError
    ├── BackendError
    │   ├── BackendUnavailableError   the runtime is not installed, or has no device to run on
    │   ├── BuildError                the runtime refused the graph
    │   ├── RunError                  the engine failed while running
    │   └── DeviceMemoryError         out of memory while building or running
    ├── StorageError                  the database, or the cache of graphs, cannot be read or written
    │   ├── DatabaseError             it cannot be used; it may be later
    │   ├── FullDiskError             the cache's disk is full; it may have room later
    │   ├── EmptyDatabaseError        it has no tables yet
    │   └── NewerDatabaseError        it was written by a later release
    ├── BusyError                     too many ask for the same at once
    ├── JobError
    │   ├── JobNotFoundError
    │   ├── JobConflictError          the request contradicts the job's state
    │   ├── JobHeldError              another process runs the job
    │   └── QueueFullError            too much waits to be measured
    ├── TableNotFoundError
    ├── ValidationNotFoundError
    ├── TokenNotFoundError
    ├── TokenConflictError            a token of that name exists
    ├── AccessError
    │   ├── UnauthenticatedError      no token, or none that is valid
    │   └── ForbiddenError            the token, or where the request comes from, does not allow it
    ├── EntryChoiceError              no entry, or more than one, matches
    └── ServiceStartError             a port in use, a second service on the same device …

A build or run that fails inside a job becomes a `Measurement` with a status, not an exception (docs/architecture.md).
"""

from __future__ import annotations

import errno

from models.spec.errors import ErrorCode, OpclockError

DISK_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
"""Of the system's errors: a disk has no room left, or its owner's quota none."""


class ProfilerError(OpclockError):
    """The root of this package's errors."""


class BackendError(ProfilerError):
    """A runtime could not fulfil a request."""


class BackendUnavailableError(BackendError):
    """The runtime is not installed, or finds no device."""

    code = ErrorCode.BACKEND_UNAVAILABLE


class BuildError(BackendError):
    """The runtime refused the graph."""


class RunError(BackendError):
    """The engine failed while running."""


class DeviceMemoryError(BackendError):
    """Out of memory while building or running."""


class StorageError(ProfilerError):
    """The database cannot be read or written."""

    code = ErrorCode.STORAGE


class DatabaseError(StorageError):
    """The database's file, or its server, cannot be used.

    Args:
        message, hint: as of `OpclockError`.
        passing: whether that may be over later without a restart, as where another process keeps the file locked.
    """

    def __init__(self, message: str, *, hint: str = "", passing: bool = False) -> None:
        super().__init__(message, hint=hint)
        self.passing = passing


class FullDiskError(StorageError):
    """The disk of the cache of graphs has no room for now."""


class EmptyDatabaseError(StorageError):
    """The database on a server has no tables yet, and was opened to be read."""


class NewerDatabaseError(StorageError):
    """The database was written by a later release."""


class BusyError(ProfilerError):
    """Too many ask for the same at once; the request may be repeated."""

    code = ErrorCode.BUSY


class JobError(ProfilerError):
    """The root of errors about jobs."""


class JobNotFoundError(JobError):
    """No job of that id."""

    code = ErrorCode.NOT_FOUND


class JobConflictError(JobError):
    """The request contradicts the job's state, or an idempotency key was used for another request."""

    code = ErrorCode.CONFLICT


class StaleAttemptError(JobConflictError):
    """Another process has taken the job up since: nothing of this attempt may be written any more."""


class JobHeldError(JobError):
    """Another process runs the job."""

    code = ErrorCode.CONFLICT


class QueueFullError(JobError):
    """Too many jobs, or too many workloads, wait to be measured."""

    code = ErrorCode.QUEUE_FULL


class TableNotFoundError(ProfilerError):
    """No table of that id."""

    code = ErrorCode.NOT_FOUND


class ValidationNotFoundError(ProfilerError):
    """No validation of that id."""

    code = ErrorCode.NOT_FOUND


class EntryChoiceError(ProfilerError):
    """No entry of a table has that key, or several do."""

    code = ErrorCode.NOT_FOUND


class ServiceStartError(ProfilerError):
    """The service cannot start."""


class TokenNotFoundError(ProfilerError):
    """No token of that name."""

    code = ErrorCode.NOT_FOUND


class TokenConflictError(ProfilerError):
    """There is a token of that name already."""

    code = ErrorCode.CONFLICT


class AccessError(ProfilerError):
    """The root of refusals to whoever calls the service."""


class UnauthenticatedError(AccessError):
    """The request has no token, or none that is valid."""

    code = ErrorCode.UNAUTHENTICATED


class ForbiddenError(AccessError):
    """The token, or where the request comes from, does not allow the call."""

    code = ErrorCode.FORBIDDEN
