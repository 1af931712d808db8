"""Jobs, within a transaction that the caller holds."""

from __future__ import annotations

import socket
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache

from pydantic import ValidationError
from sqlalchemy import ColumnElement, delete, func, select
from sqlalchemy.orm import Session

from models.spec.base import invalid_from
from models.spec.table_files.table_io import record_text
from models.spec.tables import TableInfo
from models.spec.verdicts import Verdict
from models.spec.wire import JobCounts, JobCreate, JobPublic, JobState
from profiler_service.errors import JobConflictError, JobNotFoundError, StaleAttemptError
from profiler_service.storage import table_rows
from profiler_service.storage.schema import JobRow, TableRow, load

CHANGEABLE = frozenset({"state", "counts", "phase", "fraction", "eta_s", "message", "started_at", "finished_at", "verdict"})
"""What `update` may change of a job."""

ATTEMPTS_COUNT_FOR = timedelta(days=1)
"""How far back results count of attempts that did not come to their end: who asks after that wants to begin anew."""

_ANEW = '"remeasure":true'
"""In the text of every request that measures anew."""


@dataclass(frozen=True)
class Owner:
    """Whose jobs a process runs.

    Attributes:
        target_id: what the process measures on.
        box: its host.
    """

    target_id: str
    box: str


def this_box() -> str:
    """The name of this host, as jobs keep it."""
    return socket.gethostname()[:64]


@dataclass(frozen=True)
class JobProgress:
    """How far a job is, without its request, which may have megabytes. See `JobPublic`."""

    id: str
    table_id: str
    state: JobState
    counts: JobCounts
    phase: str
    fraction: float
    eta_s: float | None
    message: str
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None


def progress(session: Session, limit: int) -> list[JobProgress]:
    """The newest jobs, unfinished ones first in the order in which they came, then the others, newest first."""
    ended = JobRow.state.in_([state.value for state in JobState if state.final])
    columns = [column for name, column in JobRow.__table__.columns.items() if name not in ("request", "verdict")]
    rows = [
        *session.execute(select(*columns).where(~ended).order_by(JobRow.number).limit(limit)),
        *session.execute(select(*columns).where(ended).order_by(JobRow.number.desc()).limit(limit)),
    ]
    return [
        JobProgress(
            id=row.id,
            table_id=row.table_id,
            state=JobState(row.state),
            counts=JobCounts(total=row.total, reused=row.reused, measured=row.measured, failed=row.failed),
            phase=row.phase,
            fraction=row.fraction,
            eta_s=row.eta_s,
            message=row.message,
            created_at=row.created_at,
            started_at=row.started_at,
            finished_at=row.finished_at,
        )
        for row in rows[:limit]
    ]


def create(
    session: Session,
    request: JobCreate,
    table: str | TableInfo,
    idempotency_key: str | None,
    before_adding: Callable[[], None],
    submitted_by: str = "",
    box: str | None = None,
) -> JobPublic:
    """A queued job, or the one that the same key made before. A table that is given by its identity is made with a new job.

    Raises:
        JobConflictError: the key was used for another request.
        TableNotFoundError: no such table.
    """
    table_id = table.id() if isinstance(table, TableInfo) else table_rows.require(session, table).id
    text = _text(request)
    if idempotency_key is not None:
        earlier = session.scalar(select(JobRow).where(JobRow.idempotency_key == idempotency_key))
        if earlier is not None:
            if (earlier.request, earlier.table_id) != (text, table_id):  # not the priority, which `set_priority` changes
                raise JobConflictError(
                    f"the idempotency key {idempotency_key!r} was used for another request, which became job {earlier.id}",
                    hint="Use a new key for a new request.",
                )
            return _public(earlier)
    before_adding()
    if isinstance(table, TableInfo):
        table_rows.ensure(session, table)
    row = JobRow(
        id=uuid.uuid4().hex,
        table_id=table_id,
        state=JobState.QUEUED.value,
        request=text,
        idempotency_key=idempotency_key,
        total=0,
        reused=0,
        measured=0,
        failed=0,
        phase="",
        fraction=0.0,
        message="",
        created_at=datetime.now(UTC),
        attempt=0,
        priority=request.priority,
        submitted_by=submitted_by,
        box=this_box() if box is None else box,
    )
    session.add(row)
    return _public(row)


def get(session: Session, job_id: str) -> JobPublic:
    """The job of that id. Raises JobNotFoundError."""
    return _public(_require(session, job_id))


def latest(session: Session, limit: int) -> list[JobPublic]:
    """The newest jobs, newest first."""
    return [_public(row) for row in session.scalars(select(JobRow).order_by(JobRow.number.desc()).limit(limit))]


def counts(session: Session) -> dict[JobState, int]:
    """How many jobs are in each state that any is in."""
    rows = session.execute(select(JobRow.state, func.count()).group_by(JobRow.state))
    return {JobState(state): number for state, number in rows}


def forget(session: Session, keep: int, keep_bytes: int) -> int:
    """Delete ended jobs but the newest `keep`, fewer where their requests have more than `keep_bytes`; how many were."""
    ended = JobRow.state.in_([state.value for state in JobState if state.final])
    newest = JobRow.number.desc()
    ranked = (
        select(
            JobRow.number.label("number"),
            func.count().over(order_by=newest, rows=(None, 0)).label("place"),
            func.sum(func.length(JobRow.request)).over(order_by=newest, rows=(None, 0)).label("bytes"),
        )
        .where(ended)
        .subquery()
    )
    beyond = select(ranked.c.number).where((ranked.c.place > keep) | (ranked.c.bytes > keep_bytes))
    old = JobRow.finished_at < datetime.now(UTC) - ATTEMPTS_COUNT_FOR
    numbers = session.scalars(select(JobRow.number).where(JobRow.number.in_(beyond), old)).all()
    session.execute(delete(JobRow).where(JobRow.number.in_(numbers)))
    return len(numbers)


def unfinished(session: Session, owner: Owner | None) -> list[JobPublic]:
    """Jobs that have not ended and are not paused: those of high priority first, of equals the oldest.

    Where there is an owner, only those of the owner.
    """
    states = [state.value for state in JobState if not state.final and state is not JobState.PAUSED]
    wanted = select(JobRow).where(JobRow.state.in_(states)).order_by(JobRow.priority.desc(), JobRow.number)
    if owner is not None:
        wanted = wanted.where(_of(owner))
    return [_public(row) for row in session.scalars(wanted)]


def belongs(session: Session, job_id: str, owner: Owner) -> bool:
    """Whether the job is the owner's: on its target, or made on its box, where it can be told what is wrong with it."""
    return session.scalar(select(JobRow.number).where(JobRow.id == job_id, _of(owner))) is not None


def _of(owner: Owner) -> ColumnElement[bool]:
    on_target = JobRow.table_id.in_(select(TableRow.id).where(TableRow.target_id == owner.target_id))
    return on_target | (JobRow.box == owner.box)


def begin_attempt(session: Session, job_id: str) -> int:
    """The number of a new attempt at the job; see `Store.begin_attempt`. Raises JobNotFoundError, JobConflictError."""
    row = _require(session, job_id)
    _require_going_on(_public(row))
    row.attempt += 1
    return row.attempt


def require_attempt(session: Session, job_id: str, number: int) -> None:
    """Raises StaleAttemptError where a later attempt at the job has begun, JobNotFoundError where there is no such job.

    No other one begins before this transaction has ended.
    """
    latest = session.scalar(select(JobRow.attempt).where(JobRow.id == job_id).with_for_update(read=True))
    if latest is None:
        raise _unknown(job_id)
    if latest != number:
        raise StaleAttemptError(f"another process has taken up job {job_id}: its attempt {latest} has begun, this is {number}")


def attempted_since(session: Session, job_id: str) -> datetime:
    """From when on results count as what this job asks for; see `Store.attempted_since`. Raises JobNotFoundError."""
    row = _require(session, job_id)
    earlier = (JobRow.table_id == row.table_id) & (JobRow.number < row.number)
    done = session.scalar(select(func.max(JobRow.number)).where(earlier, JobRow.state == JobState.DONE.value)) or 0
    attempts = earlier & (JobRow.number > done) & (JobRow.request == row.request)
    first_at = session.scalar(select(func.min(JobRow.started_at)).where(attempts))
    begun = [row.created_at, *_anew_meanwhile(session, row)]
    if first_at is not None:
        begun.append(first_at)
    return min(row.created_at, max(min(begun), row.created_at - ATTEMPTS_COUNT_FOR))


def _anew_meanwhile(session: Session, row: JobRow) -> list[datetime]:
    """When jobs started that were measuring the same table anew when this one, which does so too, was made."""
    if not _request(row.request, row.id, row.priority).remeasure:
        return []
    going_on = (JobRow.started_at < row.created_at) & (JobRow.finished_at.is_(None) | (JobRow.finished_at > row.created_at))
    earlier = (JobRow.table_id == row.table_id) & (JobRow.number < row.number)
    others = session.scalars(select(JobRow).where(earlier, going_on, JobRow.request.contains(_ANEW, autoescape=True)))
    found = ((other.started_at, _request(other.request, other.id, other.priority).remeasure) for other in others)
    return [started_at for started_at, anew in found if anew and started_at is not None]


def update(session: Session, job_id: str, changes: Mapping[str, object]) -> JobPublic:
    """Change some of the fields in `CHANGEABLE`; see `Store.update_job`.

    Raises:
        JobNotFoundError, JobConflictError: no such job, or it is final.
        InvalidSpecError: a value is out of bounds.
        TypeError: a field that is not one of `CHANGEABLE`.
    """
    if unknown := changes.keys() - CHANGEABLE:
        raise TypeError(f"a job's {', '.join(sorted(unknown))} cannot be changed")
    row = _require(session, job_id)
    before = _public(row)
    following = JobState(str(changes.get("state", before.state)))
    if following is before.state or before.state.final:
        _require_going_on(before)
    elif not before.state.may_become(following):
        raise JobConflictError(f"job {job_id} is {before.state} and cannot become {following}")
    try:
        after = JobPublic.model_validate(dict(before) | dict(changes))
    except ValidationError as error:
        raise invalid_from(error, JobPublic.__name__) from error
    now = datetime.now(UTC)
    row.state = after.state.value
    row.total, row.reused = after.counts.total, after.counts.reused
    row.measured, row.failed = after.counts.measured, after.counts.failed
    row.phase, row.fraction, row.eta_s, row.message = after.phase, after.fraction, after.eta_s, after.message
    begun = after.state in (JobState.BUILDING, JobState.MEASURING, JobState.DONE)
    row.started_at = after.started_at or (now if begun else None)
    row.finished_at = after.finished_at or (now if after.state.final else None)
    row.verdict = None if after.verdict is None else record_text(after.verdict)
    return _public(row)


def set_priority(session: Session, job_id: str, priority: int) -> JobPublic:
    """The job with that priority. Raises JobNotFoundError, JobConflictError for a job that has ended."""
    row = _require(session, job_id)
    _require_unended(_public(row))
    row.priority = priority
    return _public(row)


def _require(session: Session, job_id: str) -> JobRow:
    row = session.scalar(select(JobRow).where(JobRow.id == job_id))
    if row is None:
        raise _unknown(job_id)
    return row


def _unknown(job_id: str) -> JobNotFoundError:
    return JobNotFoundError(f"no job {job_id!r}", hint="List the jobs with GET /v1/jobs.")


def _require_going_on(job: JobPublic) -> None:
    """Raises JobConflictError for a job that has ended or is paused."""
    _require_unended(job)
    if job.state is JobState.PAUSED:
        raise JobConflictError(f"job {job.id} is {job.state}", hint="Resume it first.")


def _require_unended(job: JobPublic) -> None:
    """Raises JobConflictError for a job that has ended."""
    if job.state.final:
        raise JobConflictError(f"job {job.id} is {job.state} already; nothing about it changes any more")


def _text(request: JobCreate) -> str:
    """The request as it is stored and compared: what is measured is the same at any priority."""
    return record_text(request.model_copy(update={"priority": 0}))


def _public(row: JobRow) -> JobPublic:
    return JobPublic(
        id=row.id,
        state=JobState(row.state),
        table_id=row.table_id,
        request=_request(row.request, row.id, row.priority),
        counts=JobCounts(total=row.total, reused=row.reused, measured=row.measured, failed=row.failed),
        phase=row.phase,
        fraction=row.fraction,
        eta_s=row.eta_s,
        message=row.message,
        created_at=row.created_at,
        started_at=row.started_at,
        finished_at=row.finished_at,
        verdict=None if row.verdict is None else load(Verdict, row.verdict, f"job {row.id}"),
        attempt=row.attempt,
        submitted_by=row.submitted_by,
    )


@lru_cache(maxsize=16)
def _request(text: str, job_id: str, priority: int) -> JobCreate:
    """Requests may list thousands of workloads, and jobs are read and updated many times while they run."""
    return load(JobCreate, text, f"job {job_id}").model_copy(update={"priority": priority})
