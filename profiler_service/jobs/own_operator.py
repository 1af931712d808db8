"""Timing one operator by itself, as an entry of a table is timed: in context, round-robin with others (docs/measurement.md).

Nothing is stored: an operator that nobody's grid has belongs to no table.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import count, islice

from models.spec.base import Record
from models.spec.errors import InvalidSpecError
from models.spec.graphs import GraphRequest
from models.spec.measurements import Measurement
from models.spec.operators import OperatorSpec
from models.spec.targets import TargetSpec
from models.spec.verdicts import Verdict, entry_reasons
from profiler_service.backends.base import GraphArtifact
from profiler_service.jobs.context import LiveLimits
from profiler_service.jobs.host import HostWatch, free_memory_bytes
from profiler_service.jobs.own_books import Outcome, OwnBooks, OwnContext, OwnWorkload, PhaseReporter
from profiler_service.jobs.own_network import build_all, no_sentinel, scale_reasons
from profiler_service.jobs.planner import MIN_LIVE, plan_operator
from profiler_service.jobs.round_robin import measure_round_robin
from profiler_service.jobs.workers import Workers
from profiler_service.measure.sentinel import SENTINEL_GRAPH
from profiler_service.measure.stopping import BudgetSettings
from profiler_service.measure.throttling import ClockWatch
from profiler_service.worker.protocol import Failure


class OperatorMeasurement(Record):
    """The time of an operator.

    Attributes:
        target: where.
        reference_ms: the target's sentinel unit, in which values are normalised; null where no table has one yet: then all
            times are plain milliseconds.
        measurement: as a table would have it.
    """

    target: TargetSpec
    reference_ms: float | None
    measurement: Measurement

    def verdict(self) -> Verdict:
        """Whether the value can be trusted, by the rules for a table's entries."""
        return Verdict.of(scale_reasons(self.reference_ms) + entry_reasons([self.measurement], "operator"))


@dataclass
class OwnOperatorJob:
    """One operator to be measured.

    Attributes:
        workers: the processes that build and time.
        operator: what to time.
        budget: how much time to spend.
        reference_ms: the target's sentinel unit; None where it has none.
        stopped: asked between visits; once true, no further one is made.
        limits: of live engines; by default half of the memory that is free.
        host: finds out what else the machine did. clock: when the device was slow.
        on_phase: called with what happens now.
    """

    workers: Workers
    operator: OperatorSpec
    budget: BudgetSettings
    reference_ms: float | None
    stopped: Callable[[], bool] = lambda: False
    limits: LiveLimits = field(default_factory=lambda: LiveLimits(96, free_memory_bytes() // 2))
    host: HostWatch = field(default_factory=HostWatch)
    clock: ClockWatch = field(default_factory=ClockWatch)
    on_phase: Callable[[str], None] = lambda phase: None

    def run(self) -> OperatorMeasurement | None:
        """The measurement, be it of a failure; None if it was stopped before there was a value.

        Raises:
            JobError: the sentinel cannot be built or timed.
        """
        self.on_phase("building")
        planned = plan_operator(self.operator)
        assert planned.base is not None
        others = [plan_operator(other).graph for other in islice(beside(self.operator), MIN_LIVE - 1)]
        sentinel = GraphRequest(subject=SENTINEL_GRAPH.subject)
        needed = (sentinel, planned.graph.request, planned.base.request)
        artifacts: dict[str, GraphArtifact] = {}
        for request, outcome in self.workers.prepare([*needed, *(other.request for other in others)]):
            if not isinstance(outcome, Failure):
                artifacts[request.key()] = outcome
            elif request.key() == sentinel.key():
                raise no_sentinel(outcome)
            elif request in needed:
                return self._result(Outcome(outcome.status, f"{request.label()}: {outcome.message}"))
        books = OwnBooks([OwnWorkload(planned.graph, planned.base)], self.budget, self.reference_ms)
        build_all(self.workers, artifacts, books)
        if {planned.graph.key, planned.base.key} <= artifacts.keys():
            padding = tuple(other for other in others if other.key in artifacts)
            measure_round_robin(
                OwnContext(
                    id=self.operator.key(),
                    workers=self.workers,
                    tracker=books,
                    budget=self.budget,
                    limits=self.limits,
                    reporter=PhaseReporter(self.on_phase),
                    stopped=self.stopped,
                    host=self.host,
                    clock=self.clock,
                    padding=padding,
                ),
                artifacts,
            )
        books.finalize(early=True)
        known = books.outcomes.get(planned.graph.key)
        return None if known is None else self._result(known)

    def _result(self, outcome: Outcome) -> OperatorMeasurement:
        measurement = Measurement(workload=self.operator, status=outcome.status, message=outcome.message, **outcome.statistics)
        return OperatorMeasurement(
            target=self.workers.description.target, reference_ms=self.reference_ms, measurement=measurement
        )


def beside(operator: OperatorSpec) -> Iterator[OperatorSpec]:
    """Operators to keep the caches as busy as those of a grid do: convolutions of the same input to ever more channels. Without
    end, but for a limit on what a workload may take.
    """
    for step in count(1):
        fields = operator.model_dump(include={"in_channels", "height", "width", "batch", "dtype"})
        try:
            yield OperatorSpec.parse({"kind": "conv3x3", "out_channels": operator.out_channels + 4 * step, **fields})
        except InvalidSpecError:
            return
