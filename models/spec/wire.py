"""What crosses HTTP. Paths and meanings: docs/reference/http.md; the OpenAPI page of a running service shows examples."""

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

API_VERSION = 1
VERSION_HEADER = "Opclock-Api-Version"
REQUEST_ID_HEADER = "X-Request-ID"

ARROW_MEDIA_TYPE = "application/vnd.apache.arrow.stream"
JSON_MEDIA_TYPE = "application/json"
CSV_MEDIA_TYPE = "text/csv"


class JobState(StrEnum):
    """The life of a job."""

    QUEUED = "queued"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def final(self) -> bool:
        """Whether nothing will change any more."""
        return self in (JobState.DONE, JobState.FAILED, JobState.CANCELLED)


class Rebuild(StrEnum):
    """Whether a job reports how much builds differ (docs/measurement.md)."""

    AUTO = "auto"
    """Where the whole grid is asked for, unless the budget is quick."""
    ALWAYS = "always"
    """Whatever is asked for; what is known is reported anew."""
    NEVER = "never"


_EARLIER_REBUILD = {None: Rebuild.AUTO, True: Rebuild.ALWAYS, False: Rebuild.NEVER}
"""What requests of earlier databases say."""


class JobCreate(Record):
    """A request to measure: the whole grid of `space`, or the listed workloads in that space's table.

    Attributes:
        space: whose table the results belong to; parameters left out take the space's defaults.
        workloads: operators and architectures; None for the space's whole grid.
        protocol, budget: how, and how long.
        remeasure: measure again what the table already holds.
        rebuild: whether 5 % of the operators asked for are built three times from scratch at the end, to report how much builds
            differ.
    """

    space: SpaceSpec
    workloads: Annotated[tuple[Workload, ...], Field(min_length=1, max_length=limits.MAX_WORKLOADS_PER_JOB)] | None = None
    protocol: ProtocolName = ProtocolName.IN_CONTEXT
    budget: Budget = Budget.NORMAL
    remeasure: bool = False
    rebuild: Rebuild = Rebuild.AUTO

    @field_validator("rebuild", mode="before")
    @classmethod
    def _rebuild_of_earlier_databases(cls, value: Any) -> Any:
        return _EARLIER_REBUILD[value] if value is None or isinstance(value, bool) else value


class JobCounts(Record):
    """Workloads of a job. `reused` were in the table before; `measured` and `failed` are this job's."""

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
        """How many need no further work."""
        return self.reused + self.measured + self.failed


class JobPublic(Record):
    """A job as it stands.

    Attributes:
        phase: what it is doing, for people: `building`, `round 3 of at most 6` …
        fraction: share of the expected work that is done, 0 to 1. eta_s: seconds left, once known.
        message: why it failed; empty otherwise.
        verdict: on its table when it ended; None before.
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


class TablePublic(Record):
    """A table in a list. `verdict` is None where no job on it has ended yet."""

    id: str
    info: TableInfo
    entries: int
    failed: int
    etag: str
    verdict: Verdict | None = None


class LookupRequest(Record):
    """Measurements wanted, of one table."""

    table_id: str
    workloads: Annotated[tuple[Workload, ...], Field(min_length=1, max_length=limits.MAX_WORKLOADS_PER_LOOKUP)]


class LookupResponse(Record):
    """One result per workload asked for, in order; None is a miss."""

    table_id: str
    results: tuple[Measurement | None, ...]


class TargetPublic(Record):
    """What this service measures on."""

    id: str
    target: TargetSpec
    api_version: int = API_VERSION
    service_version: str


class SpacePublic(Record):
    """A search space this service can build, with its defaults."""

    name: str
    defaults: SpaceSpec
    description: str


class HealthPublic(Record):
    """`/healthz` and `/readyz`: `checks` names what was looked at, and what is wrong with it, or `ok`."""

    status: str
    api_version: int = API_VERSION
    service_version: str
    checks: dict[str, str] = Field(default_factory=dict)


class ErrorDetail(Record):
    """One error; `hint` is the next step."""

    code: ErrorCode
    message: str
    hint: str = ""
    request_id: str = ""


class ErrorBody(Record):
    """The one shape of every error response."""

    error: ErrorDetail
