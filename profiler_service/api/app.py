"""The HTTP application, put together from its parts. Nothing here lives longer than the app: no module-level state."""

from __future__ import annotations

import anyio
from fastapi import APIRouter, FastAPI
from fastapi.routing import APIRoute

from profiler_service.api import errors, openapi, pages
from profiler_service.api.access import AccessControl, TokenBook
from profiler_service.api.costly import CostlyRequests
from profiler_service.api.dependencies import Services
from profiler_service.api.metrics import Metrics
from profiler_service.api.middleware import RequestContext, RequestLimits
from profiler_service.api.rates import CallerLimits
from profiler_service.api.routes import jobs, tables
from profiler_service.api.routes.service import health_router, target_router
from profiler_service.api.sessions import SessionBook
from profiler_service.jobs.gaps import VisitGaps
from profiler_service.jobs.queue import JobQueue
from profiler_service.logs import JobLog
from profiler_service.settings import Settings
from profiler_service.storage.store import Store
from profiler_service.version import service_version
from profiler_service.web.install import install as install_web
from profiler_service.web.live import LiveCounts
from profiler_service.web.parts import Web
from profiler_service.worker.protocol import BackendDescription

DESCRIPTION = """Measures operators and networks of neural architecture search spaces on this machine's device, and serves
the tables. It makes every graph from a specification: no ONNX file, pickle, engine, path or URL is accepted."""


def create_app(
    settings: Settings,
    *,
    store: Store,
    queue: JobQueue,
    backend: BackendDescription,
    exposed: bool = False,
    job_log: JobLog | None = None,
    gaps: VisitGaps | None = None,
) -> FastAPI:
    """The service of one device.

    Args:
        settings: limits and timeouts of HTTP.
        store: tables and jobs. It and the queue are started, and closed, by the caller.
        queue: runs jobs.
        backend: what a worker process found out about the runtime and its device.
        exposed: whether others than this machine may reach the service. It then answers nobody without a token;
            otherwise it is open until the first token is made.
        job_log: has the lines of the log that pages show; None where nobody keeps them.
        gaps: between the visits of the jobs that the queue runs; None where it times nothing.
    """
    metrics = Metrics(store)
    app = FastAPI(
        title="profiler-service",
        version=service_version(),
        description=DESCRIPTION,
        generate_unique_id_function=_operation_id,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,  # such an answer would repeat whatever name the request gave the service
        responses=openapi.problems(*openapi.COMMON),
    )
    app.state.services = Services(settings, store, queue, backend, metrics)
    app.state.large_bodies = anyio.CapacityLimiter(1)
    app.include_router(health_router)
    v1 = APIRouter(prefix="/v1", responses=openapi.problems(*openapi.ALWAYS))
    for router in (target_router, jobs.router, tables.router):
        v1.include_router(router)
    app.include_router(v1)
    pages.install(app)
    errors.install(app)
    book, sessions = TokenBook(store), SessionBook()
    install_web(app, Web(book, sessions, LiveCounts(store), job_log or JobLog()))
    openapi.describe(app)
    app.add_middleware(CostlyRequests, gaps=gaps or VisitGaps())
    app.add_middleware(CallerLimits, per_s=settings.max_requests_per_s, streams=settings.max_event_streams)
    app.add_middleware(AccessControl, book=book, sessions=sessions, exposed=exposed, allowed_hosts=settings.allowed_hosts)
    app.add_middleware(RequestLimits, limit_bytes=settings.max_request_bytes, timeout_s=settings.body_timeout_s)
    app.add_middleware(RequestContext, metrics=metrics, root_path=settings.root_path)  # added last: outermost
    return app


def _operation_id(route: APIRoute) -> str:
    return route.name
