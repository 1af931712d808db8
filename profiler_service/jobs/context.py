"""What the phases of one running job have in common."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Self

from models.spec.wire import JobCreate
from profiler_service.jobs.host import HostWatch, free_memory_bytes
from profiler_service.jobs.planner import JobPlan, Outstanding, PlannedGraph
from profiler_service.jobs.reporting import PhaseSeconds, Reporter, Work
from profiler_service.jobs.tracker import JobTracker
from profiler_service.jobs.workers import Workers
from profiler_service.measure.groups import Member
from profiler_service.measure.stopping import BudgetSettings
from profiler_service.measure.throttling import ClockWatch
from profiler_service.storage.store import Store

if TYPE_CHECKING:
    from profiler_service.settings import Settings


@dataclass(frozen=True)
class LiveLimits:
    """How many engines may be live at once, and how many bytes they may hold together, estimated."""

    engines: int
    memory_bytes: int

    @classmethod
    def now(cls, settings: Settings, workers: Workers) -> Self:
        """With the memory that is free now: the host's, and no more than the device's where that has its own."""
        host, device = free_memory_bytes(), workers.description.free_bytes
        free = host if device is None else min(host, device)
        allowed = int(free * settings.memory_fraction)
        return cls(settings.live_engines, min(allowed, settings.run_memory_bytes or allowed))


@dataclass(frozen=True)
class JobContext:
    """A running job.

    Attributes:
        outstanding: what is left of it.
        store: where its table is.
        workers: the processes that build and time.
        tracker: what it has measured and what is pending.
        budget: how much time it may spend.
        limits: of live engines.
        reporter: receives every step.
        seconds: where its time goes; the phases add to it.
        stopped: asked between visits; once true, the phases return and leave the rest as it is.
        clock: finds out when the device was slow.
        host: finds out what else the machine did.
    """

    outstanding: Outstanding
    store: Store
    workers: Workers
    tracker: JobTracker
    budget: BudgetSettings
    limits: LiveLimits
    reporter: Reporter
    seconds: PhaseSeconds
    stopped: Callable[[], bool]
    clock: ClockWatch = field(default_factory=ClockWatch)
    host: HostWatch = field(default_factory=HostWatch)

    @property
    def id(self) -> str:
        """Of the job."""
        return self.outstanding.job.id

    @property
    def table_id(self) -> str:
        """Of the job's table."""
        return self.outstanding.job.table_id

    @property
    def request(self) -> JobCreate:
        """What the job asks for."""
        return self.outstanding.job.request

    @property
    def plan(self) -> JobPlan:
        """Of what is outstanding."""
        return self.outstanding.plan

    @property
    def padding(self) -> tuple[PlannedGraph, ...]:
        """Of the plan."""
        return self.plan.padding

    def expect_visits(self) -> None:
        """Pass on to the reporter how much timing is left."""
        expected = self.tracker.expected_rounds_left()
        work = sum(planned.operators * expected[planned.key] for planned in self.tracker.pending)
        self.reporter.estimate.expect(Work.VISIT, work)

    def member(self, graph: PlannedGraph, base: PlannedGraph | None = None) -> Member:
        """The graph as it may join a group, with the base that must be live with it."""
        return Member(graph.key, self.memory_bytes(graph), None if base is None else self.member(base))

    def memory_bytes(self, graph: PlannedGraph) -> int:
        """What the graph's engine is expected to hold, or what its build reported, whichever is more."""
        return max(graph.memory_bytes, self.tracker.reported_bytes(graph.key))

    def begin_round(self) -> int:
        """Report a new round; its number in the table."""
        self.expect_visits()
        self.reporter.phase(f"round {self.tracker.rounds_done + 1} of at most {self.budget.max_rounds}")
        return self.tracker.begin_round()
