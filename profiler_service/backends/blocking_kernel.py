"""Runs on a GPU, timed by its own clock: the device never waits for the host.

The device sleeps while the host enqueues everything, then works it off in one go. Without that head start a short run would
be timed as what the host needs to launch the next one (docs/measurement.md).
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from time import perf_counter
from typing import Any, Protocol

from profiler_service.backends.base import Engine
from profiler_service.errors import RunError

RUNS_AT_ONCE = 128
"""Runs enqueued behind one head start: three launches each, well below the 1024 that the driver queues."""

FIRST_HEAD_START_S = 0.002
MOST_ATTEMPTS = 8

Mark = Any
"""A moment on the device's clock: whatever the timeline makes of one."""


class Timeline(Protocol):
    """One stream of work on a device, with marks in it. Each may raise RunError, DeviceMemoryError."""

    def sleep(self, seconds: float) -> None:
        """Enqueue that the device does nothing, for at least so long."""

    def mark(self) -> Mark:
        """Enqueue a mark."""

    def passed(self, mark: Mark) -> bool:
        """Whether the device has come by that mark; does not wait."""

    def elapsed_ms(self, before: Mark, after: Mark) -> float:
        """Milliseconds of the device's clock between two marks that it has passed."""

    def synchronize(self) -> None:
        """Wait until everything enqueued is done."""


class EnqueuedEngine(Engine):
    """An engine whose runs are work on a timeline, for which the host need not wait."""

    @abstractmethod
    def enqueue(self) -> None:
        """Enqueue one run; does not wait. Raises RunError, DeviceMemoryError."""


class BlockingKernelTimer:
    """Times runs on one timeline. Remembers how long a head start its host needs, and how many runs the driver queues."""

    def __init__(self, timeline: Timeline, *, head_start_s: float = FIRST_HEAD_START_S) -> None:
        self._timeline = timeline
        self.head_start_s = head_start_s
        self.runs_at_once = RUNS_AT_ONCE

    def time(self, enqueues: Sequence[Callable[[], None]]) -> list[float]:
        """Milliseconds of each run, in order; a launch's own overhead, a few µs, is part of every time.

        Runs that the driver does not queue all at once, as it may with large graphs, are halved until it does.

        Args:
            enqueues: each enqueues one run on the timeline and does not wait.

        Raises:
            RunError: the host stays slower than the device, however long the head start, even with one run at a time.
        """
        times: list[float] = []
        at_once = self.runs_at_once
        while len(times) < len(enqueues):
            batch = enqueues[len(times) : len(times) + at_once]
            try:
                times += self._time_at_once(batch)
            except _HostBoundError as error:
                if len(batch) == 1:
                    raise RunError(
                        f"the device kept catching up with the host, with a head start of {error.head_start_s:.3f} s at last: "
                        "something holds the host up, or one run is more launches than the driver queues (about a thousand)",
                        hint="Leave the host a free core while measuring, and capture CUDA graphs.",
                    ) from error
                at_once = len(batch) // 2
        self.runs_at_once = at_once
        return times

    def _time_at_once(self, enqueues: Sequence[Callable[[], None]]) -> list[float]:
        """A pass in which the device woke up too early would time the host: it is repeated with a longer head start.

        Only what served is remembered: after a run for which none is long enough, the next one sleeps no longer than before it.

        Raises _HostBoundError where none is long enough.
        """
        timeline, next_s = self._timeline, self.head_start_s
        for _ in range(MOST_ATTEMPTS):
            head_start_s = next_s
            marks = []
            started = perf_counter()
            timeline.sleep(head_start_s)
            awake = timeline.mark()
            for enqueue in enqueues:
                marks.append(timeline.mark())
                enqueue()
                marks.append(timeline.mark())
            host_bound = timeline.passed(awake)
            enqueued_s = perf_counter() - started
            timeline.synchronize()
            if not host_bound:
                self.head_start_s = head_start_s
                return [timeline.elapsed_ms(before, after) for before, after in zip(marks[::2], marks[1::2], strict=True)]
            next_s = max(2 * head_start_s, 1.5 * enqueued_s)
        raise _HostBoundError(head_start_s)


class _HostBoundError(Exception):
    """The device woke up before the host had enqueued everything, after a sleep of so many seconds too."""

    def __init__(self, head_start_s: float) -> None:
        super().__init__(head_start_s)
        self.head_start_s = head_start_s
