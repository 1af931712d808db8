"""Timing one network of somebody's own, on the same clock as operators and found networks (docs/measurement.md).

It takes turns with the sentinel, round by round, until its value is known well enough. Visits that were slow or disturbed are
repeated. Nothing is stored: a network of no search space belongs to no table.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from statistics import median
from typing import Any

from models.spec.base import Record, UtcTime
from models.spec.graphs import GraphRequest, OwnNetwork
from models.spec.measurements import Flag, Status
from models.spec.targets import TargetSpec
from profiler_service.backends.base import GraphArtifact
from profiler_service.errors import JobError
from profiler_service.jobs.host import HostWatch
from profiler_service.jobs.workers import Workers
from profiler_service.measure.results import Conditions, statistics_of
from profiler_service.measure.sentinel import SENTINEL_GRAPH, SentinelGate, Verdict
from profiler_service.measure.stopping import BudgetSettings, StoppingRule
from profiler_service.measure.throttling import ClockWatch
from profiler_service.measure.values import RoundValue, VisitMedian, round_values
from profiler_service.measure.visits import Visit, disturbed
from profiler_service.worker.protocol import BuildReport, Failure, RoundRobin, TimingRequest


class NetworkMeasurement(Record):
    """The time of a network. Fields that `Measurement` has too mean the same (docs/columns.md).

    Attributes:
        network: what was timed.
        target: where.
        reference_ms: the target's sentinel unit, in which values are normalised; null where no table has one yet: then all
            times are plain milliseconds.
        checked: whether the engine's output was compared with a torch module's.
    """

    network: OwnNetwork
    target: TargetSpec
    status: Status = Status.OK
    message: str = ""
    reference_ms: float | None = None
    checked: bool = False
    value_ms: float | None = None
    stderr_ms: float | None = None
    plain_ms: float | None = None
    median_ms: float | None = None
    min_ms: float | None = None
    mean_ms: float | None = None
    p95_ms: float | None = None
    p99_ms: float | None = None
    ci95_low_ms: float | None = None
    ci95_high_ms: float | None = None
    cv: float | None = None
    between_round_spread: float | None = None
    sentinel_ratio: float | None = None
    samples: int = 0
    rounds: int = 0
    build_s: float | None = None
    engine_bytes: int | None = None
    peak_memory_bytes: int | None = None
    output_error: float | None = None
    host_load: float | None = None
    measured_at: UtcTime | None = None
    flags: tuple[Flag, ...] = ()


@dataclass
class OwnNetworkJob:
    """One network to be measured.

    Attributes:
        workers: the processes that build and time.
        network: what to time.
        artifact: its graph, where there is a file already; None for a module, whose graph the workers make.
        budget: how much time to spend.
        reference_ms: the target's sentinel unit; None where it has none.
        stopped: asked between visits; once true, no further one is made.
        host: finds out what else the machine did. clock: when the device was slow.
        on_phase: called with what happens now.
    """

    workers: Workers
    network: OwnNetwork
    artifact: GraphArtifact | None
    budget: BudgetSettings
    reference_ms: float | None
    stopped: Callable[[], bool] = lambda: False
    host: HostWatch = field(default_factory=HostWatch)
    clock: ClockWatch = field(default_factory=ClockWatch)
    on_phase: Callable[[str], None] = lambda phase: None

    def run(self) -> NetworkMeasurement | None:
        """The measurement, be it of a failure; None if it was stopped before there was a value.

        Raises:
            JobError: the sentinel cannot be built or timed.
            InvalidSpecError: the network's dtype is not one of the backend's.
        """
        self.on_phase("building")
        sentinel = self._made(GraphRequest(subject=SENTINEL_GRAPH.subject))
        if isinstance(sentinel, Failure):
            raise _no_sentinel(sentinel)
        request = GraphRequest(subject=self.network)
        artifact = self.artifact or self._made(request)
        if isinstance(artifact, Failure):
            return self._failed(artifact.status, artifact.message)
        checked = artifact.reference_path is not None
        reports = {report.key: report for report in self.workers.check([sentinel, artifact])}
        if (report := reports[sentinel.request.key()]).status is not Status.OK:
            raise _no_sentinel(Failure(report.status, report.message, report.key))
        report = reports[request.key()]
        if report.status is not Status.OK:
            return self._failed(report.status, report.message)
        return self._timed(sentinel, artifact, report, checked=checked)

    def _made(self, request: GraphRequest) -> GraphArtifact | Failure:
        ((_, outcome),) = self.workers.prepare([request])
        return outcome

    def _timed(
        self, sentinel: GraphArtifact, artifact: GraphArtifact, report: BuildReport, *, checked: bool
    ) -> NetworkMeasurement | None:
        gate = SentinelGate(repeat_share=self.budget.repeat_share, reference_ms=self.reference_ms)
        rng = random.Random(self.network.key())  # noqa: S311 - repeatable, not secret
        visits: list[Visit] = []
        rounds: list[RoundValue] = []
        while not StoppingRule.of(self.budget, rounds).done and not self.stopped():
            self.on_phase(f"round {len(rounds) + 1} of at most {self.budget.max_rounds}")
            visit = self._visit(sentinel, artifact, gate, rng, number=len(rounds))
            if isinstance(visit, Failure):
                return self._failed(visit.status, visit.message)
            visits.append(visit)
            rounds = round_values(map(VisitMedian.of, visits), None, self.reference_ms)
        if len(rounds) < 2:
            return None
        conditions = Conditions(
            build_s=report.build_s,
            engine_bytes=report.engine_bytes,
            peak_memory_bytes=report.peak_memory_bytes,
            output_error=report.output_error,
            host_load=median(visit.host.load for visit in visits if visit.host is not None),
        )
        statistics = statistics_of(
            visits, rounds, subtracted=False, reference_ms=self.reference_ms, budget=self.budget, conditions=conditions
        )
        known = {name: value for name, value in statistics.items() if name in NetworkMeasurement.model_fields}
        return self._result(checked=checked, **known)

    def _visit(
        self, sentinel: GraphArtifact, artifact: GraphArtifact, gate: SentinelGate, rng: random.Random, *, number: int
    ) -> Visit | Failure:
        """One visit that the gate accepts, or the best of several that it does not. Raises JobError if the sentinel fails."""
        best: Visit | None = None
        attempt = 0
        while True:
            request = TimingRequest(
                (artifact,),
                RoundRobin(sentinel, sentinel_every=1),
                passes=self.budget.network_passes,
                warmup_passes=self.budget.warmup_passes,
                seed=rng.getrandbits(32),
            )
            self.host.begin()
            outcome = self.workers.time(request)
            host = self.host.end()
            if isinstance(outcome, Failure):
                if outcome.key == sentinel.request.key():
                    raise _no_sentinel(outcome)
                return outcome
            if outcome.failures:
                return outcome.failures[0]
            times = outcome.filtered(self.clock)
            visit = Visit(
                graph_key=artifact.request.key(),
                round=number,
                visit=0,
                samples_ms=times.samples_ms[artifact.request.key()],
                sentinel_ms=median(times.sentinel_ms),
                passes=self.budget.network_passes,
                accepted=True,
                started_at=times.started_at,
                device=times.device,
                host=host,
            )
            verdict = gate.decide(visit.sentinel_ms, attempt=attempt, disturbed=disturbed(visit.device, host))
            if verdict is Verdict.ACCEPT:
                return visit
            if best is None or (visit.disturbed, visit.sentinel_ms) < (best.disturbed, best.sentinel_ms):
                best = visit
            if verdict is Verdict.FLAG or self.stopped():
                return best.model_copy(update={"accepted": False})
            attempt += 1

    def _failed(self, status: Status, message: str) -> NetworkMeasurement:
        return self._result(status=status, message=message)

    def _result(self, **fields: Any) -> NetworkMeasurement:
        target = self.workers.description.target
        return NetworkMeasurement(network=self.network, target=target, reference_ms=self.reference_ms, **fields)


def _no_sentinel(failure: Failure) -> JobError:
    return JobError(
        f"the sentinel cannot be measured: {failure.message}",
        hint="Nothing can be measured without it: see what `profiler-service doctor` says of the backend.",
    )
