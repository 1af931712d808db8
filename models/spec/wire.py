"""The documents that cross HTTP. docs/reference/http.md lists paths and meanings; `/docs` of a running service has examples."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any, Self

from pydantic import Field, field_validator, model_validator

from models.spec import limits
from models.spec.architectures import SpaceSpec
from models.spec.base import Record, UtcTime
from models.spec.errors import ErrorCode, InvalidSpecError
from models.spec.measurements import Budget, Measurement, ProtocolName, Workload
from models.spec.tables import TableInfo
from models.spec.targets import TargetSpec
from models.spec.verdicts import Verdict

API_VERSION = 2
VERSION_HEADER = "Opclock-Api-Version"
REQUEST_ID_HEADER = "X-Request-ID"

ARROW_MEDIA_TYPE = "application/vnd.apache.arrow.stream"
JSON_MEDIA_TYPE = "application/json"
CSV_MEDIA_TYPE = "text/csv"


class JobState(StrEnum):
    """State of a job."""

    QUEUED = "queued"
    """The job waits for its turn."""
    PLANNED = "planned"
    """A process has taken the job up and knows what is to be measured. It may wait for the device."""
    BUILDING = "building"
    """Graphs and engines are built and checked, with the device held."""
    MEASURING = "measuring"
    """Engines are timed."""
    PAUSED = "paused"
    """A request stopped the job; another one lets it go on. Measurements until then are saved."""
    DONE = "done"
    """Every workload has a result. Single workloads may have failed."""
    FAILED = "failed"
    """The job could not go on; `message` states why."""
    CANCELLED = "cancelled"
    """A request ended the job. Measurements until then are saved."""

    @property
    def final(self) -> bool:
        """Whether the job has ended."""
        return self in (JobState.DONE, JobState.FAILED, JobState.CANCELLED)

    @property
    def active(self) -> bool:
        """Whether a process has taken the job up."""
        return self in (JobState.PLANNED, JobState.BUILDING, JobState.MEASURING)

    def may_become(self, following: JobState) -> bool:
        """Whether that state may follow this one. A process that goes on with a job after another one plans it anew."""
        return following is self or following in _FOLLOWING[self]


_ENDS = frozenset({JobState.DONE, JobState.FAILED, JobState.CANCELLED})
_FOLLOWING = {
    JobState.QUEUED: {JobState.PLANNED, JobState.PAUSED} | _ENDS,
    JobState.PLANNED: {JobState.BUILDING, JobState.PAUSED} | _ENDS,
    JobState.BUILDING: {JobState.PLANNED, JobState.MEASURING, JobState.PAUSED} | _ENDS,
    JobState.MEASURING: {JobState.PLANNED, JobState.PAUSED} | _ENDS,
    JobState.PAUSED: {JobState.QUEUED, JobState.CANCELLED},
    **dict.fromkeys(_ENDS, frozenset[JobState]()),
}


class Rebuild(StrEnum):
    """Whether a job measures build-to-build variance (docs/measurement.md)."""

    AUTO = "auto"
    """Only for jobs on the entire grid with a budget other than `quick`."""
    ALWAYS = "always"
    """Always. Entries that have a result are measured again."""
    NEVER = "never"
    """Never."""


_EARLIER_REBUILD = {None: Rebuild.AUTO, True: Rebuild.ALWAYS, False: Rebuild.NEVER}
"""Values of requests in databases of earlier releases."""


class JobCreate(Record):
    """A request to measure the grid of a search space, or a list of workloads. The results go into the space's table.

    Attributes:
        space: search space whose table receives the results. Absent parameters take the space's defaults.
        workloads: operators and architectures to measure; null for the entire grid of the space.
        protocol: how times are taken.
        budget: how much time to spend.
        remeasure: whether workloads that have an entry are measured again.
        rebuild: whether the job ends with measuring build-to-build variance: 5 % of the requested operators are built three
            times from scratch.
        retry_failed: whether entries are tried again whose engines have crashed twice. Other failures are tried again by
            every job.
        priority: jobs of a higher priority are measured before others that wait. A job that is under way is not interrupted.
    """

    space: SpaceSpec
    workloads: (
        Annotated[tuple[Workload, ...], Field(min_length=1, max_length=limits.MAX_WORKLOADS_PER_JOB, fail_fast=True)] | None
    ) = None
    protocol: ProtocolName = ProtocolName.IN_CONTEXT
    budget: Budget = Budget.NORMAL
    remeasure: bool = False
    rebuild: Rebuild = Rebuild.AUTO
    retry_failed: bool = False
    priority: Annotated[int, Field(ge=-limits.MAX_PRIORITY, le=limits.MAX_PRIORITY)] = 0

    @field_validator("rebuild", mode="before")
    @classmethod
    def _rebuild_of_earlier_databases(cls, value: Any) -> Any:
        return _EARLIER_REBUILD[value] if value is None or isinstance(value, bool) else value


class JobCounts(Record):
    """Numbers of workloads of a job.

    Attributes:
        total: all workloads of the job.
        reused: workloads whose entry was in the table before.
        measured, failed: workloads that this job has measured, and that failed.
    """

    total: int = Field(ge=0)
    reused: int = Field(default=0, ge=0)
    measured: int = Field(default=0, ge=0)
    failed: int = Field(default=0, ge=0)

    @model_validator(mode="after")
    def _within_total(self) -> Self:
        if self.finished > self.total:
            raise InvalidSpecError(f"{self.finished} workloads finished of {self.total}")
        return self

    @property
    def finished(self) -> int:
        """Number of workloads that need no further work."""
        return self.reused + self.measured + self.failed


class JobPublic(Record):
    """The present state of a job.

    Attributes:
        id: id of the job.
        state: state of the job.
        table_id: id of the table that receives the results.
        request: the request, with the space's defaults filled in.
        counts: numbers of workloads.
        phase: current phase in words: `building`, `round 3 of at most 6` …
        fraction: share of the expected work that is done, 0 to 1.
        eta_s: estimated seconds until the end; null while unknown.
        message: reason of a failure, or what failed while its earlier value stays; empty otherwise.
        created_at, started_at, finished_at: times in UTC; null for what has not happened yet.
        verdict: verdict on the table at the end of the job; null before.
        attempt: how often a process has taken the job up. Only the latest one may write.
        submitted_by: name of the token that the job came with; empty without one.
    """

    id: str
    state: JobState
    table_id: str
    request: JobCreate
    counts: JobCounts
    phase: str = ""
    fraction: float = Field(default=0.0, ge=0, le=1)
    eta_s: float | None = None
    message: str = ""
    created_at: UtcTime
    started_at: UtcTime | None = None
    finished_at: UtcTime | None = None
    verdict: Verdict | None = None
    attempt: int = Field(default=0, ge=0)
    submitted_by: str = ""


class TablePublic(Record):
    """A table in a list.

    Attributes:
        id: id of the table.
        info: identity and origin of the table.
        entries, failed: number of entries, and how many of them have no value.
        etag: tag of the table's contents. Equal contents have equal tags.
        verdict: verdict on the table; null where no job on it has ended yet.
    """

    id: str
    info: TableInfo
    entries: int
    failed: int
    etag: str
    verdict: Verdict | None = None


class LookupRequest(Record):
    """A request for measurements from one table.

    Attributes:
        table_id: id of the table.
        workloads: operators and architectures to look up.
    """

    table_id: Annotated[str, Field(max_length=64)]
    workloads: Annotated[tuple[Workload, ...], Field(min_length=1, max_length=limits.MAX_WORKLOADS_PER_LOOKUP, fail_fast=True)]


class LookupResponse(Record):
    """The measurements that were looked up.

    Attributes:
        table_id: id of the table.
        results: one result per requested workload, in order; null where the table has no entry.
    """

    table_id: str
    results: tuple[Measurement | None, ...]


class TargetPublic(Record):
    """The target that this service measures on.

    Attributes:
        id: id of the target.
        target: device, runtime and options.
        api_version: version of the HTTP interface.
        service_version: release of the service.
    """

    id: str
    target: TargetSpec
    api_version: int = API_VERSION
    service_version: str


class SpacePublic(Record):
    """A search space that this service can build.

    Attributes:
        name: name of the search space.
        defaults: the space with its default parameters and input size.
        description: one line about the space.
        distribution, version: what the space comes from: `opclock` or a plugin, and its version; empty where unknown.
        networks: how many discrete networks the space has with these defaults, in decimal digits: more than a float holds
            exactly. Empty where the service is older.
    """

    name: str
    defaults: SpaceSpec
    description: str
    distribution: str = ""
    version: str = ""
    networks: str = ""


class HealthPublic(Record):
    """The answer of `/healthz` and `/readyz`.

    Attributes:
        status: `ok`, or a word for the state.
        api_version: version of the HTTP interface.
        service_version: release of the service.
        checks: name of each check to its result: `ok`, or what is wrong.
    """

    status: str
    api_version: int = API_VERSION
    service_version: str
    checks: dict[str, str] = Field(default_factory=dict)


class ErrorDetail(Record):
    """One error.

    Attributes:
        code: code of the error.
        message: what is wrong.
        hint: what to do next; may be empty.
        request_id: id of the request, as in the service's log.
    """

    code: ErrorCode
    message: str
    hint: str = ""
    request_id: str = ""


class ErrorBody(Record):
    """The body of every error response.

    Attributes:
        error: the error.
    """

    error: ErrorDetail
