"""Running one job from its plan to the last measurement, or taking it up where an earlier process left it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from threading import Event
from time import perf_counter

import structlog

from models.spaces.registry import create_space
from models.spec.errors import OpclockError, TableMismatchError
from models.spec.measurements import Flag, Measurement, ProtocolName, Status
from models.spec.tables import TableInfo
from models.spec.wire import JobCounts, JobPublic, JobState
from profiler_service.backends.base import GraphArtifact
from profiler_service.errors import JobConflictError, StorageError
from profiler_service.jobs.building import build_graphs
from profiler_service.jobs.context import JobContext
from profiler_service.jobs.device_lock import device_lock
from profiler_service.jobs.host import HostWatch, free_memory_bytes
from profiler_service.jobs.isolated import measure_isolated
from profiler_service.jobs.plain_check import compare, time_plainly
from profiler_service.jobs.planner import JobPlan, graph_key, plan_job, requested_workloads
from profiler_service.jobs.rebuilding import entries_to_rebuild, measure_rebuilds, rebuild_wanted
from profiler_service.jobs.reporting import OnProgress, PhaseSeconds, Reporter
from profiler_service.jobs.round_robin import LiveLimits, measure_round_robin
from profiler_service.jobs.tracker import JobTracker
from profiler_service.jobs.warmup import warm_up
from profiler_service.jobs.workers import Workers
from profiler_service.measure.budgets import BUDGETS
from profiler_service.measure.scale import SLOW
from profiler_service.measure.sentinel import SENTINEL_GRAPH
from profiler_service.settings import Settings
from profiler_service.storage.store import Store

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class _Run:
    """One call of `JobRunner.run`."""

    on_progress: OnProgress
    cancelled: Event
    interrupted: Event
    seconds: PhaseSeconds = field(default_factory=PhaseSeconds)

    def stopped(self) -> bool:
        return self.cancelled.is_set() or self.interrupted.is_set()


@dataclass(frozen=True)
class _Outstanding:
    """What is left of a job.

    Attributes:
        counts: of its workloads, as the table stands.
        plan: of those that need work.
        since: from when on results count as this job's, where it measures or rebuilds again.
        stale: keys of their graphs whose visits from before that must not enter the new values.
        retried: keys of those that failed, whose visits from before the job must not either.
        rebuild: whether it is still to be told how much builds differ.
        contaminated: keys of graphs whose slow visits from before that make room, since the machine was busy then.
    """

    counts: JobCounts
    plan: JobPlan
    since: datetime
    stale: tuple[str, ...]
    retried: tuple[str, ...]
    rebuild: bool = False
    contaminated: tuple[str, ...] = ()

    @property
    def any(self) -> bool:
        """Whether anything is left."""
        return bool(self.plan.workloads) or self.rebuild


class JobRunner:
    """Runs jobs, one at a time.

    Args:
        store: where jobs, visits and measurements are kept.
        settings: how many engines may be live, and how much memory they may take.
        open_workers: makes the processes for one job; they are closed at its end.
        lock_directory: of the device locks; the machine's by default.
        watch_host: makes what tells, during a job, what else the machine does.
        is_quiet: tells whether values that were measured on a busy machine are worth measuring again now.
    """

    def __init__(
        self,
        store: Store,
        settings: Settings,
        open_workers: Callable[[], Workers],
        *,
        lock_directory: Path | None = None,
        watch_host: Callable[[], HostWatch] = HostWatch,
        is_quiet: Callable[[], bool] = lambda: True,
    ) -> None:
        self._store, self._settings = store, settings
        self._open_workers, self._lock_directory = open_workers, lock_directory
        self._watch_host, self._is_quiet = watch_host, is_quiet
        self._workers: Workers | None = None

    def run(self, job_id: str, on_progress: OnProgress, cancelled: Event, interrupted: Event | None = None) -> PhaseSeconds:
        """Run a job until it is done, or go on with one that was interrupted.

        Visits are saved as each group ends and measurements as each workload is finished: nothing is measured twice,
        whenever and however this ends. A job that somebody else has ended meanwhile is left alone.

        Args:
            job_id: of a job that is queued, or was running when its process ended.
            on_progress: called with the job a few times a second, from this thread.
            cancelled: once set, the job ends as cancelled after the present visit; what was measured stays.
            interrupted: once set, it stops as well, but stays unfinished, to be run again.

        Returns:
            Where the time went.

        Raises:
            JobNotFoundError: no such job.
            OpclockError: the job as a whole failed, and says so; or the store did.
        """
        run = _Run(on_progress, cancelled, interrupted or Event())
        start_s = perf_counter()
        job = self._store.job(job_id)
        try:
            if not job.state.final:
                self._run(job, run)
        except JobConflictError as error:
            log.info("job was ended by somebody else", job=job_id, reason=error.message)
        except Exception as error:
            if not run.interrupted.is_set():
                self._fail(job_id, error, run)
                raise
            log.info("job was interrupted", job=job_id, reason=str(error))
        run.seconds.total_s = perf_counter() - start_s
        log.info("job run ended", job=job_id, state=self._store.job(job_id).state.value, **asdict(run.seconds))
        return run.seconds

    def abort(self) -> None:
        """End the processes of the job that is running, from another thread: its present visit is lost.

        Set `interrupted` before, or the job counts as failed.
        """
        if (workers := self._workers) is not None:
            workers.close()

    def _run(self, job: JobPublic, run: _Run) -> None:
        outstanding = self._outstanding(job)
        if outstanding.any:
            done = self._hold_device_and_measure(job, run)
        else:  # nothing to time: whoever holds the device is not waited for
            self._begin(job, outstanding, run)
            done = True
        verdict = self._store.judge(job.table_id)
        if done:
            changes = {"state": JobState.DONE, "fraction": 1.0}
        elif run.cancelled.is_set():
            changes = {"state": JobState.CANCELLED}
        else:
            return
        run.on_progress(self._store.update_job(job.id, **changes, phase="", eta_s=None, verdict=verdict))

    def _hold_device_and_measure(self, job: JobPublic, run: _Run) -> bool:
        """Wait for the device and do what is left of the job; whether nothing is left then."""
        info = self._store.table_info(job.table_id)

        def on_wait() -> None:
            run.on_progress(self._store.update_job(job.id, phase="waiting for the device"))

        start_s = perf_counter()
        with device_lock(info.target.device, on_wait=on_wait, stopped=run.stopped, directory=self._lock_directory) as held:
            run.seconds.waiting_s = perf_counter() - start_s
            return held and self._measure(job.id, info, run)

    def _measure(self, job_id: str, info: TableInfo, run: _Run) -> bool:
        """Do what is left of the job, with the device held; whether nothing is left then."""
        job = self._store.job(job_id)
        outstanding = self._outstanding(job)  # once more: who held the device may have measured some of it
        job = self._begin(job, outstanding, run)
        if not outstanding.any:
            return True
        with self._open_workers() as workers:
            self._workers = workers
            try:
                run.on_progress(self._store.update_job(job.id, phase="starting"))
                _require_target(info, workers)
                self._store.forget_visits(job.table_id, outstanding.stale, before=outstanding.since)
                self._store.forget_visits(job.table_id, outstanding.retried, before=job.created_at)
                self._forget_slow_visits(job.table_id, outstanding)
                return self._build_and_time(job, outstanding, workers, run)
            finally:
                self._workers = None

    def _forget_slow_visits(self, table_id: str, outstanding: _Outstanding) -> None:
        """What was timed while the machine was busy makes room for better visits; what was good is kept."""
        if outstanding.contaminated and (scale := self._store.table_info(table_id).scale) is not None:
            limit_ms = (1 + SLOW) * scale.reference_ms
            graphs = outstanding.contaminated
            self._store.forget_visits(table_id, graphs, before=outstanding.since, slower_than_ms=limit_ms)

    def _build_and_time(self, job: JobPublic, outstanding: _Outstanding, workers: Workers, run: _Run) -> bool:
        """Measure what is outstanding, on workers of the table's target; whether nothing is left then."""
        request, plan = job.request, outstanding.plan
        in_turn = request.protocol is ProtocolName.IN_CONTEXT
        budget = BUDGETS[request.budget]
        tracker = JobTracker(self._store, job.table_id, plan.workloads, budget, normalised=in_turn)

        def counts() -> JobCounts:
            before = job.counts
            return before.model_copy(
                update={"measured": before.measured + tracker.measured, "failed": before.failed + tracker.failed}
            )

        reporter = Reporter(self._store, job.id, counts, run.on_progress)
        context = JobContext(workers, tracker, budget, reporter, run.seconds, run.stopped, host=self._watch_host())
        context.expect_visits()
        limits = LiveLimits(self._settings.live_engines, int(_free_bytes(workers) * self._settings.memory_fraction))
        artifacts = build_graphs(context, [graph.request for graph in plan.graphs])
        if (tracker.pending or outstanding.rebuild) and not context.stopped():
            warm_up(context, artifacts[SENTINEL_GRAPH.key()])
        if tracker.pending and not context.stopped():
            if in_turn:
                measure_round_robin(context, artifacts, plan.fillers, limits=limits, seed=job.id)
            else:
                measure_isolated(context, artifacts, request.protocol, seed=job.id)
        done = not tracker.pending
        if in_turn:
            self._confirm(job, plan, tracker, context, artifacts)
        if done and outstanding.rebuild:
            done = self._rebuild(job, outstanding.since, context, artifacts, limits)
        reporter.finish()
        return done

    def _confirm(
        self, job: JobPublic, plan: JobPlan, tracker: JobTracker, context: JobContext, artifacts: Mapping[str, GraphArtifact]
    ) -> None:
        """Time some engines by the wall clock, learn the target's scale from all that was seen, and see whether they agree."""
        keys = [planned.key for planned in plan.workloads]
        timed = None
        if tracker.measured and self._settings.plain_check and not context.stopped():
            entries = list(self._store.measurements(job.table_id, keys).values())
            timed = time_plainly(context, create_space(job.request.space), entries, artifacts, seed=job.id)
        scale = self._store.learn_scale(job.table_id)
        if timed is not None and timed.visits and scale is not None:
            entries = list(self._store.measurements(job.table_id, keys).values())
            on_a_gpu = bool(context.workers.description.target.compute_capability)
            check = compare(timed, entries, scale, at=datetime.now(UTC), device=on_a_gpu)
            self._store.set_check(job.table_id, check)
            log.info("checked by the wall clock", job=job.id, outcome=check.outcome.value, ratio=check.ratio)

    def _rebuild(
        self,
        job: JobPublic,
        since: datetime,
        context: JobContext,
        artifacts: Mapping[str, GraphArtifact],
        limits: LiveLimits,
    ) -> bool:
        """Tell how much builds of the job's entries differ; whether that is known then."""
        request, space = job.request, create_space(job.request.space)
        requested = [workload.key() for workload in requested_workloads(request, space)]
        entries = self._to_rebuild(job, self._store.measurements(job.table_id, requested).values(), since)
        planned = plan_job([entry.workload for entry in entries], space, request.protocol, finished=(), seed=job.id).workloads
        keep = partial(self._store.add_rebuild_spread, job.table_id)
        return measure_rebuilds(context, entries, planned, artifacts, limits=limits, seed=job.id, keep=keep)

    def _to_rebuild(self, job: JobPublic, entries: Iterable[Measurement], since: datetime) -> list[Measurement]:
        """What the job has still to build anew of its entries.

        What is known stands, unless the job measures everything again or asks for just this: then what is from before `since`
        does not.
        """
        again = job.request.remeasure or job.request.rebuild
        known = self._store.table_info(job.table_id).rebuild_spread
        return entries_to_rebuild(entries, known, seed=job.table_id, since=since if again else None)

    def _outstanding(self, job: JobPublic) -> _Outstanding:
        """What is left of a job, whether it starts or goes on.

        What is measured again keeps its old value until it has a new one. What the job told stands, before it was interrupted
        or when it was submitted before and did not come to its end (`Store.attempted_since`).
        """
        request, space = job.request, create_space(job.request.space)
        workloads = {workload.key(): workload for workload in requested_workloads(request, space)}
        entries = self._store.measurements(job.table_id, workloads)
        since = self._store.attempted_since(job.id)
        finished = {key: entry for key, entry in entries.items() if not _due_again(entry, job, since)}
        contaminated = self._to_improve(finished.values(), since)
        finished = {key: entry for key, entry in finished.items() if key not in contaminated}
        good = sum(entry.status is Status.OK for entry in finished.values())
        reused = good if job.started_at is None else min(job.counts.reused, good)
        counts = JobCounts(total=len(workloads), reused=reused, measured=good - reused, failed=len(finished) - good)
        retried = {key for key, entry in entries.items() if key not in finished and entry.status is not Status.OK}
        again = set(workloads) - finished.keys() - retried - contaminated if request.remeasure else set()
        plan = plan_job(list(workloads.values()), space, request.protocol, finished=finished, seed=job.id)
        rebuild = rebuild_wanted(request) and bool(plan.workloads or self._to_rebuild(job, finished.values(), since))

        def graphs(keys: Collection[str]) -> tuple[str, ...]:
            return tuple(graph_key(workload, request.protocol) for key, workload in workloads.items() if key in keys)

        return _Outstanding(
            counts,
            plan,
            since,
            stale=graphs(again),
            retried=graphs(retried),
            rebuild=rebuild,
            contaminated=graphs(contaminated),
        )

    def _to_improve(self, entries: Iterable[Measurement], since: datetime) -> set[str]:
        """Keys of values that were measured while the machine was busy, if it is quiet now."""
        found = {entry.key() for entry in entries if Flag.CONTAMINATED in entry.flags and _is_before(entry, since)}
        return found if found and self._is_quiet() else set()

    def _begin(self, job: JobPublic, outstanding: _Outstanding, run: _Run) -> JobPublic:
        """The job as running, with its counts."""
        running = self._store.update_job(job.id, state=JobState.RUNNING, counts=outstanding.counts)
        run.on_progress(running)
        return running

    def _fail(self, job_id: str, error: Exception, run: _Run) -> None:
        message = f"{type(error).__name__}: {error}"
        if isinstance(error, OpclockError):
            message = f"{error.message}. {error.hint}" if error.hint else error.message
        log.error("job failed", job=job_id, reason=message, exc_info=not isinstance(error, OpclockError))
        with suppress(StorageError, JobConflictError):  # the first error is the one to tell
            run.on_progress(self._store.update_job(job_id, state=JobState.FAILED, phase="", eta_s=None, message=message))


def _due_again(entry: Measurement, job: JobPublic, since: datetime) -> bool:
    """Whether an entry is to be replaced: a failure from before the job; a value if the job measures again, where it is from
    before `since`.
    """
    if entry.status is Status.OK:
        return job.request.remeasure and _is_before(entry, since)
    return _is_before(entry, job.created_at)


def _is_before(entry: Measurement, instant: datetime) -> bool:
    return entry.measured_at is None or entry.measured_at < instant


def _free_bytes(workers: Workers) -> int:
    """Memory that engines can have: the host's, and no more than the device's where that has its own."""
    host, device = free_memory_bytes(), workers.description.free_bytes
    return host if device is None else min(host, device)


def _require_target(info: TableInfo, workers: Workers) -> None:
    """Refuse to mix the numbers of two targets in one table. Raises TableMismatchError."""
    if differences := info.target.differences(workers.description.target):
        raise TableMismatchError(
            f"the job's table belongs to another target: {'; '.join(differences)}",
            hint="Submit the job again: it gets a table of its own, or restore what differs.",
        )
