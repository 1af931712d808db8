"""Whatever goes wrong, the answer has one shape, an id and a version."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient
from structlog.testing import capture_logs

from models.spaces.registry import create_space
from models.spec.architectures import SpaceSpec
from models.spec.errors import ErrorCode, OpclockError
from models.spec.wire import ErrorDetail
from profiler_service.api.errors import STATUS
from profiler_service.errors import StorageError
from profiler_service.settings import Settings
from profiler_service.storage.store import Store
from tests.unit.profiler_service.api.conftest import IdleQueue

JOB = {"space": {"name": "fasterseg", "input_size": [128, 256]}}


def detail(response: object) -> ErrorDetail:
    """The error of a response; fails unless it is of the one shape, with the id and version that every response has."""
    body = response.json()  # type: ignore[attr-defined]
    headers = response.headers  # type: ignore[attr-defined]
    assert set(body) == {"error"}
    error = ErrorDetail.model_validate(body["error"])
    assert error.message
    assert error.request_id == headers["X-Request-ID"]
    assert headers["Opclock-Api-Version"] == "2"
    return error


def test_every_code_has_a_status() -> None:
    assert set(STATUS) == set(ErrorCode)


def test_an_unknown_path(client: TestClient) -> None:
    response = client.get("/v1/nothing")
    assert response.status_code == 404
    assert detail(response).code is ErrorCode.NOT_FOUND
    assert "/v1/nothing" in detail(response).message


def test_a_wrong_method_names_the_right_ones(client: TestClient) -> None:
    response = client.put("/v1/tables")
    assert response.status_code == 405
    assert response.headers["Allow"] == "GET"
    assert detail(response).code is ErrorCode.INVALID_REQUEST


@pytest.mark.parametrize("path", ["/v1/jobs/nope", "/v1/tables/nope", "/v1/jobs/nope/events"])
def test_what_does_not_exist(client: TestClient, path: str) -> None:
    response = client.get(path)
    assert response.status_code == 404
    assert detail(response).code is ErrorCode.NOT_FOUND
    assert "nope" in detail(response).message


@pytest.mark.parametrize(
    ("change", "code", "message"),
    [
        ({"space": {"name": "fastseg", "input_size": [128, 256]}}, "unknown_name", "unknown search space 'fastseg'"),
        ({"space": {"name": "fasterseg", "input_size": [100, 256]}}, "invalid_spec", "height 100 is not divisible by 8"),
        ({"space": {"name": "fasterseg", "input_size": [16_384, 16_384]}}, "workload_too_large", "the limit is"),
        ({"space": {"name": "fasterseg", "input_size": [32_768, 256]}}, "invalid_spec", r"input_size.0"),
        ({"space": {"name": "fasterseg", "input_size": [128, 256], "classes": 0}}, "invalid_spec", "classes"),
        ({"space": {"name": "fasterseg", "input_size": [128, 256], "dtype": "float8"}}, "invalid_spec", "dtype"),
        ({"space": {"name": "fasterseg", "input_size": [128, 256], "dtype": "float16"}}, "invalid_spec", "backend 'paper'"),
        (
            {"space": {"name": "fasterseg", "input_size": [128, 256], "parameters": {"layer": 3}}},
            "unknown_name",
            "unknown parameter of search space 'fasterseg' 'layer'",
        ),
        ({"space": {"name": "fasterseg", "input_size": [128, 256], "path": "/etc/passwd"}}, "invalid_spec", "space.path"),
        ({"workloads": []}, "invalid_spec", "workloads"),
        ({"budget": "endless"}, "invalid_spec", "budget"),
        ({"onnx": "QUJD"}, "invalid_spec", "onnx"),
    ],
)
def test_a_job_that_cannot_be_is_refused_before_it_is_queued(
    client: TestClient, store: Store, change: dict[str, object], code: str, message: str
) -> None:
    response = client.post("/v1/jobs", json=JOB | change)

    assert response.status_code == 422, response.text
    assert detail(response).code == code
    assert message in detail(response).message
    assert store.jobs() == []
    assert store.tables() == []


@pytest.mark.parametrize(
    ("change", "hint"),
    [
        ({"budgt": "quick"}, "Did you mean 'budget'?"),
        ({"space": {"name": "fasterseg", "input_sice": [128, 256]}}, "Did you mean 'input_size'?"),
    ],
)
def test_an_unknown_field_offers_the_nearest(client: TestClient, change: dict[str, object], hint: str) -> None:
    found = detail(client.post("/v1/jobs", json=JOB | change))
    assert "there is no such field" in found.message
    assert found.hint == hint


OPERATOR = {"kind": "conv3x3", "in_channels": 8, "out_channels": 8, "height": 16, "width": 16}


@pytest.mark.parametrize(
    ("change", "code", "message"),
    [
        ({"kind": "conv3x4"}, "unknown_name", "unknown operator kind 'conv3x4'"),
        ({"in_channels": 0}, "invalid_spec", "in_channels"),
        ({"out_channels": -3}, "invalid_spec", "out_channels"),
        ({"in_channels": 10**9}, "invalid_spec", "in_channels"),
        ({"in_channels": 8.5}, "invalid_spec", "in_channels"),
        ({"height": 16_384, "width": 16_384, "in_channels": 512}, "workload_too_large", "memory"),
        ({"stride": 3}, "invalid_spec", "stride 3"),
        ({"dtype": "float8"}, "unknown_name", "unknown dtype 'float8'"),
        ({"dtype": "bfloat16"}, "invalid_spec", "workloads.0: dtype 'bfloat16' cannot be measured by backend 'paper'"),
        ({"attributes": {"kernal": 3}}, "unknown_name", "kernal"),
    ],
)
def test_a_workload_out_of_bounds_is_refused(
    client: TestClient, store: Store, change: dict[str, object], code: str, message: str
) -> None:
    response = client.post("/v1/jobs", json=JOB | {"workloads": [OPERATOR | change]})

    assert response.status_code == 422, response.text
    assert detail(response).code == code
    assert message in detail(response).message
    assert store.jobs() == []


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"input_size": [256, 256]}, "input"),
        ({"genotype": {"branches": [{"operators": ["conv3x3"] * 3, "scales": [8, 8, 64], "widths": [4, 4]}]}}, "workloads.0"),
        ({"space": "other"}, "other"),
    ],
)
def test_an_architecture_of_another_space_is_refused(client: TestClient, change: dict[str, object], message: str) -> None:
    space = create_space(SpaceSpec(name="fasterseg", input_size=(128, 256)))
    architecture = space.sample(np.random.default_rng(0)).model_dump(mode="json")
    assert client.post("/v1/jobs", json=JOB | {"workloads": [architecture]}).status_code == 202

    response = client.post("/v1/jobs", json=JOB | {"workloads": [architecture | change]})

    assert response.status_code == 422
    assert message in detail(response).message


@pytest.mark.parametrize(
    ("content", "headers", "status", "code"),
    [
        (b"{", {"Content-Type": "application/json"}, 422, "invalid_request"),
        (b"", {"Content-Type": "application/json"}, 422, "invalid_request"),
        (b"[]", {"Content-Type": "application/json"}, 422, "invalid_request"),
        (b"\x80\x04K\x01.", {"Content-Type": "application/octet-stream"}, 415, "invalid_request"),
        (b"{}", {}, 415, "invalid_request"),
        (b"{}", {"Content-Type": "text/plain"}, 415, "invalid_request"),
    ],
)
@pytest.mark.parametrize("path", ["/v1/jobs", "/v1/lookup"])
def test_a_body_that_is_no_json_document(
    client: TestClient, path: str, content: bytes, headers: dict[str, str], status: int, code: str
) -> None:
    response = client.post(path, content=content, headers=headers)
    assert response.status_code == status
    assert detail(response).code == code


@pytest.mark.parametrize(
    "body",
    [
        b"[" * 60_000,
        b'{"space": ' + b"9" * 5_000 + b"}",
        b'{"space": {"name": "\\ud800", "input_size": [64, 64]}}',
        b'{"space": {"name": "fasterseg", "input_size": [64, 64]}, "\\udfff": 1}',
        b"\xff\xfe{}",
        b'{"space": {"name": "fasterseg", "input_size": [NaN, 64]}}',
        b'{"space": {"name": "fasterseg", "input_size": [1e999, 64]}}',
        b'{"space": {"name": "\\u0000", "input_size": [64, 64]}}',
    ],
    ids=lambda body: str(body[:24]),
)
def test_a_body_that_is_meant_to_break_the_parser(client: TestClient, body: bytes) -> None:
    response = client.post("/v1/jobs", content=body, headers={"Content-Type": "application/json"})
    assert response.status_code in (400, 422)
    detail(response)


def test_where_a_document_breaks_off_is_told(client: TestClient) -> None:
    response = client.post("/v1/jobs", content=b'{"space": ', headers={"Content-Type": "application/json"})
    assert detail(response).message == "the body is no JSON document: EOF while parsing a value at line 1 column 10"


def _chunks(total: int) -> Callable[[], object]:
    return lambda: (b" " * 1024 for _ in range(total // 1024))


@pytest.mark.parametrize("announced", [True, False])
def test_a_body_that_is_too_large(client: TestClient, settings: Settings, announced: bool) -> None:
    size = settings.max_request_bytes + 1024
    content = b" " * size if announced else _chunks(size)()

    response = client.post("/v1/jobs", content=content, headers={"Content-Type": "application/json"})  # type: ignore[arg-type]

    assert response.status_code == 413
    assert detail(response).code is ErrorCode.TOO_LARGE
    assert str(settings.max_request_bytes) in detail(response).message


def test_an_error_that_nobody_foresaw_keeps_its_text_to_itself(app: FastAPI, queue: IdleQueue) -> None:
    def submit(*_: object, **__: object) -> None:
        raise RuntimeError("the password is swordfish")

    queue.submit = submit  # type: ignore[method-assign,assignment]
    with TestClient(app, raise_server_exceptions=False) as client, capture_logs() as logged:
        response = client.post("/v1/jobs", json=JOB)

    assert [str(line["exc_info"]) for line in logged if line["event"] == "unexpected error"] == ["the password is swordfish"]
    assert response.status_code == 500
    assert detail(response).code is ErrorCode.INTERNAL
    assert "swordfish" not in response.text
    assert detail(response).request_id in detail(response).hint


def test_a_database_that_fails_is_the_services_fault(client: TestClient, queue: IdleQueue) -> None:
    def submit(*_: object, **__: object) -> None:
        raise StorageError("the disk is full", hint="Free some space.")

    queue.submit = submit  # type: ignore[method-assign,assignment]
    response = client.post("/v1/jobs", json=JOB)

    assert response.status_code == 503
    assert (detail(response).code, detail(response).hint) == (ErrorCode.STORAGE, "Free some space.")


@pytest.mark.parametrize(
    ("sent", "kept"), [("build-7.step_3", True), ("a b", False), ("x" * 65, False), ("evil\tid", False), ("", False)]
)
def test_a_request_id_is_taken_over_only_if_it_is_harmless(client: TestClient, sent: str, kept: bool) -> None:
    answered = client.get("/healthz", headers={"X-Request-ID": sent}).headers["X-Request-ID"]
    assert (answered == sent) is kept
    assert answered


def test_errors_of_ours_cross_the_wire_with_hint(client: TestClient) -> None:
    error = detail(client.post("/v1/jobs", json={"space": {"name": "fasterseg ", "input_size": [128, 256]}}))
    assert error.hint == "Did you mean 'fasterseg'?"


def test_the_error_tree_has_no_code_of_its_own_outside_the_map() -> None:
    def codes(cls: type[OpclockError]) -> set[ErrorCode]:
        return {cls.code}.union(*(codes(child) for child in cls.__subclasses__()))

    assert codes(OpclockError) <= set(STATUS)
