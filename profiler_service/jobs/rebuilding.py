"""The last phase of a job: some of its entries are built several times from scratch, to tell how much builds differ.

All builds of a group of entries are live at once and timed in turn, in sentinel units, whatever the table's protocol: what is
asked is how builds differ, and so they must meet the same conditions. What a group told is kept when it ends, so that no more
than one is ever lost; one that fails goes on without what is to blame (`rebuild_visits`). Nothing here changes a value, and
what fails here fails no job.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from time import perf_counter

from models.spec.measurements import Budget, Flag, Measurement
from models.spec.operators import OperatorSpec
from models.spec.rebuilds import FailedRebuild, RebuildSpread
from models.spec.wire import JobCreate, Rebuild
from profiler_service.backends.base import GraphArtifact
from profiler_service.jobs.building import build_graphs
from profiler_service.jobs.context import JobContext
from profiler_service.jobs.planner import MIN_LIVE, PlannedWorkload
from profiler_service.jobs.rebuild_visits import RebuildSubject, RebuildVisits
from profiler_service.jobs.round_robin import LiveLimits
from profiler_service.measure.groups import GroupLimits, Member, draw_groups
from profiler_service.measure.rebuilds import BUILDS, chosen_keys
from profiler_service.measure.sentinel import SENTINEL_GRAPH


def rebuild_wanted(request: JobCreate) -> bool:
    """Whether the job is to tell how much builds differ: as asked for, or, where the whole grid is, by budget."""
    if request.rebuild is Rebuild.AUTO:
        return request.workloads is None and request.budget is not Budget.QUICK
    return request.rebuild is Rebuild.ALWAYS


def entries_to_rebuild(
    entries: Iterable[Measurement], known: RebuildSpread | None = None, *, seed: str, since: datetime | None = None
) -> list[Measurement]:
    """What is still to be built anew of a seeded choice: 5 % of the operators whose values are distinguishable from zero.

    Those of them that were built anew before count towards the 5 %.

    Args:
        entries: of the workloads that the job is about.
        known: what the table tells of builds.
        seed: of the choice.
        since: what was told before that instant is to be told again; None for nothing.
    """
    fit = {
        entry.key(): entry
        for entry in entries
        if isinstance(entry.workload, OperatorSpec) and entry.value_ms and not {*entry.flags} & _UNFIT
    }
    told = frozenset[str]() if known is None else known.known_keys(since)
    return [fit[key] for key in chosen_keys(fit, seed=seed, first=told) if key not in told]


_UNFIT = {Flag.BELOW_RESOLUTION, Flag.IMPORTED}


def measure_rebuilds(
    job: JobContext,
    entries: Sequence[Measurement],
    planned: Sequence[PlannedWorkload],
    artifacts: Mapping[str, GraphArtifact],
    *,
    limits: LiveLimits,
    seed: str,
    keep: Callable[[RebuildSpread], None],
) -> bool:
    """Tell how the builds of these entries differ; whether that came to its end before the job was stopped.

    Args:
        job: whose workers build and time.
        entries: what is rebuilt, all with a value.
        planned: their graphs, in the same order.
        artifacts: graph key to artifact, of what the job has built and checked already, the sentinel's among them.
        limits: of live engines.
        seed: decides who is live with whom.
        keep: called with what each group told, when it ends.

    Raises:
        JobError: the sentinel cannot be built.
    """
    absent = [plan.graph.request for plan in planned if plan.graph.key not in artifacts]
    built = {**artifacts, **build_graphs(job, absent)} if absent else artifacts
    if job.stopped():  # perhaps before everything could be built and checked
        return False
    start_s = perf_counter()
    rng = random.Random(f"{seed} rebuilds")  # noqa: S311 - repeatable, not secret
    visits = RebuildVisits(job, built[SENTINEL_GRAPH.key()], keep, rng=rng)
    by_graph = dict(zip((plan.graph.key for plan in planned), entries, strict=True))
    try:
        visits.fail([_lost(entry, job, key) for key, entry in by_graph.items() if key not in built], at=datetime.now(UTC))
        rebuilds = {
            key: RebuildSubject(entry.key(), entry.workload.label(), entry.value_ms, built[key])
            for key, entry in by_graph.items()
            if key in built and entry.value_ms is not None
        }
        members = [
            Member(plan.graph.key, BUILDS * job.memory_bytes(plan.graph)) for plan in planned if plan.graph.key in rebuilds
        ]
        groups = draw_groups(members, [], _group_limits(limits), rng)
        return visits.visit([[rebuilds[key] for key in group.keys] for group in groups])
    finally:
        job.seconds.rebuilds_s += perf_counter() - start_s


def _group_limits(limits: LiveLimits) -> GroupLimits:
    """In entries, each of which is several engines.

    No more than are needed for cold caches: a group is what an interruption loses, and building it may take minutes.
    """
    return GroupLimits(0, max(min(MIN_LIVE, limits.engines) // BUILDS, 1), limits.memory_bytes)


def _lost(entry: Measurement, job: JobContext, graph_key: str) -> FailedRebuild:
    """That an entry's graph, of which there was an engine once, is not to be had now."""
    message = "its graph could not be made, built and checked again"
    if reason := job.tracker.why_failed(graph_key):
        message += f": {reason}"
    return FailedRebuild(key=entry.key(), label=entry.workload.label(), message=message)
