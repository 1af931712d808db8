"""Requests made at random from the service's own description: it answers each as described, and nobody without a token."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import Any

import pytest
from fastapi import FastAPI
from hypothesis import HealthCheck, Phase, given, settings

from models.spec.wire import JobCreate, JobState
from profiler_service.api.access import is_public
from profiler_service.api.app import create_app
from profiler_service.settings import Settings
from profiler_service.storage.store import Store
from profiler_service.tokens import Role, make_token
from tests.support import table_samples as samples
from tests.unit.profiler_service.api.conftest import BACKEND, IdleQueue

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import schemathesis
    from schemathesis.checks import not_a_server_error
    from schemathesis.specs.openapi.checks import response_schema_conformance, status_code_conformance

EXAMPLES = 12
"""Requests to each call, with a token and again without one."""


class Service:
    """The application, and what a request with a token needs."""

    def __init__(self, app: FastAPI, token: str, ids: dict[str, str]) -> None:
        self.token, self.ids = {"Authorization": f"Bearer {token}"}, ids
        self.schema = schemathesis.openapi.from_asgi("/openapi.json", app)

    def calls(self) -> Iterator[Any]:
        for result in self.schema.get_all_operations():
            operation = result.ok()
            if not operation.path.endswith("/events"):  # a stream does not end while its job does not
                yield operation

    def send(self, case: Any, headers: dict[str, str], *, known: bool = False) -> Any:
        if known:
            case.path_parameters = {name: self.ids[name] for name in case.path_parameters}
        case.headers = {**(case.headers or {}), **headers}
        return case.call()


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    chosen = Settings.load(
        database=tmp_path_factory.mktemp("fuzz") / "opclock.sqlite", allowed_hosts=("testserver",), max_requests_per_s=1e6
    )
    with Store.open(chosen.database) as store:
        text, stored = make_token("fuzz", Role.PROFILE, expires_at=None)
        store.add_token(stored)
        table_id = store.import_table(samples.table())
        job = store.create_job(JobCreate(space=samples.SPACE), table_id)
        store.update_job(job.id, state=JobState.PLANNED)
        app = create_app(chosen, store=store, queue=IdleQueue(store), backend=BACKEND, exposed=True)  # type: ignore[arg-type]
        yield Service(app, text, {"job_id": job.id, "table_id": table_id})


def fuzz(operation: Any, check: Any) -> None:
    @given(case=operation.as_strategy())
    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        derandomize=True,
        database=None,
        phases=(Phase.explicit, Phase.generate),
        suppress_health_check=list(HealthCheck),
    )
    def requests(case: Any) -> None:
        check(case)

    requests()


def test_every_answer_is_one_that_the_description_knows(service: Service) -> None:
    seen: set[int] = set()

    def check(case: Any) -> None:
        known = case.operation.path.count("{") > 0 and len(seen) % 2 == 0
        answer = service.send(case, service.token, known=known)
        seen.add(answer.status_code)
        case.validate_response(answer, checks=[not_a_server_error, status_code_conformance, response_schema_conformance])

    for operation in service.calls():
        fuzz(operation, check)
    assert {200, 404, 422} <= seen, "the requests reach the routes"


def test_without_a_token_every_call_that_is_not_public_is_refused(service: Service) -> None:
    refused = 0

    def check(case: Any) -> None:
        nonlocal refused
        case.headers = {name: value for name, value in (case.headers or {}).items() if name.lower() != "authorization"}
        answer = service.send(case, {})
        path = answer.request.url.split("?")[0]
        if is_public(case.method.upper(), case.operation.path):
            assert answer.status_code < 500
        else:
            refused += 1
            assert answer.status_code == 401, (case.method, path, answer.text)

    for operation in service.calls():
        fuzz(operation, check)
    assert refused > 5 * EXAMPLES
