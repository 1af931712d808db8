"""The jobs that wait for the device: in which order, and how many there may be."""

from __future__ import annotations

from bisect import insort
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import count
from math import inf

from models.spec.wire import JobCreate, JobPublic
from profiler_service.errors import QueueFullError


@dataclass(frozen=True)
class QueueLimits:
    """What may wait, and what is kept of what has ended.

    Attributes:
        jobs: that may wait.
        workloads: that all waiting jobs together may list; the grid of a space counts as none.
        share: of both that the jobs of one token may take up, 0 to 1.
        kept_jobs: that have ended and are still listed; of older ones only their measurements stay.
        kept_bytes: of the requests of those.
    """

    jobs: int = 100
    workloads: int = 200_000
    share: float = 0.5
    kept_jobs: int = 1_000
    kept_bytes: int = 256 * 2**20

    def of_one(self) -> QueueLimits:
        """Those of the jobs of one token: at least one job."""
        return QueueLimits(max(int(self.share * self.jobs), 1), int(self.share * self.workloads))


@dataclass(frozen=True, order=True)
class _Waiting:
    """A job that waits. Compared by its place alone."""

    place: tuple[float, int]
    job_id: str = field(compare=False)
    workloads: int = field(compare=False, default=0)
    submitted_by: str = field(compare=False, default="")


class WaitingJobs:
    """Jobs in the order in which they are run: those of high priority first, of equals the one that came first.

    Not for several threads at once: the queue's lock guards it.

    Args:
        limits: of what may wait.
    """

    def __init__(self, limits: QueueLimits) -> None:
        self._limits = limits
        self._line: list[_Waiting] = []
        self._arrivals = count()

    def __iter__(self) -> Iterator[str]:
        """Ids, in order."""
        return (waiting.job_id for waiting in self._line)

    def __len__(self) -> int:
        return len(self._line)

    def add(self, job: JobPublic) -> None:
        """Behind the others of its priority, unless it waits already."""
        if job.id not in self:
            place = -float(job.request.priority), next(self._arrivals)
            insort(self._line, _Waiting(place, job.id, _size(job.request), job.submitted_by))

    def put_first(self, job_id: str) -> None:
        """Before all others: a job that was begun."""
        self._line.insert(0, _Waiting((-inf, next(self._arrivals)), job_id))

    def put_last(self, job_id: str) -> None:
        """Behind all others, whatever its priority: a job that cannot be begun."""
        insort(self._line, _Waiting((inf, next(self._arrivals)), job_id))

    def take(self) -> str:
        """The id of the first one, which no longer waits. Raises IndexError where there is none."""
        return self._line.pop(0).job_id

    def remove(self, job_id: str) -> None:
        """The job no longer waits, if it did."""
        self._line = [waiting for waiting in self._line if waiting.job_id != job_id]

    def require_room(self, request: JobCreate, submitted_by: str) -> None:
        """Raises QueueFullError where that job may not wait as well: for all, or for those of its token."""
        size = _size(request)
        _require_room(self._line, size, self._limits, "")
        if submitted_by:
            own = [waiting for waiting in self._line if waiting.submitted_by == submitted_by]
            _require_room(own, size, self._limits.of_one(), f" of token {submitted_by!r}")


def _require_room(line: list[_Waiting], size: int, limits: QueueLimits, whose: str) -> None:
    jobs, workloads = len(line), sum(waiting.workloads for waiting in line)
    if jobs >= limits.jobs:
        raise QueueFullError(f"{jobs} jobs{whose} wait already, as many as may", hint="Submit it again when some have ended.")
    if jobs and workloads + size > limits.workloads:
        most = limits.workloads
        raise QueueFullError(
            f"{workloads} workloads{whose} wait already; with the {size} of this job they would be more than {most}",
            hint="Submit it again when some jobs have ended, or ask for fewer workloads.",
        )


def _size(request: JobCreate) -> int:
    return len(request.workloads or ())
