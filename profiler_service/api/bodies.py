"""Bodies of requests: where one belongs, and how its JSON becomes a record without holding up other requests.

What a body costs is bounded before it is parsed, and validation ends at the first error: a body is small, but an error for each
of its items, or a parsed form of thirty times its size, is not.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Coroutine, Iterable
from http import HTTPStatus
from typing import Any

import anyio
from fastapi import Request, Response
from fastapi.routing import APIRoute
from pydantic import ValidationError
from pydantic_core import from_json
from starlette.datastructures import Headers

from models.spec.base import Record, invalid_of
from models.spec.errors import ErrorCode
from models.spec.wire import JSON_MEDIA_TYPE
from profiler_service.api.errors import RequestError

_WITH_BODY = frozenset({"POST", "PUT", "PATCH"})

MAX_DEPTH = 16
"""Lists and objects inside each other; the deepest document that is read here has 7."""

MAX_MEMBERS = 256
"""Names in one object; no record has more than 30 fields."""

MAX_NAME = 200
"""Characters of a name in an object."""

MAX_LISTS = 500_000
"""Lists and objects in a body. 20,000 networks of three branches have 280,000."""

MAX_VALUES = 8_000_000
"""Commas and colons in a body: 32 MiB of the networks with the most layers have 7 million."""

SMALL_BYTES = 32 * 1024
"""A body up to which validating it takes about as long as handing it to a thread."""


def has_body(headers: Headers) -> bool:
    """Whether a body follows a request's head."""
    return headers.get("Content-Length", "0").strip("0 ") != "" or "Transfer-Encoding" in headers


FORM_MEDIA_TYPE = "application/x-www-form-urlencoded"


def require_fitting_body(method: str, headers: Headers, *, form: bool = False) -> None:
    """Raises RequestError for a body where none belongs, and for one that does not call itself JSON.

    Nothing else is read here, pickles and ONNX files least of all. A form of another site's page cannot be JSON.

    Args:
        method: of the request.
        headers: of the request.
        form: whether a form, or nothing, belongs there instead of JSON.
    """
    wanted = FORM_MEDIA_TYPE if form else JSON_MEDIA_TYPE
    if method not in _WITH_BODY:
        if has_body(headers):
            raise RequestError(
                HTTPStatus.BAD_REQUEST, ErrorCode.INVALID_REQUEST, f"{method} takes no body", hint="Send it without one."
            )
        return
    if not has_body(headers) and (form or method != "POST"):
        return
    content_type = headers.get("Content-Type", "")
    if content_type.partition(";")[0].strip().lower() != wanted:
        raise RequestError(
            HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
            ErrorCode.INVALID_REQUEST,
            f"a body of type {content_type[:100] or 'unknown'!r} is not read here",
            hint="Send a form." if form else f"Send a JSON document as {JSON_MEDIA_TYPE}.",
        )


def parse_body(record: type[Record], body: bytes) -> Record:
    """The record that a body holds.

    Raises:
        RequestError: it is no JSON, too complex, or not such a record; names the first field that is wrong.
    """
    _require_bounded(body)
    try:
        document = from_json(body, allow_inf_nan=False, cache_strings="keys")  # for values it takes more than it saves
    except ValueError as error:
        raise _unprocessable(ErrorCode.INVALID_REQUEST, f"the body is no JSON document: {error}", "Check the body.") from error
    _require_shallow(document)
    try:
        return record.model_validate(document)
    except ValidationError as error:
        problems = error.errors(include_url=False)
        below = [{**problem, "loc": ("body", *problem["loc"])} for problem in problems]
        problem = invalid_of(below, record=record, below=1)
        code = problem.code if problems[0]["loc"] else ErrorCode.INVALID_REQUEST
        raise _unprocessable(code, problem.message, problem.hint) from error


def _require_bounded(body: bytes) -> None:
    lists, values = body.count(b"[") + body.count(b"{"), body.count(b",") + body.count(b":")
    for found, limit, what in ((lists, MAX_LISTS, "lists and objects"), (values, MAX_VALUES, "values")):
        if found > limit:
            raise RequestError(
                HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
                ErrorCode.TOO_LARGE,
                f"the body has about {found} {what}; the limit is {limit}",
                hint="Ask for fewer workloads at a time.",
            )


def _require_shallow(document: Any) -> None:
    """Raises RequestError for a document that is nested deeply, or has an object of many members."""
    level: list[Any] = [document]
    for _ in range(MAX_DEPTH + 1):
        for item in level:
            if not isinstance(item, dict):
                continue
            if len(item) > MAX_MEMBERS or any(len(name) > MAX_NAME for name in item):
                raise _unprocessable(
                    ErrorCode.INVALID_REQUEST,
                    f"an object of the body has over {MAX_MEMBERS} members, or a name of over {MAX_NAME} characters",
                    "Check the body.",
                )
        level = [inner for item in level for inner in _items(item) if isinstance(inner, list | dict)]
        if not level:
            return
    raise _unprocessable(ErrorCode.INVALID_REQUEST, f"the body is nested more than {MAX_DEPTH} levels deep", "Check the body.")


def _items(item: Any) -> Iterable[Any]:
    return item.values() if isinstance(item, dict) else item if isinstance(item, list) else ()


def _unprocessable(code: ErrorCode, message: str, hint: str) -> RequestError:
    return RequestError(HTTPStatus.UNPROCESSABLE_ENTITY, code, message, hint=hint)


class ParsedRoute(APIRoute):
    """A route whose body is a record. The record is made in a thread, one large body at a time."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """The framework's handler, given the record in place of JSON: it takes one that is valid already as it is."""
        handle = super().get_route_handler()
        field = self.body_field
        if field is None:
            return handle
        record = field.field_info.annotation
        assert isinstance(record, type)
        assert issubclass(record, Record)

        async def parsed(request: Request) -> Response:
            return await handle(_ParsedRequest(request, record))

        return parsed


class _ParsedRequest(Request):
    def __init__(self, request: Request, record: type[Record]) -> None:
        super().__init__(request.scope, request.receive)
        self._record = record

    async def json(self) -> Record:
        body = await self.body()
        if len(body) <= SMALL_BYTES:
            return parse_body(self._record, body)
        return await anyio.to_thread.run_sync(_parse_large, self._record, body, limiter=self.app.state.large_bodies)


def _parse_large(record: type[Record], body: bytes) -> Record:
    """`parse_body` without the collector, which Python before 3.12 runs over and over while so many lists are made.

    Called for one body at a time, so that no call can find it stopped by another.
    """
    collecting = gc.isenabled()
    gc.disable()
    try:
        return parse_body(record, body)
    finally:
        if collecting:
            gc.enable()
