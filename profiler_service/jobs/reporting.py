"""What a running job tells: its state in the store and to whoever watches, and where its time went."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from time import monotonic

from models.spec.wire import JobCounts, JobPublic
from profiler_service.jobs.progress import Throttle, WorkEstimate
from profiler_service.storage.store import Store
from profiler_service.worker.protocol import GroupTimes, IsolatedTimes

OnProgress = Callable[[JobPublic], None]


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
        """Tell that something else is done from now on: `building`, `round 3 of at most 6` …"""
        self._tell(phase=text)

    def tick(self) -> None:
        """Tell how far the job is, unless that was told just now."""
        if self._throttle.ready():
            self._tell()

    def finish(self) -> None:
        """Tell how far the job came; nothing is known of the time left any more."""
        self._tell()

    def _tell(self, **changes: object) -> None:
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
        rebuilds_s: for telling how much builds differ, everything together.
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

    def add(self, times: GroupTimes | IsolatedTimes, *, repeat: bool = False) -> None:
        """Count one visit."""
        self.builds_s += times.build_s
        self.warmup_s += times.warmup_s
        self.sampling_s += times.sampling_s
        self.visits += 1
        self.repeats += repeat
        self.peak_rss_bytes = max(self.peak_rss_bytes, times.peak_rss_bytes)
