"""A body costs no more than it is worth: bounded before it is parsed, refused at the first error, away from other requests."""

from __future__ import annotations

import gc
import threading
import tracemalloc

import pytest
from starlette.testclient import TestClient

from models.spec import limits
from models.spec.wire import JobCreate, LookupRequest
from profiler_service.api import bodies
from profiler_service.api.bodies import MAX_DEPTH, MAX_LISTS, MAX_MEMBERS, MAX_VALUES, SMALL_BYTES, parse_body
from profiler_service.api.errors import RequestError
from profiler_service.settings import Settings
from tests.support import table_samples as samples
from tests.unit.profiler_service.api.test_errors import detail

BODIES = {
    "empty lists": b'{"table_id": "a", "workloads": [' + b"[]," * 340_000 + b"[]]}",
    "numbers": b'{"table_id": "a", "workloads": [' + b"0," * 500_000 + b"0]}",
    "unknown fields": b'{"table_id": "a", ' + b",".join(b'"%d":0' % number for number in range(90_000)) + b"}",
    "one unknown field each": b'{"table_id": "a", "workloads": [' + b'{"x":0},' * 120_000 + b"{}]}",
    "a deep list": b'{"table_id": "a", "workloads": ' + b"[" * 500_000 + b"]" * 500_000 + b"}",
    "a long name": b'{"table_id": "a", "' + b"n" * 1_000_000 + b'": 0}',
    "a long id": b'{"table_id": "' + b"n" * 1_000_000 + b'", "workloads": [{}]}',
    "parameters": b'{"space": {"name": "fasterseg", "input_size": [64, 64], "parameters": {"a": ['
    + b'"",' * 250_000
    + b'""]}}}',
}


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES)
@pytest.mark.parametrize("record", [JobCreate, LookupRequest])
def test_a_megabyte_of_errors_is_refused_at_the_first(record: type[JobCreate | LookupRequest], body: bytes) -> None:
    """An error for each item took 600 times the memory of the body."""
    tracemalloc.start()
    with pytest.raises(RequestError) as caught:
        parse_body(record, body)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 40 * len(body)
    assert caught.value.status_code in (413, 422)
    assert 0 < len(caught.value.detail) < 1_000


def test_the_first_error_is_named_and_no_other_sought() -> None:
    body = b'{"table_id": "a", "workloads": [' + b'{"kind": "conv3x3"},' * 1_000 + b"{}]}"
    with pytest.raises(RequestError) as caught:
        parse_body(LookupRequest, body)
    assert caught.value.detail.startswith("body.workloads.0.")
    assert "more" not in caught.value.detail or int(caught.value.detail.rpartition("; ")[2].split()[0]) < 10


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"[" * (MAX_LISTS + 1), "lists and objects; the limit is 500000"),
        (b"," * (MAX_VALUES + 1), "values; the limit is 8000000"),
        (b"[" * (MAX_DEPTH + 2) + b"]" * (MAX_DEPTH + 2), "nested more than 16 levels deep"),
        (b"[" * 5_000 + b"]" * 5_000, "recursion limit"),
        (b"{" + b",".join(b'"%d": 0' % number for number in range(MAX_MEMBERS + 1)) + b"}", "over 256 members"),
    ],
)
def test_what_is_too_much_is_said(body: bytes, message: str) -> None:
    with pytest.raises(RequestError, match=message):
        parse_body(JobCreate, body)


def test_the_largest_lookup_that_is_allowed_passes() -> None:
    operator, architecture = samples.operator(), samples.architecture()
    for workload in (operator, architecture):
        text = workload.model_dump_json().encode()
        count = min(limits.MAX_WORKLOADS_PER_LOOKUP, limits.MAX_REQUEST_BYTES // (len(text) + 1) - 1)
        body = b'{"table_id": "a", "workloads": [' + b",".join([text] * count) + b"]}"
        wanted = parse_body(LookupRequest, body)
        assert isinstance(wanted, LookupRequest)
        assert len(wanted.workloads) == count


@pytest.mark.parametrize("size", [SMALL_BYTES - 100, SMALL_BYTES + 100])
def test_a_large_body_is_validated_off_the_event_loop(
    client: TestClient, monkeypatch: pytest.MonkeyPatch, size: int, settings: Settings
) -> None:
    threads: list[bool] = []

    def parse(record: type[LookupRequest], body: bytes) -> object:
        threads.append(any(name == "loop" for name in [threading.current_thread().name]))
        return parse_body(record, body)

    monkeypatch.setattr(bodies, "parse_body", parse)

    async def mark() -> None:
        threading.current_thread().name = "loop"

    assert client.portal is not None
    client.portal.call(mark)
    body = b'{"table_id": "a", "workloads": [{}]' + b" " * (size - 36) + b"}"
    assert len(body) < settings.max_request_bytes
    refused = client.post("/v1/lookup", content=body, headers={"Content-Type": "application/json"})
    assert refused.status_code == 422
    assert detail(refused).message.startswith("body.workloads.0")
    assert threads == [size <= SMALL_BYTES]


def test_the_collector_runs_again_after_a_large_body(client: TestClient) -> None:
    body = b'{"table_id": "a", "workloads": [{}]' + b" " * SMALL_BYTES + b"}"
    client.post("/v1/lookup", content=body, headers={"Content-Type": "application/json"})
    assert gc.isenabled()


def test_bodies_together_take_bounded_memory(client: TestClient, settings: Settings) -> None:
    """Of requests that are being read at the same time; here the others are only claimed."""
    limiter = client.app.middleware_stack  # type: ignore[attr-defined]
    while not hasattr(limiter, "_held"):
        limiter = getattr(limiter, "_app", None) or limiter.app
    limiter._held = 4 * settings.max_request_bytes
    busy = client.post("/v1/lookup", json={"table_id": "a", "workloads": []})
    assert busy.status_code == 503
    assert detail(busy).code == "busy"
    assert busy.headers["Retry-After"]
    limiter._held = 0
    assert client.post("/v1/lookup", json={"table_id": "a", "workloads": []}).status_code == 422
    assert limiter._held == 0
