"""The overview, a job's page, and the stream of counts that both follow."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Annotated, Any

import anyio
from fastapi import APIRouter, Header, Path, Query, Request, Response
from fastapi.responses import RedirectResponse
from sse_starlette import EventSourceResponse, ServerSentEvent

from models.spec import limits
from models.spec.tables import TableInfo
from models.spec.wire import JobCreate, JobPublic, Rebuild
from profiler_service.admission import admit
from profiler_service.api.dependencies import JobId, Services, ServicesDep
from profiler_service.api.routes.jobs import FAREWELL_S, until
from profiler_service.api.routes.service import OK, readiness
from profiler_service.errors import JobConflictError
from profiler_service.storage.job_rows import JobProgress
from profiler_service.web.live import SHOWN_JOBS, LiveCounts, shape_of, shown
from profiler_service.web.parts import WebDep
from profiler_service.web.rendering import address

router = APIRouter(include_in_schema=False)

NEWEST_TABLES, ENDED_JOBS = 12, 5
SHOWN_FAILURES = 50
STREAM_S = 600.0
"""After which a stream of counts ends, so that the browser asks again and is looked at again: its session may have ended."""


@router.get("/")
def overview(services: ServicesDep, web: WebDep, request: Request) -> Response:
    """Device, health, jobs and tables."""
    if request.state.caller.role is None:
        return RedirectResponse(f"{request.scope.get('root_path', '')}/ui/login", 303)
    health = readiness(services)
    return web.pages.page(
        request,
        "overview.html",
        target=services.backend.target,
        health=health,
        troubles={name: text for name, text in health.checks.items() if not text.startswith(OK)},
        **_jobs(services),
        **_tables(services),
    )


@router.get("/ui/parts/overview")
def overview_part(services: ServicesDep, web: WebDep, request: Request) -> Response:
    """Jobs and tables, for a page that has heard that they changed."""
    return web.pages.page(request, "parts/overview.html", **_jobs(services), **_tables(services))


def _jobs(services: Services) -> dict[str, Any]:
    jobs, number = services.store.progress(SHOWN_JOBS)
    identities = {table_id: info for table_id, info, _ in services.store.table_briefs()}
    now = datetime.now(UTC)
    return {
        "shape": shape_of(jobs, number),
        "active": [_told(job, identities, now) for job in jobs if not job.state.final],
        "ended": [_told(job, identities, now) for job in jobs if job.state.final][:ENDED_JOBS],
        "failures": {job.id: services.store.failures(job.table_id, 0)[0] for job in jobs if job.counts.failed},
    }


def _told(job: JobProgress, identities: dict[str, TableInfo], now: datetime) -> dict[str, Any]:
    info = identities.get(job.table_id)
    label = f"{info.space.label()}, {info.protocol.value.replace('_', ' ')}" if info else job.table_id
    return {"job": job, "label": label, "shown": shown(job, now)}


def _tables(services: Services) -> dict[str, Any]:
    briefs = services.store.table_briefs()
    return {"tables": briefs[:NEWEST_TABLES], "older": briefs[NEWEST_TABLES:], "table_counts": services.store.table_counts()}


@router.get("/ui/jobs/{job_id}")
def job_page(job_id: JobId, services: ServicesDep, web: WebDep, request: Request) -> Response:
    """One job."""
    return web.pages.page(request, "job.html", **_job(job_id, services, web, request))


@router.get("/ui/parts/jobs/{job_id}")
def job_part(job_id: JobId, services: ServicesDep, web: WebDep, request: Request) -> Response:
    """What changes on a job's page beside its counts."""
    return web.pages.page(request, "parts/job.html", **_job(job_id, services, web, request))


@router.get("/ui/parts/jobs/{job_id}/log")
def job_log(job_id: JobId, services: ServicesDep, web: WebDep, request: Request) -> Response:
    """A job's lines of the log."""
    services.queue.job(job_id)
    return web.pages.page(request, "parts/log.html", lines=web.job_log.lines(job_id))


def _job(job_id: str, services: Services, web: WebDep, request: Request) -> dict[str, Any]:
    shape = shape_of(*services.store.progress(SHOWN_JOBS))  # first: what changes meanwhile is told as a change
    job = services.queue.job(job_id)
    statuses, failures = services.store.failures(job.table_id, SHOWN_FAILURES)
    info = services.store.table_info(job.table_id)
    return {
        "shape": shape,
        "job": job,
        "info": info,
        "shown": shown(_progress(job), datetime.now(UTC)),
        "statuses": statuses,
        "failures": failures,
        "command": retry_command(job.request, address(request)),
        "lines": web.job_log.lines(job_id),
        "most_priority": limits.MAX_PRIORITY,
    }


def _progress(job: JobPublic) -> JobProgress:
    names = JobProgress.__dataclass_fields__
    return JobProgress(**{name: getattr(job, name) for name in names})


def retry_command(request: JobCreate, url: str) -> str:
    """The command that measures what a table of that space lacks, its failures among it; empty where there is none."""
    space = request.space
    if request.workloads is not None:
        return ""
    words = [
        "nas-client profile",
        f"--url {url}",
        f"--space {space.name}",
        f"--input-size {space.input_size[0]}x{space.input_size[1]}",
    ]
    for name, value in space.parameters.items():
        words.append(f"--parameter {name}={value if isinstance(value, int) else ','.join(map(str, value))}")
    words += [f"--budget {request.budget.value}", f"--protocol {request.protocol.value}", "--retry-failed"]
    return " ".join(words)


@router.post("/ui/jobs/{job_id}/cancel")
def cancel_job(job_id: JobId, services: ServicesDep, request: Request) -> Response:
    """Ask a job to end."""
    services.queue.cancel(job_id)
    return _to_job(request, job_id)


@router.post("/ui/jobs/{job_id}/pause")
def pause_job(job_id: JobId, services: ServicesDep, request: Request) -> Response:
    """Stop a job until it is resumed."""
    services.queue.pause(job_id)
    return _to_job(request, job_id)


@router.post("/ui/jobs/{job_id}/resume")
def resume_job(job_id: JobId, services: ServicesDep, request: Request) -> Response:
    """Let a paused job wait for its turn again."""
    services.queue.resume(job_id)
    return _to_job(request, job_id)


@router.post("/ui/jobs/{job_id}/priority/{priority}")
def prioritise_job(
    job_id: JobId,
    priority: Annotated[int, Path(ge=-limits.MAX_PRIORITY, le=limits.MAX_PRIORITY)],
    services: ServicesDep,
    request: Request,
) -> Response:
    """Give a job that waits another place."""
    services.queue.prioritise(job_id, priority)
    return _to_job(request, job_id)


@router.post("/ui/jobs/{job_id}/retry")
def retry_job(job_id: JobId, services: ServicesDep, request: Request) -> Response:
    """Measure just what has failed once more."""
    job = services.queue.job(job_id)
    _, failures = services.store.failures(job.table_id, limits.MAX_WORKLOADS_PER_JOB)
    if not failures:
        raise JobConflictError(f"nothing has failed in table {job.table_id}", hint="Reload the page.")
    workloads = tuple(entry.workload for entry in failures)
    wanted = {"workloads": workloads, "remeasure": False, "rebuild": Rebuild.NEVER, "retry_failed": True}
    admitted = admit(job.request.model_copy(update=wanted), services.backend)
    created = services.queue.submit(admitted.request, admitted.info)
    return _to_job(request, created.id)


def _to_job(request: Request, job_id: str) -> Response:
    return Response(status_code=204, headers={"HX-Redirect": f"{request.scope.get('root_path', '')}/ui/jobs/{job_id}"})


@router.get("/ui/events", response_class=EventSourceResponse)
async def events(
    services: ServicesDep,
    web: WebDep,
    last: Annotated[str, Query(max_length=64)] = "",
    last_event_id: Annotated[str, Header(max_length=64)] = "",
) -> EventSourceResponse:
    """Counts of all jobs as they change, as events named `counts`."""
    stopping = anyio.Event()
    return EventSourceResponse(
        _stream(web.live, last_event_id or last, stopping),
        ping=services.settings.heartbeat_s,
        shutdown_event=stopping,
        shutdown_grace_period=FAREWELL_S,
    )


async def _stream(live: LiveCounts, last_id: str, stopping: anyio.Event) -> AsyncIterator[ServerSentEvent]:
    timer = asyncio.get_running_loop().call_later(STREAM_S, stopping.set)
    try:
        async for counts in until(stopping, live.follow(last_id)):
            yield ServerSentEvent(counts.text, event="counts", id=counts.id)
    finally:
        timer.cancel()
