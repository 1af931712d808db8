"""Running engines in turn: one run each per pass, shuffled every pass, the sentinel interspersed (docs/measurement.md)."""

from __future__ import annotations

import gc
import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from time import perf_counter

from profiler_service.backends.base import Backend, Engine
from profiler_service.measure.throttling import Window, windows_between

SENTINEL = -1
"""Stands for the sentinel in an order of engines."""


@dataclass(frozen=True)
class PassTimes:
    """Milliseconds of every run.

    Attributes:
        engines_ms: per engine, one time per pass. Shape: (engines, passes).
        sentinel_ms: every run of the sentinel that counts, in order.
        windows: the device before and after each pass; none where nobody tells of it.
    """

    engines_ms: tuple[tuple[float, ...], ...]
    sentinel_ms: tuple[float, ...]
    windows: tuple[Window, ...] = ()


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
        RunError, DeviceMemoryError: an engine failed; nothing of the visit is kept.
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
