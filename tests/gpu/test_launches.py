"""Runs captured into CUDA graphs or launched one by one on a real GPU: the same results, by a clock that agrees with a host's.

What every backend must do besides is in tests/contract/test_backends.py, whose GPU cases `pytest -m gpu` runs too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from statistics import median
from time import perf_counter

import pytest

from models.spec.graphs import GraphRequest
from models.spec.operators import OperatorSpec
from profiler_service.backends.backend_options import AllOptions
from profiler_service.backends.base import Backend, Engine, GraphArtifact, seeded_input
from profiler_service.worker.graph_files import make_files
from profiler_service.worker.graphs import GraphCache
from profiler_service.worker.output_check import output_problem
from tests.support.in_force import OptionsInForce
from tests.support.skips import create_or_skip

pytestmark = pytest.mark.gpu

LONG = GraphRequest(subject=OperatorSpec(kind="conv3x3_x2", in_channels=256, out_channels=256, height=256, width=512))
SHORT = GraphRequest(subject=OperatorSpec(kind="conv3x3", in_channels=8, out_channels=8, height=16, width=32))
RUNS = 30

Open = Callable[[bool], Backend]


@pytest.fixture(params=["torch", pytest.param("inductor", marks=pytest.mark.slow), "onnxruntime"])
def open_backend(request: pytest.FixtureRequest, options_in_force: OptionsInForce) -> Iterator[Open]:
    opened: list[Backend] = []

    def open_(cuda_graphs: bool) -> Backend:
        options = options_in_force("cuda").model_copy(update={"cuda_graphs": cuda_graphs})
        usual = AllOptions(device="cuda", cuda_graphs=cuda_graphs)
        opened.append(create_or_skip(request.param, options, usual=usual))
        return opened[-1]

    yield open_
    for backend in opened:
        backend.close()


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> GraphCache:
    return GraphCache.open(tmp_path_factory.mktemp("graphs"))


def _built(backend: Backend, request: GraphRequest, cache: GraphCache) -> Engine:
    artifact: GraphArtifact = cache.artifact(request, reads_onnx=backend.reads_onnx, unrolled=backend.unrolls)
    make_files(artifact, cache)
    return backend.build(artifact)


def _median_ms(backend: Backend, engine: Engine) -> float:
    backend.time_pass([engine] * 5)
    return median(backend.time_pass([engine] * RUNS))


@pytest.mark.parametrize("cuda_graphs", [True, False], ids=["captured", "uncaptured"])
def test_a_long_run_takes_as_long_by_the_devices_clock_as_by_the_hosts(
    open_backend: Open, cache: GraphCache, cuda_graphs: bool
) -> None:
    backend = open_backend(cuda_graphs)
    engine = _built(backend, LONG, cache)
    device_ms = _median_ms(backend, engine)

    def on_the_host() -> float:
        start = perf_counter()
        for _ in range(RUNS):
            engine.run()
        return (perf_counter() - start) * 1e3 / RUNS

    on_the_host()
    host_ms = median(on_the_host() for _ in range(5))
    assert device_ms == pytest.approx(host_ms, rel=0.15)
    engine.close()


def test_launched_either_way_it_computes_the_same_and_short_runs_are_not_timed_as_launches(
    open_backend: Open, cache: GraphCache
) -> None:
    """A host needs tens of µs for an eager run of several kernels, which behind a blocking kernel is no part of its time."""
    outputs, times_ms = [], []
    for cuda_graphs in (True, False):
        backend = open_backend(cuda_graphs)
        engine = _built(backend, SHORT, cache)
        outputs.append(engine.infer(seeded_input(SHORT)))
        times_ms.append(_median_ms(backend, engine))
        engine.close()
    assert output_problem(outputs[0], outputs[1], "float32", tf32=backend.options.tf32)[1] == ""
    assert times_ms[1] == pytest.approx(times_ms[0], rel=1.0)


def test_the_flusher_and_the_readings_work(open_backend: Open) -> None:
    backend = open_backend(True)
    flusher = backend.flusher()
    (flush_ms,) = backend.time_pass([flusher])
    assert flush_ms > 0
    flusher.close()
    reading = backend.read_device()
    assert reading is None or reading.sm_clock_mhz > 0
