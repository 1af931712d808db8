"""Every error of the service as the one shape of docs/reference/http.md, and the status that goes with each code."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from models.spec import limits
from models.spec.base import invalid_of
from models.spec.errors import ErrorCode, OpclockError
from models.spec.wire import ErrorBody, ErrorDetail

log = structlog.get_logger(__name__)

STATUS: Mapping[ErrorCode, HTTPStatus] = {
    ErrorCode.INVALID_SPEC: HTTPStatus.UNPROCESSABLE_ENTITY,
    ErrorCode.UNKNOWN_NAME: HTTPStatus.UNPROCESSABLE_ENTITY,
    ErrorCode.WORKLOAD_TOO_LARGE: HTTPStatus.UNPROCESSABLE_ENTITY,
    ErrorCode.INVALID_REQUEST: HTTPStatus.UNPROCESSABLE_ENTITY,
    ErrorCode.TABLE_FILE: HTTPStatus.UNPROCESSABLE_ENTITY,
    ErrorCode.UNSAFE_TABLE: HTTPStatus.UNPROCESSABLE_ENTITY,
    ErrorCode.UNAUTHENTICATED: HTTPStatus.UNAUTHORIZED,
    ErrorCode.FORBIDDEN: HTTPStatus.FORBIDDEN,
    ErrorCode.NOT_FOUND: HTTPStatus.NOT_FOUND,
    ErrorCode.MISSING_ENTRY: HTTPStatus.NOT_FOUND,
    ErrorCode.NOT_ACCEPTABLE: HTTPStatus.NOT_ACCEPTABLE,
    ErrorCode.CONFLICT: HTTPStatus.CONFLICT,
    ErrorCode.TABLE_MISMATCH: HTTPStatus.CONFLICT,
    ErrorCode.TOO_LARGE: HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    ErrorCode.INCOMPATIBLE: HTTPStatus.BAD_REQUEST,
    ErrorCode.STORAGE: HTTPStatus.SERVICE_UNAVAILABLE,
    ErrorCode.BACKEND_UNAVAILABLE: HTTPStatus.SERVICE_UNAVAILABLE,
    ErrorCode.BUSY: HTTPStatus.SERVICE_UNAVAILABLE,
    ErrorCode.QUEUE_FULL: HTTPStatus.TOO_MANY_REQUESTS,
    ErrorCode.TOO_MANY_REQUESTS: HTTPStatus.TOO_MANY_REQUESTS,
    ErrorCode.UNREACHABLE: HTTPStatus.BAD_GATEWAY,
    ErrorCode.INTERNAL: HTTPStatus.INTERNAL_SERVER_ERROR,
}

_RETRY_AFTER_S: Mapping[ErrorCode, int] = {ErrorCode.BUSY: 5, ErrorCode.QUEUE_FULL: 60}
"""Seconds after which the same request may succeed."""

_FRAMEWORK_CODES: Mapping[int, ErrorCode] = {
    HTTPStatus.NOT_FOUND: ErrorCode.NOT_FOUND,
    HTTPStatus.SERVICE_UNAVAILABLE: ErrorCode.BUSY,
    HTTPStatus.INTERNAL_SERVER_ERROR: ErrorCode.INTERNAL,
}
_FRAMEWORK_HINTS: Mapping[int, str] = {
    HTTPStatus.NOT_FOUND: "The page /docs lists every call.",
    HTTPStatus.METHOD_NOT_ALLOWED: "The page /docs lists the methods of every call.",
}


class RequestError(HTTPException):
    """A request that cannot be answered for reasons of HTTP itself: its media type, its size, its Accept header.

    An HTTPException, since the framework lets those pass while it reads a body and hides all others.
    """

    def __init__(
        self, status: HTTPStatus, code: ErrorCode, message: str, *, hint: str, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(status, message, headers)
        self.code = code
        self.hint = hint


def install(app: FastAPI) -> None:
    """Answer every error that reaches the framework in the one shape."""
    app.add_exception_handler(OpclockError, _ours)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http)


def unexpected(request_id: str) -> JSONResponse:
    """The answer to an unforeseen error: nothing of its text, which is in the log, leaves the service."""
    return respond(
        HTTPStatus.INTERNAL_SERVER_ERROR,
        ErrorCode.INTERNAL,
        "the service failed unexpectedly",
        f"Its log says why, at request id {request_id}.",
        request_id,
    )


def respond(
    status: int,
    code: ErrorCode,
    message: str,
    hint: str,
    request_id: str,
    headers: Mapping[str, str] | None = None,
) -> JSONResponse:
    """One error as a response."""
    detail = ErrorDetail(code=code, message=message[: limits.MAX_MESSAGE], hint=hint, request_id=request_id)
    body = ErrorBody(error=detail)
    return JSONResponse(body.model_dump(mode="json"), status, headers=dict(headers or {}))


def answer_to(error: RequestError, request_id: str) -> JSONResponse:
    """One error of HTTP itself as a response."""
    return respond(error.status_code, error.code, error.detail, error.hint, request_id, error.headers)


def request_id_of(request: Request) -> str:
    """The id that the outermost middleware gave this request."""
    return str(request.state.request_id)


async def _ours(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, OpclockError)
    status = STATUS[error.code]
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        log.error("request failed", code=error.code.value, error=error.message)
    headers = {"Retry-After": str(_RETRY_AFTER_S[error.code])} if error.code in _RETRY_AFTER_S else None
    return respond(status, error.code, error.message, error.hint, request_id_of(request), headers)


async def _invalid(request: Request, error: Exception) -> JSONResponse:
    """A parameter, or a body that is missing; bodies that are there name their own problems (`profiler_service.api.bodies`)."""
    assert isinstance(error, RequestValidationError)
    problem = invalid_of(error.errors())
    return respond(
        HTTPStatus.UNPROCESSABLE_ENTITY, ErrorCode.INVALID_REQUEST, problem.message, problem.hint, request_id_of(request)
    )


async def _http(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    status, request_id = error.status_code, request_id_of(request)
    if isinstance(error, RequestError):
        return answer_to(error, request_id)
    message = f"{request.method} {request.url.path}: {error.detail}"
    code = _FRAMEWORK_CODES.get(status, ErrorCode.INVALID_REQUEST)
    return respond(status, code, message, _FRAMEWORK_HINTS.get(status, ""), request_id, error.headers)
