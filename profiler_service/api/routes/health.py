"""Whether the service lives, whether it can work, and what it counts. Outside `/v1` and its access policy."""

from __future__ import annotations

from http import HTTPStatus

from fastapi import APIRouter, Response
from fastapi.responses import RedirectResponse

from models.spec.wire import HealthPublic
from profiler_service.api.dependencies import ServicesDep
from profiler_service.api.metrics import CONTENT_TYPE
from profiler_service.api.readiness import readiness
from profiler_service.version import service_version

router = APIRouter(tags=["health"])


@router.get("/", include_in_schema=False)
def front_page() -> RedirectResponse:
    """The description of every call."""
    return RedirectResponse("/docs")


@router.get("/healthz")
def healthz() -> HealthPublic:
    """The process answers; nothing else is looked at."""
    return HealthPublic(status="ok", service_version=service_version())


@router.get("/readyz", responses={503: {"model": HealthPublic, "description": "Something is wrong; `checks` says what."}})
def readyz(services: ServicesDep, response: Response) -> HealthPublic:
    """Database, job queue and device are in order."""
    health = readiness(services)
    if health.status != "ok":
        response.status_code = HTTPStatus.SERVICE_UNAVAILABLE
    return health


@router.get("/metrics", response_class=Response, responses={200: {"content": {"text/plain": {}}}})
def metrics(services: ServicesDep) -> Response:
    """Requests, jobs and tables as Prometheus text."""
    return Response(services.metrics.text(), media_type=CONTENT_TYPE)
