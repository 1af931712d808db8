"""How much builds differ, told at the end of a job and never at the cost of its values."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from threading import Event

import numpy as np
import pytest

from models.spaces.registry import create_space
from models.spec.architectures import SpaceSpec
from models.spec.measurements import Budget, Flag, Measurement, ProtocolName, Status
from models.spec.rebuilds import RebuildSpread
from models.spec.wire import JobPublic, JobState
from profiler_service.errors import JobError
from profiler_service.jobs.planner import MIN_LIVE
from profiler_service.measure.rebuilds import BUILDS, entries_to_rebuild
from profiler_service.measure.sentinel import SENTINEL_GRAPH
from profiler_service.measure.stopping import BUDGETS
from profiler_service.measure.throttling import DeviceReading
from profiler_service.measure.visits import graph_key
from profiler_service.worker.protocol import Failure, RoundRobin, TimingRequest, TimingResult
from tests.support.fake_workers import USUAL_MHZ
from tests.unit.profiler_service.jobs.conftest import SPACE, Bench
from tests.unit.profiler_service.jobs.test_throttled_jobs import HOT

GRID = create_space(SPACE).operators()
QUICK = BUDGETS[Budget.QUICK]
TWENTIETH = round(0.05 * len(GRID))


def builds_of(request: TimingRequest) -> int | None:
    return request.mode.builds if isinstance(request.mode, RoundRobin) else None


def rebuilding(bench: Bench) -> list[TimingRequest]:
    return [group for group in bench.workers.groups if builds_of(group) is not None]


def builds(bench: Bench) -> Counter[str]:
    """Graph key to how often a group with several builds of it was timed."""
    return Counter(artifact.request.key() for group in rebuilding(bench) for artifact in group.artifacts)


def told(bench: Bench, job: JobPublic) -> RebuildSpread:
    """What is known of builds."""
    found = spread(bench, job)
    assert found is not None
    return found


def stop_before_the_last(event: Event) -> Callable[[JobPublic], None]:
    """Sets the event when one entry is left to be built anew."""

    def note(state: JobPublic) -> None:
        if state.phase == "building 1 entries 3 times":
            event.set()

    return note


def spread(bench: Bench, job: JobPublic) -> RebuildSpread | None:
    return bench.store.table_info(job.table_id).rebuild_spread


def test_the_choice_is_built_three_times_and_both_spreads_are_kept(bench: Bench) -> None:
    bench.workers.noise, bench.workers.build_noise = 0.01, 0.0
    job = bench.submit(rebuild="always")
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
    job = bench.submit(rebuild="always")
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
    job = bench.submit(rebuild="always", protocol=protocol)
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
    asked = bench.submit(rebuild="always")
    bench.run(asked)
    told = spread(bench, asked)
    assert known is not None
    assert told is not None
    assert told.measured_at > known.measured_at
    assert bench.store.job(asked.id).counts.reused == len(GRID)


def test_a_table_that_is_whole_can_be_asked_without_measuring_anything(bench: Bench) -> None:
    bench.run(bench.submit())
    before = len(bench.workers.groups)
    job = bench.submit(rebuild="always")
    bench.run(job)
    assert len(bench.workers.groups) - before == len(rebuilding(bench)) == 1
    assert spread(bench, job) is not None


def test_values_and_identity_stay_and_the_tag_changes(bench: Bench) -> None:
    job = bench.submit()
    bench.run(job)
    before, tag = bench.store.table(job.table_id), bench.store.table_summary(job.table_id).etag
    bench.run(bench.submit(rebuild="always"))
    after = bench.store.table(job.table_id)
    assert (after.entries, after.info.id()) == (before.entries, before.info.id())
    assert bench.store.table_summary(job.table_id).etag != tag


def chosen_from_a_whole_table(bench: Bench, space: SpaceSpec = SPACE) -> list[Measurement]:
    """A table is measured; what of it is to be built anew."""
    bench.run(bench.submit(space=space))
    (table,) = bench.store.tables()
    return entries_to_rebuild(bench.store.table(table.id).entries, seed=table.id)


def graph_of(entry: Measurement) -> str:
    return graph_key(entry.workload, ProtocolName.IN_CONTEXT)


def failures(bench: Bench, job: JobPublic) -> dict[str, str]:
    """Workload key to message, of what could not be built anew."""
    return {failure.key: failure.message for failure in told(bench, job).failures or ()}


@pytest.mark.parametrize(
    ("how", "reason"),
    [
        ("crashing", "its process was killed"),
        ("leaving", "gave up"),
        ("broken", "its graph could not be made, built and checked again: no graph"),
        ("unbuildable", "its graph could not be made, built and checked again: refused"),
    ],
)
def test_what_cannot_be_built_again_fails_no_job_and_nothing_else(bench: Bench, how: str, reason: str) -> None:
    chosen = chosen_from_a_whole_table(bench)
    if how == "crashing":
        bench.workers.crashing.add(graph_of(chosen[0]))
    else:
        getattr(bench.workers, how)[graph_of(chosen[0])] = Status.RUN_ERROR
    job = bench.submit(rebuild="always")
    bench.run(job)
    assert bench.store.job(job.id).state is JobState.DONE
    assert failures(bench, job) == {chosen[0].key(): reason}
    assert {entry.key for entry in told(bench, job).entries} == {entry.key() for entry in chosen[1:]}
    assert "could" in told(bench, job).sentence()


WIDE = SPACE.model_copy(update={"parameters": {"layers": 4, "widths": (2, 4, 6, 8)}})
"""More operators than are built anew at once."""


@pytest.mark.parametrize("crash", [Status.CRASHED, Status.OUT_OF_MEMORY])
@pytest.mark.parametrize("blaming", [True, False])
@pytest.mark.parametrize("culprits", [1, 2])
def test_a_group_goes_on_without_what_took_its_process_along(
    bench: Bench, crash: Status, culprits: int, *, blaming: bool
) -> None:
    chosen = chosen_from_a_whole_table(bench, WIDE)
    bench.workers.crashing |= {graph_of(entry) for entry in chosen[:culprits]}
    bench.workers.crash, bench.workers.blaming = crash, blaming
    job = bench.submit(space=WIDE, rebuild="always")
    bench.run(job)
    assert bench.store.job(job.id).state is JobState.DONE
    assert failures(bench, job) == {entry.key(): "its process was killed" for entry in chosen[:culprits]}
    assert {entry.key for entry in told(bench, job).entries} == {entry.key() for entry in chosen[culprits:]}


def test_a_crash_that_says_whose_it_was_costs_one_more_visit(bench: Bench) -> None:
    chosen = chosen_from_a_whole_table(bench)
    bench.workers.crashing.add(graph_of(chosen[0]))
    bench.run(bench.submit(rebuild="always"))
    assert [len(group.artifacts) for group in rebuilding(bench)] == [len(chosen), len(chosen) - 1]


@pytest.mark.parametrize("blaming", [True, False])
def test_a_group_that_finds_no_room_is_divided_until_it_does(bench: Bench, *, blaming: bool) -> None:
    """Nobody is to blame then, whoever came last."""
    chosen = chosen_from_a_whole_table(bench, WIDE)
    bench.workers.room, bench.workers.blaming = 2 * BUILDS, blaming
    job = bench.submit(space=WIDE, rebuild="always")
    bench.run(job)
    assert (len(told(bench, job).entries), failures(bench, job)) == (len(chosen), {})
    assert max(len(group.artifacts) for group in rebuilding(bench)) > 2


def test_what_finds_no_memory_beside_others_is_tried_alone(bench: Bench) -> None:
    chosen = chosen_from_a_whole_table(bench)
    bench.workers.crowded_out.add(graph_of(chosen[0]))
    job = bench.submit(rebuild="always")
    bench.run(job)
    assert (len(told(bench, job).entries), failures(bench, job)) == (len(chosen), {})
    assert [len(group.artifacts) for group in rebuilding(bench)] == [len(chosen), 1]


def test_without_the_sentinel_nothing_can_be_told(bench: Bench) -> None:
    chosen = chosen_from_a_whole_table(bench)
    time = bench.workers.time

    def fail(request: TimingRequest) -> TimingResult | Failure:
        if builds_of(request) is None:
            return time(request)
        return Failure(Status.CRASHED, "the sentinel failed: killed", SENTINEL_GRAPH.key())

    bench.workers.time = fail  # type: ignore[method-assign]
    job = bench.submit(rebuild="always")
    bench.run(job)
    assert bench.store.job(job.id).state is JobState.DONE
    assert failures(bench, job) == {entry.key(): "the sentinel failed: killed" for entry in chosen}


def test_a_job_that_is_stopped_between_the_parts_of_a_group_goes_on_with_the_rest(bench: Bench) -> None:
    chosen = chosen_from_a_whole_table(bench)
    bench.workers.room = BUILDS
    interrupted = Event()
    job = bench.submit(rebuild="always")
    bench.run(job, on_progress=stop_before_the_last(interrupted), interrupted=interrupted)
    assert bench.store.job(job.id).state.active
    assert len(told(bench, job).entries) == len(chosen) - 1
    bench.run(job)
    assert (bench.store.job(job.id).state, len(told(bench, job).entries)) == (JobState.DONE, len(chosen))


def test_every_build_of_an_entry_holds_memory(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """There is room for the builds of one entry, though for one build each of all."""
    free = 2**40
    monkeypatch.setattr("profiler_service.jobs.context.free_memory_bytes", lambda: free)
    bench.configure(memory_fraction=0.5)
    bench.workers.peak_memory_bytes = int(0.5 * free / 1.5 / BUILDS)
    bench.run(bench.submit(rebuild="always"))
    assert [len(group.artifacts) for group in rebuilding(bench)] == [1] * TWENTIETH


def test_what_fails_is_tried_again_when_asked_and_is_no_failure_then(bench: Bench) -> None:
    bench.run(bench.submit())
    (table,) = bench.store.tables()
    chosen = entries_to_rebuild(bench.store.table(table.id).entries, seed=table.id)
    bench.workers.leaving[graph_key(chosen[0].workload, ProtocolName.IN_CONTEXT)] = Status.RUN_ERROR
    job = bench.submit(rebuild="always")
    bench.run(job)
    assert told(bench, job).failed == 1
    bench.workers.leaving.clear()
    bench.run(bench.submit(budget=Budget.NORMAL))
    assert told(bench, job).failed == 1, "known, though as a failure"
    bench.run(bench.submit(rebuild="always"))
    assert (told(bench, job).failed, len(told(bench, job).entries)) == (0, TWENTIETH)


def test_a_job_that_is_interrupted_meanwhile_goes_on_with_that_alone(bench: Bench) -> None:
    interrupted = Event()
    job = bench.submit(rebuild="always")
    bench.run(
        job, on_progress=lambda state: interrupted.set() if state.phase.endswith("times") else None, interrupted=interrupted
    )
    assert bench.store.job(job.id).state.active
    assert spread(bench, job) is None
    before = len(bench.workers.groups)
    bench.run(job)
    assert spread(bench, job) is not None
    assert len(bench.workers.groups) == before + 1
    done = bench.store.job(job.id)
    assert (done.state, done.counts.measured, done.counts.reused) == (JobState.DONE, len(GRID), 0)


def test_live_builds_stay_within_the_limit(bench: Bench) -> None:
    bench.configure(live_engines=4)
    job = bench.submit(rebuild="always")
    bench.run(job)
    assert {len(group.artifacts) for group in rebuilding(bench)} == {1}
    assert len(rebuilding(bench)) == TWENTIETH


STEADY = replace(HOT, sm_clock_mhz=USUAL_MHZ, throttling=())


def test_what_is_told_of_a_throttled_device_says_so(bench: Bench) -> None:
    bench.workers.device = lambda reading: HOT if rebuilding(bench) else STEADY
    job = bench.submit(rebuild="always")
    bench.run(job)
    assert told(bench, job).throttled
    assert "throttled device" in told(bench, job).sentence()


@pytest.mark.parametrize("slow_rounds", [0, QUICK.min_rounds // 2])
def test_rounds_on_a_throttled_device_are_left_out_where_there_are_others(bench: Bench, slow_rounds: int) -> None:
    """The slow ones would spread: the sentinel is not slowed as the engines are."""
    begun: list[int] = []

    def read(reading: int) -> DeviceReading:
        if not rebuilding(bench):
            return STEADY
        begun.append(reading)
        return HOT if len(begun) <= slow_rounds * QUICK.passes else STEADY

    bench.workers.device = read
    bench.workers.engine_drift = lambda index: 1.5 if index < slow_rounds * QUICK.passes and rebuilding(bench) else 1.0
    job = bench.submit(rebuild="always")
    bench.run(job)
    assert not told(bench, job).throttled
    assert "throttled" not in told(bench, job).sentence()
    assert told(bench, job).fractions()["within_a_build"] < 1e-5


def test_a_slow_phase_of_the_host_is_no_spread(bench: Bench) -> None:
    """Times are in units of the sentinel, which is as slow."""
    bench.workers.drift = lambda index: 1.3 if rebuilding(bench) and index < QUICK.passes else 1.0
    job = bench.submit(rebuild="always")
    bench.run(job)
    assert told(bench, job).fractions()["within_a_build"] < 1e-5


def test_the_sentinel_is_in_the_group(bench: Bench) -> None:
    bench.run(bench.submit(rebuild="always"))
    assert [group.mode.sentinel.request for group in rebuilding(bench)] == [SENTINEL_GRAPH]


def test_values_that_are_none_are_not_chosen() -> None:
    entries = [Measurement(workload=operator, value_ms=0.1) for operator in GRID]
    entries[0] = Measurement(workload=GRID[0], value_ms=0.0)
    entries[1] = Measurement(workload=GRID[1], value_ms=0.1, flags=(Flag.BELOW_RESOLUTION,))
    entries[2] = Measurement(workload=GRID[2], value_ms=0.1, flags=(Flag.IMPORTED,))
    entries[3] = Measurement(workload=GRID[3], status=Status.CRASHED, message="signal 11")
    for seed in map(str, range(20)):
        assert not {entry.key() for entry in entries_to_rebuild(entries, seed=seed)} & {e.key() for e in entries[:4]}


def test_a_share_builds_of_its_own_and_keeps_what_others_told(bench: Bench) -> None:
    """Each share: a twentieth of what it asks for, one at the least."""
    halves = GRID[:19], GRID[19:]
    jobs = [bench.submit(workloads=half, rebuild="always") for half in halves]
    bench.run(jobs[0])
    first = told(bench, jobs[0])
    assert (len(first.entries), first.known_keys() < {operator.key() for operator in halves[0]}) == (1, True)
    bench.run(jobs[1])
    both = told(bench, jobs[1])
    assert len(both.entries) == 2
    assert [entry.between_ms for entry in both.entries if entry.key in first.known_keys()] == [first.entries[0].between_ms]
    assert both.known_keys() - first.known_keys() < {operator.key() for operator in halves[1]}
    assert set(builds(bench).values()) == {1}


def test_shares_together_are_all_that_a_whole_grid_wants(bench: Bench) -> None:
    for half in (GRID[:19], GRID[19:]):
        bench.run(bench.submit(workloads=half, rebuild="always"))
    opened = bench.workers.opened
    whole = bench.submit(budget=Budget.NORMAL)
    bench.run(whole)
    assert (len(told(bench, whole).entries), bench.workers.opened) == (TWENTIETH, opened)


def test_a_grid_of_which_one_share_is_known_wants_the_rest(bench: Bench) -> None:
    bench.run(bench.submit(workloads=GRID[:19], rebuild="always"))
    (known,) = builds(bench)
    whole = bench.submit(budget=Budget.NORMAL)
    bench.run(whole)
    assert len(told(bench, whole).entries) == TWENTIETH
    assert (len(builds(bench)), builds(bench)[known]) == (TWENTIETH, 1)


def test_an_interrupted_job_builds_nothing_a_second_time(bench: Bench) -> None:
    bench.configure(live_engines=4)  # one entry a group
    interrupted = Event()
    job = bench.submit(rebuild="always")
    bench.run(job, on_progress=stop_before_the_last(interrupted), interrupted=interrupted)
    assert bench.store.job(job.id).state.active
    kept = told(bench, job)
    assert len(kept.entries) == len(builds(bench)) == TWENTIETH - 1
    bench.run(job)
    assert bench.store.job(job.id).state is JobState.DONE
    assert (len(builds(bench)), set(builds(bench).values())) == (TWENTIETH, {1})
    whole = told(bench, job)
    assert len(whole.entries) == TWENTIETH
    assert {entry.key: entry.between_ms for entry in whole.entries}.items() >= {
        entry.key: entry.between_ms for entry in kept.entries
    }.items()


def test_a_group_whose_processes_are_ended_is_no_failure_and_is_built_again(bench: Bench) -> None:
    bench.configure(live_engines=4)
    interrupted = Event()

    def end(number: int) -> None:
        if rebuilding(bench):
            interrupted.set()
            raise JobError("the workers were closed")

    bench.workers.on_group = end
    job = bench.submit(rebuild="always")
    bench.run(job, interrupted=interrupted)
    assert bench.store.job(job.id).state.active
    assert (len(told(bench, job).entries), told(bench, job).failed) == (1, 0)
    bench.workers.on_group = lambda number: None
    bench.run(job)
    assert (len(told(bench, job).entries), told(bench, job).failed) == (TWENTIETH, 0)
    assert set(builds(bench).values()) == {1}


@pytest.mark.parametrize("asked", [{"rebuild": True}, {"budget": Budget.NORMAL}, {"rebuild": True, "workloads": GRID}])
def test_the_same_request_again_goes_on_where_it_was_cancelled(bench: Bench, asked: dict[str, object]) -> None:
    bench.configure(live_engines=4)
    cancelled = Event()
    first = bench.submit(**asked)
    bench.run(first, on_progress=stop_before_the_last(cancelled), cancelled=cancelled)
    assert bench.store.job(first.id).state is JobState.CANCELLED
    second = bench.submit(**asked)
    bench.run(second)
    assert bench.store.job(second.id).state is JobState.DONE
    assert (len(builds(bench)), set(builds(bench).values())) == (TWENTIETH, {1})
    bench.run(bench.submit(**asked))
    assert set(builds(bench).values()) == {2 if "rebuild" in asked else 1}


@pytest.mark.parametrize("how", ["cancelled", "failed"])
def test_an_attempt_that_built_nothing_is_no_reason_to_build_less(bench: Bench, how: str) -> None:
    """What was told after it, by a job that came to its end, is told again."""
    first = bench.submit(rebuild="always")
    if how == "cancelled":
        bench.store.update_job(first.id, state=JobState.CANCELLED)
    else:
        bench.workers.broken[SENTINEL_GRAPH.key()] = Status.BUILD_ERROR
        with pytest.raises(JobError, match="sentinel cannot be built"):
            bench.run(first)
        bench.workers.broken.clear()
    bench.run(bench.submit(budget=Budget.NORMAL))
    assert set(builds(bench).values()) == {1}
    bench.run(bench.submit(rebuild="always"))
    assert (len(builds(bench)), set(builds(bench).values())) == (TWENTIETH, {2})


def test_a_job_that_measures_all_again_builds_all_again(bench: Bench) -> None:
    first = bench.submit(budget=Budget.NORMAL)
    bench.run(first)
    before = told(bench, first)
    bench.run(bench.submit(budget=Budget.NORMAL, remeasure=True))
    after = told(bench, first)
    assert after.measured_at > before.measured_at
    assert after.known_keys() == before.known_keys()
    assert set(builds(bench).values()) == {2}


def test_a_graph_that_the_job_has_checked_is_not_made_a_second_time(bench: Bench) -> None:
    bench.run(bench.submit(rebuild="always"))
    assert set(Counter(request.key() for request in bench.workers.prepared).values()) == {1}


def test_networks_alone_have_nothing_to_be_built_anew(bench: Bench) -> None:
    space = create_space(SPACE)
    job = bench.submit(workloads=(space.sample(np.random.default_rng(0)),), rebuild="always")
    bench.run(job)
    assert bench.store.job(job.id).state is JobState.DONE
    assert (spread(bench, job), rebuilding(bench)) == (None, [])


def test_a_large_choice_is_built_a_few_at_a_time_so_that_little_is_lost(bench: Bench) -> None:
    operators = create_space(WIDE).operators()
    job = bench.submit(space=WIDE, rebuild="always")
    bench.run(job)
    sizes = [len(group.artifacts) for group in rebuilding(bench)]
    assert sum(sizes) == len(told(bench, job).entries) == round(0.05 * len(operators)) > 8
    assert max(sizes) * BUILDS <= MIN_LIVE
    assert len({entry.measured_at for entry in told(bench, job).entries}) == len(sizes)
