"""The HTTP application, put together from its parts. Nothing here lives longer than the app: no module-level state."""

from __future__ import annotations

from fastapi import APIRouter, Depends, FastAPI
from fastapi.routing import APIRoute

from profiler_service.api import errors, openapi
from profiler_service.api.dependencies import AccessPolicy, Services, admit_everyone, require_access
from profiler_service.api.metrics import Metrics
from profiler_service.api.middleware import BodyLimit, RequestContext
from profiler_service.api.routes import jobs, tables
from profiler_service.api.routes.service import health_router, target_router
from profiler_service.jobs.queue import JobQueue
from profiler_service.settings import Settings
from profiler_service.storage.store import Store
from profiler_service.version import service_version
from profiler_service.worker.protocol import BackendDescription

DESCRIPTION = """Measures operators and networks of neural architecture search spaces on this machine's device, and serves
the tables. It makes every graph from a specification: no ONNX file, pickle, engine, path or URL is accepted."""


def create_app(
    settings: Settings,
    *,
    store: Store,
    queue: JobQueue,
    backend: BackendDescription,
    access: AccessPolicy = admit_everyone,
) -> FastAPI:
    """The service of one device.

    Args:
        settings: limits and timeouts of HTTP.
        store: tables and jobs. It and the queue are started, and closed, by the caller.
        queue: runs jobs.
        backend: what a worker process found out about the runtime and its device.
        access: raises for a request under `/v1` that may not pass.
    """
    metrics = Metrics(store)
    app = FastAPI(
        title="profiler-service",
        version=service_version(),
        description=DESCRIPTION,
        generate_unique_id_function=_operation_id,
        redoc_url=None,
    )
    app.state.services = Services(settings, store, queue, backend, metrics, access)
    app.include_router(health_router)
    v1 = APIRouter(prefix="/v1", dependencies=[Depends(require_access)], responses=openapi.problems(*openapi.ALWAYS))
    for router in (target_router, jobs.router, tables.router):
        v1.include_router(router)
    app.include_router(v1)
    errors.install(app)
    openapi.describe(app)
    app.add_middleware(BodyLimit, limit_bytes=settings.max_request_bytes)
    app.add_middleware(RequestContext, metrics=metrics)  # added last: outermost
    return app


def _operation_id(route: APIRoute) -> str:
    return route.name
