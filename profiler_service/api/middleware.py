"""What holds for every request before any route sees it: its id, its size limit, its log line, and an answer at all costs."""

from __future__ import annotations

import re
import time
import uuid
from http import HTTPStatus

import structlog
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from models.spec.errors import ErrorCode
from models.spec.wire import API_VERSION, REQUEST_ID_HEADER, VERSION_HEADER
from profiler_service.api.errors import RequestError, unexpected
from profiler_service.api.metrics import Metrics

log = structlog.get_logger(__name__)

_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
"""What may be taken over from a client into logs and headers."""


UNMATCHED = "unmatched"
"""Operation of a path that no route knows: a path itself would make a time series of every typing error."""


class RequestContext:
    """Outermost: gives the request an id, the response its headers, the log a line and the metrics a sample.

    An error that nothing further in handles becomes the 500 of the one error shape, unless the response has begun.
    """

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
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
            log.info("request", method=scope["method"], path=scope["path"], status=status, seconds=round(seconds, 4))


class BodyLimit:
    """Refuses a body that is too large: at once where its length is announced, otherwise as soon as it passes the limit."""

    def __init__(self, app: ASGIApp, limit_bytes: int) -> None:
        self._app = app
        self._limit_bytes = limit_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        announced = Headers(scope=scope).get("Content-Length", "")
        received = int(announced) if announced.isdecimal() else 0
        counted = 0

        async def limited() -> Message:
            nonlocal counted
            self._require_within(received)
            message = await receive()
            counted += len(message.get("body", b""))
            self._require_within(counted)
            return message

        await self._app(scope, limited, send)

    def _require_within(self, size: int) -> None:
        if size > self._limit_bytes:
            raise RequestError(
                HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
                ErrorCode.TOO_LARGE,
                f"the request's body has more than {self._limit_bytes} bytes",
                hint="Ask for fewer workloads at a time, or for the whole space by its name.",
                headers={"Connection": "close"},  # or the rest of the body would be read and thrown away
            )
