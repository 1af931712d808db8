"""What holds for every request before any route sees it: its id, its limits, its log line, and an answer at all costs."""

from __future__ import annotations

import asyncio
import re
import time
import uuid
from http import HTTPStatus
from urllib.parse import quote

import structlog
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from models.spec.errors import ErrorCode
from models.spec.wire import API_VERSION, REQUEST_ID_HEADER, VERSION_HEADER
from profiler_service.api.bodies import has_body
from profiler_service.api.errors import RequestError, answer_to, unexpected
from profiler_service.api.metrics import Metrics

log = structlog.get_logger(__name__)

_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
"""What may be taken over from a client into logs and headers."""


MAX_LOGGED = 200
"""Characters of a path in the log."""

PROTECTIVE_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
"""For browsers, on every answer: nothing here is a page, a script or an image of another site's. /docs has its own policy."""

UNMATCHED = "unmatched"
"""Operation of a path that no route knows: a path itself would make a time series of every typing error."""


MAX_HEADERS = 100
MAX_HEAD_BYTES = 16 * 1024
"""What common servers take: a browser sends some 20 headers of 1 to 2 KB in all."""

BODIES_AT_ONCE = 4
"""Largest bodies that may be in memory together."""


class RequestContext:
    """Outermost: gives the request an id, the response its headers, the log a line and the metrics a sample.

    Below a root path it makes paths what clients see. An error that nothing further in handles becomes the 500 of the one
    error shape, unless the response has begun.
    """

    def __init__(self, app: ASGIApp, metrics: Metrics, root_path: str = "") -> None:
        self._app = app
        self._metrics = metrics
        self._root_path = root_path

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        scope = self._below_root(scope)
        given = Headers(scope=scope).get(REQUEST_ID_HEADER, "")
        request_id = given if _REQUEST_ID.fullmatch(given) else uuid.uuid4().hex
        scope.setdefault("state", {})["request_id"] = request_id
        status = 0

        async def answer(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = int(message["status"])
                headers = MutableHeaders(scope=message)
                headers[REQUEST_ID_HEADER] = request_id
                headers[VERSION_HEADER] = str(API_VERSION)
                for name, value in PROTECTIVE_HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        started = time.perf_counter()
        with structlog.contextvars.bound_contextvars(request_id=request_id):
            try:
                await self._app(scope, receive, answer)
            except Exception as error:
                log.exception("unexpected error", exc_info=error)
                if status:
                    raise
                await unexpected(request_id)(scope, receive, answer)
            seconds = time.perf_counter() - started
            operation = getattr(scope.get("endpoint"), "__name__", UNMATCHED)
            self._metrics.observe(scope["method"], operation, status, seconds)
            path = quote(scope["path"][:MAX_LOGGED])  # no escape sequences into terminals that show the log
            log.info("request", method=scope["method"], path=path, status=status, seconds=round(seconds, 4))

    def _below_root(self, scope: Scope) -> Scope:
        """The scope with the path as clients see it, whether or not a proxy has removed the root path from it."""
        root = self._root_path
        if not root:
            return scope
        path = scope["path"] if f"{scope['path']}/".startswith(f"{root}/") else root + scope["path"]
        return {**scope, "root_path": root, "path": path}


class RequestLimits:
    """Bounds what a request may send, and how long it may take to do so.

    Refused are too many or too long headers, a body that is ambiguous about its length, one that is too large, at once where
    its length is announced, otherwise as soon as it passes the limit, and bodies that together take too much memory. A
    connection whose body was not read to the end is closed with the answer, which ends the sending.

    Args:
        app: receives what is within the limits.
        limit_bytes: of one body.
        timeout_s: for a body to arrive.
    """

    def __init__(self, app: ASGIApp, limit_bytes: int, timeout_s: float) -> None:
        self._app = app
        self._limit_bytes = limit_bytes
        self._timeout_s = timeout_s
        self._held = 0  # bytes of the bodies of all requests that are being answered

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        announced = int(text) if (text := headers.get("Content-Length", "")).isdecimal() else 0
        complete, counted = not has_body(headers), 0
        deadline = time.monotonic() + self._timeout_s

        async def limited() -> Message:
            nonlocal complete, counted
            if complete:
                return await receive()
            self._require_within(announced)
            message = await _before(deadline, receive)
            size = len(message.get("body", b""))
            counted += size
            self._held += size
            self._require_within(counted)
            self._require_memory()
            complete = not message.get("more_body", False)
            return message

        async def answer(message: Message) -> None:
            if message["type"] == "http.response.start" and not complete:
                MutableHeaders(scope=message)["Connection"] = "close"
            await send(message)

        try:
            if (error := _problem_of_head(scope, headers)) is not None:
                complete = False
                await answer_to(error, scope["state"]["request_id"])(scope, receive, answer)
            else:
                await self._app(scope, limited, answer)
        finally:
            self._held -= counted

    def _require_within(self, size: int) -> None:
        if size > self._limit_bytes:
            raise RequestError(
                HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
                ErrorCode.TOO_LARGE,
                f"the request's body has more than {self._limit_bytes} bytes",
                hint="Ask for fewer workloads at a time, or for the whole space by its name.",
            )

    def _require_memory(self) -> None:
        if self._held > BODIES_AT_ONCE * self._limit_bytes:
            raise RequestError(
                HTTPStatus.SERVICE_UNAVAILABLE,
                ErrorCode.BUSY,
                "the service is reading other large requests",
                hint="Send the request again in a few seconds.",
                headers={"Retry-After": "5"},
            )


def _problem_of_head(scope: Scope, headers: Headers) -> RequestError | None:
    """What is wrong with the size or framing of a request's head."""
    size = len(scope.get("raw_path", b"")) + len(scope["query_string"]) + sum(len(k) + len(v) for k, v in headers.raw)
    if len(headers.raw) > MAX_HEADERS or size > MAX_HEAD_BYTES:
        return RequestError(
            HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE,
            ErrorCode.TOO_LARGE,
            f"the head has {len(headers.raw)} headers and {size} bytes; the limits are {MAX_HEADERS} and {MAX_HEAD_BYTES}",
            hint="Send fewer or shorter headers.",
        )
    if "Content-Length" in headers and "Transfer-Encoding" in headers:
        return RequestError(
            HTTPStatus.BAD_REQUEST,
            ErrorCode.INVALID_REQUEST,
            "the request has both Content-Length and Transfer-Encoding, so that its end is ambiguous",
            hint="Send one of them.",
        )
    return None


async def _before(deadline: float, receive: Receive) -> Message:
    try:
        async with asyncio.timeout(deadline - time.monotonic()):
            return await receive()
    except TimeoutError as error:
        raise RequestError(
            HTTPStatus.REQUEST_TIMEOUT,
            ErrorCode.INVALID_REQUEST,
            "the request's body did not arrive in time",
            hint="Send it again over a faster connection, or ask for fewer workloads at a time.",
        ) from error
