"""Views of large tables are made once for all who look: one at a time, the latest ones kept."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from threading import BoundedSemaphore, Lock
from typing import Generic, TypeVar

from profiler_service.errors import BusyError

V = TypeVar("V")

WAITING = 8
"""Requests that may wait for a view to be made: each holds one of the forty threads that answer requests."""


class Kept(Generic[V]):
    """The latest version of some views. For any number of threads.

    Args:
        limit: of the sizes of all that are kept, in whatever `size` counts.
        size: of one view.
    """

    def __init__(self, limit: int, size: Callable[[V], int]) -> None:
        self._limit, self._size = limit, size
        self._lock, self._making, self._waiting = Lock(), Lock(), BoundedSemaphore(WAITING)
        self._kept: OrderedDict[str, tuple[str, V]] = OrderedDict()

    def look(self, key: str, version: str) -> V | None:
        """The view of that version, if it is kept."""
        with self._lock:
            found = self._kept.get(key)
            if found is None or found[0] != version:
                return None
            self._kept.move_to_end(key)
            return found[1]

    def get(self, key: str, version: str, make: Callable[[], V]) -> V:
        """The view of that version, made now unless it is kept. Only one is made at a time, whatever its key.

        Raises:
            BusyError: too many wait for views.
            Whatever `make` raises.
        """
        if (kept := self.look(key, version)) is not None:
            return kept
        if not self._waiting.acquire(blocking=False):
            raise BusyError("too many requests wait for tables to be looked at", hint="Reload the page in some seconds.")
        try:
            with self._making:
                if (kept := self.look(key, version)) is not None:
                    return kept
                made = make()
                self._keep(key, version, made)
                return made
        finally:
            self._waiting.release()

    def _keep(self, key: str, version: str, made: V) -> None:
        with self._lock:
            self._kept.pop(key, None)
            self._kept[key] = (version, made)
            total = sum(self._size(view) for _, view in self._kept.values())
            while total > self._limit and len(self._kept) > 1:
                _, (_, dropped) = self._kept.popitem(last=False)
                total -= self._size(dropped)
