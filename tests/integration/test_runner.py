"""Real jobs on a tiny space: graphs by torch, engines by ONNX Runtime, visits in a real database, and a real `kill -9`."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from threading import Event

import numpy as np
import psutil
import pytest

from models.spaces.registry import create_space
from models.spec.architectures import SpaceSpec
from models.spec.measurements import Budget, Measurement, ProtocolName, Status
from models.spec.operators import OperatorSpec
from models.spec.wire import JobCreate, JobPublic, JobState
from profiler_service.admission import admit
from profiler_service.cli.runtime import open_workers
from profiler_service.jobs.runner import JobRunner
from profiler_service.measure.stopping import BUDGETS
from profiler_service.measure.visits import Visit, graph_key
from profiler_service.settings import Settings
from profiler_service.storage.store import Store

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

pytest.importorskip("onnxruntime", reason="needs ONNX Runtime: pip install 'opclock[onnxruntime]'")

SPACE = create_space(SpaceSpec(name="fasterseg", input_size=(64, 64), parameters={"layers": 4, "widths": (8,)}))
GRID = SPACE.operators()
QUICK = BUDGETS[Budget.QUICK]
NETWORKS = tuple(SPACE.sample(np.random.default_rng(seed)) for seed in range(3))
PATIENCE_S = 240.0


class Site:
    """A database, and jobs on it."""

    def __init__(self, directory: Path) -> None:
        self.settings = Settings.load(database=directory / "tables.sqlite")
        self.store = Store.open(self.settings.database)
        with open_workers(self.settings) as workers:
            self.backend = workers.description
        self._directory = directory

    def submit(self, **changes: object) -> JobPublic:
        admitted = admit(JobCreate.parse({"space": SPACE.spec, "budget": Budget.QUICK} | changes), self.backend)
        return self.store.create_job(admitted.request, self.store.ensure_table(admitted.info))

    def run(self, job: JobPublic) -> JobPublic:
        runner = JobRunner(
            self.store,
            self.settings,
            lambda: open_workers(self.settings),
            lock_directory=self._directory,
            is_quiet=lambda: False,  # whatever the machine does meanwhile, no later test measures again
        )
        runner.run(job.id, lambda state: None, Event())
        return self.store.job(job.id)

    def measurements(self, job: JobPublic) -> dict[str, Measurement]:
        keys = [workload.key() for workload in (*GRID, *NETWORKS)]
        return self.store.measurements(job.table_id, keys)

    def visits(self, job: JobPublic) -> dict[tuple[str, int, int], Visit]:
        graphs = [graph_key(operator, ProtocolName.IN_CONTEXT) for operator in GRID]
        return {(visit.graph_key, visit.round, visit.visit): visit for visit in self.store.visits(job.table_id, graphs)}


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Site, JobPublic]]:
    """The whole grid, measured once for all tests that only look."""
    site = Site(tmp_path_factory.mktemp("measured"))
    job = site.run(site.submit())
    yield site, job
    site.store.close()


def test_every_operator_of_the_space_is_measured_and_correct(measured: tuple[Site, JobPublic]) -> None:
    site, job = measured
    found = site.measurements(job)
    assert (job.state, job.counts.measured, job.counts.failed) == (JobState.DONE, len(GRID), 0)
    assert all(entry.status is Status.OK for entry in found.values()), [entry.message for entry in found.values()]
    assert all(entry.output_error is not None and entry.output_error < 1e-4 for entry in found.values())
    least = QUICK.least_accepted  # of those rounds that nothing disturbed, on a machine where something did
    assert all(least <= entry.rounds <= QUICK.max_rounds for entry in found.values())


def test_more_work_takes_longer(measured: tuple[Site, JobPublic]) -> None:
    """A sixteenfold difference in arithmetic shows through any noise."""
    site, job = measured
    entries = list(site.measurements(job).values())
    operators = [entry.workload for entry in entries if isinstance(entry.workload, OperatorSpec)]
    twice = [operator for operator in operators if operator.kind == "conv3x3_x2" and operator.stride == 1]
    skips = [operator for operator in operators if operator.kind == "skip" and operator.stride == 1]
    value_ms = {entry.key(): entry.value_ms or 0.0 for entry in entries}
    for operator in twice:
        (skip,) = (skip for skip in skips if skip.input_shape == operator.input_shape)
        assert value_ms[operator.key()] > 2 * value_ms[skip.key()]


@pytest.mark.alone
def test_networks_are_measured_into_the_same_table(measured: tuple[Site, JobPublic]) -> None:
    site, grid_job = measured
    job = site.run(site.submit(workloads=NETWORKS))
    assert (job.table_id, job.counts.measured) == (grid_job.table_id, len(NETWORKS))
    found = site.measurements(job)
    for network in NETWORKS:
        sum_ms = sum(found[operator.key()].value_ms or 0.0 for operator in SPACE.architecture_operators(network))
        measured_ms = found[network.key()].value_ms or 0.0
        assert 0.5 * measured_ms < sum_ms < 2 * measured_ms


def test_a_few_operators_can_be_measured_alone(measured: tuple[Site, JobPublic]) -> None:
    site, grid_job = measured
    job = site.run(site.submit(workloads=GRID[:3], protocol=ProtocolName.ISOLATED))
    assert job.table_id != grid_job.table_id
    found = site.measurements(job)
    assert len(found) == 3
    assert all(entry.base_ms == 0.0 and (entry.value_ms or 0.0) > 0.0 for entry in found.values())


def test_builds_of_a_twentieth_are_told_apart_from_their_runs(measured: tuple[Site, JobPublic]) -> None:
    site, grid_job = measured
    job = site.run(site.submit(rebuild="always"))
    assert (job.table_id, job.state, job.counts.reused) == (grid_job.table_id, JobState.DONE, len(GRID))
    spread = site.store.table_info(job.table_id).rebuild_spread
    assert spread is not None
    assert (spread.builds, spread.rounds, spread.failed) == (3, QUICK.min_rounds, 0)
    assert {entry.key for entry in spread.entries} < {operator.key() for operator in GRID}
    assert all(entry.within_ms > 0 for entry in spread.entries)


def test_shares_tell_of_their_own_builds_beside_each_others(tmp_path: Path) -> None:
    site = Site(tmp_path)
    told = []
    for share in (GRID[:2], GRID[2:5]):
        job = site.run(site.submit(workloads=share, rebuild="always"))
        spread = site.store.table_info(job.table_id).rebuild_spread
        assert spread is not None
        assert (job.state, spread.failed) == (JobState.DONE, 0)
        told.append(spread)
    first, both = told
    (kept,) = first.entries
    assert kept.key in {operator.key() for operator in GRID[:2]}
    (new,) = both.known_keys() - first.known_keys()
    assert new in {operator.key() for operator in GRID[2:5]}
    (still,) = (entry for entry in both.entries if entry.key == kept.key)
    assert still.measured_at == first.measured_at
    assert (still.between, still.within) == pytest.approx((kept.between, kept.within))  # the second job may move the scale
    site.store.close()


@pytest.mark.alone
def test_cold_caches_make_operators_slower_than_hot_ones(tmp_path: Path) -> None:
    site = Site(tmp_path)
    if site.backend.flush_bytes is None:
        pytest.skip("this machine does not tell how large its caches are")
    wanted = [operator for operator in GRID if operator.kind == "conv3x3_x2" and operator.stride == 1]
    sums_ms = {}
    for protocol in (ProtocolName.ISOLATED_HOT, ProtocolName.ISOLATED_COLD):
        job = site.run(site.submit(protocol=protocol, workloads=wanted))
        found = site.store.measurements(job.table_id, [operator.key() for operator in wanted])
        assert job.counts.measured == len(wanted)
        sums_ms[protocol] = sum(entry.value_ms or 0.0 for entry in found.values())
    assert sums_ms[ProtocolName.ISOLATED_COLD] > sums_ms[ProtocolName.ISOLATED_HOT]
    site.store.close()


def test_a_killed_job_goes_on_without_loss_or_repetition(tmp_path: Path) -> None:
    site = Site(tmp_path)
    job = site.submit()
    command = [sys.executable, "-m", "tests.integration.job_process", str(site.settings.database), job.id]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        deadline = time.monotonic() + PATIENCE_S
        while not site.visits(job) and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.02)
        family = psutil.Process(process.pid).children(recursive=True)
        process.kill()
    _, alive = psutil.wait_procs(family, timeout=30)
    assert alive == []
    kept = site.visits(job)
    assert 0 < len(kept) < len(GRID) * QUICK.min_rounds
    assert site.store.job(job.id).state.active

    done = site.run(job)
    assert (done.state, done.counts.measured, done.counts.reused) == (JobState.DONE, len(GRID), 0)
    visits = site.visits(job)
    assert {place: visits[place] for place in kept} == kept
    for operator in GRID:
        rounds = sorted(place[1] for place in visits if place[0] == graph_key(operator, ProtocolName.IN_CONTEXT))
        assert len(rounds) == len(set(rounds)) <= QUICK.max_rounds
        counted = site.measurements(job)[operator.key()].rounds  # rounds in a slow phase of the host stand by, and do not count
        assert min(len(rounds), QUICK.least_accepted) <= counted <= len(rounds)
    site.store.close()
