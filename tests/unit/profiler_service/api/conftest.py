"""The application with a real store and a queue that only takes note."""

from __future__ import annotations

import warnings
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from fastapi import FastAPI

from models.spec.tables import TableInfo
from models.spec.targets import TargetSpec
from models.spec.wire import JobCreate, JobPublic, JobState
from profiler_service.api.app import create_app
from profiler_service.settings import Settings
from profiler_service.storage.store import Store
from profiler_service.worker.protocol import BackendDescription

with warnings.catch_warnings():  # it would rather have a package that nothing else here needs
    warnings.filterwarnings("ignore", message="Using `httpx` with `starlette.testclient`")
    from starlette.testclient import TestClient

BACKEND = BackendDescription(
    target=TargetSpec(device="Test CPU", backend="paper", versions={"paper": "1.0"}, threads=1),
    dtypes=("float32",),
    reads_onnx=False,
    builds_on_device=False,
)


class IdleQueue:
    """Queues jobs and never runs one; its events are those it was given."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.alive = True
        self.trouble = ""
        self.script: list[JobPublic] = []

    def submit(
        self, request: JobCreate, table: str | TableInfo, *, idempotency_key: str | None = None, submitted_by: str = ""
    ) -> JobPublic:
        return self.store.create_job(request, table, idempotency_key=idempotency_key, submitted_by=submitted_by)

    def cancel(self, job_id: str) -> JobPublic:
        return self.store.update_job(job_id, state=JobState.CANCELLED)

    def pause(self, job_id: str) -> JobPublic:
        return self.store.update_job(job_id, state=JobState.PAUSED)

    def resume(self, job_id: str) -> JobPublic:
        return self.store.update_job(job_id, state=JobState.QUEUED)

    def prioritise(self, job_id: str, priority: int) -> JobPublic:
        return self.store.set_priority(job_id, priority)

    def job(self, job_id: str) -> JobPublic:
        return self.store.job(job_id)

    async def events(self, job_id: str) -> AsyncIterator[JobPublic]:
        self.store.job(job_id)

        async def scripted() -> AsyncIterator[JobPublic]:
            for job in self.script:
                yield job

        return scripted()


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings.load(database=tmp_path / "opclock.sqlite", max_request_bytes=64 * 1024)


@pytest.fixture
def store(settings: Settings) -> Iterator[Store]:
    with Store.open(settings.database) as store:
        yield store


@pytest.fixture
def queue(store: Store) -> IdleQueue:
    return IdleQueue(store)


@pytest.fixture
def app(settings: Settings, store: Store, queue: IdleQueue) -> FastAPI:
    return create_app(settings, store=store, queue=queue, backend=BACKEND)  # type: ignore[arg-type]


@pytest.fixture
def client(app: FastAPI) -> Iterator[TestClient]:
    with TestClient(app) as client:
        yield client
