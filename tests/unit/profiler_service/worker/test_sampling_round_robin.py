"""The order of runs within a visit."""

from __future__ import annotations

import gc
import random
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from models.spec.targets import TargetSpec
from profiler_service.backends.base import Backend, Engine, FloatArray, GraphArtifact
from profiler_service.worker.sampling import SENTINEL, pass_order, run_passes


class FixedEngine(Engine):
    """An engine that always takes the same time."""

    def __init__(self, time_ms: float) -> None:
        self.time_ms = time_ms

    def run(self) -> None:
        return

    def infer(self, array: FloatArray) -> FloatArray:
        return np.zeros_like(array)

    def close(self) -> None:
        return


class RecordingBackend(Backend):
    """Tells each engine's own time, ten times as long where another ran before it, and remembers what it ran."""

    name = "recording"
    reads_onnx = False
    builds_on_device = False
    dtypes = ("float32",)

    def __init__(self) -> None:
        self.passes: list[list[Engine]] = []
        self.collecting: set[bool] = set()

    def target(self) -> TargetSpec:
        return TargetSpec(device="none", backend=self.name)

    def build(self, artifact: GraphArtifact) -> Engine:
        raise NotImplementedError

    def time_pass(self, engines: Sequence[Engine]) -> list[float]:
        self.passes.append(list(engines))
        self.collecting.add(gc.isenabled())
        return [
            engine.time_ms * (1.0 if engine is before else 10.0)
            for before, engine in pairwise([None, *engines])
            if isinstance(engine, FixedEngine)
        ]


def test_a_pass_runs_each_engine_once_and_the_sentinel_in_between() -> None:
    order = pass_order(20, 8, random.Random(0))
    assert Counter(order) == Counter({SENTINEL: 6} | dict.fromkeys(range(20), 1))
    assert [place for place, index in enumerate(order) if index == SENTINEL] == [0, 1, 10, 11, 20, 21]


def test_times_are_told_per_engine_although_each_pass_has_another_order() -> None:
    backend, engines, sentinel = RecordingBackend(), [FixedEngine(float(n)) for n in range(10)], FixedEngine(99.0)
    times = run_passes(backend, engines, sentinel, passes=4, sentinel_every=5, rng=random.Random(0))
    assert times.engines_ms == tuple((10.0 * n,) * 4 for n in range(10))
    assert times.sentinel_ms == (99.0,) * 8, "the runs that follow another engine must not count"
    assert len({tuple(map(id, engines)) for engines in backend.passes}) == 4


def test_the_garbage_collector_rests_during_passes_and_only_then() -> None:
    backend = RecordingBackend()
    run_passes(backend, [FixedEngine(1.0)], FixedEngine(1.0), passes=2, sentinel_every=1, rng=random.Random(0))
    assert backend.collecting == {False}
    assert gc.isenabled()
