"""Runs on a GPU, timed by its own clock: the device never waits for the host.

A blocking kernel occupies the device while the host enqueues everything behind it; then the device runs it without a gap.
Without that kernel, the time of a short run would be the time that the host needs to launch the next one
(docs/measurement.md).
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from time import perf_counter
from typing import Any, Protocol

from profiler_service.backends.base import Engine
from profiler_service.errors import RunError

RUNS_AT_ONCE = 128
"""Runs enqueued behind one blocking kernel: three launches each, well below the 1024 that the driver queues."""

FIRST_BLOCKING_S = 0.002
"""Length of the first blocking kernel."""

MOST_ATTEMPTS = 8

TimingEvent = Any
"""A moment on the device's clock, recorded in a stream: whatever the timeline makes of one."""


class Timeline(Protocol):
    """One stream of work on a device, with timing events in it. Each may raise RunError, DeviceMemoryError."""

    def sleep(self, seconds: float) -> None:
        """Enqueue that the device does nothing, for at least so long."""

    def record(self) -> TimingEvent:
        """Enqueue a timing event, recorded when the device reaches it."""

    def passed(self, event: TimingEvent) -> bool:
        """Whether the device has reached that event; does not wait."""

    def elapsed_ms(self, before: TimingEvent, after: TimingEvent) -> float:
        """Milliseconds of the device's clock between two events that it has reached."""

    def synchronize(self) -> None:
        """Wait until everything enqueued is done."""


class EnqueuedEngine(Engine):
    """An engine whose runs are work on a timeline, for which the host need not wait."""

    @abstractmethod
    def enqueue(self) -> None:
        """Enqueue one run; does not wait. Raises RunError, DeviceMemoryError."""


class BlockingKernelTimer:
    """Times runs on one timeline. Remembers how long a blocking kernel its host needs, and how many runs the driver queues."""

    def __init__(self, timeline: Timeline, *, blocking_s: float = FIRST_BLOCKING_S) -> None:
        self._timeline = timeline
        self.blocking_s = blocking_s
        self.runs_at_once = RUNS_AT_ONCE

    def time(self, enqueues: Sequence[Callable[[], None]]) -> list[float]:
        """Milliseconds of each run, in order; a launch's own overhead, a few µs, is part of every time.

        Runs that the driver does not queue all at once, as it may with large graphs, are halved until it does.

        Args:
            enqueues: each enqueues one run on the timeline and does not wait.

        Raises:
            RunError: the host stays slower than the device, however long the blocking kernel, even with one run at a time.
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
                        "the device kept catching up with the host, "
                        f"behind a blocking kernel of {error.blocking_s:.3f} s at last: something delays the host, "
                        "or one run is more launches than the driver queues (about a thousand)",
                        hint="Leave the host a free core while measuring, and capture CUDA graphs.",
                    ) from error
                at_once = len(batch) // 2
        self.runs_at_once = at_once
        return times

    def _time_at_once(self, enqueues: Sequence[Callable[[], None]]) -> list[float]:
        """A pass whose blocking kernel ended too early would time the host: it is repeated with a longer kernel.

        Only a length that was enough is remembered: a run for which none is long enough does not make the next kernel longer.

        Raises _HostBoundError where none is long enough.
        """
        timeline, next_s = self._timeline, self.blocking_s
        for _ in range(MOST_ATTEMPTS):
            blocking_s = next_s
            events = []
            started = perf_counter()
            timeline.sleep(blocking_s)
            unblocked = timeline.record()
            for enqueue in enqueues:
                events.append(timeline.record())
                enqueue()
                events.append(timeline.record())
            host_bound = timeline.passed(unblocked)
            enqueued_s = perf_counter() - started
            timeline.synchronize()
            if not host_bound:
                self.blocking_s = blocking_s
                return [timeline.elapsed_ms(before, after) for before, after in zip(events[::2], events[1::2], strict=True)]
            next_s = max(2 * blocking_s, 1.5 * enqueued_s)
        raise _HostBoundError(blocking_s)


class _HostBoundError(Exception):
    """The blocking kernel ended before the host had enqueued everything, even one of so many seconds."""

    def __init__(self, blocking_s: float) -> None:
        super().__init__(blocking_s)
        self.blocking_s = blocking_s
