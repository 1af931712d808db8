"""Whether the service can do its work now."""

from __future__ import annotations

from models.spec.errors import OpclockError
from models.spec.wire import HealthPublic
from profiler_service.api.dependencies import Services
from profiler_service.version import service_version

OK = "ok"


def readiness(services: Services) -> HealthPublic:
    """Each part that a job needs, with `ok` or what is wrong with it; the status is `ok` if all are."""
    checks = {
        "database": _database(services),
        "queue": OK if services.queue.alive else "the thread that runs jobs has ended; restart the service",
        "backend": f"{OK}: {services.backend.target.label()}",
    }
    ready = all(check.startswith(OK) for check in checks.values())
    return HealthPublic(status=OK if ready else "unready", service_version=service_version(), checks=checks)


def _database(services: Services) -> str:
    try:
        services.store.check()
    except OpclockError as error:
        return error.message
    return OK
