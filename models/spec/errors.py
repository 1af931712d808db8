"""What can be wrong with a spec, a table or a file.

::

    SpecError
    ├── InvalidSpecError          a field of a spec is out of bounds or inconsistent
    │   ├── UnshownValueError     one whose value may hold a secret
    │   ├── UnknownNameError      no operator kind, search space, backend … of that name
    │   │   └── MissingPluginError one that a plugin brings, which is not installed
    │   └── WorkloadTooLargeError a workload beyond the limits of memory or multiply-adds
    ├── TableFileError            a file is no table, is cut short, or may not be read
    │   └── UnsafeTableError      a pickle that would run code
    ├── TableMismatchError        two tables, or a table and a request, that must not be mixed
    └── MissingEntryError         an operator has no usable entry in a table

Every error carries the code that crosses the wire, and a hint: the next step for whoever reads it.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from enum import IntEnum, StrEnum


class ErrorCode(StrEnum):
    """The `code` of an error on the wire."""

    INVALID_SPEC = "invalid_spec"
    UNKNOWN_NAME = "unknown_name"
    WORKLOAD_TOO_LARGE = "workload_too_large"
    TABLE_FILE = "table_file"
    UNSAFE_TABLE = "unsafe_table"
    TABLE_MISMATCH = "table_mismatch"
    MISSING_ENTRY = "missing_entry"
    INVALID_REQUEST = "invalid_request"
    UNAUTHENTICATED = "unauthenticated"
    FORBIDDEN = "forbidden"
    NOT_FOUND = "not_found"
    NOT_ACCEPTABLE = "not_acceptable"
    CONFLICT = "conflict"
    STORAGE = "storage"
    BACKEND_UNAVAILABLE = "backend_unavailable"
    BUSY = "busy"
    QUEUE_FULL = "queue_full"
    TOO_MANY_REQUESTS = "too_many_requests"
    TOO_LARGE = "too_large"
    UNREACHABLE = "unreachable"
    INCOMPATIBLE = "incompatible"
    INTERNAL = "internal"


REFUSALS = frozenset({ErrorCode.INVALID_SPEC, ErrorCode.UNKNOWN_NAME, ErrorCode.INVALID_REQUEST})
"""Codes of errors about requests that this backend does not support at all."""


class ExitCode(IntEnum):
    """Exit codes of every command of this project."""

    DONE = 0
    """Done."""
    USAGE = 2
    """Usage: an unknown command or option."""
    BAD_INPUT = 3
    """Bad input or data. The message names the field, the value and the next step."""
    WORKLOADS_FAILED = 4
    """Some workloads failed. All others were measured and saved."""
    UNREACHABLE = 5
    """The service is unreachable, too slow, or has an incompatible version."""
    UNTRUSTED = 6
    """The command has finished, but the verdict is worse than `--require` allows."""
    REGRESSION = 7
    """The command has finished and found what `--fail-on` names: differences (`diff`) or inversions (`lint`)."""


class OpclockError(Exception):
    """What the packages' own roots have in common: a message, a code for the wire, a hint, an exit code.

    Args:
        message: what was wrong, naming the field, the value and the limit.
        hint: what to do next, one sentence; may be empty.
    """

    code: ErrorCode = ErrorCode.INTERNAL
    exit_code: ExitCode = ExitCode.BAD_INPUT

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return self.message

    def __reduce__(self) -> tuple[object, ...]:
        """Errors cross process boundaries; keep the hint."""
        return (_rebuild, (type(self), self.message, self.hint))


def _rebuild(cls: type[OpclockError], message: str, hint: str) -> OpclockError:
    return cls(message, hint=hint)


class SpecError(OpclockError):
    """The root of this package's errors."""


class InvalidSpecError(SpecError, ValueError):
    """A field of a spec is out of bounds or inconsistent with another. A ValueError, so that validators may raise it."""

    code = ErrorCode.INVALID_SPEC


class UnshownValueError(InvalidSpecError):
    """A value that may hold a secret, such as a URL with a password: messages about it do not repeat it."""


class UnknownNameError(InvalidSpecError):
    """Nothing is registered under that name."""

    code = ErrorCode.UNKNOWN_NAME

    @classmethod
    def of(cls, what: str, name: str, known: Iterable[str]) -> UnknownNameError:
        """An error that lists the known names and offers the nearest one."""
        return cls(f"unknown {what} {name!r}", hint=nearest(name, known))


def nearest(name: str, known: Iterable[str]) -> str:
    """A hint for an unknown name: the nearest known one; without a near one all of them, or the nearest few of many."""
    names = sorted(known)
    if close := difflib.get_close_matches(name, names, n=1):
        return f"Did you mean {close[0]!r}?"
    if len(names) > 10:
        few = difflib.get_close_matches(name, names, n=3, cutoff=0.0)
        return f"The nearest of {len(names)} known ones: {', '.join(few)}."
    return f"Known: {', '.join(names) or 'none'}."


class MissingPluginError(UnknownNameError):
    """A table holds names of a plugin that is not installed here."""


class WorkloadTooLargeError(InvalidSpecError):
    """A workload needs more memory or multiply-adds than is allowed."""

    code = ErrorCode.WORKLOAD_TOO_LARGE


class TableFileError(SpecError):
    """A file is not a table, is cut short, or is of a version this release does not read."""

    code = ErrorCode.TABLE_FILE


class UnsafeTableError(TableFileError):
    """A pickle names something other than plain containers and numpy scalars."""

    code = ErrorCode.UNSAFE_TABLE


class TableMismatchError(SpecError):
    """Numbers of different targets, search spaces or protocols must not be mixed."""

    code = ErrorCode.TABLE_MISMATCH


class MissingEntryError(SpecError):
    """An operator has no usable entry in the table."""

    code = ErrorCode.MISSING_ENTRY
