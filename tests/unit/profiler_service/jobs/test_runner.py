"""A job from its plan to the last measurement, on workers whose times are known."""

from __future__ import annotations

import os
import sqlite3
from collections import Counter
from collections.abc import Sequence
from contextlib import closing, suppress
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from threading import Event

import numpy as np
import pytest

from models.spaces.registry import create_space
from models.spec.errors import InvalidSpecError, TableMismatchError
from models.spec.graphs import ContextBase, GraphRequest
from models.spec.measurements import Budget, Flag, Measurement, ProtocolName, Status, Workload
from models.spec.operators import OperatorSpec
from models.spec.scale import CheckOutcome, ScaleCheck
from models.spec.verdicts import TrustLevel, table_verdict
from models.spec.wire import JobCreate, JobPublic, JobState, Rebuild
from profiler_service.admission import admit
from profiler_service.errors import JobError, JobHeldError
from profiler_service.jobs.device_lock import device_lock
from profiler_service.jobs.plain_check import OPERATORS, VISITS
from profiler_service.jobs.planner import MIN_LIVE, outstanding_of
from profiler_service.jobs.process_lock import ProcessLock
from profiler_service.measure.sentinel import SENTINEL_GRAPH
from profiler_service.measure.stopping import BUDGETS
from profiler_service.measure.visits import Visit, graph_key
from profiler_service.raw_data import entry_samples
from profiler_service.worker.protocol import BackendDescription, Failure, RoundRobin, TimingRequest, TimingResult
from profiler_service.worker.sampling import HOT_RUNS
from tests.support.fake_workers import BASE_MS, DESCRIPTION, SENTINEL_MS, FakeWorkers, operator_ms
from tests.unit.profiler_service.jobs.conftest import SPACE, Bench

GRID = create_space(SPACE).operators()
QUICK = BUDGETS[Budget.QUICK]
LITTLE, PLENTY = 2 * 60 * 2**20, 2**34
"""Bytes: half of the one holds some twenty small engines, of the other hundreds."""
NETWORKS = [create_space(SPACE).sample(np.random.default_rng(seed)) for seed in range(3)]
IN_CONTEXT = {operator.key(): graph_key(operator, ProtocolName.IN_CONTEXT) for operator in GRID}


class KilledError(BaseException):
    """What `kill -9` is to a thread: nothing handles it."""


def entries(bench: Bench, job: JobPublic) -> dict[str, Measurement]:
    return bench.store.measurements(job.table_id, [operator.key() for operator in GRID])


def runs_of(workers: FakeWorkers, operator: OperatorSpec) -> int:
    """Groups that the operator was live in, as padding too."""
    return sum(IN_CONTEXT[operator.key()] in (a.request.key() for a in group.artifacts) for group in workers.groups)


def visits(bench: Bench, job: JobPublic) -> Counter[str]:
    """Operator key to the visits that were kept of it."""
    kept = Counter(visit.graph_key for visit in bench.store.visits(job.table_id, IN_CONTEXT.values()))
    return Counter({key: kept[graph] for key, graph in IN_CONTEXT.items()})


def reference_ms(bench: Bench, job: JobPublic) -> float:
    scale = bench.store.table_info(job.table_id).scale
    assert scale is not None
    return scale.reference_ms


def worst_error(found: dict[str, Measurement]) -> float:
    return max(abs((entry.value_ms or 0.0) / operator_ms(entry.workload) - 1) for entry in found.values())


class TestWholeGrid:
    def test_every_operator_is_measured_and_its_context_subtracted(self, bench: Bench) -> None:
        job = bench.submit()
        seconds = bench.run(job)
        found = entries(bench, job)
        assert len(found) == len(GRID)
        assert worst_error(found) < 1e-5
        assert [entry.base_ms for entry in found.values()] == pytest.approx([BASE_MS] * len(GRID))
        done = bench.store.job(job.id)
        assert (done.state, done.fraction, done.message) == (JobState.DONE, 1.0, "")
        assert (done.counts.total, done.counts.measured, done.counts.finished) == (len(GRID),) * 3
        assert seconds.sampling_s > seconds.warmup_s > 0
        assert (bench.workers.opened, bench.workers.closed) == (1, 1)

    def test_equal_rounds_end_at_the_minimum(self, bench: Bench) -> None:
        job = bench.submit()
        bench.run(job)
        assert set(visits(bench, job).values()) == {QUICK.min_rounds}

    def test_groups_have_company_and_change(self, bench: Bench) -> None:
        bench.run(bench.submit())
        assert all(len(group.artifacts) >= MIN_LIVE for group in bench.workers.groups)
        assert len({group.seed for group in bench.workers.groups}) == len(bench.workers.groups)

    def test_conditions_are_recorded(self, bench: Bench) -> None:
        job = bench.submit()
        bench.run(job)
        entry = entries(bench, job)[GRID[0].key()]
        assert (entry.build_s, entry.engine_bytes, entry.output_error) == (0.002, 1000, 1e-7)
        assert entry.host_load is not None
        assert entry.measured_at is not None
        assert entry.measured_at >= job.created_at
        assert (entry.rounds, entry.samples) == (QUICK.min_rounds, QUICK.min_rounds * QUICK.passes)

    def test_progress_grows_and_is_never_absurd(self, bench: Bench) -> None:
        bench.workers.visit_noise = 0.05
        bench.run(bench.submit())
        fractions = [state.fraction for state in bench.states]
        assert fractions == sorted(fractions)
        assert all(state.eta_s is None or 0 <= state.eta_s < 3600 for state in bench.states)
        assert any(state.eta_s is not None for state in bench.states)
        phases = list(dict.fromkeys(state.phase for state in bench.states))
        assert phases[:5] == ["", "starting", "building", "warming up", "round 1 of at most 6"]
        assert phases[-1] == "round 6 of at most 6"
        assert bench.states[-1].phase == ""


class TestNoise:
    def test_slow_phases_do_not_reach_the_values(self, bench: Bench) -> None:
        bench.workers.noise = 0.002
        bench.workers.slowdown = lambda group: 1.07 if group % 2 else 1.0
        job = bench.submit()
        bench.run(job)
        found = entries(bench, job)
        assert worst_error(found) < 0.05
        plain = {key: entry.plain_ms / entry.value_ms for key, entry in found.items() if entry.plain_ms and entry.value_ms}
        assert max(plain.values()) - min(plain.values()) < 0.05
        spread = [entry.between_round_spread for entry in found.values()]
        assert max(value for value in spread if value is not None) < 0.03

    def test_what_does_not_settle_is_unconverged(self, bench: Bench) -> None:
        bench.workers.visit_noise = 0.2
        job = bench.submit()
        bench.run(job)
        found = entries(bench, job).values()
        unconverged = [entry for entry in found if Flag.UNCONVERGED in entry.flags]
        assert len(unconverged) > len(GRID) / 2
        assert {entry.rounds for entry in unconverged} == {QUICK.max_rounds}
        assert bench.store.job(job.id).state is JobState.DONE

    def test_a_burst_is_measured_again_and_leaves_no_trace(self, bench: Bench) -> None:
        bench.workers.slowdown = lambda group: 1.3 if group == 2 else 1.0
        job = bench.submit()
        seconds = bench.run(job)
        assert seconds.repeats == 1
        assert not any(entry.flags for entry in entries(bench, job).values())

    def test_a_host_that_turns_slow_is_told(self, bench: Bench) -> None:
        bench.workers.slowdown = lambda group: 1.3 if group else 1.0
        job = bench.submit()
        seconds = bench.run(job)
        found = entries(bench, job).values()
        assert all(Flag.CONTAMINATED in entry.flags for entry in found)
        assert seconds.repeats <= 2 + QUICK.repeat_share * seconds.visits


class TestReference:
    """The scale: what a sentinel unit is worth."""

    def test_every_job_learns_it_and_a_slow_one_does_not_move_it(self, bench: Bench) -> None:
        first = bench.submit(workloads=GRID[:20], budget=Budget.NORMAL)
        bench.run(first)
        assert reference_ms(bench, first) == pytest.approx(SENTINEL_MS)
        bench.workers.slowdown = lambda group: 1.5
        second = bench.submit(workloads=GRID[20:25])
        bench.run(second)
        assert reference_ms(bench, first) == pytest.approx(SENTINEL_MS)
        found = entries(bench, second)
        assert worst_error(found) < 1e-5
        assert found[GRID[22].key()].sentinel_ratio == pytest.approx(1.5)

    def test_a_first_job_that_began_in_a_slow_phase_measures_on(self, bench: Bench) -> None:
        """Once the scale is learned, rounds of the slow phase do not count, and others take their place."""
        bench.configure(live_engines=10)
        slow = len(range(0, 39, 7)) * 3
        bench.workers.slowdown = lambda group: 1.5 if group < slow else 1.0
        job = bench.submit(budget=Budget.NORMAL)
        bench.run(job)
        found = entries(bench, job)
        assert worst_error(found) < 1e-5
        assert {entry.rounds for entry in found.values()} == {BUDGETS[Budget.NORMAL].min_rounds}
        assert not any(entry.flags for entry in found.values())
        for key, entry in found.items():
            shown = entry_samples(bench.store, job.table_id, key)
            assert sum(found_round.good for found_round in shown.rounds) == entry.rounds, "what is shown is what counted"

    def test_a_first_job_on_a_slow_machine_is_put_right_by_a_later_one(self, bench: Bench) -> None:
        """Its values are rescaled, flagged since they were measured in a slow phase, and measured again with the next job."""
        bench.workers.slowdown = lambda group: 1.4
        first = bench.submit(workloads=GRID[:5])
        bench.run(first)
        wrong = entries(bench, first)[GRID[0].key()]
        assert wrong.value_ms == pytest.approx(1.4 * operator_ms(GRID[0]))
        bench.workers.slowdown = lambda group: 1.0
        bench.run(bench.submit(workloads=GRID[5:15], budget=Budget.NORMAL))
        assert reference_ms(bench, first) == pytest.approx(SENTINEL_MS)
        scale = bench.store.table_info(first.table_id).scale
        assert scale is not None
        assert scale.settled
        assert [round(point.reference_ms / SENTINEL_MS, 2) for point in scale.history] == [1.4, 1.4, 1.0]
        mended = entries(bench, first)[GRID[0].key()]
        assert mended.value_ms == pytest.approx(operator_ms(GRID[0]))
        assert Flag.CONTAMINATED in mended.flags
        again = bench.submit(workloads=GRID[:15])
        bench.run(again)
        assert bench.store.job(again.id).counts.measured == 5
        assert not any(entry.flags for entry in entries(bench, again).values())

    def test_what_a_busy_machine_measured_waits_until_it_is_quiet(self, bench: Bench) -> None:
        bench.run(bench.submit(workloads=GRID[5:15], budget=Budget.NORMAL))
        bench.workers.slowdown = lambda group: 1.4
        first = bench.submit(workloads=GRID[:5])
        bench.run(first)
        found = entries(bench, first)
        assert {key for key, entry in found.items() if Flag.CONTAMINATED in entry.flags} == {op.key() for op in GRID[:5]}
        bench.quiet = False
        waiting = bench.submit(workloads=GRID[:5])
        bench.run(waiting)
        assert bench.store.job(waiting.id).counts.reused == 5
        bench.quiet, bench.workers.slowdown = True, lambda group: 1.0
        better = bench.submit(workloads=GRID[:5])
        bench.run(better)
        assert bench.store.job(better.id).counts.measured == 5
        assert not any(Flag.CONTAMINATED in entry.flags for entry in entries(bench, better).values())

    def test_two_tables_of_one_target_are_on_one_scale(self, bench: Bench) -> None:
        bench.workers.slowdown = lambda group: 1.4
        first = bench.submit(workloads=GRID[:5])
        bench.run(first)
        bench.workers.slowdown = lambda group: 1.0
        other = bench.submit(space=SPACE.model_copy(update={"classes": 7}))
        bench.run(other)
        assert other.table_id != first.table_id
        assert reference_ms(bench, first) == reference_ms(bench, other) == pytest.approx(SENTINEL_MS)
        assert entries(bench, first)[GRID[0].key()].value_ms == pytest.approx(operator_ms(GRID[0]))

    def test_what_another_table_shows_of_a_slow_phase_is_in_the_listed_verdict(self, bench: Bench) -> None:
        bench.workers.slowdown = lambda group: 1.4
        first = bench.submit(workloads=GRID[:5])
        bench.run(first)
        bench.workers.slowdown = lambda group: 1.0
        other = bench.submit(space=SPACE.model_copy(update={"classes": 7}), workloads=GRID[:10], budget=Budget.NORMAL)
        bench.run(other)
        (listed,) = (verdict for table_id, _, verdict in bench.store.table_briefs() if table_id == first.table_id)
        assert listed == table_verdict(bench.store.table(first.table_id))
        assert [reason.name for reason in listed.reasons] == ["contaminated"]


class TestPlainCheck:
    """The end of a job: the wall clock has the last word."""

    def check(self, bench: Bench, job: JobPublic) -> ScaleCheck:
        bench.configure(plain_check=True)
        bench.run(job)
        check = bench.store.table_info(job.table_id).check
        assert check is not None
        return check

    def test_it_agrees(self, bench: Bench) -> None:
        check = self.check(bench, bench.submit(workloads=GRID[:20]))
        assert (check.outcome, check.ratio) == (CheckOutcome.AGREES, pytest.approx(1.0, abs=1e-3))
        assert len(check.workloads) == OPERATORS + 1
        assert "network" in check.workloads[-1].label
        largest = max(GRID[:20], key=operator_ms)
        assert check.workloads[0].key == largest.key()

    def test_a_wrong_scale_is_found_out(self, bench: Bench) -> None:
        """The backend's clock and the wall clock disagree by a third."""
        bench.workers.wall_clock = 0.72
        job = bench.submit(workloads=GRID[:20])
        check = self.check(bench, job)
        assert (check.outcome, check.ratio) == (CheckOutcome.DISAGREES, pytest.approx(0.72, abs=1e-3))
        verdict = table_verdict(bench.store.table(job.table_id))
        assert verdict.level is TrustLevel.UNUSABLE
        assert "0.720 times" in verdict.reasons[0].text

    def test_a_slow_phase_takes_back_nothing(self, bench: Bench) -> None:
        bench.workers.wall_clock = 0.72
        first = self.check(bench, bench.submit(workloads=GRID[:20], budget=Budget.NORMAL))
        bench.workers.slowdown = lambda group: 1.5
        assert self.check(bench, bench.submit(workloads=GRID[20:25])) == first

    def test_a_slow_phase_confirms_nothing(self, bench: Bench) -> None:
        first = bench.submit(workloads=GRID[:10], budget=Budget.NORMAL)
        bench.run(first)
        bench.workers.slowdown = lambda group: 1.5
        check = self.check(bench, bench.submit(workloads=GRID[10:20]))
        assert check.outcome is CheckOutcome.NOT_QUIET

    def test_a_job_of_networks_is_checked_on_one_of_its_own(self, bench: Bench) -> None:
        job = bench.submit(workloads=NETWORKS[:3])
        check = self.check(bench, job)
        (found,) = check.workloads
        assert found.key in {network.key() for network in NETWORKS}

    def test_visits_of_the_check_stay_where_the_next_job_has_other_graphs(self, bench: Bench) -> None:
        bench.configure(plain_check=True)
        for network in NETWORKS:
            bench.run(job := bench.submit(workloads=[network]))
        kept = bench.store.visits(job.table_id, [SENTINEL_GRAPH.key()])
        assert len(kept) == VISITS * len(NETWORKS)

    @pytest.mark.parametrize("workloads", [GRID[:20], NETWORKS])
    @pytest.mark.parametrize("how", ["killed", "killed in between", "interrupted", "cut off"])
    def test_it_is_made_after_an_interruption(self, bench: Bench, how: str, workloads: Sequence[Workload]) -> None:
        """Before any of its visits, after the first one, or where the processes are ended."""
        interrupted = Event()

        def stop(state: JobPublic) -> None:
            if state.phase == "checking by the wall clock" and how != "killed in between":
                interrupted.set()
                if how == "killed":
                    raise KilledError

        def stop_at(_group: int) -> None:
            if how == "cut off" and interrupted.is_set():
                raise JobError("the workers were closed")
            if how == "killed in between" and bench.workers.groups and bench.workers.groups[-1].plain_passes:
                raise KilledError

        bench.configure(plain_check=True)
        bench.workers.wall_clock = 0.72
        bench.workers.on_group = stop_at
        job = bench.submit(workloads=workloads)
        with suppress(KilledError):
            bench.run(job, on_progress=stop, interrupted=interrupted)
        assert not bench.store.job(job.id).state.final
        bench.workers.on_group = lambda group: None
        check = self.check(bench, job)
        assert (check.outcome, check.ratio) == (CheckOutcome.DISAGREES, pytest.approx(0.72, abs=1e-3))
        done = bench.store.job(job.id)
        assert (done.state, done.counts.measured) == (JobState.DONE, len(workloads))
        scale = bench.store.table_info(job.table_id).scale
        assert scale is not None
        made = {(visit.round, visit.visit, visit.started_at) for visit in self.all_visits(bench, job)}
        assert scale.visits == len(made), "the last ones count"

    def all_visits(self, bench: Bench, job: JobPublic) -> list[Visit]:
        return bench.store.visits(job.table_id, bench.store.visited_graphs(job.table_id))

    def test_a_check_that_was_made_is_not_made_again(self, bench: Bench) -> None:
        """The job is killed while it rebuilds."""

        def kill(state: JobPublic) -> None:
            if state.phase.endswith(" times"):
                raise KilledError

        bench.configure(plain_check=True)
        job = bench.submit(workloads=GRID[:20], rebuild=Rebuild.ALWAYS)
        with pytest.raises(KilledError):
            bench.run(job, on_progress=kill)
        bench.run(job)
        assert bench.store.job(job.id).state is JobState.DONE
        assert sum(bool(group.plain_passes) for group in bench.workers.groups) == VISITS

    def test_a_job_that_is_cancelled_while_it_is_checked_is_not_called_done(self, bench: Bench) -> None:
        cancelled = Event()
        bench.configure(plain_check=True)
        job = bench.submit(workloads=GRID[:20])
        bench.run(job, on_progress=lambda state: cancelled.set() if "wall clock" in state.phase else None, cancelled=cancelled)
        assert bench.store.job(job.id).state is JobState.CANCELLED

    def test_without_a_check_the_scale_is_learned_after_a_kill(self, bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
        def kill(*_: object, **__: object) -> None:
            raise KilledError

        job = bench.submit(workloads=GRID[:20])
        with monkeypatch.context() as killed:
            killed.setattr("profiler_service.jobs.measuring.confirm_scale", kill)
            with pytest.raises(KilledError):
                bench.run(job)
        before = bench.store.table_info(job.table_id).scale
        bench.store.save_visits(job.table_id, [self.all_visits(bench, job)[0].model_copy(update={"round": 99})])
        bench.run(job)
        after = bench.store.table_info(job.table_id).scale
        assert before is not None
        assert after is not None
        assert after.visits == before.visits + 1
        assert (bench.workers.opened, bench.store.job(job.id).state) == (1, JobState.DONE)

    def test_nothing_measured_nothing_checked(self, bench: Bench) -> None:
        bench.run(bench.submit(workloads=GRID[:5]))
        job = bench.submit(workloads=GRID[:5])
        bench.configure(plain_check=True)
        groups = len(bench.workers.groups)
        bench.run(job)
        assert len(bench.workers.groups) == groups


class TestSmallJobs:
    def test_a_few_operators_get_company_that_is_not_kept(self, bench: Bench) -> None:
        job = bench.submit(workloads=GRID[:3])
        bench.run(job)
        assert entries(bench, job).keys() == {operator.key() for operator in GRID[:3]}
        assert {len(group.artifacts) for group in bench.workers.groups} == {MIN_LIVE}
        padding = [IN_CONTEXT[operator.key()] for operator in GRID[3:]]
        assert bench.store.visits(job.table_id, padding) == []

    def test_a_second_job_measures_only_what_is_missing(self, bench: Bench) -> None:
        bench.run(bench.submit(workloads=GRID[:30]))
        bench.workers.groups.clear()
        job = bench.submit()
        bench.run(job)
        counts = bench.store.job(job.id).counts
        assert (counts.reused, counts.measured) == (30, len(GRID) - 30)
        assert set(visits(bench, job).values()) == {QUICK.min_rounds}

    def test_nothing_to_do_starts_no_process(self, bench: Bench) -> None:
        bench.run(bench.submit())
        again = bench.submit()
        bench.run(again)
        assert bench.workers.opened == 1
        done = bench.store.job(again.id)
        assert (done.state, done.counts.reused, done.fraction) == (JobState.DONE, len(GRID), 1.0)

    def test_nothing_to_do_waits_for_nobody(self, bench: Bench, tmp_path: Path) -> None:
        bench.run(bench.submit(workloads=GRID[:3]))
        again = bench.submit(workloads=GRID[:3])
        bench.states.clear()
        with device_lock("imaginary", on_wait=lambda holder: None, stopped=lambda: False, directory=tmp_path):
            bench.run(again, on_progress=lambda state: pytest.fail("waits") if "waiting" in state.phase else None)
        assert bench.store.job(again.id).state is JobState.DONE

    def test_what_another_job_measured_while_this_one_waited_is_reused(self, bench: Bench, tmp_path: Path) -> None:
        job, other = bench.submit(workloads=GRID[:3]), bench.submit(workloads=GRID[:3])
        held = device_lock("imaginary", on_wait=lambda holder: None, stopped=lambda: False, directory=tmp_path)
        held.__enter__()

        def measure_meanwhile(state: JobPublic) -> None:
            if state.id == job.id and state.phase.startswith("waiting for the device"):
                held.__exit__(None, None, None)
                bench.run(other)

        bench.run(job, on_progress=measure_meanwhile)
        done = bench.store.job(job.id)
        assert (done.state, done.counts.reused, bench.workers.opened) == (JobState.DONE, 3, 1)

    def test_what_cannot_be_measured_again_keeps_its_values(self, bench: Bench) -> None:
        first = bench.submit(workloads=GRID[:5])
        bench.run(first)
        before = entries(bench, first)
        bench.workers.unbuildable[SENTINEL_GRAPH.key()] = Status.BUILD_ERROR
        with pytest.raises(JobError, match="sentinel cannot be built"):
            bench.run(bench.submit(workloads=GRID[:5], remeasure=True))
        assert entries(bench, first) == before
        assert len(before) == 5

    def test_measuring_again_goes_on_after_a_kill(self, bench: Bench) -> None:
        """Values from before the job are still pending then, its own visits still good."""
        first = bench.submit()
        bench.run(first)
        before = entries(bench, first)

        def kill(state: JobPublic) -> None:
            if 0 < state.counts.measured < len(GRID):
                raise KilledError

        bench.workers.visit_noise = 0.03
        job = bench.submit(remeasure=True)
        with pytest.raises(KilledError):
            bench.run(job, on_progress=kill)
        bench.run(job)
        counts = bench.store.job(job.id).counts
        assert (counts.measured, counts.reused) == (len(GRID), 0)
        assert all(entry.measured_at != before[key].measured_at for key, entry in entries(bench, job).items())

    def test_measuring_again_goes_on_where_the_same_request_was_interrupted(self, bench: Bench) -> None:
        bench.run(bench.submit())
        cancelled = Event()

        def stop(state: JobPublic) -> None:
            if 0 < state.counts.measured < len(GRID):
                cancelled.set()

        bench.workers.visit_noise = 0.03
        first = bench.submit(remeasure=True)
        bench.run(first, on_progress=stop, cancelled=cancelled)
        kept = bench.store.job(first.id).counts.measured
        second = bench.submit(remeasure=True)
        bench.run(second)
        counts = bench.store.job(second.id).counts
        assert (counts.reused, counts.measured) == (kept, len(GRID) - kept)
        assert all(entry.measured_at and entry.measured_at >= first.created_at for entry in entries(bench, second).values())
        third = bench.submit(remeasure=True)
        bench.run(third)
        assert bench.store.job(third.id).counts.measured == len(GRID), "what was done is done again"

    def test_measuring_again_repeats_no_round_of_an_interrupted_attempt(self, bench: Bench) -> None:
        """In context nothing has a value before the last rounds: it is visits that must not be lost."""
        bench.run(bench.submit())
        cancelled = Event()

        def stop(state: JobPublic) -> None:
            if state.phase.startswith("round 3"):
                cancelled.set()

        bench.workers.groups.clear()
        bench.run(bench.submit(remeasure=True), on_progress=stop, cancelled=cancelled)
        before = len(bench.workers.groups)
        job = bench.submit(remeasure=True)
        bench.run(job)
        assert 0 < before < len(bench.workers.groups) == QUICK.min_rounds
        assert bench.store.job(job.id).counts.measured == len(GRID)
        assert set(visits(bench, job).values()) == {QUICK.min_rounds}

    def test_a_job_that_was_cancelled_before_it_began_is_no_reason_to_measure_less(self, bench: Bench) -> None:
        bench.store.update_job(bench.submit(remeasure=True).id, state=JobState.CANCELLED)
        bench.run(bench.submit())
        job = bench.submit(remeasure=True)
        bench.run(job)
        assert bench.store.job(job.id).counts.measured == len(GRID)

    def test_what_was_measured_while_the_job_waited_is_not_measured_again(self, bench: Bench) -> None:
        first, job = bench.submit(), bench.submit(remeasure=True)
        bench.run(first)
        bench.run(job)
        assert bench.store.job(job.id).counts.reused == len(GRID)

    def test_jobs_that_measure_anew_at_the_same_time_measure_each_key_once(self, bench: Bench) -> None:
        """The second one is asked for while the first is under way."""
        bench.run(bench.submit())
        bench.workers.groups.clear()
        second: list[JobPublic] = []

        def ask(state: JobPublic) -> None:
            if state.phase.startswith("round 2") and not second:
                second.append(bench.submit(workloads=GRID[:20], remeasure=True))

        bench.run(bench.submit(workloads=GRID[10:], remeasure=True), on_progress=ask)
        bench.run(second[0])
        counts = bench.store.job(second[0].id).counts
        assert (counts.reused, counts.measured) == (10, 10)
        assert set(visits(bench, second[0]).values()) == {QUICK.min_rounds}

    def test_measuring_again_ends_although_the_clock_was_set_back(self, bench: Bench) -> None:
        """What it measures seems to be older than the job."""
        bench.run(bench.submit(workloads=GRID[:5]))
        job = bench.submit(workloads=GRID[:5], remeasure=True)
        later = (job.created_at + timedelta(hours=1)).strftime("%Y-%m-%d %H:%M:%S.%f")
        with closing(sqlite3.connect(str(bench.store.location))) as connection, connection:
            connection.execute("UPDATE jobs SET created_at = ? WHERE id = ?", (later, job.id))
        bench.run(job)
        assert bench.store.job(job.id).counts.measured == 5
        assert set(visits(bench, job).values()) == {0, QUICK.min_rounds}

    def test_what_fails_when_it_is_measured_again_keeps_its_value_and_its_visits(self, bench: Bench) -> None:
        bench.run(bench.submit(workloads=GRID[:5]))
        before = bench.store.measurements(bench.submit(workloads=GRID[:5]).table_id, [GRID[0].key()])
        bench.workers.crashing.add(IN_CONTEXT[GRID[0].key()])
        job = bench.submit(workloads=GRID[:5], remeasure=True)
        bench.run(job)
        assert bench.store.measurements(job.table_id, [GRID[0].key()]) == before
        assert visits(bench, job)[GRID[0].key()] == QUICK.min_rounds
        done = bench.store.job(job.id)
        assert (done.state, done.counts.failed, done.counts.measured) == (JobState.DONE, 1, 4)
        assert done.message.startswith("1 of the workloads failed this time; the values that they had stay: ")
        assert GRID[0].label() in done.message
        assert "--remeasure" in done.message

    def test_what_failed_is_no_more_told_once_it_did_not_in_a_later_attempt(self, bench: Bench) -> None:
        bench.run(bench.submit(workloads=GRID[:5]))
        bench.workers.crashing.add(IN_CONTEXT[GRID[0].key()])
        bench.workers.groups.clear()
        interrupted = Event()
        bench.workers.on_group = lambda group: interrupted.set() if group == 3 else None
        job = bench.submit(workloads=GRID[:5], remeasure=True)
        bench.run(job, interrupted=interrupted)
        assert bench.store.job(job.id).message.startswith("1 of the workloads failed this time")
        bench.workers.crashing.clear()
        bench.run(job)
        done = bench.store.job(job.id)
        assert (done.state, done.counts.failed, done.message) == (JobState.DONE, 0, "")

    def test_an_attempt_that_failed_before_its_first_visit_is_no_reason_to_measure_less(self, bench: Bench) -> None:
        bench.workers.broken[SENTINEL_GRAPH.key()] = Status.BUILD_ERROR
        with pytest.raises(JobError, match="sentinel cannot be built"):
            bench.run(bench.submit(remeasure=True))
        bench.workers.broken.clear()
        bench.run(bench.submit())
        job = bench.submit(remeasure=True)
        bench.run(job)
        assert bench.store.job(job.id).counts.measured == len(GRID)

    def test_a_failure_that_is_tried_again_begins_anew(self, bench: Bench) -> None:
        """Its visits from before it failed count no more."""
        culprit = IN_CONTEXT[GRID[0].key()]

        def fail(number: int) -> None:
            if number == 2:
                bench.workers.crashing.add(culprit)

        bench.workers.on_group = fail
        bench.run(bench.submit(workloads=GRID[:5]))
        bench.workers.on_group = lambda number: None
        bench.workers.crashing.clear()
        bench.workers.groups.clear()
        job = bench.submit(workloads=GRID[:5], retry_failed=True)
        bench.run(job)
        assert visits(bench, job)[GRID[0].key()] == len(bench.workers.groups) == QUICK.min_rounds

    def test_remeasuring_replaces_what_was_there(self, bench: Bench) -> None:
        bench.run(bench.submit(workloads=GRID[:5]))
        bench.workers.groups.clear()
        job = bench.submit(workloads=GRID[:5], remeasure=True)
        bench.run(job)
        assert bench.store.job(job.id).counts.measured == 5
        assert visits(bench, job).total() == 5 * QUICK.min_rounds


class TestFailures:
    @pytest.mark.parametrize("status", [Status.BUILD_ERROR, Status.BUILD_TIMEOUT, Status.OUT_OF_MEMORY])
    def test_a_graph_that_cannot_be_made_is_a_result(self, bench: Bench, status: Status) -> None:
        bench.workers.broken[IN_CONTEXT[GRID[4].key()]] = status
        job = bench.submit()
        bench.run(job)
        found = entries(bench, job)
        assert (found[GRID[4].key()].status, found[GRID[4].key()].message) == (status, "no graph")
        assert sum(entry.status is Status.OK for entry in found.values()) == len(GRID) - 1
        done = bench.store.job(job.id)
        assert (done.state, done.counts.failed, done.counts.measured) == (JobState.DONE, 1, len(GRID) - 1)
        assert runs_of(bench.workers, GRID[4]) == 0

    def test_wrong_output_is_not_timed(self, bench: Bench) -> None:
        bench.workers.unbuildable[IN_CONTEXT[GRID[0].key()]] = Status.WRONG_OUTPUT
        job = bench.submit(workloads=GRID[:2])
        bench.run(job)
        failed = entries(bench, job)[GRID[0].key()]
        assert (failed.status, failed.message, failed.build_s) == (Status.WRONG_OUTPUT, "refused", 0.002)
        assert runs_of(bench.workers, GRID[0]) == 0

    def test_without_its_base_an_operator_has_no_value(self, bench: Bench) -> None:
        base = ContextBase.of(GRID[0])
        bench.workers.broken[GraphRequest(subject=base).key()] = Status.BUILD_ERROR
        job = bench.submit()
        bench.run(job)
        for operator in GRID:
            entry = entries(bench, job)[operator.key()]
            expected = Status.BUILD_ERROR if ContextBase.of(operator) == base else Status.OK
            assert entry.status is expected
            if expected is not Status.OK:
                assert entry.message.startswith("base of")

    @pytest.mark.parametrize("blaming", [True, False])
    def test_an_engine_that_takes_its_process_along_is_dropped(self, bench: Bench, *, blaming: bool) -> None:
        """Whether or not the process could say which engine it was, the others get their values."""
        bench.workers.crashing.add(IN_CONTEXT[GRID[7].key()])
        bench.workers.blaming = blaming
        job = bench.submit()
        bench.run(job)
        found = entries(bench, job)
        assert (found[GRID[7].key()].status, found[GRID[7].key()].message) == (Status.CRASHED, "its process was killed")
        assert sum(entry.status is Status.OK for entry in found.values()) == len(GRID) - 1
        good = {key: entry for key, entry in found.items() if entry.status is Status.OK}
        assert worst_error(good) < 1e-5

    def test_an_engine_that_takes_its_process_along_once_is_measured(self, bench: Bench) -> None:
        """Something else may have killed it."""
        bench.workers.dying.add(IN_CONTEXT[GRID[7].key()])
        bench.workers.crashing_once.add(IN_CONTEXT[GRID[3].key()])
        job = bench.submit()
        bench.run(job)
        assert bench.store.job(job.id).counts.failed == 0
        assert worst_error(entries(bench, job)) < 1e-5
        assert not bench.workers.dying | bench.workers.crashing_once

    @pytest.mark.parametrize("live_engines", [26, 96])
    def test_a_base_that_takes_its_process_along_once_costs_nobody_a_value(self, bench: Bench, live_engines: int) -> None:
        bench.configure(live_engines=live_engines)
        bench.workers.dying.add(GraphRequest(subject=ContextBase.of(GRID[5])).key())
        job = bench.submit()
        bench.run(job)
        counts = bench.store.job(job.id).counts
        assert (counts.measured, counts.failed, bench.workers.dying) == (len(GRID), 0, set())
        assert worst_error(entries(bench, job)) < 1e-5
        assert set(visits(bench, job).values()) == {QUICK.min_rounds}

    def test_an_operator_that_takes_its_process_along_as_padding_is_measured(self, bench: Bench) -> None:
        """Its own group comes after another one in which it makes the caches cold."""
        bench.configure(live_engines=26)

        def take_one_along(group: int) -> None:
            if group == 0:
                bench.workers.dying.update(padding)

        padding: set[str] = set()
        time = bench.workers.time

        def watched(request: TimingRequest) -> TimingResult | Failure:
            if isinstance(request.mode, RoundRobin) and not bench.workers.groups:
                keys = [artifact.request.key() for artifact in request.artifacts]
                padding.add(next(key for key in reversed(keys) if key in IN_CONTEXT.values()))
            return time(request)

        bench.workers.time = watched  # type: ignore[method-assign]
        bench.workers.on_group = take_one_along
        job = bench.submit()
        bench.run(job)
        assert bench.store.job(job.id).counts.failed == 0

    def test_a_base_that_finds_no_memory_in_a_crowd_costs_nobody_a_value(self, bench: Bench) -> None:
        bench.workers.crowded_out.add(GraphRequest(subject=ContextBase.of(GRID[5])).key())
        bench.workers.enough = 4
        job = bench.submit()
        bench.run(job)
        assert bench.store.job(job.id).counts.failed == 0
        assert worst_error(entries(bench, job)) < 1e-5
        assert set(visits(bench, job).values()) == {QUICK.min_rounds}

    @pytest.mark.parametrize("good_before", [False, True])
    def test_where_everything_fails_the_rest_is_not_tried(self, bench: Bench, *, good_before: bool) -> None:
        if good_before:
            bench.run(bench.submit(workloads=GRID[:1]))
        job = bench.submit()
        broken = {graph.request.key(): Status.BUILD_ERROR for graph in outstanding_of(job, bench.store, bool).plan.graphs}
        bench.workers.broken = broken
        if good_before:  # then each is tried, since only those that are left may be bad
            bench.run(job)
            assert bench.store.job(job.id).counts.failed == len(GRID) - 1
            return
        with pytest.raises(JobError, match=r"the first 30 graphs failed and none was good; 30 of them: no graph"):
            bench.run(job)
        failed = bench.store.job(job.id)
        assert failed.state is JobState.FAILED
        assert "profiler-service doctor" in failed.message
        assert len(entries(bench, job)) < len(GRID)
        bench.workers.broken = {}
        again = bench.submit()
        bench.run(again)
        assert bench.store.job(again.id).counts.measured == len(GRID)

    def test_an_engine_that_stops_working_is_dropped_and_the_visit_counts(self, bench: Bench) -> None:
        bench.workers.leaving[IN_CONTEXT[GRID[7].key()]] = Status.RUN_ERROR
        job = bench.submit()
        bench.run(job)
        assert entries(bench, job)[GRID[7].key()].status is Status.RUN_ERROR
        assert runs_of(bench.workers, GRID[7]) == 1
        assert runs_of(bench.workers, GRID[8]) == QUICK.min_rounds

    def test_out_of_memory_in_a_crowd_is_tried_alone_first(self, bench: Bench) -> None:
        culprit = IN_CONTEXT[GRID[7].key()]
        bench.workers.leaving[culprit] = Status.OUT_OF_MEMORY
        job = bench.submit()
        bench.run(job)
        assert entries(bench, job)[GRID[7].key()].status is Status.OUT_OF_MEMORY
        sizes = [len(g.artifacts) for g in bench.workers.groups if culprit in {a.request.key() for a in g.artifacts}]
        assert len(sizes) == 2
        assert sizes[1] < sizes[0] / 2

    @pytest.mark.parametrize("blaming", [True, False])
    @pytest.mark.parametrize("how", ["crashing", "leaving"])
    def test_a_base_that_fails_takes_along_those_that_need_it_and_no_others(
        self, bench: Bench, how: str, *, blaming: bool
    ) -> None:
        """In small groups, so that some that need it come after the one in which it fails."""
        bench.configure(live_engines=26)
        bench.workers.blaming = blaming
        base = ContextBase.of(GRID[5])
        key = GraphRequest(subject=base).key()
        if how == "crashing":
            bench.workers.crashing.add(key)
        else:
            bench.workers.leaving[key] = Status.RUN_ERROR
        job = bench.submit()
        bench.run(job)
        for operator in GRID:
            failed = entries(bench, job)[operator.key()].status is not Status.OK
            assert failed == (ContextBase.of(operator) == base)
        assert bench.store.job(job.id).state is JobState.DONE

    def test_failures_are_tried_again_by_the_next_job(self, bench: Bench) -> None:
        bench.workers.broken[IN_CONTEXT[GRID[7].key()]] = Status.BUILD_ERROR
        bench.run(bench.submit())
        bench.workers.broken.clear()
        job = bench.submit()
        bench.run(job)
        assert entries(bench, job)[GRID[7].key()].status is Status.OK
        counts = bench.store.job(job.id).counts
        assert (counts.reused, counts.measured, counts.failed) == (len(GRID) - 1, 1, 0)

    def test_what_has_crashed_twice_is_left_alone_until_a_job_asks_for_it(self, bench: Bench) -> None:
        bench.workers.crashing.add(IN_CONTEXT[GRID[7].key()])
        bench.run(bench.submit())
        bench.workers.crashing.clear()
        bench.workers.groups.clear()
        for changes in ({}, {"remeasure": False, "workloads": GRID[5:9]}):
            bench.run(job := bench.submit(**changes))
            counts = bench.store.job(job.id).counts
            assert (counts.measured, counts.failed, bench.workers.groups) == (0, 1, [])
            assert entries(bench, job)[GRID[7].key()].status is Status.CRASHED
        bench.run(job := bench.submit(retry_failed=True))
        counts = bench.store.job(job.id).counts
        assert (counts.reused, counts.measured, counts.failed) == (len(GRID) - 1, 1, 0)

    def test_padding_that_fails_is_nobodys_failure(self, bench: Bench) -> None:
        bench.workers.leaving.update({IN_CONTEXT[operator.key()]: Status.RUN_ERROR for operator in GRID[3:20]})
        job = bench.submit(workloads=GRID[:3])
        bench.run(job)
        assert bench.store.job(job.id).counts.measured == 3
        assert entries(bench, job).keys() == {operator.key() for operator in GRID[:3]}

    def test_without_the_sentinel_the_job_fails(self, bench: Bench) -> None:
        bench.workers.unbuildable[SENTINEL_GRAPH.key()] = Status.BUILD_ERROR
        job = bench.submit()
        with pytest.raises(JobError, match="sentinel cannot be built: refused"):
            bench.run(job)
        failed = bench.store.job(job.id)
        assert failed.state is JobState.FAILED
        assert "sentinel" in failed.message
        assert bench.states[-1] == failed

    def test_a_table_of_another_target_is_not_touched(self, bench: Bench) -> None:
        job = bench.submit()
        other = bench.workers.description.target.model_copy(update={"threads": 2})
        bench.workers.description = replace(bench.workers.description, target=other)
        with pytest.raises(TableMismatchError, match="threads: 1 here, 2 there"):
            bench.run(job)
        assert bench.store.job(job.id).state is JobState.FAILED
        assert bench.workers.prepared == []


class TestStopping:
    def test_cancelling_keeps_what_was_measured(self, bench: Bench) -> None:
        cancelled = Event()
        bench.workers.on_group = lambda group: cancelled.set() if group == 2 else None
        job = bench.submit()
        bench.run(job, cancelled=cancelled)
        assert bench.store.job(job.id).state is JobState.CANCELLED
        assert len(bench.workers.groups) == 3
        rest = bench.submit()
        bench.run(rest)
        assert bench.store.job(rest.id).counts.measured == len(GRID)
        assert set(visits(bench, job).values()) == {QUICK.min_rounds}

    def test_a_cancelled_first_job_leaves_only_bases_that_the_next_one_needs(self, bench: Bench) -> None:
        (shared, _) = Counter(map(ContextBase.of, GRID)).most_common(1)[0]
        alike = [operator for operator in GRID if ContextBase.of(operator) == shared]
        assert len(alike) > 2
        self.cancel_after_a_round(bench, alike[:1])
        rest = bench.submit(workloads=alike[1:])
        bench.run(rest)
        assert bench.store.job(rest.id).state is JobState.DONE
        assert worst_error(entries(bench, rest)) < 1e-5

    def test_a_cancelled_first_job_leaves_only_networks_and_the_next_one_has_operators(self, bench: Bench) -> None:
        network = create_space(SPACE).sample(np.random.default_rng(0))
        self.cancel_after_a_round(bench, [network])
        rest = bench.submit(workloads=(network, *GRID[:3]))
        bench.run(rest)
        assert bench.store.job(rest.id).state is JobState.DONE
        assert worst_error(entries(bench, rest)) < 1e-5

    def cancel_after_a_round(self, bench: Bench, workloads: Sequence[Workload]) -> None:
        cancelled = Event()
        bench.workers.on_group = lambda group: cancelled.set()
        job = bench.submit(workloads=workloads)
        bench.run(job, cancelled=cancelled)
        bench.workers.on_group = lambda group: None
        assert bench.store.job(job.id).state is JobState.CANCELLED

    def test_an_interrupted_job_stays_unfinished_and_goes_on(self, bench: Bench) -> None:
        interrupted = Event()
        bench.workers.on_group = lambda group: interrupted.set() if group == 1 else None
        job = bench.submit()
        bench.run(job, interrupted=interrupted)
        assert [unfinished.id for unfinished in bench.store.unfinished_jobs()] == [job.id]
        bench.run(job)
        assert bench.store.job(job.id).state is JobState.DONE
        assert set(visits(bench, job).values()) == {QUICK.min_rounds}

    @pytest.mark.parametrize("remeasure", [False, True])
    @pytest.mark.parametrize("group", [0, 2, 5])
    def test_after_a_kill_nothing_is_lost_and_nothing_measured_twice(
        self, bench: Bench, group: int, *, remeasure: bool
    ) -> None:
        """Small groups, so that the kill comes in the middle of a round; the killed visit itself was never saved."""
        bench.configure(live_engines=26)

        def kill(number: int) -> None:
            if number == group:
                raise KilledError

        bench.workers.on_group = kill
        job = bench.submit(remeasure=remeasure)
        with pytest.raises(KilledError):
            bench.run(job)
        assert bench.store.job(job.id).state.active
        bench.workers.on_group = lambda number: None
        bench.run(job)
        done = bench.store.job(job.id)
        assert (done.state, done.counts.measured, done.counts.reused) == (JobState.DONE, len(GRID), 0)
        assert set(visits(bench, job).values()) == {QUICK.min_rounds}
        assert worst_error(entries(bench, job)) < 1e-5

    def test_what_was_finished_before_a_kill_is_still_counted(self, bench: Bench) -> None:
        bench.workers.broken[IN_CONTEXT[GRID[0].key()]] = Status.BUILD_ERROR
        bench.workers.visit_noise = 0.03

        def kill(state: JobPublic) -> None:
            if 0 < state.counts.measured < len(GRID) - 1:
                raise KilledError

        job = bench.submit()
        with pytest.raises(KilledError):
            bench.run(job, on_progress=kill)
        finished = {key for key, entry in entries(bench, job).items() if entry.status is Status.OK}
        assert finished
        before = visits(bench, job)
        bench.run(job)
        counts = bench.store.job(job.id).counts
        assert (counts.measured, counts.failed, counts.reused) == (len(GRID) - 1, 1, 0)
        assert {visits(bench, job)[key] for key in finished} == {before[key] for key in finished}

    def test_a_job_ended_by_another_process_is_left_alone(self, bench: Bench) -> None:
        job = bench.submit()

        def cancel_elsewhere(group: int) -> None:
            if group == 1:
                bench.store.update_job(job.id, state=JobState.CANCELLED)

        bench.workers.on_group = cancel_elsewhere
        bench.run(job)
        assert bench.store.job(job.id).state is JobState.CANCELLED
        assert len(bench.workers.groups) <= 3
        bench.run(job)
        assert bench.workers.opened == 1

    def test_an_unexpected_error_is_the_jobs_message(self, bench: Bench) -> None:
        def fail(group: int) -> None:
            raise ZeroDivisionError("by zero")

        bench.workers.on_group = fail
        job = bench.submit()
        with pytest.raises(ZeroDivisionError):
            bench.run(job)
        assert bench.store.job(job.id).message == "ZeroDivisionError: by zero"


class TestDevice:
    def test_a_job_waits_for_the_device_and_says_so(self, bench: Bench, tmp_path: Path) -> None:
        job = bench.submit()
        held = device_lock("imaginary", on_wait=lambda holder: None, stopped=lambda: False, directory=tmp_path)
        held.__enter__()

        def release(state: JobPublic) -> None:
            if state.phase.startswith("waiting for the device"):
                held.__exit__(None, None, None)

        seconds = bench.run(job, on_progress=release)
        assert f"waiting for the device, which process {os.getpid()} (" in bench.states[1].phase
        assert bench.store.job(job.id).state is JobState.DONE
        assert seconds.waiting_s > 0

    def test_a_job_can_be_cancelled_while_it_waits(self, bench: Bench, tmp_path: Path) -> None:
        job, cancelled = bench.submit(), Event()
        with device_lock("imaginary", on_wait=lambda holder: None, stopped=lambda: False, directory=tmp_path):
            bench.run(job, on_progress=lambda state: cancelled.set(), cancelled=cancelled)
        assert bench.store.job(job.id).state is JobState.CANCELLED
        assert bench.workers.opened == 0


class TestSoleRun:
    def test_a_job_that_another_process_runs_is_left_alone(self, bench: Bench) -> None:
        job = bench.submit()
        path = bench.store.location
        lock = ProcessLock(path.with_name(f"{path.name}.{job.id[:16]}.lock"))
        assert lock.acquire()
        with pytest.raises(JobHeldError, match=rf"process {os.getpid()} \(.* runs job {job.id}"):
            bench.run(job)
        assert bench.store.job(job.id).state is JobState.QUEUED
        assert bench.workers.opened == 0
        lock.release()
        bench.run(job)
        assert bench.store.job(job.id).state is JobState.DONE
        assert not list(path.parent.glob(f"{path.name}.{job.id[:16]}.*"))


class TestNetworks:
    def test_networks_are_timed_among_themselves_without_a_base(self, bench: Bench) -> None:
        space, rng = create_space(SPACE), np.random.default_rng(0)
        networks = tuple({n.key(): n for n in (space.sample(rng) for _ in range(6))}.values())
        job = bench.submit(workloads=(*networks, *GRID[:3]))
        bench.run(job)
        found = bench.store.measurements(job.table_id, [network.key() for network in networks])
        assert len(found) == len(networks)
        for entry in found.values():
            assert entry.value_ms == pytest.approx(10.0, rel=1e-5)
            assert (entry.base_ms, entry.rounds) == (0.0, QUICK.min_rounds)
        for group in bench.workers.groups:
            kinds = {isinstance(artifact.request.subject, OperatorSpec | ContextBase) for artifact in group.artifacts}
            assert len(kinds) == 1
            if kinds == {False}:
                assert len(group.artifacts) == len(networks)
                assert (group.passes, group.mode.sentinel_every) == (QUICK.network_passes, 1)

    @pytest.mark.parametrize(("host", "device"), [(LITTLE, None), (LITTLE, PLENTY), (PLENTY, LITTLE)])
    def test_memory_of_the_host_and_of_the_device_bounds_a_group(
        self, bench: Bench, monkeypatch: pytest.MonkeyPatch, host: int, device: int | None
    ) -> None:
        monkeypatch.setattr("profiler_service.jobs.context.free_memory_bytes", lambda: host)
        bench.workers.description = replace(DESCRIPTION, free_bytes=device)
        job = bench.submit()
        bench.run(job)
        assert max(len(group.artifacts) for group in bench.workers.groups) < 30
        assert set(visits(bench, job).values()) == {QUICK.min_rounds}

    def test_what_engines_told_of_their_memory_bounds_a_group(self, bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("profiler_service.jobs.context.free_memory_bytes", lambda: 2 * PLENTY)
        bench.workers.peak_memory_bytes = PLENTY // 5
        job = bench.submit()
        bench.run(job)
        assert max(len(group.artifacts) for group in bench.workers.groups) == 4  # a little more than a fifth each
        assert set(visits(bench, job).values()) == {QUICK.min_rounds}


class TestAlone:
    def test_operators_are_timed_by_themselves_in_milliseconds(self, bench: Bench) -> None:
        job = bench.submit(protocol=ProtocolName.ISOLATED, workloads=GRID[:5])
        bench.run(job)
        found = entries(bench, job)
        assert worst_error(found) < 1e-5
        for entry in found.values():
            assert (entry.base_ms, entry.sentinel_ratio) == (0.0, None)
            assert entry.samples == QUICK.min_rounds * QUICK.isolated_runs
        assert bench.workers.groups == []
        assert bench.store.table_info(job.table_id).scale is None
        assert bench.store.job(job.id).counts.measured == 5

    def test_a_crash_is_a_result_and_the_rest_goes_on(self, bench: Bench) -> None:
        bench.workers.crashing.add(graph_key(GRID[1], ProtocolName.ISOLATED))
        job = bench.submit(protocol=ProtocolName.ISOLATED, workloads=GRID[:5])
        bench.run(job)
        assert entries(bench, job)[GRID[1].key()].status is Status.CRASHED
        assert bench.store.job(job.id).counts.measured == 4

    def test_an_engine_that_crashes_once_is_measured(self, bench: Bench) -> None:
        bench.workers.dying.add(graph_key(GRID[1], ProtocolName.ISOLATED))
        job = bench.submit(protocol=ProtocolName.ISOLATED, workloads=GRID[:5])
        bench.run(job)
        found = entries(bench, job)
        assert {entry.status for entry in found.values()} == {Status.OK}
        assert found[GRID[1].key()].rounds == QUICK.min_rounds
        assert not bench.workers.dying

    @pytest.mark.parametrize(
        ("protocol", "runs", "runs_per_interval", "cold"),
        [
            (ProtocolName.ISOLATED, QUICK.isolated_runs, 1, False),
            (ProtocolName.ISOLATED_HOT, QUICK.hot_windows, HOT_RUNS, False),
            (ProtocolName.ISOLATED_COLD, QUICK.cold_runs, 1, True),
        ],
    )
    def test_each_protocol_times_networks_and_operators_its_own_way(
        self, bench: Bench, protocol: ProtocolName, runs: int, runs_per_interval: int, *, cold: bool
    ) -> None:
        network = create_space(SPACE).sample(np.random.default_rng(0))
        job = bench.submit(protocol=protocol, workloads=(network, *GRID[:2]))
        bench.run(job)
        assert bench.store.job(job.id).counts.measured == 3
        graphs = {graph_key(workload, protocol) for workload in (network, *GRID[:2])}
        asked = [request for request in bench.workers.isolated if request.artifacts[0].request.key() in graphs]
        assert {(a.passes, a.mode.runs_per_interval, a.mode.cold) for a in asked} == {(runs, runs_per_interval, cold)}
        assert len(asked) == 3 * QUICK.min_rounds

    def test_no_two_protocols_share_a_table(self, bench: Bench) -> None:
        assert len({bench.submit(protocol=protocol).table_id for protocol in ProtocolName}) == len(ProtocolName)

    def test_flushed_bytes_are_provenance_of_cold_tables_alone(self, bench: Bench) -> None:
        infos = {name: bench.store.table_info(bench.submit(protocol=name).table_id) for name in ProtocolName}
        told = {name: info.provenance.get("flush_bytes") for name, info in infos.items()}
        assert told == {name: "1000" if name is ProtocolName.ISOLATED_COLD else None for name in ProtocolName}

    def test_cold_is_refused_where_nobody_knows_how_much_to_flush(self) -> None:
        request = JobCreate(space=SPACE, protocol=ProtocolName.ISOLATED_COLD)
        with pytest.raises(InvalidSpecError, match="protocol 'isolated_cold' cannot be measured by backend 'fake'") as caught:
            admit(request, replace(DESCRIPTION, flush_bytes=None))
        assert "isolated_hot" in caught.value.hint

    def test_hot_networks_are_refused_where_they_would_overrun_the_queue(self) -> None:
        network = create_space(SPACE).sample(np.random.default_rng(0))
        uncaptured = replace(DESCRIPTION, queues_kernels=True)

        def ask(protocol: ProtocolName, workload: Workload, backend: BackendDescription) -> None:
            admit(JobCreate(space=SPACE, protocol=protocol, workloads=(GRID[0], workload)), backend)

        with pytest.raises(InvalidSpecError, match=r"workloads\.1: .*network without CUDA graphs: 10 runs") as caught:
            ask(ProtocolName.ISOLATED_HOT, network, uncaptured)
        assert "OPCLOCK_CUDA_GRAPHS=true" in caught.value.hint
        ask(ProtocolName.ISOLATED_HOT, GRID[1], uncaptured)
        ask(ProtocolName.ISOLATED, network, uncaptured)
        ask(ProtocolName.ISOLATED_HOT, network, DESCRIPTION)
