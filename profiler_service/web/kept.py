"""Views of large tables are made once for all who look: one at a time, the latest ones kept."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable
from threading import BoundedSemaphore, Lock
from typing import Generic, TypeVar

from profiler_service.errors import BusyError

V = TypeVar("V")

WAITING = 8
"""Requests that may wait for a view to be made: each holds one of the forty threads that answer requests."""


LARGE_S, COUNTS_FOR, MOST_S = 0.5, 20.0, 60.0
"""A view that took longer than `LARGE_S` to make counts for `COUNTS_FOR` times as long, `MOST_S` at the most, even where its
table has changed since: while a job measures, a large table is another one every second."""


class Kept(Generic[V]):
    """The latest version of some views. For any number of threads.

    Args:
        limit: of the sizes of all that are kept, in whatever `size` counts.
        size: of one view.
        clock: seconds that never go back.
    """

    def __init__(self, limit: int, size: Callable[[V], int], clock: Callable[[], float] = time.monotonic) -> None:
        self._limit, self._size, self._clock = limit, size, clock
        self._lock, self._making, self._waiting = Lock(), Lock(), BoundedSemaphore(WAITING)
        self._kept: OrderedDict[str, tuple[str, V, float]] = OrderedDict()

    def look(self, key: str, version: str) -> V | None:
        """The view of that version, or one that still counts, if it is kept."""
        with self._lock:
            found = self._kept.get(key)
            if found is None or (found[0] != version and self._clock() >= found[2]):
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
                start_s = self._clock()
                made = make()
                took_s = self._clock() - start_s
                counts_s = min(COUNTS_FOR * took_s, MOST_S) if took_s > LARGE_S else 0.0
                self._keep(key, version, made, start_s + took_s + counts_s)
                return made
        finally:
            self._waiting.release()

    def _keep(self, key: str, version: str, made: V, counts_until_s: float) -> None:
        with self._lock:
            self._kept.pop(key, None)
            self._kept[key] = (version, made, counts_until_s)
            total = sum(self._size(view) for _, view, _ in self._kept.values())
            while total > self._limit and len(self._kept) > 1:
                _, (_, dropped, _) = self._kept.popitem(last=False)
                total -= self._size(dropped)
