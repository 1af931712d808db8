"""The service's description of itself: every error response of every call, and an example of every document."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from models.spec.wire import JSON_MEDIA_TYPE, ErrorBody
from profiler_service.api.examples import ERRORS, examples

ALWAYS = (500, 503)
"""What any call under `/v1` may answer: an error nobody foresaw, a database that is gone."""


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
        return app.openapi_schema

    app.openapi = document  # type: ignore[method-assign]  # as FastAPI's manual extends the document


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
