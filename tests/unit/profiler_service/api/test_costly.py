"""Which requests wait for a gap between visits."""

from __future__ import annotations

import asyncio

import pytest
from fastapi import FastAPI
from starlette.types import Message, Receive, Scope, Send

from profiler_service.api.app import create_app
from profiler_service.api.costly import CostlyRequests, is_costly
from profiler_service.jobs.gaps import VisitGaps
from profiler_service.settings import Settings
from profiler_service.storage.store import Store
from tests.support import table_samples as samples
from tests.unit.profiler_service.api.conftest import BACKEND, IdleQueue, TestClient


@pytest.mark.parametrize(
    ("method", "path", "length", "expected"),
    [
        ("GET", "/v1/tables/0123", "", True),
        ("GET", "/v1/tables", "", False),
        ("POST", "/v1/lookup", "300000", True),
        ("POST", "/v1/lookup", "", True),
        ("POST", "/v1/lookup", "400", False),
        ("GET", "/ui/parts/tables/0123/entries", "", True),
        ("GET", "/ui/jobs/0123", "", False),
        ("GET", "/healthz", "", False),
    ],
)
def test_what_may_take_much_of_a_core(method: str, path: str, length: str, expected: bool) -> None:
    headers = [(b"content-length", length.encode())] if length else []
    for root in ("", "/opclock"):
        assert is_costly({"method": method, "path": root + path, "root_path": root, "headers": headers}) is expected


def test_a_body_that_comes_slowly_holds_no_place() -> None:
    gaps = Watched()
    parts = iter([{"type": "http.request", "more_body": True}, {"type": "http.request", "more_body": False}])
    came = []

    async def receive() -> Message:
        came.append(gaps.came)
        return next(parts)

    async def read_all(scope: Scope, receive: Receive, send: Send) -> None:
        while (await receive())["more_body"]:
            pass
        came.append(gaps.came)

    async def send(message: Message) -> None:
        raise AssertionError("nothing is sent")

    scope = {"type": "http", "method": "POST", "path": "/v1/lookup", "headers": []}
    asyncio.run(CostlyRequests(read_all, gaps)(scope, receive, send))
    assert came == [0, 0, 1]
    assert gaps.went == 1


class Watched(VisitGaps):
    """Counts who comes and goes."""

    def __init__(self) -> None:
        super().__init__()
        self.came = self.went = 0

    async def enter(self) -> None:
        self.came += 1
        await super().enter()

    def leave(self) -> None:
        self.went += 1
        super().leave()


def test_every_costly_request_leaves_again(settings: Settings, store: Store, queue: IdleQueue) -> None:
    table_id, gaps = store.import_table(samples.table()), Watched()
    app: FastAPI = create_app(settings, store=store, queue=queue, backend=BACKEND, gaps=gaps)  # type: ignore[arg-type]
    with TestClient(app) as client:
        paths = ["/healthz", "/v1/tables", f"/v1/tables/{table_id}", "/v1/tables/nonesuch", f"/ui/tables/{table_id}"]
        statuses = [client.get(path).status_code for path in paths]
        assert gaps.came == gaps.went == 3
        wanted = [samples.operator(8 * number).model_dump(mode="json") for number in range(1, 61)]
        answer = client.post("/v1/lookup", json={"table_id": table_id, "workloads": wanted})
    assert [*statuses, answer.status_code] == [200, 200, 200, 404, 200, 200]
    assert gaps.came == gaps.went == 4
    asyncio.run(asyncio.wait_for(gaps.enter(), 5))
