"""What routes are given: the parts of the service, and their parameters."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated

from fastapi import Depends, Header, Path, Request

from profiler_service.api.metrics import Metrics
from profiler_service.api.renditions import Renditions
from profiler_service.jobs.following import JobTexts
from profiler_service.jobs.queue import JobQueue
from profiler_service.settings import Settings
from profiler_service.storage.store import Store
from profiler_service.worker.protocol import BackendDescription


@dataclass(frozen=True)
class Services:
    """The parts of one running service."""

    settings: Settings
    store: Store
    queue: JobQueue
    backend: BackendDescription
    metrics: Metrics
    job_texts: JobTexts = field(default_factory=JobTexts)
    renditions: Renditions = field(default_factory=Renditions)


async def _services(request: Request) -> Services:  # async: a plain function would be sent to a thread each time
    services: Services = request.app.state.services
    return services


ServicesDep = Annotated[Services, Depends(_services)]


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
