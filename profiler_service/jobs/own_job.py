"""What measuring a network and measuring an operator of somebody's own have in common."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from models.spec.measurements import Status
from models.spec.verdicts import Reason, TrustLevel
from profiler_service.backends.base import GraphArtifact
from profiler_service.errors import JobError
from profiler_service.jobs.context import LiveLimits
from profiler_service.jobs.host import HostWatch, free_memory_bytes
from profiler_service.jobs.own_books import OwnBooks, OwnContext, PhaseReporter
from profiler_service.jobs.planner import PlannedGraph
from profiler_service.jobs.workers import Workers
from profiler_service.measure.sentinel import SENTINEL_GRAPH
from profiler_service.measure.stopping import BudgetSettings
from profiler_service.measure.throttling import ClockWatch
from profiler_service.worker.protocol import Failure


@dataclass(kw_only=True)
class OwnJob:
    """One thing to be measured, of which nothing is stored.

    Attributes:
        workers: the processes that build and time.
        budget: how much time to spend.
        reference_ms: the target's sentinel unit; None where it has none.
        unsettled: why that is not established; empty where it is.
        stopped: asked between visits; once true, no further one is made.
        limits: of live engines; by default half of the memory that is free.
        host: finds out what else the machine did. clock: when the device was slow.
        on_phase: called with what happens now.
    """

    workers: Workers
    budget: BudgetSettings
    reference_ms: float | None
    unsettled: str = ""
    stopped: Callable[[], bool] = lambda: False
    limits: LiveLimits = field(default_factory=lambda: LiveLimits(96, free_memory_bytes() // 2))
    host: HostWatch = field(default_factory=HostWatch)
    clock: ClockWatch = field(default_factory=ClockWatch)
    on_phase: Callable[[str], None] = lambda phase: None

    def context(self, key: str, books: OwnBooks, padding: tuple[PlannedGraph, ...] = ()) -> OwnContext:
        """What the rounds work with.

        Args:
            key: of what is measured.
            books: of its measurement.
            padding: graphs that are live beside it, and not measured.
        """
        return OwnContext(
            id=key,
            workers=self.workers,
            tracker=books,
            budget=self.budget,
            limits=self.limits,
            reporter=PhaseReporter(self.on_phase),
            stopped=self.stopped,
            host=self.host,
            clock=self.clock,
            padding=padding,
        )

    def build_all(self, artifacts: dict[str, GraphArtifact], books: OwnBooks) -> None:
        """Build and check everything; what fails is taken out. Raises JobError if the sentinel fails."""
        for report in self.workers.check(list(artifacts.values())):
            if report.status is not Status.OK:
                if report.key == SENTINEL_GRAPH.key():
                    raise no_sentinel(Failure(report.status, report.message, report.key))
                del artifacts[report.key]
            books.note_build(report)


def scale_reasons(reference_ms: float | None, unsettled: str) -> list[Reason]:
    """The reason against values of a target without a scale, or with one that is not established, and why."""
    if reference_ms is None:
        text = "this target has no scale yet, so that values are plain milliseconds; `profiler-service profile` sets it"
    else:
        text = f"scale unsettled: {unsettled}" if unsettled else ""
    return [Reason(name="scale", level=TrustLevel.UNSETTLED, text=text)] if text else []


def no_sentinel(failure: Failure) -> JobError:
    """The error where the sentinel fails."""
    return JobError(
        f"the sentinel cannot be measured: {failure.message}",
        hint="Nothing can be measured without it: see what `profiler-service doctor` says of the backend.",
    )
