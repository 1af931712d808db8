"""What is left of a job, planned once for each attempt: what its table lacks, and what is to be measured again."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from datetime import datetime

from models.spaces.base import SearchSpace
from models.spaces.registry import create_space
from models.spec.measurements import Flag, Measurement, Status
from models.spec.wire import JobCounts, JobPublic, Rebuild
from profiler_service.jobs.planner import JobPlan, plan_job, requested_workloads
from profiler_service.jobs.rebuilding import entries_to_rebuild, rebuild_wanted
from profiler_service.measure.visits import graph_key
from profiler_service.storage.store import Store


@dataclass(frozen=True)
class Outstanding:
    """What is left of a job.

    Attributes:
        space: the job's search space.
        requested: keys of the workloads that it asks for.
        counts: of these, as the table stands.
        plan: of those that need work.
        since: from when on results count as this job's, where it measures or rebuilds again.
        stale: keys of their graphs whose visits from before that must not enter the new values.
        retried: keys of those that failed, whose visits from before the job must not either.
        contaminated: keys of those whose slow visits from before make room, since the machine was busy then.
        rebuild: whether it is still to be reported how much builds differ.
    """

    space: SearchSpace
    requested: tuple[str, ...]
    counts: JobCounts
    plan: JobPlan
    since: datetime
    stale: tuple[str, ...]
    retried: tuple[str, ...]
    contaminated: tuple[str, ...] = ()
    rebuild: bool = False

    @property
    def any(self) -> bool:
        """Whether anything is left."""
        return bool(self.plan.workloads) or self.rebuild


def outstanding_of(job: JobPublic, store: Store, is_quiet: Callable[[], bool]) -> Outstanding:
    """What is left of a job, whether it starts or goes on.

    What is measured again keeps its old value until it has a new one. What the job reported stands, before it was interrupted
    or when it was submitted before and did not come to its end (`Store.attempted_since`).

    Args:
        job: as it stands.
        store: has its table.
        is_quiet: tells whether values that were measured on a busy machine are worth measuring again now.
    """
    request, space = job.request, create_space(job.request.space)
    workloads = {workload.key(): workload for workload in requested_workloads(request, space)}
    entries = store.measurements(job.table_id, workloads)
    since = store.attempted_since(job.id)
    finished = {key: entry for key, entry in entries.items() if not _due_again(entry, job, since)}
    contaminated = _to_improve(finished.values(), since, is_quiet)
    finished = {key: entry for key, entry in finished.items() if key not in contaminated}
    good = sum(entry.status is Status.OK for entry in finished.values())
    reused = good if job.started_at is None else min(job.counts.reused, good)
    retried = {key for key, entry in entries.items() if key not in finished and entry.status is not Status.OK}
    again = set(workloads) - finished.keys() - retried - contaminated if request.remeasure else set()
    plan = plan_job(list(workloads.values()), space, request.protocol, finished=finished, seed=job.id)

    def graphs(keys: Collection[str]) -> tuple[str, ...]:
        return tuple(graph_key(workload, request.protocol) for key, workload in workloads.items() if key in keys)

    return Outstanding(
        space=space,
        requested=tuple(workloads),
        counts=JobCounts(total=len(workloads), reused=reused, measured=good - reused, failed=len(finished) - good),
        plan=plan,
        since=since,
        stale=graphs(again),
        retried=graphs(retried),
        contaminated=graphs(contaminated),
        rebuild=rebuild_wanted(request) and bool(plan.workloads or to_rebuild(job, finished.values(), since, store)),
    )


def to_rebuild(job: JobPublic, entries: Iterable[Measurement], since: datetime, store: Store) -> list[Measurement]:
    """What the job has still to build anew of its entries.

    What is known stands, unless the job measures everything again or asks for just this: then what is from before `since`
    does not.
    """
    again = job.request.remeasure or job.request.rebuild is Rebuild.ALWAYS
    known = store.table_info(job.table_id).rebuild_spread
    return entries_to_rebuild(entries, known, seed=job.table_id, since=since if again else None)


def _to_improve(entries: Iterable[Measurement], since: datetime, is_quiet: Callable[[], bool]) -> set[str]:
    """Keys of values that were measured while the machine was busy, if it is quiet now."""
    found = {entry.key() for entry in entries if Flag.CONTAMINATED in entry.flags and _is_before(entry, since)}
    return found if found and is_quiet() else set()


def _due_again(entry: Measurement, job: JobPublic, since: datetime) -> bool:
    """Whether an entry is to be replaced: a failure from before the job; a value if the job measures again, where it is from
    before `since`.
    """
    if entry.status is Status.OK:
        return job.request.remeasure and _is_before(entry, since)
    return _is_before(entry, job.created_at)


def _is_before(entry: Measurement, instant: datetime) -> bool:
    return entry.measured_at is None or entry.measured_at < instant
