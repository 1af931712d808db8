"""A network of somebody's own, timed with workers whose times are known."""

from __future__ import annotations

from dataclasses import replace

import pytest

from models.spec.graphs import GraphRequest, OwnNetwork
from models.spec.measurements import Budget, Flag, Status
from profiler_service.backends.base import GraphArtifact
from profiler_service.errors import JobError
from profiler_service.jobs.host import HostWatch
from profiler_service.jobs.own_network import NetworkMeasurement, OwnNetworkJob
from profiler_service.measure.sentinel import SENTINEL_GRAPH
from profiler_service.measure.stopping import BUDGETS
from profiler_service.worker.protocol import RoundRobin
from tests.support.fake_host import FakeHost
from tests.support.fake_workers import SENTINEL_MS, FakeWorkers

NETWORK = OwnNetwork(name="net.onnx", sha256="ab", input_shape=(1, 3, 8, 16))
KEY = GraphRequest(subject=NETWORK).key()
TRUE_MS = 10.0
BUDGET = BUDGETS[Budget.QUICK]


def job(workers: FakeWorkers, reference_ms: float | None = None, **changed: object) -> OwnNetworkJob:
    artifact = GraphArtifact(GraphRequest(subject=NETWORK))
    host = HostWatch(FakeHost().read, lambda: 0.5)
    made = OwnNetworkJob(NETWORK, artifact, workers=workers, budget=BUDGET, reference_ms=reference_ms, host=host)  # type: ignore[arg-type]
    return replace(made, **changed)  # type: ignore[arg-type]


def run(workers: FakeWorkers, reference_ms: float | None = None, **changed: object) -> NetworkMeasurement:
    found = job(workers, reference_ms, **changed).run()
    assert found is not None
    return found


def test_a_network_is_timed_in_rounds_with_the_sentinel_in_every_pass() -> None:
    workers = FakeWorkers(noise=0.01)
    found = run(workers)
    assert found.value_ms == pytest.approx(TRUE_MS, rel=0.02)
    assert (found.status, found.rounds, found.flags) == (Status.OK, BUDGET.min_rounds, ())
    assert found.samples == BUDGET.min_rounds * BUDGET.network_passes
    assert found.target == workers.description.target
    for group in workers.groups:
        assert isinstance(group.mode, RoundRobin)
        assert (group.mode.sentinel_every, group.mode.sentinel.request) == (1, SENTINEL_GRAPH)


def test_values_are_on_the_scale_of_the_target() -> None:
    """Half as fast as when the scale was set: the sentinel takes twice its unit, and so does the network."""
    found = run(FakeWorkers(slowdown=lambda group: 2.0), reference_ms=SENTINEL_MS)
    assert found.value_ms == pytest.approx(TRUE_MS)
    assert found.plain_ms == pytest.approx(2 * TRUE_MS)
    assert found.sentinel_ratio == pytest.approx(2)
    assert Flag.CONTAMINATED in found.flags


def test_a_slow_visit_is_repeated() -> None:
    workers = FakeWorkers(slowdown=lambda group: 1.5 if group == 1 else 1.0)
    found = run(workers)
    assert found.plain_ms == pytest.approx(TRUE_MS)
    assert found.flags == ()
    assert len(workers.groups) == BUDGET.min_rounds + 1


def test_a_network_that_differs_from_round_to_round_is_flagged() -> None:
    found = run(FakeWorkers(visit_noise=0.3))
    assert Flag.UNCONVERGED in found.flags
    assert found.rounds == BUDGET.max_rounds


def test_a_module_is_made_by_the_workers() -> None:
    module = OwnNetwork(name="package:Net", input_shape=(1, 3, 8, 16))
    workers = FakeWorkers()
    found = run(workers, network=module, artifact=None)
    assert found.value_ms == pytest.approx(TRUE_MS)
    assert GraphRequest(subject=module) in workers.prepared


@pytest.mark.parametrize(
    ("workers", "status"),
    [
        (FakeWorkers(unbuildable={KEY: Status.BUILD_ERROR}), Status.BUILD_ERROR),
        (FakeWorkers(unbuildable={KEY: Status.OUT_OF_MEMORY}), Status.OUT_OF_MEMORY),
        (FakeWorkers(crashing={KEY}), Status.CRASHED),
        (FakeWorkers(leaving={KEY: Status.RUN_ERROR}), Status.RUN_ERROR),
    ],
)
def test_a_network_that_fails_is_a_result(workers: FakeWorkers, status: Status) -> None:
    found = run(workers)
    assert (found.status, found.value_ms) == (status, None)
    assert found.message


def test_a_module_without_a_graph_is_a_result() -> None:
    module = OwnNetwork(name="package:Net", input_shape=(1, 3, 8, 16))
    workers = FakeWorkers(broken={GraphRequest(subject=module).key(): Status.BUILD_ERROR})
    assert run(workers, network=module, artifact=None).status is Status.BUILD_ERROR


def test_nothing_is_measured_without_the_sentinel() -> None:
    for workers in (
        FakeWorkers(unbuildable={SENTINEL_GRAPH.key(): Status.BUILD_ERROR}),
        FakeWorkers(broken={SENTINEL_GRAPH.key(): Status.BUILD_ERROR}),
    ):
        with pytest.raises(JobError, match="the sentinel cannot be measured"):
            job(workers).run()


def test_a_stop_keeps_what_two_rounds_say() -> None:
    workers = FakeWorkers()
    assert job(workers, stopped=lambda: len(workers.groups) >= 1).run() is None
    workers = FakeWorkers()
    found = run(workers, stopped=lambda: len(workers.groups) >= 2)
    assert (found.rounds, found.flags) == (2, (Flag.UNCONVERGED,))
