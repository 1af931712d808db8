"""Requests that take much of a core begin between visits of the job that is measured (`profiler_service.jobs.gaps`)."""

from __future__ import annotations

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from profiler_service.jobs.gaps import VisitGaps

_TABLES = ("/v1/tables/", "/ui/tables/", "/ui/parts/tables/", "/ui/compare")
_SMALL_BYTES = 8 * 1024
"""Of a look-up: some thirty operators, which take about a millisecond."""


class CostlyRequests:
    """Innermost: lets a costly request begin, once it is known who asks.

    Args:
        app: receives it.
        gaps: where it waits.
    """

    def __init__(self, app: ASGIApp, gaps: VisitGaps) -> None:
        self._app, self._gaps = app, gaps

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not is_costly(scope):
            await self._app(scope, receive, send)
            return
        inside = False

        async def enter() -> None:
            nonlocal inside
            if not inside:
                await self._gaps.enter()
                inside = True

        def leave() -> None:
            nonlocal inside
            if inside:
                inside = False
                self._gaps.leave()

        async def received() -> Message:
            message = await receive()
            if message["type"] == "http.request" and not message.get("more_body", False):
                await enter()  # a body that comes slowly keeps nobody waiting
            return message

        async def answer(message: Message) -> None:
            if message["type"] == "http.response.start":
                leave()  # what is left is sending, which may be slow and costs little
            await send(message)

        if scope["method"] != "POST":
            await enter()
        try:
            await self._app(scope, received if scope["method"] == "POST" else receive, answer)
        finally:
            leave()


def is_costly(scope: Scope) -> bool:
    """Whether a request may read a whole table, or looks many workloads up."""
    path = str(scope["path"]).removeprefix(scope.get("root_path", ""))
    if scope["method"] == "POST" and path == "/v1/lookup":
        length = Headers(scope=scope).get("Content-Length", "")
        return not length.isdecimal() or int(length) > _SMALL_BYTES
    return bool(scope["method"] == "GET") and path.startswith(_TABLES)
