"""The pages as part of the application."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from typing import Any

from fastapi import FastAPI, Request
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

from models.spec.errors import OpclockError
from profiler_service.api.access import PAGES, is_page, route_path
from profiler_service.web import comparing, overview, signing_in, tables, validations
from profiler_service.web.parts import Web
from profiler_service.web.rendering import STATIC

WORKER_POLICY = "default-src 'none'; connect-src 'self'; frame-ancestors 'none'"
"""Of the files. It counts for the worker alone, which has the policy of its own file and opens the stream of events."""


class _Versioned(StaticFiles):
    """Files whose addresses change with their contents, so that a browser keeps them."""

    async def get_response(self, path: str, scope: Scope) -> Response:
        answer = await super().get_response(path, scope)
        if scope["query_string"].startswith(b"v="):
            answer.headers["Cache-Control"] = "public, max-age=31536000, immutable"
        answer.headers["Content-Security-Policy"] = WORKER_POLICY
        return answer


def _as_page(web: Web, handler: Any) -> Callable[[Request, Exception], Awaitable[Response]]:
    """The answer of that handler, as a page where a browser asks for one."""

    async def answer(request: Request, error: Exception) -> Response:
        plain: Response = await handler(request, error)
        if not (route_path(request.scope).startswith(PAGES) and is_page(request.headers)):
            return plain
        told = json.loads(bytes(plain.body))["error"]
        return web.pages.page(request, "error.html", status=plain.status_code, message=told["message"], hint=told["hint"])

    return answer


def install(app: FastAPI, web: Web) -> None:
    """Serve the pages, and what they load. After the handlers of errors, which it extends."""
    app.state.web = web
    for part in (overview, signing_in, tables, comparing, validations):
        app.include_router(part.router)
    for kind in (OpclockError, HTTPException):
        app.add_exception_handler(kind, _as_page(web, app.exception_handlers[kind]))
    app.mount(STATIC, _Versioned(packages=[("profiler_service.web", "static")]), name="static")
