"""Jobs: ask for measurements, follow them, call them off."""

from __future__ import annotations

from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response
from sse_starlette import EventSourceResponse

from models.spec.wire import JobCreate, JobPublic
from profiler_service.admission import admit
from profiler_service.api.dependencies import IdempotencyKey, JobId, JsonBody, ServicesDep
from profiler_service.api.openapi import problems
from profiler_service.api.streams import event_stream

router = APIRouter(prefix="/jobs", tags=["jobs"])

MAX_JOBS_LISTED = 1_000


@router.post("", status_code=HTTPStatus.ACCEPTED, dependencies=[JsonBody], responses=problems(409, 413, 415, 422))
def create_job(
    job: JobCreate, services: ServicesDep, request: Request, response: Response, idempotency_key: IdempotencyKey = None
) -> JobPublic:
    """Queue the measurement of a space, or of listed workloads. What the table already holds is not measured again."""
    admitted = admit(job, services.backend)
    table_id = services.store.ensure_table(admitted.info)
    created = services.queue.submit(admitted.request, table_id, idempotency_key=idempotency_key)
    response.headers["Location"] = request.url_for("read_job", job_id=created.id).path
    return created


@router.get("", responses=problems(422))
def list_jobs(services: ServicesDep, limit: Annotated[int, Query(ge=1, le=MAX_JOBS_LISTED)] = 100) -> list[JobPublic]:
    """The latest jobs, newest first."""
    return services.store.jobs(limit)


@router.get("/{job_id}", responses=problems(404, 422))
def read_job(job_id: JobId, services: ServicesDep) -> JobPublic:
    """A job as it stands, with its counts and the time that is left."""
    return services.store.job(job_id)


@router.get(
    "/{job_id}/events",
    response_class=EventSourceResponse,
    responses={
        200: {
            "description": "Events named `job`, whose data is the job as JSON; the last one is final.",
            "content": {"text/event-stream": {}},
        },
        **problems(404, 422),
    },
)
async def job_events(job_id: JobId, services: ServicesDep) -> EventSourceResponse:
    """A job's states as they change, the present one first, as server-sent events."""
    return event_stream(services.queue.events(job_id), services.settings)


@router.delete("/{job_id}", status_code=HTTPStatus.ACCEPTED, responses=problems(404, 409, 422))
def cancel_job(job_id: JobId, services: ServicesDep) -> JobPublic:
    """Ask a job to end. What it has measured is kept."""
    return services.queue.cancel(job_id)
