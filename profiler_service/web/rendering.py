"""Templates, and what every page says about itself: where it stands, who looks, and what it may load."""

from __future__ import annotations

import json
from importlib.resources import files
from typing import Any

from fastapi import Request, Response
from fastapi.responses import HTMLResponse
from jinja2 import Environment, PackageLoader, StrictUndefined

from profiler_service.api.access import Caller
from profiler_service.tokens import Role
from profiler_service.version import service_version
from profiler_service.web import words

POLICY = "; ".join(
    (
        "default-src 'self'",  # scripts, styles, the worker and the stream of events: files and calls of this service alone
        "object-src 'none'",
        "base-uri 'none'",
        "form-action 'self'",
        "frame-ancestors 'none'",
    )
)

STATIC = "/ui/static"

_HTMX = {
    "includeIndicatorStyles": False,  # it would write a style into the page, which the policy forbids
    "allowEval": False,
    "selfRequestsOnly": True,
    "historyCacheSize": 0,  # pages are not to stay in the browser's storage after the session has ended
    "refreshOnHistoryMiss": True,
}

HEADERS = {
    "Content-Security-Policy": POLICY,
    "Cache-Control": "no-store",
    "Referrer-Policy": "same-origin",  # with less, a form's Origin would be null
    "Vary": "Cookie",
}


class Pages:
    """Writes pages from the templates of this package."""

    def __init__(self) -> None:
        self._digests: dict[str, str] = json.loads((files("profiler_service.web") / "static" / "digests.json").read_text())
        self._environment = Environment(
            loader=PackageLoader("profiler_service.web"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._environment.filters.update(words.FILTERS)
        self._environment.globals.update(
            plural=words.plural, nothing=words.NOTHING, version=service_version(), htmx=json.dumps(_HTMX)
        )

    def html(self, request: Request, template: str, **context: Any) -> str:
        """A template as text. Besides `context` it knows `root`, `asset`, `caller`, `may_change` and `path`."""
        root = str(request.scope.get("root_path", ""))
        caller: Caller = request.state.caller
        return self._environment.get_template(template).render(
            root=root,
            asset=lambda name: f"{root}{STATIC}/{name}?v={self._digests[name][:12]}",
            caller=caller,
            may_change=bool(caller.csrf) and caller.role is Role.PROFILE,
            path=request.scope["path"].removeprefix(root),
            **context,
        )

    def page(self, request: Request, template: str, *, status: int = 200, **context: Any) -> Response:
        """A template as an answer."""
        return HTMLResponse(self.html(request, template, **context), status, headers=HEADERS)


def address(request: Request) -> str:
    """The service's own address, as the browser called it."""
    return f"{request.url.scheme}://{request.headers.get('Host', '')}{request.scope.get('root_path', '')}"
