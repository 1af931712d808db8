"""What a running job reports: how far it is and how long it will take, what it waits for, and where its time went."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, auto
from time import monotonic

import structlog

from models.spec.wire import JobCounts, JobPublic, JobState
from profiler_service.storage.store import Store
from profiler_service.worker.protocol import TimingResult

log = structlog.get_logger(__name__)

_REMEMBERED = 32
"""Portions of each kind of work that its rate is taken from: older ones were cheaper or dearer, fewer are noisy."""


class Work(Enum):
    """The kinds of work of a job. A unit of one is taken to cost as much as a unit of the other until it is known."""

    BUILD = auto()
    """Making, building and checking one graph."""
    VISIT = auto()
    """Timing one operator in one round. A network counts as many units as it has operators."""


class WorkEstimate:
    """Adds up work that was done and work that is left. `fraction` never falls, although more work may turn up."""

    def __init__(self) -> None:
        self._left = dict.fromkeys(Work, 0.0)
        self._done = 0.0
        self._portions = {work: deque[tuple[float, float]](maxlen=_REMEMBERED) for work in Work}
        self._fraction = 0.0

    def expect(self, work: Work, units: float) -> None:
        """So much of that work is left, from now on."""
        self._left[work] = max(units, 0.0)

    def did(self, work: Work, units: float, seconds: float) -> None:
        """So much of what was left is done, and took so long. No units: the time was lost, and counts for the rest."""
        self._left[work] = max(self._left[work] - units, 0.0)
        self._done += units
        self._portions[work].append((units, max(seconds, 0.0)))

    @property
    def fraction(self) -> float:
        """Share of the work that is done, 0 to 1."""
        if self._done:
            self._fraction = max(self._fraction, self._done / (self._done + sum(self._left.values())))
        return self._fraction

    @property
    def eta_s(self) -> float | None:
        """Seconds left; None before anything was done."""
        rates = {work: rate for work in Work if (rate := self._rate_s(work)) is not None}
        if not rates:
            return None
        unknown = sum(rates.values()) / len(rates)
        return sum(left * rates.get(work, unknown) for work, left in self._left.items())

    def _rate_s(self, work: Work) -> float | None:
        """Seconds per unit of late."""
        units = sum(portion for portion, _ in self._portions[work])
        return sum(seconds for _, seconds in self._portions[work]) / units if units else None


class Throttle:
    """Lets something through a few times a second.

    Args:
        interval_s: at least so long apart.
        clock: seconds that never go back.
    """

    def __init__(self, interval_s: float = 0.3, clock: Callable[[], float] = monotonic) -> None:
        self._interval_s, self._clock = interval_s, clock
        self._last_s: float | None = None

    def ready(self) -> bool:
        """Whether it is time again; then the time runs anew."""
        now_s = self._clock()
        if self._last_s is not None and now_s - self._last_s < self._interval_s:
            return False
        self._last_s = now_s
        return True


OnProgress = Callable[[JobPublic], None]


WAITING_FOR = "waiting for the "
"""How the phase begins of a job that cannot go on for now."""

_REMIND_S = 60.0
"""Between two log lines about the same wait."""


class Waits:
    """Passes a job's states on, and tells who follows it what it waits for while nothing can be stored.

    Args:
        on_progress: called with the job each time; must not block.
        clock: seconds that never go back.

    Attributes:
        job: as it was stored last; None before it was read.
    """

    def __init__(self, on_progress: OnProgress, clock: Callable[[], float] = monotonic) -> None:
        self._on_progress = on_progress
        self.job: JobPublic | None = None
        self._said = Throttle(_REMIND_S, clock)

    def progress(self, job: JobPublic) -> None:
        """Pass a state on that is stored."""
        self.job = job
        self._on_progress(job)

    def wait(self, what: str, reason: str) -> None:
        """The job waits for that, as in `database`; why."""
        if self._said.ready():
            log.warning(f"a job is {WAITING_FOR}{what}", job=None if self.job is None else self.job.id, reason=reason)
        if self.job is not None:
            self._on_progress(self.job.model_copy(update={"phase": f"{WAITING_FOR}{what}: {reason}"}))


class Reporter:
    """Writes a job's progress to the store and passes it on, a few times a second at most.

    Args:
        store: where the job is.
        job_id: of the job.
        counts: gives its counts as they stand.
        on_progress: called with the job each time; must not block.
        clock: seconds that never go back.
    """

    def __init__(
        self,
        store: Store,
        job_id: str,
        counts: Callable[[], JobCounts],
        on_progress: OnProgress,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self.estimate = WorkEstimate()
        self._store, self._job_id, self._counts, self._on_progress = store, job_id, counts, on_progress
        self._throttle = Throttle(clock=clock)

    def phase(self, text: str) -> None:
        """Report what is done from now on: `building`, `round 3 of at most 6` …"""
        self._report(phase=text)

    def begin(self, state: JobState) -> None:
        """Report what the job does from now on."""
        self._report(state=state)

    def tick(self) -> None:
        """Report how far the job is, unless that was reported just now."""
        if self._throttle.ready():
            self._report()

    def finish(self) -> None:
        """Report how far the job came; nothing is known of the time left any more."""
        self._report()

    def _report(self, **changes: object) -> None:
        estimate = self.estimate
        self._on_progress(
            self._store.update_job(
                self._job_id, counts=self._counts(), fraction=estimate.fraction, eta_s=estimate.eta_s, **changes
            )
        )


@dataclass
class PhaseSeconds:
    """Where a job's time went, in seconds of the clock on the wall, and what it took of memory.

    Attributes:
        waiting_s: for the device, while another process measured.
        graphs_s: waiting for graphs to be made. builds_s: for engines to be built and checked, and built again for each visit.
        warmup_s, sampling_s: passes that were not timed, and those that were.
        rebuilds_s: finding out how much builds differ, everything together.
        total_s: everything; what is missing in the sum of the others went into storing, statistics and starting processes.
        visits, repeats: of groups; repeats are those that the sentinel asked for.
        peak_rss_bytes: most memory that the timing process held.
    """

    waiting_s: float = 0.0
    graphs_s: float = 0.0
    builds_s: float = 0.0
    warmup_s: float = 0.0
    sampling_s: float = 0.0
    rebuilds_s: float = 0.0
    total_s: float = 0.0
    visits: int = 0
    repeats: int = 0
    peak_rss_bytes: int = 0

    def add(self, times: TimingResult, *, repeat: bool = False) -> None:
        """Count one visit."""
        self.builds_s += times.build_s
        self.warmup_s += times.warmup_s
        self.sampling_s += times.sampling_s
        self.visits += 1
        self.repeats += repeat
        self.peak_rss_bytes = max(self.peak_rss_bytes, times.peak_rss_bytes)
