"""How many threads may do something costly at once, and how many may wait for that."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from threading import BoundedSemaphore

from profiler_service.errors import BusyError


class Places:
    """So many threads are let in at once. Some wait for a while; beyond these, threads are refused at once.

    Args:
        what: is done there, for messages, as in `tables are being read`.
        inside: threads that are let in at once.
        waiting: threads that may wait.
        wait_s: for how long.
    """

    def __init__(self, what: str, *, inside: int, waiting: int, wait_s: float) -> None:
        self._what, self._wait_s = what, wait_s
        self._inside = BoundedSemaphore(inside)
        self._waiting = BoundedSemaphore(waiting)

    @contextmanager
    def one(self) -> Iterator[None]:
        """Hold a place for the length of a `with` block. Raises BusyError where none becomes free in time."""
        if not self._inside.acquire(blocking=False):
            self._wait()
        try:
            yield
        finally:
            self._inside.release()

    def _wait(self) -> None:
        if not self._waiting.acquire(blocking=False):
            raise self._busy()
        try:
            if not self._inside.acquire(timeout=self._wait_s):
                raise self._busy()
        finally:
            self._waiting.release()

    def _busy(self) -> BusyError:
        return BusyError(f"too many {self._what} at once", hint="Ask again in some seconds.")
