"""The service's description of itself: every error response of every call, and an example of every document, made from the wire
models themselves so that none can go stale.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache
from http import HTTPStatus
from typing import Any

import numpy as np
from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel

from models.plugins import OWN
from models.spaces.base import SearchSpace
from models.spaces.registry import SPACES, space_class
from models.spec.errors import ErrorCode
from models.spec.measurements import Budget, Measurement
from models.spec.operators import OperatorSpec
from models.spec.table_files import TableFormat, to_bytes
from models.spec.tables import Table, TableInfo
from models.spec.targets import TargetSpec
from models.spec.validations import ValidationCreate, ValidationPoint, ValidationPublic
from models.spec.wire import (
    CSV_MEDIA_TYPE,
    JSON_MEDIA_TYPE,
    ErrorBody,
    ErrorDetail,
    HealthPublic,
    JobCounts,
    JobCreate,
    JobPublic,
    JobState,
    LookupRequest,
    LookupResponse,
    SpacePublic,
    TablePublic,
    TargetPublic,
)
from profiler_service.api.access import is_public
from profiler_service.version import service_version

_REQUEST_ID = "4f1d7a0c2b9e4c36a5d8e7f60912b3c4"
_WHEN = datetime(2025, 3, 1, 12, 0, tzinfo=UTC)


@dataclass(frozen=True)
class Example:
    """A call's documents.

    Attributes:
        response: media type to the document of a success.
        request: what a body may look like, by what it asks for; None where there is no body.
    """

    response: Mapping[str, Any]
    request: Mapping[str, Any] | None = field(default=None)


def _error(code: ErrorCode, message: str, hint: str) -> ErrorBody:
    return ErrorBody(error=ErrorDetail(code=code, message=message, hint=hint, request_id=_REQUEST_ID))


ERRORS: Mapping[int, ErrorBody] = {
    400: _error(ErrorCode.INVALID_REQUEST, "GET takes no body", "Send it without one."),
    401: _error(ErrorCode.UNAUTHENTICATED, "this service needs a token", "Send one header `Authorization: Bearer TOKEN`."),
    403: _error(ErrorCode.FORBIDDEN, "token 'ci' has the role 'read'; …", "Ask for a token of role profile."),
    404: _error(ErrorCode.NOT_FOUND, "no table '0123456789abcdef'", "GET /v1/tables lists them."),
    406: _error(ErrorCode.NOT_ACCEPTABLE, "a table cannot be sent as 'image/png'", f"Accept one of {JSON_MEDIA_TYPE}, …"),
    408: _error(ErrorCode.INVALID_REQUEST, "the request's body did not arrive in time", "Send it again over a faster …"),
    409: _error(ErrorCode.CONFLICT, "job 'a1b2' is done already", "A job can be called off until it is done."),
    413: _error(ErrorCode.TOO_LARGE, "the request's body has more than 33554432 bytes", "Ask for fewer workloads at a time."),
    415: _error(ErrorCode.INVALID_REQUEST, "a body of type 'text/plain' is not read here", f"Send {JSON_MEDIA_TYPE}."),
    422: _error(ErrorCode.UNKNOWN_NAME, "body.workloads.0.operator.kind: unknown operator kind 'conv4x4'", "Known: …"),
    429: _error(ErrorCode.QUEUE_FULL, "100 jobs wait already, as many as may", "Submit it again when some have ended."),
    431: _error(ErrorCode.TOO_LARGE, "the head has 10003 headers and … bytes", "Send fewer or shorter headers."),
    500: _error(ErrorCode.INTERNAL, "the service failed unexpectedly", f"Its log says why, at request id {_REQUEST_ID}."),
    503: _error(ErrorCode.STORAGE, "the database is read-only", "Check the permissions of the file and its directory."),
}
"""What each status may look like; the texts of real errors name what was asked."""


@cache
def examples() -> Mapping[str, Example]:
    """Each call's example by its operation id, the name of its route's function."""
    space = space_class(SPACES.own_names()[0]).defaults()
    target = TargetSpec(device="Example CPU", backend="onnxruntime", versions={"onnxruntime": "1.20.0"}, threads=1)
    operator = OperatorSpec(kind="conv3x3", in_channels=64, out_channels=96, height=64, width=128, stride=2)
    measurement = Measurement(
        workload=operator, value_ms=0.412, stderr_ms=0.003, base_ms=0.08, samples=72, rounds=6, measured_at=_WHEN
    )
    table = Table(info=TableInfo(target=target, space=space.spec, created_at=_WHEN), entries=(measurement,))
    table_id = table.info.id()
    jobs = _jobs(space, operator)
    job = _job(jobs["the whole grid of a space"], table_id)
    health = HealthPublic(status="ok", service_version=service_version())
    one_table = {
        JSON_MEDIA_TYPE: to_bytes(table, TableFormat.JSON).decode(),
        CSV_MEDIA_TYPE: to_bytes(table, TableFormat.CSV).decode(),
    }
    wanted = LookupRequest(table_id=table_id, workloads=(operator, operator.model_copy(update={"out_channels": 128})))
    found = LookupResponse(table_id=table_id, results=(measurement, None))
    posted = _validation(space)
    validation = ValidationPublic(
        id="5d1c9b7e3f204a68", table_id=table_id, created_at=_WHEN, networks=1, summary=posted.summary
    )
    listed = TablePublic(id=table_id, info=table.info, entries=1, failed=0, etag="9f2c4b7d1e6a8035")
    return {
        "healthz": Example(_json(health)),
        "readyz": Example(_json(health.model_copy(update={"checks": {"database": "ok", "queue": "ok"}}))),
        "target": Example(_json(TargetPublic(id=target.id(), target=target, service_version=service_version()))),
        "spaces": Example(_json([_space(space)])),
        "create_job": Example(_json(job), {name: _plain(request) for name, request in jobs.items()}),
        "list_jobs": Example(_json([job])),
        "read_job": Example(_json(job)),
        "cancel_job": Example(_json(job.model_copy(update={"state": JobState.CANCELLED}))),
        "pause_job": Example(_json(job.model_copy(update={"state": JobState.PAUSED, "phase": "", "eta_s": None}))),
        "resume_job": Example(_json(job.model_copy(update={"state": JobState.QUEUED, "phase": "", "eta_s": None}))),
        "list_tables": Example(_json([listed])),
        "read_table": Example(one_table),
        "create_validation": Example(_json(validation), {"one network of those validated": _plain(posted)}),
        "list_validations": Example(_json([validation])),
        "lookup": Example(_json(found), {"two operators, one of them unknown": _plain(wanted)}),
    }


def _space(space: SearchSpace) -> SpacePublic:
    own = {"distribution": OWN, "version": service_version(), "networks": str(space.size())}
    return SpacePublic(name=space.name, defaults=space.spec, description=space.description, **own)


def _jobs(space: SearchSpace, operator: OperatorSpec) -> dict[str, JobCreate]:
    architecture = space.sample(np.random.default_rng(0))
    return {
        "the whole grid of a space": JobCreate(space=space.spec, budget=Budget.QUICK),
        "one operator, again": JobCreate(space=space.spec, workloads=(operator,), remeasure=True),
        "a network": JobCreate(space=space.spec, workloads=(architecture,), budget=Budget.THOROUGH),
    }


def _job(request: JobCreate, table_id: str) -> JobPublic:
    return JobPublic(
        id="0b6a1f3c5d7e4a2b",
        state=JobState.MEASURING,
        table_id=table_id,
        request=request,
        counts=JobCounts(total=692, reused=40, measured=212),
        phase="round 3 of at most 6",
        fraction=0.41,
        eta_s=48.0,
        created_at=_WHEN,
        started_at=_WHEN + timedelta(seconds=2),
    )


def _validation(space: SearchSpace) -> ValidationCreate:
    point = ValidationPoint(
        architecture=space.sample(np.random.default_rng(0)),
        measured_ms=31.2,
        stderr_ms=0.2,
        sum_ms=30.9,
        multiply_adds=2 * 10**9,
    )
    return ValidationCreate(summary={"architectures": 1, "raw": {"mape": 0.0096}}, points=(point,))


def _json(document: BaseModel | list[Any]) -> dict[str, Any]:
    plain = [_plain(item) for item in document] if isinstance(document, list) else _plain(document)
    return {JSON_MEDIA_TYPE: plain}


def _plain(document: BaseModel) -> Any:
    return document.model_dump(mode="json")


COMMON = (400, 401, 403, 431)
"""What any call may answer: a head or body that is not understood, or a caller who may not make it."""

ALWAYS = (429, 500, 503)
"""What any call under `/v1` may answer: too many requests, an unforeseen error, a database that is gone."""


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The error responses of a route, all in the one shape."""
    return {
        status: {
            "model": ErrorBody,
            "description": HTTPStatus(status).phrase,
            "content": {JSON_MEDIA_TYPE: {"example": ERRORS[status].model_dump(mode="json")}},
        }
        for status in statuses
    }


def describe(app: FastAPI) -> None:
    """Have the app describe itself with examples; the document is made when it is first asked for."""

    def document() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = get_openapi(
                title=app.title, version=app.version, description=app.description, routes=app.routes
            )
            _add_examples(app.openapi_schema)
            _add_security(app.openapi_schema)
        return app.openapi_schema

    app.openapi = document  # type: ignore[method-assign]  # as FastAPI's manual extends the document


def _add_security(document: dict[str, Any]) -> None:
    """Every call takes a token; those that are public go without one as well."""
    document["components"]["securitySchemes"] = {
        "token": {"type": "http", "scheme": "bearer", "description": "Made by `profiler-service token create`."}
    }
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            operation["security"] = [{}, {"token": []}] if is_public(method.upper(), path) else [{"token": []}]


def _add_examples(document: dict[str, Any]) -> None:
    for operation in (operation for path in document["paths"].values() for operation in path.values()):
        example = examples().get(operation["operationId"])
        if example is None:
            continue
        if example.request is not None:
            operation["requestBody"]["content"][JSON_MEDIA_TYPE]["examples"] = {
                name: {"summary": name, "value": value} for name, value in example.request.items()
            }
        success = next(response for status, response in operation["responses"].items() if status.startswith("2"))
        for media_type, value in example.response.items():
            success["content"][media_type]["example"] = value
