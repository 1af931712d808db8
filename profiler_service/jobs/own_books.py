"""What was measured of a network of somebody's own and of its layers. In memory: nothing of it belongs to a table."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from models.spec.graphs import GraphRequest, OwnNetwork
from models.spec.measurements import Status
from profiler_service.jobs.context import LiveLimits
from profiler_service.jobs.host import HostWatch
from profiler_service.jobs.planner import PlannedGraph
from profiler_service.jobs.reporting import PhaseSeconds, Throttle, Work, WorkEstimate
from profiler_service.jobs.workers import Workers
from profiler_service.measure.groups import Member
from profiler_service.measure.results import EngineRecord, statistics_of
from profiler_service.measure.statistics import median
from profiler_service.measure.stopping import BudgetSettings, StoppingRule
from profiler_service.measure.throttling import ClockWatch
from profiler_service.measure.values import RoundValue, VisitMedian, round_values
from profiler_service.measure.visits import Visit
from profiler_service.worker.protocol import BuildReport, Failure


@dataclass(frozen=True)
class OwnWorkload:
    """A network, or one of its layers in context.

    Attributes:
        graph: what is timed.
        base: what is subtracted from a layer; None for the network.
        operators: units of work.
    """

    graph: PlannedGraph
    base: PlannedGraph | None = None
    operators: int = 1

    @property
    def is_network(self) -> bool:
        """Whether it is the whole network."""
        return self.base is None


@dataclass(frozen=True)
class Outcome:
    """How a workload ended. `statistics`: fields of a `Measurement`, where it was measured."""

    status: Status = Status.OK
    message: str = ""
    statistics: dict[str, Any] = field(default_factory=dict)


class OwnBooks:
    """The books of one measurement.

    Args:
        workloads: what is to be measured.
        budget: decides when a workload is finished.
        reference_ms: the target's sentinel unit; None where it has none: times are then plain milliseconds.
    """

    def __init__(self, workloads: Sequence[OwnWorkload], budget: BudgetSettings, reference_ms: float | None) -> None:
        self.reference_ms = reference_ms
        self.outcomes: dict[str, Outcome] = {}
        self._pending = {workload.graph.key: workload for workload in workloads}
        self._budget = budget
        self._visits: defaultdict[str, list[Visit]] = defaultdict(list)
        self._engines: dict[str, EngineRecord] = {}
        self._crashed: set[str] = set()
        self._rounds_begun = 0

    @property
    def pending(self) -> tuple[OwnWorkload, ...]:
        """What has neither a value nor a failure yet."""
        return tuple(self._pending.values())

    def note_build(self, report: BuildReport) -> None:
        """Remember what building a graph showed; one that was refused has failed."""
        self._engines[report.key] = EngineRecord(
            report.build_s, report.engine_bytes, report.peak_memory_bytes, report.output_error
        )
        if report.status is not Status.OK:
            self.fail(Failure(report.status, report.message, report.key))

    def memory_bytes(self, graph: PlannedGraph) -> int:
        """What the graph's engine is expected to hold, or what its build reported, whichever is more."""
        known = self._engines.get(graph.key, EngineRecord())
        return max(graph.memory_bytes, (known.engine_bytes or 0) + (known.peak_memory_bytes or 0))

    def begin_round(self) -> int:
        """Its number."""
        self._rounds_begun += 1
        return self._rounds_begun - 1

    def save_visits(self, visits: Sequence[Visit], *, host_load: float | None = None) -> None:
        """Take the visits of one group; each holds the host's load."""
        for visit in visits:
            self._visits[visit.graph_key].append(visit)

    def fail(self, failure: Failure) -> None:
        """Close as failed whatever is pending and needs that graph, as itself or as its base."""
        for workload in self.pending:
            if failure.key == workload.graph.key:
                self._close(workload, Outcome(failure.status, failure.message))
            elif workload.base is not None and failure.key == workload.base.key:
                self._close(workload, Outcome(failure.status, f"{workload.base.request.label()}: {failure.message}"))

    def is_first_crash(self, graph_key: str) -> bool:
        """Whether no engine of that graph took its process along before. Asking counts as a crash."""
        first = graph_key not in self._crashed
        self._crashed.add(graph_key)
        return first

    def finalize(self, *, early: bool = False) -> None:
        """Close what needs no further round; `early`: all that has two rounds, since there will be no more."""
        for workload in self.pending:
            rounds = self._rounds(workload)
            if StoppingRule.of(self._budget, rounds).done or (early and len(rounds) >= 2):
                self._close(workload, Outcome(statistics=self._statistics(workload, rounds)))

    def rounds_left(self) -> float:
        """Units of work to be expected."""
        return sum(
            workload.operators * max(StoppingRule.of(self._budget, self._rounds(workload)).expected_rounds_left(), 1)
            for workload in self.pending
        )

    def _rounds(self, workload: OwnWorkload) -> list[RoundValue]:
        base = None if workload.base is None else map(VisitMedian.of, self._visits[workload.base.key])
        return round_values(map(VisitMedian.of, self._visits[workload.graph.key]), base, self.reference_ms)

    def _statistics(self, workload: OwnWorkload, rounds: Sequence[RoundValue]) -> dict[str, Any]:
        visits = self._visits[workload.graph.key]
        load = median([visit.host.load for visit in visits if visit.host is not None])
        return statistics_of(
            visits,
            rounds,
            subtracted=workload.base is not None,
            reference_ms=self.reference_ms,
            budget=self._budget,
            engine=replace(self._engines.get(workload.graph.key, EngineRecord()), host_load=load),
        )

    def _close(self, workload: OwnWorkload, outcome: Outcome) -> None:
        self.outcomes[workload.graph.key] = outcome
        del self._pending[workload.graph.key]


class PhaseReporter:
    """Says how far the measurement is.

    Args:
        on_phase: called with what happens now, for people.
    """

    def __init__(self, on_phase: Callable[[str], None]) -> None:
        self.estimate = WorkEstimate()
        self.text = ""
        self._on_phase, self._throttle = on_phase, Throttle()

    def phase(self, text: str) -> None:
        """From now on."""
        self.text = text
        self._say()

    def tick(self) -> None:
        """See `Reporter.tick`."""
        if self._throttle.ready():
            self._say()

    def _say(self) -> None:
        eta_s = self.estimate.eta_s
        self._on_phase(self.text if eta_s is None else f"{self.text}, about {eta_s:.0f} s left")


@dataclass(frozen=True)
class OwnContext:
    """What round-robin timing works with (`round_robin_job.RoundRobinJob`)."""

    id: str
    workers: Workers
    tracker: OwnBooks
    budget: BudgetSettings
    limits: LiveLimits
    reporter: PhaseReporter
    stopped: Callable[[], bool]
    host: HostWatch
    clock: ClockWatch
    padding: tuple[PlannedGraph, ...] = ()
    seconds: PhaseSeconds = field(default_factory=PhaseSeconds)

    def begin_round(self) -> int:
        """Report a new round; its number."""
        self.reporter.estimate.expect(Work.VISIT, self.tracker.rounds_left())
        number = self.tracker.begin_round()
        self.reporter.phase(f"round {number + 1} of at most {self.budget.max_rounds}")
        return number

    def member(self, graph: PlannedGraph, base: PlannedGraph | None = None) -> Member:
        """The graph as it may join a group, with the base that must be live with it."""
        return Member(graph.key, self.tracker.memory_bytes(graph), None if base is None else self.member(base))


def own_graph(name: str, sha256: str, input_shape: tuple[int, int, int, int], memory_bytes: int) -> PlannedGraph:
    """A part of somebody's network as a graph of its own."""
    subject = OwnNetwork(name=name[-256:], sha256=sha256, input_shape=input_shape)
    return PlannedGraph(GraphRequest(subject=subject), memory_bytes)
