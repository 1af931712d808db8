"""The pages as part of the application."""

from __future__ import annotations

from fastapi import FastAPI
from starlette.responses import Response
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

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


def install(app: FastAPI, web: Web) -> None:
    """Serve the pages, and what they load."""
    app.state.web = web
    for part in (overview, signing_in, tables, comparing, validations):
        app.include_router(part.router)
    app.mount(STATIC, _Versioned(packages=[("profiler_service.web", "static")]), name="static")
