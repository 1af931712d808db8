"""Emptying the last cache before memory, by writing more than it holds."""

from __future__ import annotations

from typing import Generic, TypeVar

from profiler_service.backends.base import Engine, FloatArray
from profiler_service.errors import RunError

_FLUSHED_CACHES = 2
"""Caches' worth of memory that is written to empty one: its replacement is not strictly the oldest line first."""

T = TypeVar("T")


def flush_bytes(cache_bytes: int | None) -> int | None:
    """How much must be written to leave nothing else in a cache of that size; None where that is not known (None or 0)."""
    return _FLUSHED_CACHES * cache_bytes if cache_bytes else None


class Flusher(Engine, Generic[T]):
    """Its run writes a buffer and computes nothing. It is timed like any other; its time is dropped.

    Args:
        buffer: in whatever memory the runtime has; let go of when it is closed.
    """

    def __init__(self, buffer: T) -> None:
        self._buffer: T | None = buffer

    @property
    def buffer(self) -> T:
        """What is written. Raises RunError once it is closed."""
        if self._buffer is None:
            raise RunError("the engine is closed")
        return self._buffer

    def infer(self, array: FloatArray) -> FloatArray:
        """Never. Raises RunError."""
        raise RunError("a flusher computes nothing")

    def close(self) -> None:
        """See `Engine.close`."""
        self._buffer = None
