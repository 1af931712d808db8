"""Running one engine by itself: each run between marks of its own, many between one pair, or each with cold caches.

The three are the protocols `isolated`, `isolated_hot` and `isolated_cold` (docs/measurement.md). All are made of what every
backend has, `time_pass`: what is repeated, and what empties the caches, are engines too.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing

from profiler_service.backends.base import Backend, Engine, FloatArray
from profiler_service.backends.head_start import RUNS_AT_ONCE
from profiler_service.measure.passes import garbage_collector_off

HOT_RUNS = 10
"""Runs between one pair of marks, K, of `isolated_hot`; part of the protocol. The marks' own microseconds are shared by so
many, and what is enqueued at once stays far below what a driver queues: K launches, or those of one operator K times. A network
that is launched kernel by kernel would be more, and is refused (`admission`)."""

_LAUNCHES_AT_ONCE = 3 * RUNS_AT_ONCE
"""What `RUNS_AT_ONCE` runs make, each with two marks."""


class Repeated(Engine):
    """An engine whose run is so many of another's. Closing it does not close that one."""

    def __init__(self, engine: Engine, times: int) -> None:
        self._engine, self._times = engine, times

    def run(self) -> None:
        """See `Engine.run`."""
        run = self._engine.run
        for _ in range(self._times):
            run()

    def enqueue(self) -> None:
        """On backends that enqueue: so many runs, without waiting."""
        enqueue = self._engine.enqueue  # type: ignore[attr-defined]
        for _ in range(self._times):
            enqueue()

    def infer(self, array: FloatArray) -> FloatArray:
        """See `Engine.infer`; once."""
        return self._engine.infer(array)

    def close(self) -> None:
        """See `Engine.close`."""


def run_alone(backend: Backend, engine: Engine, windows: int, *, together: int = 1, cold: bool = False) -> list[float]:
    """Milliseconds per run, one value for each window, garbage collector off.

    Args:
        backend: runs the engine.
        engine: what is timed.
        windows: pairs of marks.
        together: runs between one pair; a window's time is divided by it.
        cold: whether the caches are emptied before each window, outside it.

    Raises:
        RunError, DeviceMemoryError: the engine failed, or there is no room to empty the caches.
        InvalidSpecError: the backend cannot empty the caches.
    """
    repeated = engine if together == 1 else Repeated(engine, together)
    with garbage_collector_off():
        if not cold:
            return [time_ms / together for time_ms in _in_portions(backend, [repeated] * windows, together + 2)]
        with closing(backend.flusher()) as flusher:
            times_ms = _in_portions(backend, [flusher, repeated] * windows, together + 2)
            return [time_ms / together for time_ms in times_ms[1::2]]


def _in_portions(backend: Backend, engines: Sequence[Engine], launches: int) -> list[float]:
    """As `Backend.time_pass`, never more at once than a driver queues. An even number, so that a flush and its run stay
    together.
    """
    size = max(_LAUNCHES_AT_ONCE // launches // 2 * 2, 2)
    times_ms: list[float] = []
    for start in range(0, len(engines), size):
        times_ms += backend.time_pass(engines[start : start + size])
    return times_ms
