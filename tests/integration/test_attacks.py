"""What hostile clients send over real sockets; each of these once stopped the service, or got more out of it than it should."""

from __future__ import annotations

import resource
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import httpx
import pytest

from models.spec.targets import TargetSpec
from profiler_service.api.app import create_app
from profiler_service.api.connections import RESERVED_DESCRIPTORS, connection_limit
from profiler_service.errors import ServiceStartError
from profiler_service.settings import Settings
from profiler_service.storage.store import Store
from profiler_service.worker.protocol import BackendDescription
from tests.support.local_service import running
from tests.unit.profiler_service.api.conftest import IdleQueue

BACKEND = BackendDescription(
    target=TargetSpec(device="Test CPU", backend="paper", threads=1),
    dtypes=("float32",),
    reads_onnx=False,
    builds_on_device=False,
)
HEAD_TIMEOUT_S = 0.3


@contextmanager
def service(folder: Path, **settings: object) -> Iterator[httpx.Client]:
    chosen = Settings.load(database=folder / "opclock.sqlite", **settings)
    with Store.open(chosen.database) as store:
        app = create_app(chosen, store=store, queue=IdleQueue(store), backend=BACKEND)  # type: ignore[arg-type]
        with running(app) as url, httpx.Client(base_url=url, timeout=20) as client:
            yield client


@pytest.fixture
def client(tmp_path: Path) -> Iterator[httpx.Client]:
    with service(tmp_path, head_timeout_s=HEAD_TIMEOUT_S, max_connections=8) as client:
        yield client


def connect(client: httpx.Client) -> socket.socket:
    return socket.create_connection((client.base_url.host, client.base_url.port or 80), timeout=20)


def exchange(client: httpx.Client, request: bytes) -> bytes:
    """What comes back until the service closes the connection; fails if it has not within 20 s."""
    with connect(client) as own:
        with suppress(ConnectionError):
            own.sendall(request)
        answer = b""
        while part := _received(own):
            answer += part
        return answer


def _received(own: socket.socket) -> bytes:
    with suppress(ConnectionError):
        return own.recv(65_536)
    return b""


HOST = b"Host: 127.0.0.1\r\n"


@pytest.mark.parametrize("sent", [b"", b"GET /healthz HTTP/1.1\r\nHost: 127."], ids=["idle", "half a head"])
def test_idle_and_half_open_connections_are_closed(client: httpx.Client, sent: bytes) -> None:
    started = time.monotonic()
    assert exchange(client, sent) == b""
    assert time.monotonic() - started >= HEAD_TIMEOUT_S * 0.9


def test_a_second_head_must_come_in_time_as_well(client: httpx.Client) -> None:
    answer = exchange(client, b"GET /healthz HTTP/1.1\r\n" + HOST + b"\r\n" + b"GET /healthz HT")
    assert answer.count(b"200 OK") == 1


def test_a_body_may_take_longer_than_a_head(client: httpx.Client) -> None:
    with connect(client) as own:
        own.sendall(
            b"POST /v1/jobs HTTP/1.1\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: 2\r\n" + HOST
        )
        own.sendall(b"\r\n{")
        time.sleep(2 * HEAD_TIMEOUT_S)
        own.sendall(b"}")
        assert own.recv(65_536).startswith(b"HTTP/1.1 422 ")


def test_those_who_hold_connections_open_keep_nobody_out(tmp_path: Path) -> None:
    with service(tmp_path, max_connections=8, head_timeout_s=60) as client, ExitStack() as stack:
        held = [stack.enter_context(connect(client)) for _ in range(100)]
        for own in held[::2]:
            with suppress(ConnectionError):
                own.sendall(b"POST /v1/jobs HTTP/1.1\r\n")
        for _ in range(3):
            with httpx.Client(base_url=client.base_url, timeout=20) as other:
                assert other.get("/healthz").status_code == 200


def test_connections_leave_descriptors_for_the_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: (1_024, 4_096))
    assert connection_limit(256) == 256
    assert connection_limit(65_536) < 1_024 - RESERVED_DESCRIPTORS
    monkeypatch.setattr(resource, "getrlimit", lambda _: (256, 4_096))
    with pytest.raises(ServiceStartError, match="may open 256 files") as caught:
        connection_limit(256)
    assert "ulimit -n" in caught.value.hint


def test_a_body_must_arrive_in_time(tmp_path: Path) -> None:
    head = b"POST /v1/jobs HTTP/1.1\r\nContent-Type: application/json\r\nContent-Length: 100\r\n" + HOST + b"\r\n{"
    with service(tmp_path, body_timeout_s=0.3) as client:
        answer = exchange(client, head)
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert b"did not arrive in time" in answer


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (b"POST /nothing HTTP/1.1\r\nContent-Type: application/json\r\n", 404),
        (b"PUT /v1/jobs HTTP/1.1\r\nContent-Type: application/json\r\n", 405),
        (b"POST /v1/jobs HTTP/1.1\r\nContent-Type: text/plain\r\n", 415),
        (b"GET /v1/tables HTTP/1.1\r\n", 400),
        (b"GET /nothing HTTP/1.1\r\n", 400),
        (b"DELETE /v1/jobs/a HTTP/1.1\r\n", 400),
    ],
)
@pytest.mark.parametrize("framing", [b"Content-Length: 200000000\r\n", b"Transfer-Encoding: chunked\r\n"])
def test_a_body_where_none_belongs_is_not_read(client: httpx.Client, head: bytes, status: int, framing: bytes) -> None:
    answer = exchange(client, head + framing + HOST + b"\r\n")
    assert answer.startswith(b"HTTP/1.1 %d " % status)
    assert b"connection: close\r\n" in answer.lower()


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        (b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\nContent-Type: application/json\r\n", 400),
        (b"Content-Length: 2\r\nContent-Length: 3\r\n", 400),
        (b"".join(b"X-%d: a\r\n" % number for number in range(200)), 431),
        (b"X-Long: " + b"a" * 20_000 + b"\r\n", 431),
        (b"X: a\r\n" * 10_000, None),
        (b"X-Long: " + b"a" * 100_000 + b"\r\n", None),
    ],
    ids=["two framings", "two lengths", "200 headers", "20 KB", "10,000 headers", "100 KB"],
)
def test_heads_are_bounded_and_unambiguous(client: httpx.Client, headers: bytes, status: int | None) -> None:
    """The largest are refused by the parser (400) or by us (431), by how they are cut into packets."""
    answer = exchange(client, b"POST /v1/lookup HTTP/1.1\r\n" + HOST + headers + b"\r\n2\r\n{}\r\n0\r\n\r\n")
    assert answer.startswith((b"HTTP/1.1 400 ", b"HTTP/1.1 431 ") if status is None else b"HTTP/1.1 %d " % status)


def test_a_long_address_is_refused(client: httpx.Client) -> None:
    assert client.get("/v1/tables?" + "a" * 17_000).status_code == 431


@pytest.mark.parametrize("table_id", [b"\\ud800", b"\\udfffa", b"a\\u0000b"])
def test_an_id_that_is_no_text_is_refused(client: httpx.Client, table_id: bytes) -> None:
    operator = b'{"kind": "conv3x3", "in_channels": 8, "out_channels": 8, "height": 16, "width": 16}'
    body = b'{"table_id": "' + table_id + b'", "workloads": [' + operator + b"]}"
    answer = client.post("/v1/lookup", content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code in (404, 422)
    assert client.get("/v1/tables/%ED%A0%80").status_code == 404
    assert client.get("/v1/jobs/%ED%A0%80").status_code == 404


def test_small_answers_go_out_at_once(client: httpx.Client) -> None:
    """Without TCP_NODELAY every call on a kept connection takes 40 ms longer."""
    with connect(client) as own:
        own.sendall(b"GET /healthz HTTP/1.1\r\n" + HOST + b"\r\n")
        own.recv(65_536)
        times = []
        for _ in range(20):
            started = time.perf_counter()
            own.sendall(b"GET /healthz HTTP/1.1\r\n" + HOST + b"\r\n")
            own.recv(65_536)
            times.append(time.perf_counter() - started)
    assert sorted(times)[5] < 0.03
