"""What round-robin timing needs of a job: one on a table (`jobs.context`), or somebody's own network (`jobs.own_network`)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from profiler_service.jobs.context import LiveLimits
from profiler_service.jobs.host import HostWatch
from profiler_service.jobs.planner import PlannedGraph
from profiler_service.jobs.reporting import PhaseSeconds, WorkEstimate
from profiler_service.jobs.workers import Workers
from profiler_service.measure.groups import Member
from profiler_service.measure.stopping import BudgetSettings
from profiler_service.measure.throttling import ClockWatch
from profiler_service.measure.visits import Visit
from profiler_service.worker.protocol import Failure


class TimedWorkload(Protocol):
    """What is pending; see `PlannedWorkload`."""

    @property
    def graph(self) -> PlannedGraph:
        """What is timed."""

    @property
    def base(self) -> PlannedGraph | None:
        """What is subtracted."""

    @property
    def operators(self) -> int:
        """Units of work."""

    @property
    def is_network(self) -> bool:
        """Whether it is a whole network."""


class Books(Protocol):
    """What was measured and what is pending; see `JobTracker`."""

    @property
    def pending(self) -> Sequence[TimedWorkload]:
        """What has neither a value nor a failure yet."""

    @property
    def reference_ms(self) -> float | None:
        """What a sentinel unit is worth, as far as it is known."""

    def finalize(self) -> None:
        """Close what needs no further round."""

    def save_visits(self, visits: Sequence[Visit], *, host_load: float | None = None) -> None:
        """Take the visits of one group."""

    def fail(self, failure: Failure) -> None:
        """Close as failed whatever needs that graph."""

    def is_first_crash(self, graph_key: str) -> bool:
        """Whether no engine of that graph took its process along before."""


class Progress(Protocol):
    """Is told how far the work is; see `Reporter`."""

    @property
    def estimate(self) -> WorkEstimate:
        """Of the work that is left."""

    def tick(self) -> None:
        """Report how far it is, unless that was reported just now."""


class RoundRobinJob(Protocol):
    """What is timed, and with what; see `JobContext`. A job on a table is one, a network of somebody's own another."""

    @property
    def id(self) -> str:
        """Seeds the order of runs."""

    @property
    def workers(self) -> Workers:
        """The processes that time."""

    @property
    def tracker(self) -> Books:
        """What was measured and what is pending."""

    @property
    def budget(self) -> BudgetSettings:
        """How much time to spend."""

    @property
    def limits(self) -> LiveLimits:
        """Of live engines."""

    @property
    def padding(self) -> Sequence[PlannedGraph]:
        """Further graphs with which small groups are filled up."""

    @property
    def reporter(self) -> Progress:
        """Is told how far the work is."""

    @property
    def seconds(self) -> PhaseSeconds:
        """Where the time goes."""

    @property
    def stopped(self) -> Callable[[], bool]:
        """Asked between visits."""

    @property
    def clock(self) -> ClockWatch:
        """Finds out when the device was slow."""

    @property
    def host(self) -> HostWatch:
        """Finds out what else the machine did."""

    def begin_round(self) -> int:
        """The number of a new round."""

    def member(self, graph: PlannedGraph, base: PlannedGraph | None = None) -> Member:
        """The graph as it may join a group."""
