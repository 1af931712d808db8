"""Timing one operator by itself, as an entry of a table is timed: in context, round-robin with others (docs/measurement.md).

Nothing is stored: an operator that nobody's grid has belongs to no table.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count, islice

from models.spec.base import Record
from models.spec.errors import InvalidSpecError
from models.spec.graphs import GraphRequest
from models.spec.measurements import Measurement
from models.spec.operators import OperatorSpec
from models.spec.targets import TargetSpec
from models.spec.verdicts import Verdict, entry_reasons
from profiler_service.backends.base import GraphArtifact
from profiler_service.jobs.own_books import Outcome, OwnBooks, OwnWorkload
from profiler_service.jobs.own_job import OwnJob, no_sentinel, scale_reasons
from profiler_service.jobs.planner import MIN_LIVE, plan_operator
from profiler_service.jobs.round_robin import measure_round_robin
from profiler_service.measure.sentinel import SENTINEL_GRAPH
from profiler_service.worker.protocol import Failure


class OperatorMeasurement(Record):
    """The time of an operator.

    Attributes:
        target: where.
        reference_ms: the target's sentinel unit, in which values are normalised; null where no table has one yet: then all
            times are plain milliseconds.
        unsettled: why that unit is not established; empty where it is, or where there is none.
        measurement: as a table would have it.
    """

    target: TargetSpec
    reference_ms: float | None
    unsettled: str = ""
    measurement: Measurement

    def verdict(self) -> Verdict:
        """Whether the value can be trusted, by the rules for a table's entries."""
        return Verdict.of(scale_reasons(self.reference_ms, self.unsettled) + entry_reasons([self.measurement], "operator"))


@dataclass
class OwnOperatorJob(OwnJob):
    """One operator to be measured.

    Attributes:
        operator: what to time.
    """

    operator: OperatorSpec

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
        self.build_all(artifacts, books)
        if {planned.graph.key, planned.base.key} <= artifacts.keys():
            padding = tuple(other for other in others if other.key in artifacts)
            measure_round_robin(self.context(self.operator.key(), books, padding), artifacts)
        books.finalize(early=True)
        known = books.outcomes.get(planned.graph.key)
        return None if known is None else self._result(known)

    def _result(self, outcome: Outcome) -> OperatorMeasurement:
        measurement = Measurement(workload=self.operator, status=outcome.status, message=outcome.message, **outcome.statistics)
        return OperatorMeasurement(
            target=self.workers.description.target,
            reference_ms=self.reference_ms,
            unsettled=self.unsettled,
            measurement=measurement,
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
