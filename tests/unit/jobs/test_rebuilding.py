"""How much builds differ, told at the end of a job and never at the cost of its values."""

from __future__ import annotations

from dataclasses import replace
from threading import Event

import pytest

from models.spaces.registry import create_space
from models.spec.measurements import Budget, Flag, Measurement, ProtocolName, Status
from models.spec.rebuilds import RebuildSpread
from models.spec.wire import JobPublic, JobState
from profiler_service.jobs.messages import GroupRequest
from profiler_service.jobs.planner import graph_key
from profiler_service.jobs.rebuilding import entries_to_rebuild
from profiler_service.measure.budgets import BUDGETS
from profiler_service.measure.rebuilds import BUILDS
from profiler_service.measure.sentinel import SENTINEL_GRAPH
from tests.unit.jobs.conftest import SPACE, Bench
from tests.unit.jobs.fake_workers import USUAL_MHZ
from tests.unit.jobs.test_throttled_jobs import HOT

GRID = create_space(SPACE).operators()
QUICK = BUDGETS[Budget.QUICK]
TWENTIETH = round(0.05 * len(GRID))


def rebuilding(bench: Bench) -> list[GroupRequest]:
    return [group for group in bench.workers.groups if group.builds is not None]


def spread(bench: Bench, job: JobPublic) -> RebuildSpread | None:
    return bench.store.table_info(job.table_id).rebuild_spread


def test_the_choice_is_built_three_times_and_both_spreads_are_kept(bench: Bench) -> None:
    bench.workers.noise, bench.workers.build_noise = 0.01, 0.0
    job = bench.submit(rebuild=True)
    seconds = bench.run(job)
    found = spread(bench, job)
    assert found is not None
    assert (len(found.entries), found.builds, found.rounds, found.failed) == (TWENTIETH, BUILDS, QUICK.min_rounds, 0)
    (group,) = rebuilding(bench)
    assert {artifact.request.key() for artifact in group.artifacts} == {
        graph_key(entry.workload, ProtocolName.IN_CONTEXT)
        for entry in entries_to_rebuild(bench.store.table(job.table_id).entries, seed=job.table_id)
    }
    assert group.passes == QUICK.min_rounds * QUICK.passes
    fractions = found.fractions()
    assert 0 < fractions["within_a_build"] < 0.02
    assert fractions["between_builds"] < 0.01
    assert seconds.rebuilds_s > 0
    done = bench.store.job(job.id)
    assert (done.state, done.counts.measured) == (JobState.DONE, len(GRID))


def test_builds_that_differ_show(bench: Bench) -> None:
    bench.workers.noise, bench.workers.build_noise = 0.001, 0.1
    job = bench.submit(rebuild=True)
    bench.run(job)
    found = spread(bench, job)
    assert found is not None
    assert found.fractions()["worst_between_builds"] > 0.03 > 0.005 > found.fractions()["within_a_build"]
    assert "entries built 3 times: builds differ by" in found.sentence()


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, False),
        ({"budget": Budget.NORMAL}, True),
        ({"budget": Budget.NORMAL, "rebuild": False}, False),
        ({"budget": Budget.NORMAL, "workloads": GRID[:3]}, False),
        ({"workloads": GRID[:3], "rebuild": True}, True),
    ],
)
def test_by_default_the_budget_decides_for_whole_grids(bench: Bench, changes: dict[str, object], *, expected: bool) -> None:
    job = bench.submit(**changes)
    bench.run(job)
    assert (spread(bench, job) is not None) is expected
    assert bool(rebuilding(bench)) is expected


@pytest.mark.parametrize("protocol", [ProtocolName.ISOLATED, ProtocolName.ISOLATED_COLD])
def test_other_protocols_have_it_too(bench: Bench, protocol: ProtocolName) -> None:
    job = bench.submit(rebuild=True, protocol=protocol)
    bench.run(job)
    found = spread(bench, job)
    assert found is not None
    assert len(found.entries) == TWENTIETH


def test_what_is_known_is_not_told_again_unless_asked(bench: Bench) -> None:
    first = bench.submit(budget=Budget.NORMAL)
    bench.run(first)
    known, opened = spread(bench, first), bench.workers.opened
    again = bench.submit(budget=Budget.NORMAL)
    bench.run(again)
    assert (spread(bench, again), bench.workers.opened) == (known, opened)
    asked = bench.submit(rebuild=True)
    bench.run(asked)
    told = spread(bench, asked)
    assert known is not None
    assert told is not None
    assert told.measured_at > known.measured_at
    assert bench.store.job(asked.id).counts.reused == len(GRID)


def test_a_table_that_is_whole_can_be_asked_without_measuring_anything(bench: Bench) -> None:
    bench.run(bench.submit())
    before = len(bench.workers.groups)
    job = bench.submit(rebuild=True)
    bench.run(job)
    assert len(bench.workers.groups) - before == len(rebuilding(bench)) == 1
    assert spread(bench, job) is not None


def test_values_and_identity_stay_and_the_tag_changes(bench: Bench) -> None:
    job = bench.submit()
    bench.run(job)
    before, tag = bench.store.table(job.table_id), bench.store.table_summary(job.table_id).etag
    bench.run(bench.submit(rebuild=True))
    after = bench.store.table(job.table_id)
    assert (after.entries, after.info.id()) == (before.entries, before.info.id())
    assert bench.store.table_summary(job.table_id).etag != tag


@pytest.mark.parametrize("how", ["crashing", "leaving", "broken"])
def test_what_cannot_be_built_again_fails_no_job(bench: Bench, how: str) -> None:
    bench.run(bench.submit())
    (table,) = bench.store.tables()
    chosen = entries_to_rebuild(bench.store.table(table.id).entries, seed=table.id)
    culprit = graph_key(chosen[0].workload, ProtocolName.IN_CONTEXT)
    if how == "crashing":
        bench.workers.crashing.add(culprit)
    else:
        getattr(bench.workers, how)[culprit] = Status.RUN_ERROR
    job = bench.submit(rebuild=True)
    bench.run(job)
    assert bench.store.job(job.id).state is JobState.DONE
    found = spread(bench, job)
    assert found is not None
    assert found.failed == (len(chosen) if how == "crashing" else 1)
    assert len(found.entries) + found.failed == len(chosen)
    assert "could" in found.sentence()


def test_a_job_that_is_interrupted_meanwhile_goes_on_with_that_alone(bench: Bench) -> None:
    interrupted = Event()
    job = bench.submit(rebuild=True)
    bench.run(
        job, on_progress=lambda state: interrupted.set() if state.phase.endswith("times") else None, interrupted=interrupted
    )
    assert bench.store.job(job.id).state is JobState.RUNNING
    assert spread(bench, job) is None
    before = len(bench.workers.groups)
    bench.run(job)
    assert spread(bench, job) is not None
    assert len(bench.workers.groups) == before + 1
    done = bench.store.job(job.id)
    assert (done.state, done.counts.measured, done.counts.reused) == (JobState.DONE, len(GRID), 0)


def test_live_builds_stay_within_the_limit(bench: Bench) -> None:
    bench.configure(live_engines=4)
    job = bench.submit(rebuild=True)
    bench.run(job)
    assert {len(group.artifacts) for group in rebuilding(bench)} == {1}
    assert len(rebuilding(bench)) == TWENTIETH


def test_rounds_on_a_throttled_device_are_left_out_or_told(bench: Bench) -> None:
    steady = replace(HOT, sm_clock_mhz=USUAL_MHZ, throttling=())
    bench.workers.device = lambda reading: HOT if rebuilding(bench) else steady
    job = bench.submit(rebuild=True)
    bench.run(job)
    found = spread(bench, job)
    assert found is not None
    assert found.throttled
    assert "throttled device" in found.sentence()


def test_the_sentinel_is_in_the_group(bench: Bench) -> None:
    bench.run(bench.submit(rebuild=True))
    assert [group.sentinel.request for group in rebuilding(bench)] == [SENTINEL_GRAPH]


def test_values_that_are_none_are_not_chosen() -> None:
    entries = [Measurement(workload=operator, value_ms=0.1) for operator in GRID]
    entries[0] = Measurement(workload=GRID[0], value_ms=0.0)
    entries[1] = Measurement(workload=GRID[1], value_ms=0.1, flags=(Flag.BELOW_RESOLUTION,))
    entries[2] = Measurement(workload=GRID[2], value_ms=0.1, flags=(Flag.IMPORTED,))
    entries[3] = Measurement(workload=GRID[3], status=Status.CRASHED, message="signal 11")
    for seed in map(str, range(20)):
        assert not {entry.key() for entry in entries_to_rebuild(entries, seed=seed)} & {e.key() for e in entries[:4]}
