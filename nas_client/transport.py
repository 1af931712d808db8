"""The only module that knows HTTP: calls with retries and a deadline, server-sent events, errors as ours.

Every call of the service's interface may be repeated: reads, cancelling, looking up, and creating a job by its idempotency
key. So every call is retried when the connection fails, is reset mid-answer or times out, and on 429, 502, 503 and 504.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import Self
from urllib.request import getproxies

import httpx
import httpx_sse
import stamina
import stamina.instrumentation

from models.safe_text import bare_address
from models.spec import limits
from models.spec.base import Record
from models.spec.errors import ErrorCode, InvalidSpecError
from models.spec.wire import JSON_MEDIA_TYPE
from nas_client.answers import Answers, Call, Reply, RetriedStatusError
from nas_client.bodies import DamagedBodyError, LargeBodyError, gather
from nas_client.credentials import token_for
from nas_client.errors import IncompatibleServiceError, ServiceError, UnreachableError
from nas_client.settings import ClientSettings

MAX_ANSWER_BYTES = 64 * 2**20
"""An answer that is no table is refused beyond this, as it is after decompression; 20,000 looked-up entries take a third."""

MAX_LIST_BYTES = 256 * 2**20
"""The same for lists of jobs, each of which may name 20,000 workloads, and of tables."""

MAX_TABLE_BYTES = limits.MAX_TABLE_BYTES
"""The same for a table."""

MAX_EVENT_BYTES = 16 * 2**20
"""A stream that sends more than this without ending an event is refused; a job of 20,000 workloads takes a fifth of it."""

IDEMPOTENCY_HEADER = "Idempotency-Key"
_LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})
"""Hosts that are reached without the proxy of the environment: to a proxy, loopback means the proxy's own machine."""


@dataclass(frozen=True)
class Event:
    """One server-sent event."""

    name: str
    data: str


class Transport:
    """A connection to one service. A context manager; not for use by several threads at once.

    Args:
        url: address of the service, `http://host:port`.
        settings: patience.
        http: what carries requests; a test's own, or None for the network.

    Raises:
        InvalidSpecError: the address is no HTTP URL, or carries a password; or the token's file may be read by others.
        UnreachableError: the environment names a proxy that cannot be used.
    """

    def __init__(self, url: str, settings: ClientSettings, *, http: httpx.BaseTransport | None = None) -> None:
        self.url = _checked_url(url)
        self._settings = settings
        token = token_for(self.url, settings)
        self._answers = Answers(self.url, has_token=token is not None)
        headers = {"Accept-Encoding": "gzip"}
        if token is not None:
            headers["Authorization"] = f"Bearer {token.get_secret_value()}"
        if http is None and httpx.URL(self.url).host in _LOOPBACK:
            http = httpx.HTTPTransport()
        try:
            # Redirects are never followed: the token is for this host, and so is the question.
            self._client = httpx.Client(base_url=self.url, transport=http, headers=headers, follow_redirects=False)
        except (ImportError, ValueError) as error:
            raise _unusable_proxy(self.url, error) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def request(
        self,
        method: str,
        path: str,
        *,
        body: Record | None = None,
        headers: Mapping[str, str] | None = None,
        most_bytes: int = MAX_ANSWER_BYTES,
    ) -> Reply:
        """One call, repeated as the module's docstring says, within the deadline. No redirect is followed.

        Args:
            method: of the call.
            path: of the call; starts with `/`.
            body: sent as JSON.
            headers: beyond those of every call.
            most_bytes: limit on the answer's body, decompressed.

        Raises:
            ServiceError: the service answered with an error.
            UnreachableError: nothing answered, or not in time.
            IncompatibleServiceError: whatever answered is no profiler service, or of another version.
        """
        sent = {"Accept": JSON_MEDIA_TYPE, **(headers or {})}
        content = None if body is None else body.model_dump_json().encode()
        if content is not None:
            sent["Content-Type"] = JSON_MEDIA_TYPE
        deadline = _Deadline(self._settings.deadline_s)
        with self._translated():
            for attempt in stamina.retry_context(
                on=lambda error: _backoff(error, deadline),
                attempts=self._settings.attempts,
                timeout=self._settings.deadline_s,
                wait_initial=self._settings.backoff_s,
                wait_max=self._settings.backoff_max_s,
                wait_jitter=self._settings.backoff_s,
            ):
                with attempt:
                    return self._once(method, path, content, sent, deadline, most_bytes)
        raise AssertionError("retry_context ends with a result or an exception")

    def events(self, path: str) -> Iterator[Event]:
        """The events of one stream, until the service ends it. Not retried: the caller knows what it has seen.

        Raises:
            ServiceError, IncompatibleServiceError: as `request`.
            UnreachableError: the stream could not be opened, broke, or stayed silent for too long.
        """
        silence = self._settings.event_silence_s
        timeout = httpx.Timeout(silence, connect=self._settings.connect_timeout_s)
        with (
            self._translated(),
            httpx_sse.connect_sse(
                self._client, "GET", path, headers={"Accept-Encoding": "identity"}, timeout=timeout
            ) as source,
        ):
            response = source.response
            if response.status_code != httpx.codes.OK:
                self._check(response, self._body(response, MAX_ANSWER_BYTES, _Deadline(silence)))
            self._answers.check_version(_reply(response, b""))
            if _coding(response) != "identity":
                raise DamagedBodyError(f"an event stream encoded as {_coding(response)!r}, though that was not asked for")
            response.stream = incoming = _EventBytes(_bytes_of(response))
            for event in source.iter_sse():
                incoming.restart()
                if event.data:
                    yield Event(event.event, event.data)

    def _once(
        self, method: str, path: str, content: bytes | None, headers: Mapping[str, str], deadline: _Deadline, most_bytes: int
    ) -> Reply:
        left = deadline.left_s()
        timeout = httpx.Timeout(min(left, self._settings.read_timeout_s), connect=min(left, self._settings.connect_timeout_s))
        with self._client.stream(method, path, content=content, headers=dict(headers), timeout=timeout) as response:
            return self._check(response, self._body(response, most_bytes, deadline))

    def _body(self, response: httpx.Response, most_bytes: int, deadline: _Deadline) -> bytes:
        def in_time() -> Iterator[bytes]:
            for chunk in _bytes_of(response):
                yield chunk
                if deadline.passed:  # a trickle of bytes never runs into the read timeout
                    raise httpx.ReadTimeout("the answer had not ended")

        return gather(in_time(), _coding(response), most_bytes)

    def _check(self, response: httpx.Response, body: bytes) -> Reply:
        """The reply, or the error it stands for."""
        url = response.request.url
        return self._answers.check(Call(response.request.method, url.path, url.netloc.decode()), _reply(response, body))

    @contextmanager
    def _translated(self) -> Iterator[None]:
        """Errors of httpx as ours."""
        try:
            yield
        except RetriedStatusError as error:
            raise error.final from error
        except httpx.TimeoutException as error:
            raise UnreachableError(
                f"the service at {self.url} did not answer in time ({_why(error)})",
                hint="Check that it runs and is not overloaded, or allow more time by OPCLOCK_CLIENT_DEADLINE_S.",
            ) from error
        except LargeBodyError as error:
            raise ServiceError(
                f"{self.url}: {error}",
                hint="No service of this release sends so much; check the address.",
                code=ErrorCode.TOO_LARGE,
            ) from error
        except (httpx.DecodingError, DamagedBodyError, httpx_sse.SSEError) as error:
            raise IncompatibleServiceError(f"the answer from {self.url} cannot be read: {_why(error)}") from error
        except httpx.TransportError as error:
            raise UnreachableError(
                f"no answer from {self.url}: {_why(error)}",
                hint="Start it with `profiler-service serve`, or check the address and the port.",
            ) from error


class _EventBytes(httpx.SyncByteStream):
    """A stream of which no single event may exceed the limit."""

    def __init__(self, inner: httpx.SyncByteStream) -> None:
        self._inner = inner
        self._seen = 0

    def restart(self) -> None:
        """An event has ended."""
        self._seen = 0

    def __iter__(self) -> Iterator[bytes]:
        for chunk in self._inner:
            self._seen += len(chunk)
            if self._seen > MAX_EVENT_BYTES:
                raise LargeBodyError(f"an event exceeds {MAX_EVENT_BYTES} bytes, the limit")
            yield chunk

    def close(self) -> None:
        self._inner.close()


def _bytes_of(response: httpx.Response) -> httpx.SyncByteStream:
    """The body as it travelled: httpx would decompress a chunk to any size."""
    if not isinstance(response.stream, httpx.SyncByteStream):
        raise TypeError(f"{type(response.stream).__name__} is no stream of a synchronous client")
    return response.stream


def _coding(response: httpx.Response) -> str:
    return str(response.headers.get("Content-Encoding", "")).strip().lower() or "identity"


class _Deadline:
    """A point in time by which a call, retries and all, must have ended."""

    def __init__(self, seconds: float) -> None:
        self._end = time.monotonic() + seconds

    def left_s(self) -> float:
        """At least a millisecond, so that an attempt begun at the last moment times out and is not an error."""
        return max(self._end - time.monotonic(), 1e-3)

    @property
    def passed(self) -> bool:
        return time.monotonic() >= self._end


def announce_retries(say: Callable[[str], None]) -> None:
    """Report every retry of this process to `say`, in place of stamina's log, which may write to a command's stdout."""

    def report(details: stamina.instrumentation.RetryDetails) -> None:
        say(f"{_why(details.caused_by)}; trying again in {details.wait_for:.1f} s")

    stamina.instrumentation.set_on_retry_hooks([report])


def _backoff(error: Exception, deadline: _Deadline) -> bool | float:
    """Whether to try again, and in how many seconds where the service said so."""
    if isinstance(error, RetriedStatusError):
        if error.retry_after_s is None:
            return True
        return error.retry_after_s if error.retry_after_s < deadline.left_s() else False
    return isinstance(error, httpx.TransportError) and not isinstance(error, httpx.UnsupportedProtocol)


def _reply(response: httpx.Response, body: bytes) -> Reply:
    return Reply(response.status_code, dict(response.headers), body)


def _why(error: Exception) -> str:
    """The error's message, or its kind: httpx leaves some messages empty."""
    return str(error) or type(error).__name__


def _checked_url(text: str) -> str:
    shown = bare_address(text)
    try:
        url = httpx.URL(text.strip())
    except httpx.InvalidURL as error:
        why = "" if shown != text else f": {error}"
        raise InvalidSpecError(f"service address {shown!r} is no HTTP URL{why}", hint="Write it as http://host:port.") from None
    if url.scheme not in ("http", "https") or not url.host:
        raise InvalidSpecError(f"service address {shown!r} is no HTTP URL", hint="Write it as http://host:port.")
    if url.userinfo or url.query or url.fragment:
        raise InvalidSpecError(
            f"service address {shown!r} carries a user, password, query or fragment, which logs and lists of processes show",
            hint="Write it as http://host:port, and give a token by OPCLOCK_CLIENT_TOKEN or OPCLOCK_CLIENT_TOKEN_FILE.",
        )
    return str(url).rstrip("/")


def _unusable_proxy(url: str, error: Exception) -> UnreachableError:
    """The proxy of the environment is of a kind that httpx cannot use here."""
    named = {name: value for name, value in getproxies().items() if name in ("all", "http", "https")}
    shown = ", ".join(f"{name.upper()}_PROXY={bare_address(value)}" for name, value in sorted(named.items()))
    socks = any(value.lower().startswith("socks") for value in named.values())
    return UnreachableError(
        f"the proxy of the environment ({shown}) cannot be used to reach {url}"
        + (": SOCKS needs the package socksio, which is not installed" if socks and isinstance(error, ImportError) else ""),
        hint=("Run `pip install socksio`, name" if socks else "Name") + " the host in NO_PROXY, or unset the proxy.",
    )
