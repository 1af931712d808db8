"""Jobs: ask for measurements, follow them, pause them, cancel them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, AsyncIterator
from http import HTTPStatus
from typing import Annotated, TypeVar

import anyio
from fastapi import APIRouter, Query, Request, Response
from sse_starlette import EventSourceResponse, ServerSentEvent

from models.spec.wire import JobCreate, JobPublic
from profiler_service.admission import admit
from profiler_service.api.access import ANONYMOUS
from profiler_service.api.bodies import ParsedRoute
from profiler_service.api.dependencies import IdempotencyKey, JobId, ServicesDep
from profiler_service.api.openapi import problems
from profiler_service.jobs.following import JobTexts
from profiler_service.settings import Settings

JOB_EVENT = "job"
"""Name of every event; its data is the job as JSON."""

FAREWELL_S = 1.0
"""For a stream to end properly when the service stops; a proxy would otherwise report a broken answer."""


def event_stream(states: AsyncIterable[JobPublic], settings: Settings, texts: JobTexts) -> EventSourceResponse:
    """A stream that ends after the last state, or when the service stops."""
    stopping = anyio.Event()

    async def events() -> AsyncIterator[ServerSentEvent]:
        async for job in until(stopping, states):
            yield ServerSentEvent(texts.of(job), event=JOB_EVENT)

    return EventSourceResponse(events(), ping=settings.heartbeat_s, shutdown_event=stopping, shutdown_grace_period=FAREWELL_S)


T = TypeVar("T")


async def until(stopping: anyio.Event, states: AsyncIterable[T]) -> AsyncIterator[T]:
    """The states until the event is set, even while the next one is waited for."""
    iterator = aiter(states)
    stop = asyncio.ensure_future(stopping.wait())
    try:
        while True:
            step = asyncio.ensure_future(anext(iterator, None))
            try:
                await asyncio.wait({step, stop}, return_when=asyncio.FIRST_COMPLETED)
                state = step.result() if step.done() else None
            finally:
                step.cancel()  # without effect if it is done
            if state is None:
                return
            yield state
    finally:
        stop.cancel()


router = APIRouter(prefix="/jobs", tags=["jobs"], route_class=ParsedRoute)

MAX_JOBS_LISTED = 1_000


@router.post("", status_code=HTTPStatus.ACCEPTED, responses=problems(408, 409, 413, 415, 422, 429))
def create_job(
    job: JobCreate, services: ServicesDep, request: Request, response: Response, idempotency_key: IdempotencyKey = None
) -> JobPublic:
    """Queue the measurement of a space, or of listed workloads. What the table already holds is not measured again."""
    admitted = admit(job, services.backend)
    caller = request.state.caller
    submitted_by = "" if caller.name == ANONYMOUS else caller.name
    created = services.queue.submit(admitted.request, admitted.info, idempotency_key=idempotency_key, submitted_by=submitted_by)
    response.headers["Location"] = request.url_for("read_job", job_id=created.id).path
    return created


@router.get("", responses=problems(422))
def list_jobs(services: ServicesDep, limit: Annotated[int, Query(ge=1, le=MAX_JOBS_LISTED)] = 100) -> list[JobPublic]:
    """The latest jobs, newest first."""
    return services.store.jobs(limit)


@router.get("/{job_id}", responses=problems(404, 422))
def read_job(job_id: JobId, services: ServicesDep) -> JobPublic:
    """A job as it stands, with its counts and the time that is left."""
    return services.queue.job(job_id)


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
    return event_stream(await services.queue.events(job_id), services.settings, services.job_texts)


@router.delete("/{job_id}", status_code=HTTPStatus.ACCEPTED, responses=problems(404, 409, 422))
def cancel_job(job_id: JobId, services: ServicesDep) -> JobPublic:
    """Ask a job to end. What it has measured stays."""
    return services.queue.cancel(job_id)


@router.put("/{job_id}/pause", status_code=HTTPStatus.ACCEPTED, responses=problems(404, 409, 422))
def pause_job(job_id: JobId, services: ServicesDep) -> JobPublic:
    """Stop a job after its present measurement, until it is resumed. What it has measured stays."""
    return services.queue.pause(job_id)


@router.put("/{job_id}/resume", status_code=HTTPStatus.ACCEPTED, responses=problems(404, 409, 422))
def resume_job(job_id: JobId, services: ServicesDep) -> JobPublic:
    """Let a paused job wait for its turn again."""
    return services.queue.resume(job_id)
