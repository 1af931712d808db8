"""Running engines: round-robin with the sentinel interspersed, one run each per pass; or isolated (docs/measurement.md).

An isolated engine is timed between timing events of its own, many runs between one pair, or each run with cold caches: the
protocols `isolated`, `isolated_hot` and `isolated_cold`. All use what every backend has, `time_pass`: a repeated engine, and
what empties the caches, are engines too.
"""

from __future__ import annotations

import gc
import random
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from itertools import pairwise
from time import perf_counter

from profiler_service.backends.base import Backend, Engine, FloatArray
from profiler_service.backends.blocking_kernel import RUNS_AT_ONCE, EnqueuedEngine
from profiler_service.measure.throttling import Window, windows_between

SENTINEL = -1
"""Stands for the sentinel in an order of engines."""


@dataclass(frozen=True)
class PassTimes:
    """Milliseconds of every run.

    Attributes:
        engines_ms: per engine, one time per pass. Shape: (engines, passes).
        sentinel_ms: of each two runs of the sentinel in a row, the second; in order.
        windows: the device before and after each pass, or all isolated ones; empty where it reports nothing.
    """

    engines_ms: tuple[tuple[float, ...], ...]
    sentinel_ms: tuple[float, ...]
    windows: tuple[Window, ...] = ()


HOT_RUNS = 10
"""Runs between one pair of timing events, K, of `isolated_hot`; part of the protocol. So many runs share the events' own
microseconds, and what is enqueued at once stays far below what a driver queues: K launches, or those of one operator K times. A
network that is launched kernel by kernel would be more, and is refused (`admission`)."""

_LAUNCHES_AT_ONCE = 3 * RUNS_AT_ONCE
"""What `RUNS_AT_ONCE` runs make, each with two timing events."""


class Repeated(Engine):
    """An engine whose run is so many of another's. Closing it does not close that one."""

    def __init__(self, engine: Engine, times: int) -> None:
        self._engine, self._times = engine, times

    def run(self) -> None:
        """See `Engine.run`."""
        run = self._engine.run
        for _ in range(self._times):
            run()

    def infer(self, array: FloatArray) -> FloatArray:
        """See `Engine.infer`; once."""
        return self._engine.infer(array)

    def close(self) -> None:
        """See `Engine.close`."""


class EnqueuedRepeated(Repeated, EnqueuedEngine):
    """The same for an engine that can be enqueued."""

    def __init__(self, engine: EnqueuedEngine, times: int) -> None:
        super().__init__(engine, times)
        self._enqueue = engine.enqueue

    def enqueue(self) -> None:
        """See `EnqueuedEngine.enqueue`; so many runs."""
        for _ in range(self._times):
            self._enqueue()


def _repeated(engine: Engine, times: int) -> Engine:
    """An engine whose run is so many of that one's."""
    if times == 1:
        return engine
    return EnqueuedRepeated(engine, times) if isinstance(engine, EnqueuedEngine) else Repeated(engine, times)


def run_isolated(
    backend: Backend, engine: Engine, windows: int, *, runs_per_interval: int = 1, cold: bool = False
) -> list[float]:
    """Milliseconds per run, one value for each window, garbage collector off.

    Args:
        backend: runs the engine.
        engine: what is timed.
        windows: pairs of timing events.
        runs_per_interval: runs between one pair; a window's time is divided by it.
        cold: whether the caches are emptied before each window, outside it.

    Raises:
        RunError, DeviceMemoryError: the engine failed, or there is no room to empty the caches.
        InvalidSpecError: the backend cannot empty the caches.
    """
    repeated = _repeated(engine, runs_per_interval)
    launches = runs_per_interval + 2
    with garbage_collector_off():
        if not cold:
            return [time_ms / runs_per_interval for time_ms in _in_portions(backend, [repeated] * windows, launches)]
        with closing(backend.flusher()) as flusher:
            times_ms = _in_portions(backend, [flusher, repeated] * windows, launches)
            return [time_ms / runs_per_interval for time_ms in times_ms[1::2]]


def isolated_passes(
    backend: Backend, engine: Engine, passes: int, *, runs_per_interval: int = 1, cold: bool = False
) -> PassTimes:
    """As `run_isolated`, between two readings of the device."""
    before = backend.read_device()
    times_ms = run_isolated(backend, engine, passes, runs_per_interval=runs_per_interval, cold=cold)
    return PassTimes((tuple(times_ms),), (), windows_between([before, backend.read_device()]))


def _in_portions(backend: Backend, engines: Sequence[Engine], launches: int) -> list[float]:
    """As `Backend.time_pass`, never more at once than a driver queues. An even number, so that a flush and its run stay
    together.
    """
    size = max(_LAUNCHES_AT_ONCE // launches // 2 * 2, 2)
    times_ms: list[float] = []
    for start in range(0, len(engines), size):
        times_ms += backend.time_pass(engines[start : start + size])
    return times_ms


def pass_order(engines: int, sentinel_every: int, rng: random.Random) -> list[int]:
    """One pass: every engine's index once, shuffled, with `SENTINEL` twice before every `sentinel_every`-th of them."""
    shuffled = list(range(engines))
    rng.shuffle(shuffled)
    order: list[int] = []
    for start in range(0, engines, sentinel_every):
        order += [SENTINEL, SENTINEL, *shuffled[start : start + sentinel_every]]
    return order


def run_passes(
    backend: Backend, engines: Sequence[Engine], sentinel: Engine, *, passes: int, sentinel_every: int, rng: random.Random
) -> PassTimes:
    """Time `passes` passes over the engines, garbage collector off. The device is read between passes, never within one.

    Raises:
        RunError, DeviceMemoryError: an engine failed; the visit has no times then.
        BackendUnavailableError: the device does not answer any more.
    """
    engines_ms: list[list[float]] = [[] for _ in engines]
    sentinel_ms: list[float] = []
    readings = []
    with garbage_collector_off():
        for _ in range(passes):
            readings.append(backend.read_device())
            order = pass_order(len(engines), sentinel_every, rng)
            times = backend.time_pass([sentinel if index == SENTINEL else engines[index] for index in order])
            for (before, index), time_ms in zip(pairwise([*order[-1:], *order]), times, strict=True):
                if index != SENTINEL:
                    engines_ms[index].append(time_ms)
                elif before == SENTINEL:
                    sentinel_ms.append(time_ms)
        readings.append(backend.read_device())
    return PassTimes(tuple(map(tuple, engines_ms)), tuple(sentinel_ms), windows_between(readings))


def run_plainly(engines: Sequence[Engine], *, passes: int, rng: random.Random) -> tuple[tuple[float, ...], ...]:
    """Milliseconds of every run by the wall clock, from its call to its return. Shape: (engines, passes).

    Raises:
        RunError, DeviceMemoryError: an engine failed.
    """
    engines_ms: list[list[float]] = [[] for _ in engines]
    with garbage_collector_off():
        for _ in range(passes):
            for index in rng.sample(range(len(engines)), len(engines)):
                start_s = perf_counter()
                engines[index].run()
                engines_ms[index].append(1e3 * (perf_counter() - start_s))
    return tuple(map(tuple, engines_ms))


@contextmanager
def garbage_collector_off() -> Iterator[None]:
    """Collect nothing until the block ends: a collection in a timed run would count as the engine's.

    None at the start either: it takes as long as tens of runs, and engines are not freed by it.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()
