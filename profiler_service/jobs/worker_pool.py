"""Processes that may die or hang without taking anything along: their death is a value, and the pool goes on."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, CancelledError, Future, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path
from threading import Event, Lock
from typing import Any, Generic, TypeVar

from pebble import ProcessExpired, ProcessPool

from profiler_service.errors import JobError
from profiler_service.worker.process import Activity, ActivityFile, Phase, start
from profiler_service.worker.process_group import GroupContext

Item = TypeVar("Item")
Result = TypeVar("Result")

_POLL_S = 0.1
"""How often overdue tasks are looked for; results are taken up at once."""

_ATTEMPTS = 5
"""How often a task is given to a worker that then ends before it takes the task up: memory may run out for a while."""

_PAUSE_S = 0.1
"""Before the second of these attempts; twice as long before each further one."""

_DESCRIPTORS = 32
"""File descriptors that must be free before processes are started, for their pipes, and as many again for each process."""


@dataclass(frozen=True)
class Death:
    """A task whose worker died, or was killed because it hung.

    Attributes:
        activity: the last thing it did.
        overdue: whether it was killed for taking too long.
        reason: what is known, for people: its last words, or `killed by SIGSEGV`.
    """

    activity: Activity
    overdue: bool
    reason: str


@dataclass(frozen=True)
class _Task(Generic[Item]):
    item: Item
    activity: ActivityFile
    attempt: int = 1


class WorkerPool:
    """A fixed number of spawned processes, started when first needed. What they have started themselves ends with them.

    Not thread-safe, except that `close` may be called from another thread; then what is under way raises JobError.

    Args:
        size: processes.
        cores, modules, memory_bytes: see `worker.process.start`.
        directory: where the workers note their activity; this pool's own.
        start_timeout_s: for a process to start and to import its modules.
    """

    def __init__(
        self,
        size: int,
        *,
        directory: Path,
        start_timeout_s: float,
        cores: tuple[int, ...] = (),
        modules: tuple[str, ...] = (),
        memory_bytes: int | None = None,
    ) -> None:
        self.size = size
        self._directory = directory
        self._start_timeout_s = start_timeout_s
        self._initargs = (cores, modules, memory_bytes)
        self._names = count()
        self._lock = Lock()
        self._pool: ProcessPool | None = None
        self._closing = Event()

    def map(
        self, function: Callable[[Item, ActivityFile], Result], items: Iterable[Item]
    ) -> Iterator[tuple[Item, Result | Death]]:
        """Each item with what the function returned for it in a worker, in the order in which they finish.

        Lazy: there are never more items under way than processes. Closing the iterator early kills what is under way.

        Raises:
            JobError: workers cannot be started, or the pool was closed meanwhile.
            OSError: the system has too few file descriptors for them.
            Whatever else the function raised.
        """
        source = iter(items)
        pending: dict[Future[Result], _Task[Item]] = {}
        try:
            while True:
                self._require_open()
                while len(pending) < self.size and (task := self._next_task(source)) is not None:
                    pending[self._submit(function, task)] = task
                if not pending:
                    return
                done, _ = wait(pending, timeout=_POLL_S, return_when=FIRST_COMPLETED)
                for future in done or self._stuck(pending):
                    task = pending.pop(future)
                    outcome = self._outcome(future, task)
                    if outcome is None:
                        self._closing.wait(_PAUSE_S * 2 ** (task.attempt - 1))
                        retried = replace(task, attempt=task.attempt + 1)
                        pending[self._submit(function, retried)] = retried
                        continue
                    task.activity.remove()
                    yield task.item, outcome
        except FileNotFoundError:
            self._require_open()  # the notes go when the workers are closed
            raise
        finally:
            for future, task in pending.items():
                future.cancel()
                task.activity.remove()

    def call(self, function: Callable[[Item, ActivityFile], Result], item: Item) -> Result | Death:
        """What the function returned for one item in a worker. Raises as `map` does."""
        ((_, outcome),) = self.map(function, [item])
        return outcome

    def close(self) -> None:
        """Kill all workers. Safe to call twice, and from another thread."""
        with self._lock:
            self._closing.set()
            self._stop()

    def _next_task(self, source: Iterator[Item]) -> _Task[Item] | None:
        for item in source:
            file = ActivityFile.create(self._directory / f"task-{next(self._names)}", self._start_timeout_s)
            return _Task(item, file)
        return None

    def _submit(self, function: Callable[[Item, ActivityFile], Result], task: _Task[Item]) -> Future[Result]:
        with self._lock:
            self._require_open()
            if self._pool is None or not self._pool.active:
                self._stop()
                _require_descriptors(_DESCRIPTORS * (1 + self.size))
                self._pool = ProcessPool(
                    self.size,
                    initializer=start,
                    initargs=self._initargs,
                    context=GroupContext(),
                )
            future: Future[Result] = self._pool.schedule(function, args=(task.item, task.activity))
            return future

    def _stuck(self, pending: dict[Future[Result], _Task[Any]]) -> list[Future[Result]]:
        self._require_open()
        if not self._running():
            return list(pending)
        return [future for future, task in pending.items() if task.activity.read().overdue]

    def _outcome(self, future: Future[Result], task: _Task[Item]) -> Result | Death | None:
        """The task's result, or its death; None if its worker had ended before taking it up, so that it may be retried."""
        activity = task.activity.read()
        try:
            if future.done():
                return future.result()
            if not self._running():
                raise BrokenProcessPool
        except ProcessExpired as error:
            return Death(activity, overdue=False, reason=activity.last_words or _ending(error.exitcode))
        except CancelledError as error:
            raise JobError("the workers were closed") from error
        except BrokenProcessPool as error:
            if task.attempt < _ATTEMPTS:
                return None
            raise JobError(
                f"worker processes ended {_ATTEMPTS} times as soon as they started",
                hint="Their own message is in the service's log. Are they killed, as when memory runs out?",
            ) from error
        future.cancel()
        if activity.phase is Phase.STARTING:
            raise JobError(
                f"a worker process did not start within {self._start_timeout_s:g} s",
                hint="Look at the service's log; raise start_timeout_s if the disk is slow.",
            )
        return Death(activity, overdue=True, reason="it took too long")

    def _require_open(self) -> None:
        if self._closing.is_set():
            raise JobError("the workers were closed")

    def _running(self) -> bool:
        pool = self._pool
        return pool is not None and bool(pool.active)

    def _stop(self) -> None:
        if self._pool is not None:
            self._pool.stop()  # type: ignore[no-untyped-call]
            self._pool.join()
            self._pool = None


def _require_descriptors(count: int) -> None:
    """Raises OSError (EMFILE, ENFILE) where so many cannot be had; pebble's threads would end without a word."""
    opened: list[int] = []
    try:
        for _ in range(count):
            opened.append(os.open(os.devnull, os.O_RDONLY))  # noqa: PERF401 (what is open is closed below)
    finally:
        for descriptor in opened:
            os.close(descriptor)


def _ending(exitcode: int) -> str:
    if exitcode >= 0:
        return f"its process ended with exit code {exitcode}"
    memory = ", as when memory runs out" if -exitcode == signal.SIGKILL else ""
    return f"its process was killed by signal {-exitcode} ({signal.strsignal(-exitcode)}{memory})"
