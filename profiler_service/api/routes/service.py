"""The service itself: whether it can work, what it counts, what it measures on and what it can build."""

from __future__ import annotations

from contextlib import suppress
from http import HTTPStatus

from fastapi import APIRouter, Request, Response

from models.plugins import PluginError
from models.spaces.base import SearchSpace
from models.spaces.registry import SPACES, space_class, space_names
from models.spec.errors import OpclockError
from models.spec.wire import HealthPublic, SpacePublic, TargetPublic
from profiler_service.api.dependencies import Services, ServicesDep
from profiler_service.api.metrics import CONTENT_TYPE
from profiler_service.version import service_version

OK = "ok"
"""What a check says where nothing is wrong."""

FAILED = "failed; a request with a token is told why"
"""What a check says to anybody else."""

health_router = APIRouter(tags=["health"])

target_router = APIRouter(tags=["target"])


def readiness(services: Services) -> HealthPublic:
    """Each part that a job needs, with `ok` or what is wrong with it; the status is `ok` if all are."""
    checks = {
        "database": _database(services),
        "queue": _queue(services),
        "backend": f"{OK}: {services.backend.target.label()}",
    }
    ready = all(check.startswith(OK) for check in checks.values())
    return HealthPublic(status=OK if ready else "unready", service_version=service_version(), checks=checks)


def _queue(services: Services) -> str:
    if not services.queue.alive:
        return "the thread that runs jobs has ended; restart the service"
    return services.queue.trouble or OK


def _database(services: Services) -> str:
    try:
        services.store.check()
    except OpclockError as error:
        return error.message
    return OK


@health_router.get("/healthz")
async def healthz() -> HealthPublic:
    """The process answers; nothing else is looked at."""
    return HealthPublic(status="ok", service_version=service_version())


@health_router.get(
    "/readyz", responses={503: {"model": HealthPublic, "description": "Something is wrong; `checks` says what."}}
)
def readyz(services: ServicesDep, request: Request, response: Response) -> HealthPublic:
    """Database, job queue and device are in order."""
    state = readiness(services)
    if request.state.caller.role is None:  # what is wrong names files and devices
        checks = {name: OK if check.startswith(OK) else FAILED for name, check in state.checks.items()}
        state = state.model_copy(update={"checks": checks})
    if state.status != OK:
        response.status_code = HTTPStatus.SERVICE_UNAVAILABLE
    return state


@health_router.get("/metrics", response_class=Response, responses={200: {"content": {"text/plain": {}}}})
def metrics(services: ServicesDep) -> Response:
    """Requests, jobs and tables as Prometheus text."""
    return Response(services.metrics.text(), media_type=CONTENT_TYPE)


@target_router.get("/target")
def target(services: ServicesDep) -> TargetPublic:
    """The device, runtime and settings that every number of this service belongs to."""
    spec = services.backend.target
    return TargetPublic(id=spec.id(), target=spec, service_version=service_version())


@target_router.get("/spaces")
def spaces() -> list[SpacePublic]:
    """The search spaces whose names a job may give, each with its defaults. Those of a plugin that cannot be imported are
    left out; `profiler-service doctor` says why.
    """
    found = []
    for name in space_names():
        with suppress(PluginError):
            found.append(public_space(space_class(name)))
    return found


def public_space(cls: type[SearchSpace]) -> SpacePublic:
    """The space with its defaults, and what it comes from."""
    origin, space = SPACES.origin(cls.name), cls.defaults()
    return SpacePublic(
        name=cls.name,
        defaults=space.spec,
        description=cls.description,
        distribution=origin.name,
        version=origin.version,
        networks=str(space.size()),
    )
