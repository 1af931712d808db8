"""What a transport does with each kind of answer; the network itself is in tests/integration/test_client_http.py."""

from __future__ import annotations

import gzip
from collections.abc import Callable, Iterator, Sequence

import httpx
import pytest

from models.spec.errors import ErrorCode, ExitCode, InvalidSpecError
from models.spec.wire import ErrorBody, ErrorDetail
from nas_client.errors import IncompatibleServiceError, ServiceError, UnreachableError
from nas_client.settings import ClientSettings
from nas_client.transport import MAX_ANSWER_BYTES, Event, Transport

VERSION = {"Opclock-Api-Version": "2"}
Answer = httpx.Response | Exception | Callable[[httpx.Request], httpx.Response]


def transport(answers: Sequence[Answer], **settings: object) -> tuple[Transport, list[httpx.Request]]:
    """A transport whose requests get these answers in turn, and the list of what it sent."""
    sent: list[httpx.Request] = []
    queue = list(answers)

    def answer(request: httpx.Request) -> httpx.Response:
        sent.append(request)
        reply = queue.pop(0)
        if isinstance(reply, Exception):
            raise reply
        return reply(request) if callable(reply) else reply

    patience = {"backoff_s": 1e-3, "backoff_max_s": 2e-3, "attempts": 4} | settings
    return Transport("http://box:1", ClientSettings.load(**patience), http=httpx.MockTransport(answer)), sent


def error_body(code: ErrorCode) -> bytes:
    detail = ErrorDetail(code=code, message="what was wrong", hint="what to do", request_id="r-1")
    return ErrorBody(error=detail).model_dump_json().encode()


def ok(content: bytes = b"{}", **headers: str) -> httpx.Response:
    return httpx.Response(200, content=content, headers=VERSION | headers)


def test_reply_has_status_headers_and_body() -> None:
    client, sent = transport([ok(b"table", ETag='"abc"')])
    reply = client.request("GET", "/v1/tables/x", headers={"Accept": "text/csv"})
    assert (reply.status, reply.headers["etag"], reply.body) == (200, '"abc"', b"table")
    assert str(sent[0].url) == "http://box:1/v1/tables/x"
    assert sent[0].headers["accept"] == "text/csv"


@pytest.mark.parametrize(
    "passing",
    [
        httpx.ConnectError("refused"),
        httpx.ReadTimeout("slow"),
        httpx.RemoteProtocolError("reset"),
        httpx.ReadError("reset"),
        httpx.Response(429, headers=VERSION, content=error_body(ErrorCode.BUSY)),
        httpx.Response(503, headers=VERSION, content=error_body(ErrorCode.BUSY)),
        httpx.Response(502),
        httpx.Response(503),
        httpx.Response(504),
    ],
    ids=lambda answer: str(getattr(answer, "status_code", None) or type(answer).__name__),
)
def test_what_may_pass_is_tried_again(passing: Answer) -> None:
    client, sent = transport([passing, passing, ok(b"here")])
    assert client.request("GET", "/v1/jobs").body == b"here"
    assert len(sent) == 3


def test_post_is_repeated_with_the_same_idempotency_key() -> None:
    client, sent = transport([httpx.ReadError("reset"), ok()])
    detail = ErrorDetail(code=ErrorCode.BUSY, message="any record will do")
    client.request("POST", "/v1/jobs", body=detail, headers={"Idempotency-Key": "k"})
    assert [request.headers["idempotency-key"] for request in sent] == ["k", "k"]
    assert sent[0].content == sent[1].content == detail.model_dump_json().encode()
    assert sent[1].headers["content-type"] == "application/json"


def test_attempts_are_limited_and_the_last_reason_is_told() -> None:
    client, sent = transport([httpx.ConnectError("connection refused")] * 4)
    with pytest.raises(UnreachableError, match=r"no answer from http://box:1: connection refused") as caught:
        client.request("GET", "/v1/jobs")
    assert len(sent) == 4
    assert caught.value.exit_code is ExitCode.UNREACHABLE
    assert "profiler-service serve" in caught.value.hint


def test_slow_service_is_told_from_an_absent_one() -> None:
    client, _ = transport([httpx.ReadTimeout("timed out")] * 4)
    with pytest.raises(UnreachableError, match="did not answer in time"):
        client.request("GET", "/v1/jobs")


def test_gateway_without_a_service_behind_it() -> None:
    client, _ = transport([httpx.Response(502, text="<html>")] * 4)
    with pytest.raises(UnreachableError, match="a gateway at http://box:1 answers 502"):
        client.request("GET", "/v1/jobs")


def test_retry_after_beyond_the_deadline_is_not_waited_for() -> None:
    busy = httpx.Response(429, headers=VERSION | {"Retry-After": "3600"}, content=error_body(ErrorCode.BUSY))
    client, sent = transport([busy] * 4, deadline_s=5.0)
    with pytest.raises(ServiceError, match="what was wrong"):
        client.request("GET", "/v1/jobs")
    assert len(sent) == 1


def test_retry_after_takes_the_place_of_the_backoff() -> None:
    busy = httpx.Response(429, headers=VERSION | {"Retry-After": "0"}, content=error_body(ErrorCode.BUSY))
    client, sent = transport([busy, ok()], backoff_s=3600.0, backoff_max_s=3600.0, deadline_s=7200.0)
    client.request("GET", "/v1/jobs")
    assert len(sent) == 2


@pytest.mark.parametrize(
    ("status", "code", "exit_code"),
    [
        (404, ErrorCode.NOT_FOUND, ExitCode.BAD_INPUT),
        (422, ErrorCode.UNKNOWN_NAME, ExitCode.BAD_INPUT),
        (409, ErrorCode.CONFLICT, ExitCode.BAD_INPUT),
        (413, ErrorCode.TOO_LARGE, ExitCode.BAD_INPUT),
        (507, ErrorCode.STORAGE, ExitCode.UNREACHABLE),
        (500, ErrorCode.INTERNAL, ExitCode.UNREACHABLE),
    ],
)
def test_errors_of_the_service_keep_their_words(status: int, code: ErrorCode, exit_code: ExitCode) -> None:
    client, sent = transport([httpx.Response(status, headers=VERSION, content=error_body(code))])
    with pytest.raises(ServiceError, match="what was wrong") as caught:
        client.request("GET", "/v1/jobs")
    assert (caught.value.code, caught.value.hint, caught.value.request_id) == (code, "what to do", "r-1")
    assert caught.value.exit_code is exit_code
    assert len(sent) == 1, "an error that will not pass is not tried again"


def test_an_unexplained_error_names_the_call() -> None:
    client, _ = transport([httpx.Response(500, headers=VERSION, text="oops")])
    with pytest.raises(ServiceError, match="GET /v1/jobs was answered by 500"):
        client.request("GET", "/v1/jobs")


@pytest.mark.parametrize("status", [200, 302, 404, 500])
def test_another_kind_of_server_is_recognised(status: int) -> None:
    client, _ = transport([httpx.Response(status, text="<html>")])
    with pytest.raises(IncompatibleServiceError, match=f"no profiler service .status {status}") as caught:
        client.request("GET", "/v1/jobs")
    assert caught.value.exit_code is ExitCode.UNREACHABLE


def test_another_version_is_refused() -> None:
    client, _ = transport([httpx.Response(200, headers={"Opclock-Api-Version": "1"}, text="{}")])
    with pytest.raises(IncompatibleServiceError, match="speaks version 1 of the interface; this client speaks 2"):
        client.request("GET", "/v1/jobs")


def test_broken_compression_is_an_answer_of_something_else() -> None:
    client, _ = transport([lambda _: httpx.Response(200, headers=VERSION | {"Content-Encoding": "gzip"}, content=b"no")])
    with pytest.raises(IncompatibleServiceError, match="cannot be read"):
        client.request("GET", "/v1/jobs")


@pytest.mark.parametrize("url", ["box:1", "ftp://box", "http://", "/v1", "http://box:port", ""])
def test_addresses_that_are_none(url: str) -> None:
    with pytest.raises(InvalidSpecError, match="service address"):
        Transport(url, ClientSettings.load())


def test_events_arrive_one_by_one() -> None:
    stream = b": ping\n\nevent: job\ndata: {1}\n\nevent: job\ndata: {2}\n\n"
    client, _ = transport([ok(stream, **{"Content-Type": "text/event-stream"})])
    assert list(client.events("/v1/jobs/j/events")) == [Event("job", "{1}"), Event("job", "{2}")]


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (httpx.Response(404, headers=VERSION, content=error_body(ErrorCode.NOT_FOUND)), ServiceError),
        (httpx.Response(503, headers=VERSION, content=error_body(ErrorCode.BUSY)), ServiceError),
        (httpx.Response(200, text="hello"), IncompatibleServiceError),
        (ok(b"hello", **{"Content-Type": "text/plain"}), IncompatibleServiceError),
        (httpx.ConnectError("refused"), UnreachableError),
        (httpx.ReadTimeout("silence"), UnreachableError),
    ],
)
def test_streams_that_cannot_be_opened(answer: Answer, error: type[Exception]) -> None:
    client, sent = transport([answer])
    with pytest.raises(error):
        list(client.events("/v1/jobs/j/events"))
    assert len(sent) == 1


@pytest.mark.parametrize(("name", "value"), [("deadline_s", 0), ("attempts", 0), ("poll_s", float("nan"))])
def test_settings_are_bounded(name: str, value: float) -> None:
    with pytest.raises(InvalidSpecError, match=f"ClientSettings.{name}"):
        ClientSettings.load(**{name: value})


def test_settings_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPCLOCK_CLIENT_DEADLINE_S", "7.5")
    assert ClientSettings.load().deadline_s == 7.5
    assert ClientSettings.load(deadline_s=3.0).deadline_s == 3.0


def test_an_answer_that_expands_beyond_the_limit_is_refused() -> None:
    packed = gzip.compress(bytes(MAX_ANSWER_BYTES + 1))
    assert len(packed) < MAX_ANSWER_BYTES / 500
    client, sent = transport(
        [httpx.Response(200, headers=VERSION | {"Content-Encoding": "gzip"}, stream=httpx.ByteStream(packed))]
    )
    with pytest.raises(ServiceError, match=f"exceeds {MAX_ANSWER_BYTES} bytes decompressed") as caught:
        client.request("GET", "/v1/jobs")
    assert caught.value.code is ErrorCode.TOO_LARGE
    assert len(sent) == 1


def test_compression_within_compression_is_refused() -> None:
    packed = gzip.compress(gzip.compress(b"{}"))
    headers = VERSION | {"Content-Encoding": "gzip, gzip"}
    client, _ = transport([httpx.Response(200, headers=headers, stream=httpx.ByteStream(packed))])
    with pytest.raises(IncompatibleServiceError, match="encoded as 'gzip, gzip'"):
        client.request("GET", "/v1/jobs")


def test_a_stream_may_be_long_but_no_event_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nas_client.transport.MAX_EVENT_BYTES", 100)
    event = b"event: job\ndata: " + b"x" * 60 + b"\n\n"
    headers = VERSION | {"Content-Type": "text/event-stream"}

    class Pieces(httpx.SyncByteStream):
        def __iter__(self) -> Iterator[bytes]:
            yield from [event] * 5
            yield from [b"data: " + b"y" * 60] * 3

    client, _ = transport([httpx.Response(200, headers=headers, stream=Pieces())])
    seen: list[str] = []
    with pytest.raises(ServiceError, match="an event exceeds 100 bytes"):
        seen += (event.data for event in client.events("/v1/jobs/j/events"))
    assert seen == ["x" * 60] * 5
    client, _ = transport([httpx.Response(200, headers=headers | {"Content-Encoding": "gzip"}, stream=Pieces())])
    with pytest.raises(IncompatibleServiceError, match="encoded as 'gzip'"):
        list(client.events("/v1/jobs/j/events"))
