"""Jobs beside other work: what is repeated, what counts, what is flagged, and that they end."""

from __future__ import annotations

import pytest

from models.spaces.registry import create_space
from models.spec.measurements import Budget, Flag, Measurement, ProtocolName
from models.spec.wire import JobPublic, JobState
from profiler_service.measure.sentinel import BUSY_FOR_GOOD
from profiler_service.measure.stopping import BUDGETS
from tests.unit.profiler_service.jobs.conftest import SPACE, Bench

GRID = create_space(SPACE).operators()


def entries(bench: Bench, job: JobPublic) -> list[Measurement]:
    return list(bench.store.measurements(job.table_id, [operator.key() for operator in GRID]).values())


def test_a_quiet_host_repeats_and_flags_nothing(bench: Bench) -> None:
    bench.host.others = lambda reading: 0.5  # of four cores
    job = bench.submit()
    seconds = bench.run(job)
    assert seconds.repeats == 0
    assert not any(entry.flags for entry in entries(bench, job))


def test_a_visit_that_others_disturbed_is_measured_again_and_leaves_no_trace(bench: Bench) -> None:
    bench.host.others = lambda reading: 2.0 if reading in (2, 6) else 0.0
    job = bench.submit()
    seconds = bench.run(job)
    assert seconds.repeats == 2
    assert not any(entry.flags for entry in entries(bench, job))


@pytest.mark.parametrize("protocol", [ProtocolName.IN_CONTEXT, ProtocolName.ISOLATED])
def test_on_a_host_that_is_always_busy_every_value_is_flagged(bench: Bench, protocol: ProtocolName) -> None:
    bench.host.others = lambda reading: 2.0
    job = bench.submit(protocol=protocol)
    bench.run(job)
    found = entries(bench, job)
    assert len(found) == len(GRID)
    assert all(entry.value_ms and Flag.CONTAMINATED in entry.flags for entry in found)


@pytest.mark.parametrize("protocol", [ProtocolName.IN_CONTEXT, ProtocolName.ISOLATED])
def test_what_a_busy_host_measured_is_measured_again_on_a_quiet_one(bench: Bench, protocol: ProtocolName) -> None:
    bench.host.others = lambda reading: 2.0
    bench.run(bench.submit(protocol=protocol))
    bench.host.others = lambda reading: 0.0
    again = bench.submit(protocol=protocol)
    bench.run(again)
    assert bench.store.job(again.id).counts.measured == len(GRID)
    assert not any(entry.flags for entry in entries(bench, again))


def test_a_host_that_is_always_busy_costs_a_job_a_handful_of_visits(bench: Bench) -> None:
    def visits() -> int:
        bench.workers.groups.clear()
        job = bench.submit(budget=Budget.THOROUGH, remeasure=True)
        bench.run(job)
        assert bench.store.job(job.id).state is JobState.DONE
        return len(bench.workers.groups)

    quiet = visits()
    bench.host.others = lambda reading: 2.0
    assert quiet >= BUDGETS[Budget.THOROUGH].min_rounds
    assert quiet < visits() <= quiet + BUSY_FOR_GOOD


def test_measurements_keep_the_load(bench: Bench) -> None:
    job = bench.submit()
    bench.run(job)
    assert all(entry.host_load is not None for entry in entries(bench, job))
