"""What the service says about itself: health, metrics, target, spaces, and the description of every call."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from prometheus_client.parser import text_string_to_metric_families
from starlette.testclient import TestClient

from models.spaces.registry import SPACES, space_class
from models.spec.wire import JobCreate, LookupRequest
from profiler_service.api.app import create_app
from profiler_service.api.routes.service import FAILED
from profiler_service.settings import Settings
from profiler_service.storage.store import Store
from profiler_service.version import service_version
from tests.support.plugins import Environment, environment_fixture
from tests.unit.profiler_service.api.conftest import BACKEND, IdleQueue

__all__ = ["environment_fixture"]

JOB = {"space": {"name": "fasterseg", "input_size": [128, 256]}}


def test_alive_and_ready(client: TestClient) -> None:
    assert client.get("/healthz").json()["status"] == "ok"
    ready = client.get("/readyz")
    assert ready.status_code == 200
    assert set(ready.json()["checks"]) == {"database", "queue", "backend"}


def test_not_ready_when_the_job_thread_has_ended(client: TestClient, queue: IdleQueue) -> None:
    queue.alive = False
    response = client.get("/readyz")
    assert response.status_code == 503
    assert "restart" in response.json()["checks"]["queue"]
    assert response.json()["checks"]["database"] == "ok"
    assert client.get("/healthz").status_code == 200


def test_not_ready_while_no_job_can_go_on(client: TestClient, queue: IdleQueue) -> None:
    queue.trouble = "job 1 is waiting for the database: another process keeps it locked"
    response = client.get("/readyz")
    assert response.status_code == 503
    assert response.json()["checks"]["queue"] == queue.trouble


def test_not_ready_when_another_file_is_in_the_databases_place(client: TestClient, settings: Settings, tmp_path: Path) -> None:
    """Everything would still seem to work, and would be lost at the end."""
    with Store.open(tmp_path / "other.sqlite"):
        pass
    (tmp_path / "other.sqlite").replace(settings.database)
    response = client.get("/readyz")
    assert response.status_code == 503
    assert response.json()["checks"]["database"] == FAILED


def test_a_scrape_reads_no_request_and_no_record(
    client: TestClient, store: Store, queue: IdleQueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Thirty large jobs in the queue once made one take ten seconds."""
    client.post("/v1/jobs", json=JOB)

    def never(*_: object, **__: object) -> None:
        raise AssertionError("records were read")

    for name in ("unfinished_jobs", "jobs", "tables", "table", "table_summary"):
        monkeypatch.setattr(store, name, never)
    assert 'opclock_jobs_unfinished{state="queued"} 1.0' in client.get("/metrics").text


def test_not_ready_when_the_database_is_gone(client: TestClient, settings: Settings) -> None:
    settings.database.unlink()
    response = client.get("/readyz")
    assert response.status_code == 503
    assert response.json()["checks"]["database"] == FAILED, "who has a token cannot be read any more, so nobody is told more"


def test_the_target_and_its_id(client: TestClient) -> None:
    answer = client.get("/v1/target").json()
    assert answer["id"] == BACKEND.target.id()
    assert answer["target"]["device"] == "Test CPU"


def test_the_spaces_can_be_asked_for_as_they_are_listed(client: TestClient) -> None:
    spaces = client.get("/v1/spaces").json()
    assert "fasterseg" in [space["name"] for space in spaces]
    assert all(space["description"] for space in spaces)
    for space in spaces:
        assert client.post("/v1/jobs", json={"space": space["defaults"]}).status_code == 202


def test_a_space_is_listed_with_what_it_comes_from(client: TestClient, environment: Environment) -> None:
    """One of a plugin that cannot be imported is left out, and the others stay."""
    source = "from models.spaces.fasterseg.space import FasterSegSpace as F\nclass Wider(F):\n    name = 'wider'"
    environment.install("broken-space", modules={"broken_space": "1 / 0"}, spaces={"broken": "broken_space:Broken"})
    environment.install("wider-space", "1.3", {"wider_space": source}, spaces={"wider": "wider_space:Wider"})
    spaces = {space["name"]: space for space in client.get("/v1/spaces").json()}
    assert spaces.keys() == {*SPACES.own_names(), "wider"}
    assert (spaces["fasterseg"]["distribution"], spaces["fasterseg"]["version"]) == ("opclock", service_version())
    assert int(spaces["fasterseg"]["networks"]) == space_class("fasterseg").defaults().size() > 10**44
    assert (spaces["wider"]["distribution"], spaces["wider"]["version"]) == ("wider-space", "1.3")
    assert spaces["wider"]["defaults"]["input_size"] == [256, 512]
    answer = client.post("/v1/jobs", json={"space": spaces["wider"]["defaults"] | {"name": "broken"}})
    assert answer.status_code == 422
    told = "search space 'broken' of broken-space 1.0 cannot be loaded: ZeroDivisionError: division by zero"
    assert answer.json()["error"]["message"] == told


def test_a_job_for_a_plugin_that_the_service_does_not_have(client: TestClient, environment: Environment) -> None:
    environment.install("other", "0.2", {"other": ""}, spaces={"other": "other:Other"})
    answer = client.post("/v1/jobs", json={"space": {"name": "leaf", "input_size": [64, 64]}})
    assert answer.status_code == 422
    assert answer.json()["error"]["code"] == "unknown_name"
    assert answer.json()["error"]["message"] == "unknown search space 'leaf' (plugins here: other 0.2)"


def test_a_table_records_its_plugins_and_every_version_of_them(
    client: TestClient, store: Store, environment: Environment
) -> None:
    source = "from models.spaces.fasterseg.space import FasterSegSpace as F\nclass Wider(F):\n    name = 'wider'"
    for version in ("1.3", "1.4"):
        environment.install("wider-space", version, {"wider_space": source}, spaces={"wider": "wider_space:Wider"})
        answer = client.post("/v1/jobs", json={"space": {"name": "wider", "input_size": [64, 64]}})
        environment.uninstall_all()
    (table,) = store.tables()
    assert table.id == answer.json()["table_id"]
    assert table.info.provenance["plugin wider-space"] == "1.3, 1.4"
    assert not [name for name in table.info.provenance if name.startswith("plugin") and "wider" not in name]


def samples(client: TestClient, name: str) -> dict[frozenset[tuple[str, str]], float]:
    families = text_string_to_metric_families(client.get("/metrics").text)
    return {
        frozenset(sample.labels.items()): sample.value
        for family in families
        for sample in family.samples
        if sample.name == name
    }


def test_requests_are_counted_by_call_and_not_by_path(client: TestClient) -> None:
    for path in ("/v1/jobs/a", "/v1/jobs/b", "/wp-login.php", "/phpmyadmin"):
        client.get(path)

    counted = samples(client, "opclock_http_requests_total")

    assert counted[frozenset({("method", "GET"), ("operation", "read_job"), ("status", "404")})] == 2
    assert counted[frozenset({("method", "GET"), ("operation", "unmatched"), ("status", "404")})] == 2
    assert samples(client, "opclock_http_request_seconds_count")


def test_jobs_and_tables_are_read_at_the_scrape(client: TestClient) -> None:
    table_id = client.post("/v1/jobs", json=JOB).json()["table_id"]
    assert samples(client, "opclock_jobs_unfinished")[frozenset({("state", "queued")})] == 1
    assert samples(client, "opclock_table_entries")[frozenset({("table", table_id), ("outcome", "ok")})] == 0


def test_two_apps_count_apart(client: TestClient, settings: Settings, store: Store, queue: IdleQueue) -> None:
    client.get("/healthz")
    other = create_app(settings, store=store, queue=queue, backend=BACKEND)  # type: ignore[arg-type]
    with TestClient(other) as second:
        assert samples(second, "opclock_http_requests_total") == {}


def operations(document: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield f"{method} {path}", operation


@pytest.fixture
def document(app: FastAPI) -> dict[str, Any]:
    return app.openapi()


def test_every_call_of_the_design_is_described(document: dict[str, Any]) -> None:
    assert {name for name, _ in operations(document)} == {
        "get /healthz",
        "get /readyz",
        "get /metrics",
        "get /v1/target",
        "get /v1/spaces",
        "post /v1/jobs",
        "get /v1/jobs",
        "get /v1/jobs/{job_id}",
        "get /v1/jobs/{job_id}/events",
        "delete /v1/jobs/{job_id}",
        "put /v1/jobs/{job_id}/pause",
        "put /v1/jobs/{job_id}/resume",
        "get /v1/tables",
        "get /v1/tables/{table_id}",
        "get /v1/tables/{table_id}/validations",
        "post /v1/tables/{table_id}/validations",
        "post /v1/lookup",
    }


def test_every_error_response_has_the_one_shape_and_an_example(document: dict[str, Any]) -> None:
    for name, operation in operations(document):
        for status, response in operation["responses"].items():
            if status.startswith(("4", "5")) and name != "get /readyz":
                content = response["content"]["application/json"]
                assert content["schema"]["$ref"].endswith("/ErrorBody"), (name, status)
                assert content["example"]["error"]["message"], (name, status)
    assert "HTTPValidationError" not in document["components"]["schemas"]


def test_every_document_has_an_example(document: dict[str, Any]) -> None:
    for name, operation in operations(document):
        assert operation["summary"]
        assert operation["description"], name
        for media_type, content in next(r for s, r in operation["responses"].items() if s.startswith("2"))["content"].items():
            if media_type == "application/json":
                assert content["example"], name


@pytest.mark.parametrize(("path", "model"), [("/v1/jobs", JobCreate), ("/v1/lookup", LookupRequest)])
def test_the_examples_of_requests_are_requests(
    client: TestClient, document: dict[str, Any], path: str, model: type[JobCreate | LookupRequest]
) -> None:
    content = document["paths"][path]["post"]["requestBody"]["content"]
    assert set(content) == {"application/json"}
    examples = [example["value"] for example in content["application/json"]["examples"].values()]
    for example in examples:
        model.parse(example)
    if path == "/v1/jobs":
        assert [client.post(path, json=example).status_code for example in examples] == [202] * len(examples)
