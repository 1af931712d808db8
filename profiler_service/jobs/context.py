"""What the phases of one running job have in common."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from profiler_service.jobs.host import HostWatch
from profiler_service.jobs.planner import PlannedGraph
from profiler_service.jobs.progress import Work
from profiler_service.jobs.reporting import PhaseSeconds, Reporter
from profiler_service.jobs.tracker import JobTracker
from profiler_service.jobs.workers import Workers
from profiler_service.measure.stopping import BudgetSettings
from profiler_service.measure.throttling import ClockWatch


@dataclass(frozen=True)
class JobContext:
    """A running job.

    Attributes:
        workers: the processes that build and time.
        tracker: what it has measured and what is left.
        budget: how much time it may spend.
        reporter: told of every step.
        seconds: where its time goes; the phases add to it.
        stopped: asked between visits; once true, the phases return and leave the rest as it is.
        clock: tells when the device was slow.
        host: tells what else the machine did.
    """

    workers: Workers
    tracker: JobTracker
    budget: BudgetSettings
    reporter: Reporter
    seconds: PhaseSeconds
    stopped: Callable[[], bool]
    clock: ClockWatch = field(default_factory=ClockWatch)
    host: HostWatch = field(default_factory=HostWatch)

    def expect_visits(self) -> None:
        """Tell the reporter how much timing is left."""
        expected = self.tracker.expected_rounds_left()
        work = sum(planned.operators * expected[planned.key] for planned in self.tracker.pending)
        self.reporter.estimate.expect(Work.VISIT, work)

    def memory_bytes(self, graph: PlannedGraph) -> int:
        """What the graph's engine is expected to hold, or what building it told of, whichever is more."""
        return max(graph.memory_bytes, self.tracker.told_bytes(graph.key))

    def begin_round(self) -> int:
        """Tell the reporter of a new round; its number in the table."""
        self.expect_visits()
        self.reporter.phase(f"round {self.tracker.rounds_done + 1} of at most {self.budget.max_rounds}")
        return self.tracker.begin_round()
