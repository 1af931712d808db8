"""Jobs on a device whose clock falls: what counts, what is counted, what is flagged."""

from __future__ import annotations

from dataclasses import replace

import pytest

from models.spaces.registry import create_space
from models.spec.measurements import Budget, Flag, Measurement, ProtocolName
from models.spec.wire import JobPublic
from profiler_service.measure.stopping import BUDGETS
from profiler_service.measure.throttling import DeviceReading
from profiler_service.measure.visits import graph_key
from profiler_service.worker.sampling import HOT_RUNS
from tests.support.fake_workers import USUAL_MHZ, operator_ms
from tests.unit.profiler_service.jobs.conftest import SPACE, Bench

GRID = create_space(SPACE).operators()[:5]
QUICK = BUDGETS[Budget.QUICK]
STEADY = DeviceReading(USUAL_MHZ, memory_clock_mhz=3201, temperature_c=50, power_w=310.0, other_processes=0)
HOT = replace(STEADY, sm_clock_mhz=USUAL_MHZ // 2, temperature_c=88, power_w=350.0, throttling=("thermal",))
SLOW = replace(STEADY, sm_clock_mhz=USUAL_MHZ // 2)


def measured(bench: Bench, **changes: object) -> tuple[JobPublic, list[Measurement]]:
    job = bench.submit(workloads=GRID, **changes)
    bench.run(job)
    return job, list(bench.store.measurements(job.table_id, [operator.key() for operator in GRID]).values())


def worst_error(entries: list[Measurement]) -> float:
    return max(abs((entry.value_ms or 0.0) / operator_ms(entry.workload) - 1) for entry in entries)


def test_a_steady_device_leaves_its_state_and_nothing_set_aside(bench: Bench) -> None:
    bench.workers.device = lambda reading: replace(STEADY, temperature_c=50 + reading // 40)
    _, entries = measured(bench)
    for entry in entries:
        assert (entry.clock_before_mhz, entry.clock_after_mhz, entry.power_w) == (USUAL_MHZ, USUAL_MHZ, 310.0)
        assert entry.temperature_before_c is not None
        assert entry.temperature_after_c is not None
        assert entry.temperature_after_c > entry.temperature_before_c
        assert (entry.samples_set_aside, entry.throttle_reasons, entry.other_processes) == (0, None, 0)
        assert entry.flags == ()


def test_others_that_compute_on_the_device_are_told_and_flagged_whatever_the_host_does(bench: Bench) -> None:
    bench.workers.device = lambda reading: replace(STEADY, other_processes=reading % 2)
    _, entries = measured(bench)
    assert {entry.other_processes for entry in entries} == {1}
    assert {entry.flags for entry in entries} == {(Flag.CONTAMINATED,)}

    bench.workers.device = lambda reading: STEADY
    bench.host.others = lambda reading: 3.0
    _, entries = measured(bench, remeasure=True)
    assert {entry.flags for entry in entries} == {()}


def test_a_device_that_tells_nothing_leaves_nothing(bench: Bench) -> None:
    _, entries = measured(bench)
    for entry in entries:
        assert (entry.clock_before_mhz, entry.power_w, entry.samples_set_aside, entry.other_processes) == (None,) * 4


@pytest.mark.parametrize(("slow", "reason"), [(HOT, "thermal"), (SLOW, "low_clock")])
def test_slow_passes_are_set_aside_and_counted_and_do_not_move_the_value(
    bench: Bench, slow: DeviceReading, reason: str
) -> None:
    bench.workers.device = lambda reading: slow if reading % 13 == 8 and reading > 20 else STEADY
    job, entries = measured(bench)
    assert worst_error(entries) < 1e-5
    kept = bench.store.visits(job.table_id, [graph_key(GRID[0], ProtocolName.IN_CONTEXT)])
    aside = sum(visit.passes - len(visit.samples_ms) for visit in kept)
    assert aside > 0
    for entry in entries:
        assert entry.samples_set_aside == aside
        assert entry.samples + aside == QUICK.min_rounds * QUICK.passes
        assert entry.throttle_reasons == reason
        assert Flag.THROTTLED not in entry.flags


def test_a_round_under_a_throttle_counts_only_where_there_are_too_few_others(bench: Bench) -> None:
    """The whole of each first visit is slow, while rounds enough follow."""
    begun: list[int] = []
    bench.workers.on_group = begun.append
    bench.workers.device = lambda reading: HOT if len(begun) == 1 else STEADY
    _, entries = measured(bench)
    assert worst_error(entries) < 1e-5
    for entry in entries:
        assert Flag.THROTTLED not in entry.flags
        assert entry.samples_set_aside == QUICK.passes
        assert entry.rounds == QUICK.min_rounds


@pytest.mark.parametrize("protocol", ProtocolName)
def test_a_run_that_is_slow_all_through_is_kept_and_flagged(bench: Bench, protocol: ProtocolName) -> None:
    bench.workers.device = lambda reading: HOT
    _, entries = measured(bench, protocol=protocol)
    for entry in entries:
        assert entry.flags == (Flag.THROTTLED,)
        assert entry.samples_set_aside == 0
        assert (entry.throttle_reasons, entry.clock_after_mhz) == ("thermal", USUAL_MHZ // 2)
        assert entry.rounds == QUICK.min_rounds


def test_one_engine_alone_is_set_aside_as_a_whole(bench: Bench) -> None:
    """Its runs lie between two readings, so that nobody can tell one from the other."""
    bench.workers.device = lambda reading: HOT if len(bench.workers.isolated) % 11 == 0 else STEADY
    _, entries = measured(bench, protocol=ProtocolName.ISOLATED_HOT)
    assert worst_error(entries) < 1e-5
    aside = [entry.samples_set_aside for entry in entries]
    assert any(aside)
    assert {count % QUICK.hot_windows for count in aside if count is not None} == {0}
    assert HOT_RUNS > 1
