"""What routes are given: the parts of the service, and the checks that come before them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Annotated

from fastapi import Depends, Header, Path, Request

from models.spec.errors import ErrorCode
from models.spec.wire import JSON_MEDIA_TYPE
from profiler_service.api.errors import RequestError
from profiler_service.api.metrics import Metrics
from profiler_service.api.renditions import Renditions
from profiler_service.jobs.following import JobTexts
from profiler_service.jobs.queue import JobQueue
from profiler_service.settings import Settings
from profiler_service.storage.store import Store
from profiler_service.worker.protocol import BackendDescription

AccessPolicy = Callable[[Request], None]
"""Raises for a request that may not pass; every call under `/v1` goes through one such function."""


@dataclass(frozen=True)
class Services:
    """The parts of one running service."""

    settings: Settings
    store: Store
    queue: JobQueue
    backend: BackendDescription
    metrics: Metrics
    access: AccessPolicy
    job_texts: JobTexts = field(default_factory=JobTexts)
    renditions: Renditions = field(default_factory=Renditions)


def admit_everyone(request: Request) -> None:
    """The access policy of a service that listens on loopback alone."""


async def _services(request: Request) -> Services:  # async: a plain function would be sent to a thread each time
    services: Services = request.app.state.services
    return services


ServicesDep = Annotated[Services, Depends(_services)]


def require_access(request: Request, services: ServicesDep) -> None:
    """Put the request before the access policy."""
    services.access(request)


async def require_json(content_type: Annotated[str, Header(include_in_schema=False)] = "") -> None:
    """Refuse a body that does not call itself JSON: nothing else is read here, pickles and ONNX files least of all."""
    if content_type.partition(";")[0].strip().lower() != JSON_MEDIA_TYPE:
        raise RequestError(
            HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
            ErrorCode.INVALID_REQUEST,
            f"a body of type {content_type or 'unknown'!r} is not read here",
            hint=f"Send a JSON document as {JSON_MEDIA_TYPE}.",
        )


JsonBody = Depends(require_json)

JobId = Annotated[str, Path(max_length=64, description="As in a job's `id`.")]
TableId = Annotated[str, Path(max_length=64, description="As in a table's `id`.")]
IdempotencyKey = Annotated[
    str | None,
    Header(
        min_length=1,
        max_length=128,
        description="Chosen by the client. Repeating a request with the same key gives the job it made the first time.",
    ),
]
