"""After timing: some engines are timed once more by the wall clock alone, against what the table says of them.

Values are stored relative to the sentinel and turned into milliseconds by the target's scale. A wrong scale would make every
value wrong by the same factor, and sums and networks would still agree. So a few operators and one network are timed here as
anybody would time them, and must agree with the scaled values (docs/measurement.md).
"""

from __future__ import annotations

import math
import random
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
import structlog

from models.spec.architectures import ArchitectureSpec
from models.spec.graphs import GraphRequest
from models.spec.measurements import Measurement, ProtocolName
from models.spec.operators import OperatorSpec
from models.spec.scale import CheckedWorkload, CheckOutcome, Scale, ScaleCheck
from models.spec.verdicts import UNUSABLE_RATIO
from profiler_service.backends.base import GraphArtifact
from profiler_service.jobs.building import build_graphs
from profiler_service.jobs.context import JobContext
from profiler_service.measure.sentinel import SENTINEL_GRAPH
from profiler_service.measure.statistics import median
from profiler_service.measure.visits import HostState, Visit, graph_key
from profiler_service.worker.protocol import Failure, RoundRobin, TimingRequest, TimingResult

log = structlog.get_logger(__name__)

OPERATORS, PADDING, VISITS, PASSES = 4, 12, 2, 12
"""Operators that are checked, other engines that are live with them so that caches are as cold as in a job, and how often."""

TOLERANCE = 0.03
"""How far plain and scaled times may be apart, as a fraction, however certain both are. `UNUSABLE_RATIO` is how far, however
uncertain."""

LEAST_ON_A_DEVICE_MS = 1.0
"""On a GPU the wall clock includes launches, some ten microseconds, so that it says nothing about shorter runs."""


def confirm_scale(job: JobContext, artifacts: Mapping[str, GraphArtifact], *, plain_check: bool) -> bool:
    """Time some engines by the wall clock, learn the target's scale from all visits, and save whether the two agree.

    Args:
        job: its workloads have been timed, unless it was stopped.
        artifacts: graph key to artifact, of what the job has built, the sentinel's among them.
        plain_check: whether engines are timed here; otherwise the scale is learned only.

    Returns:
        Whether that came to its end before the job was stopped.
    """
    earlier = () if job.tracker.measured else job.outstanding.unchecked
    table_id, keys = job.table_id, earlier or [planned.key for planned in job.plan.workloads]
    wanted, timed = plain_check and bool(job.tracker.measured or earlier), None
    if wanted and not job.stopped():
        entries = list(job.store.measurements(table_id, keys).values())
        built = {**artifacts, **build_graphs(job, _to_build(job, entries))} if earlier else artifacts
        timed = time_plainly(job, entries, built)
    scale = job.store.learn_scale(table_id)
    if wanted and job.stopped() and (timed is None or len(timed.visits) < VISITS):
        return False
    if timed is not None and timed.visits and scale is not None:
        entries = list(job.store.measurements(table_id, keys).values())  # on the scale that was learned just now
        on_a_gpu = bool(job.workers.description.target.compute_capability)
        check = compare(timed, entries, scale, at=datetime.now(UTC), device=on_a_gpu)
        job.store.set_check(table_id, check)
        log.info("checked by the wall clock", job=job.id, outcome=check.outcome.value, ratio=check.ratio)
    return True


@dataclass(frozen=True)
class PlainVisits:
    """Engines that were timed plainly, and the visits in which they were.

    Attributes:
        subjects: graph key to the workload, as (key, label).
        visits: of all of them at once.
    """

    subjects: Mapping[str, tuple[str, str]]
    visits: tuple[TimingResult, ...]


def time_plainly(job: JobContext, entries: Sequence[Measurement], artifacts: Mapping[str, GraphArtifact]) -> PlainVisits:
    """Time the largest operators of a job and one network by the wall clock, beside the sentinel, whose visits are saved.

    Args:
        job: whose workers time. Unless it measured a network, a random one of its space is timed.
        entries: what the job measured.
        artifacts: graph key to artifact, of what the job has built, the sentinel's among them.
    """
    job.reporter.phase("checking by the wall clock")
    rng = random.Random(f"{job.id} check")  # noqa: S311 - repeatable, not secret
    built, subjects = dict(artifacts), _subjects(entries, artifacts)
    if not any(isinstance(entry.workload, ArchitectureSpec) for entry in entries):
        architecture = job.outstanding.space.sample(np.random.default_rng(rng.getrandbits(32)))
        request = GraphRequest(subject=architecture)
        built |= build_graphs(job, [request])
        if request.key() in built:
            subjects[request.key()] = (architecture.key(), architecture.label())
    others = [key for key in artifacts if key not in subjects and key != SENTINEL_GRAPH.key()]
    keys = [*subjects, *rng.sample(others, min(PADDING, len(others)))]
    number = job.tracker.begin_round()
    visits: list[TimingResult] = []
    while subjects and len(visits) < VISITS and not job.stopped():
        job.host.begin()
        times = job.workers.time(
            TimingRequest(
                tuple(built[key] for key in keys),
                RoundRobin(built[SENTINEL_GRAPH.key()]),
                passes=PASSES,
                plain_passes=PASSES,
                seed=rng.getrandbits(32),
            )
        )
        host = job.host.end()
        if isinstance(times, Failure):
            break
        times = times.filtered(job.clock)
        visit = _sentinel_visit(times, host, number, len(visits))
        job.tracker.save_visits([visit])
        visits.append(times)
    return PlainVisits(subjects, tuple(visits))


def compare(
    found: PlainVisits, entries: Sequence[Measurement], scale: Scale, *, at: datetime, device: bool = False
) -> ScaleCheck:
    """Plain times against scaled ones; only visits count in which the sentinel was as near its reference as the two must be.

    Args:
        found: what was timed.
        entries: what the table says of the same engines, in milliseconds of `scale`. Of others the visits are used.
        scale: of the target.
        at: UTC.
        device: whether the engines ran on a GPU.
    """
    quiet = [times for times in found.visits if median(times.sentinel_ms) <= (1 + TOLERANCE) * scale.reference_ms]
    known = {graph_key(entry.workload, ProtocolName.IN_CONTEXT): entry for entry in entries}
    checked = [
        workload
        for key, (name, label) in found.subjects.items()
        if (workload := _checked(key, name, label, known.get(key), quiet, scale)) is not None
        and not (device and workload.scaled_ms < LEAST_ON_A_DEVICE_MS)
    ]
    if not checked:
        why = f"in none of {len(found.visits)} visits was the sentinel near its reference of {scale.reference_ms:.4g} ms"
        if quiet:
            why = "nothing that was timed is long enough"
        return ScaleCheck(at=at, outcome=CheckOutcome.NOT_QUIET, message=f"the wall clock could not confirm the values: {why}")
    logs = [math.log(workload.plain_ms / workload.scaled_ms) for workload in checked]
    ratio = float(np.exp(median(logs)))
    spread = float(np.std(logs, ddof=1)) / math.sqrt(len(logs)) if len(logs) > 1 else 0.0
    uncertainty = float(np.hypot(scale.relative_stderr, spread))
    limit = min(max(TOLERANCE, 3 * uncertainty), UNUSABLE_RATIO)
    outcome = CheckOutcome.AGREES if abs(ratio - 1) <= limit else CheckOutcome.DISAGREES
    said = f"by the wall clock {len(checked)} engines take {ratio:.3f} times what the table says (1 ± {limit:.3f} would agree)"
    if outcome is CheckOutcome.DISAGREES:
        said += "; measure once more while the machine does nothing else, so that the scale is learned anew"
    return ScaleCheck(at=at, outcome=outcome, ratio=ratio, uncertainty=uncertainty, workloads=tuple(checked), message=said)


def _to_build(job: JobContext, entries: Sequence[Measurement]) -> list[GraphRequest]:
    """Of what an earlier attempt measured, what is to be timed by the wall clock and beside that."""
    requests = [GraphRequest(subject=entry.workload, in_context=isinstance(entry.workload, OperatorSpec)) for entry in entries]
    by_key = {request.key(): request for request in requests}
    subjects = _subjects(entries, by_key)
    others = [key for key in by_key if key not in subjects]
    rng = random.Random(f"{job.id} check again")  # noqa: S311 - repeatable, not secret
    return [by_key[key] for key in (*subjects, *rng.sample(others, min(PADDING, len(others))))]


def _subjects(entries: Sequence[Measurement], graphs: Collection[str]) -> dict[str, tuple[str, str]]:
    """The largest operators and one network of what was measured, of those graphs: graph key to key and label."""
    operators: dict[str, tuple[str, str]] = {}
    networks: dict[str, tuple[str, str]] = {}
    for entry in sorted(entries, key=_gross_ms, reverse=True):
        key = graph_key(entry.workload, ProtocolName.IN_CONTEXT)
        if entry.value_ms and key in graphs:
            found = networks if isinstance(entry.workload, ArchitectureSpec) else operators
            found[key] = (entry.key(), entry.workload.label())
    middle = list(networks.items())[len(networks) // 2 :][:1]
    return dict([*list(operators.items())[:OPERATORS], *middle])


def _gross_ms(entry: Measurement) -> float:
    """What the engine takes, its context included."""
    return (entry.value_ms or 0.0) + (entry.base_ms or 0.0)


def _checked(
    key: str, name: str, label: str, entry: Measurement | None, visits: Sequence[TimingResult], scale: Scale
) -> CheckedWorkload | None:
    seen = [times for times in visits if times.plain_ms.get(key)]
    if not seen:
        return None
    scaled = [median(times.samples_ms[key]) * scale.reference_ms / median(times.sentinel_ms) for times in seen]
    return CheckedWorkload(
        label=label,
        key=name,
        plain_ms=median([median(times.plain_ms[key]) for times in seen]),
        scaled_ms=median(scaled) if entry is None else _gross_ms(entry),
        stderr_ms=0.0 if entry is None else entry.stderr_ms or 0.0,
    )


def _sentinel_visit(times: TimingResult, host: HostState, number: int, index: int) -> Visit:
    return Visit(
        graph_key=SENTINEL_GRAPH.key(),
        round=number,
        visit=index,
        samples_ms=times.sentinel_ms,
        sentinel_ms=median(times.sentinel_ms),
        passes=PASSES,
        accepted=True,
        started_at=times.started_at,
        device=times.device,
        host=host,
    )
