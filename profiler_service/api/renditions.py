"""Tables as bytes, made once for all who ask for the same: parsing and writing a large one takes seconds of a core."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import Future
from threading import BoundedSemaphore, Lock

from profiler_service.api.content import Snapshot
from profiler_service.errors import BusyError

LIMIT_BYTES = 128 * 2**20
WAITING = 24
"""Requests that may wait for what another one makes: each holds one of the forty threads that answer requests."""

Key = tuple[str, str]
"""Table and media type."""


class Renditions:
    """The latest rendition of each table and form, those used least recently dropped first. For any number of threads.

    Args:
        limit_bytes: of all of them together; one that is larger is not kept.
        waiting: requests that may wait for another one's.
    """

    def __init__(self, limit_bytes: int = LIMIT_BYTES, *, waiting: int = WAITING) -> None:
        self._limit_bytes = limit_bytes
        self._lock, self._waiting = Lock(), BoundedSemaphore(waiting)
        self._kept: OrderedDict[Key, Snapshot] = OrderedDict()
        self._bytes = 0
        self._being_made: dict[tuple[Key, str], Future[Snapshot]] = {}

    def get(self, key: Key, version: str, make: Callable[[], Snapshot]) -> Snapshot:
        """The rendition of that version, or of a newer one that `make` found.

        Raises:
            BusyError: too many wait for it.
            Whatever `make` raises, to all who waited for it.
        """
        with self._lock:
            kept = self._kept.get(key)
            if kept is not None and kept.version == version:
                self._kept.move_to_end(key)
                return kept
            future = self._being_made.get((key, version))
            mine = future is None
            if future is None:
                future = self._being_made[key, version] = Future()
        if not mine:
            return self._wait(future)
        try:
            made = make()
        except BaseException as error:
            with self._lock:
                del self._being_made[key, version]
            future.set_exception(error)
            raise
        with self._lock:
            del self._being_made[key, version]
            self._keep(key, made)
        future.set_result(made)
        return made

    def _wait(self, future: Future[Snapshot]) -> Snapshot:
        if not self._waiting.acquire(blocking=False):
            raise BusyError("too many requests wait for this table", hint="Ask again in some seconds.")
        try:
            return future.result()
        finally:
            self._waiting.release()

    def _keep(self, key: Key, made: Snapshot) -> None:
        if (before := self._kept.pop(key, None)) is not None:
            self._bytes -= len(before.body)
        if len(made.body) > self._limit_bytes:
            return
        self._kept[key] = made
        self._bytes += len(made.body)
        while self._bytes > self._limit_bytes:
            _, dropped = self._kept.popitem(last=False)
            self._bytes -= len(dropped.body)
