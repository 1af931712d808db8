"""One form that takes a token, and the end of a session."""

from __future__ import annotations

from http import HTTPStatus
from typing import Annotated
from urllib.parse import parse_qs

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import RedirectResponse
from starlette.concurrency import run_in_threadpool

from profiler_service.api.access import LOGIN, LOGOUT, valid_token
from profiler_service.api.sessions import cookie_name, cookie_of, is_secure
from profiler_service.errors import UnauthenticatedError
from profiler_service.web.parts import WebDep

router = APIRouter(include_in_schema=False)

MOST_BYTES = 4_096
"""Of the form: a token and where to go on."""


@router.get(LOGIN)
def login_form(web: WebDep, request: Request, next: Annotated[str, Query(max_length=2_000)] = "") -> Response:  # noqa: A002
    """The form."""
    return web.pages.page(request, "login.html", problem="", onward=_own(next))


@router.post(LOGIN)
async def login(web: WebDep, request: Request) -> Response:
    """Begin a session with a token."""
    body = await request.body()
    form = parse_qs(body.decode("ascii", "replace"), max_num_fields=8) if len(body) <= MOST_BYTES else {}
    onward = _own(form.get("next", [""])[0])
    try:
        stored = valid_token(await run_in_threadpool(web.book.read), form.get("token", [""])[0].strip())
    except UnauthenticatedError as error:
        problem = f"{error.message[:1].upper()}{error.message[1:]}."
        return web.pages.page(request, "login.html", status=HTTPStatus.UNAUTHORIZED, problem=problem, onward=onward)
    root = str(request.scope.get("root_path", ""))
    answer = RedirectResponse(f"{root}{onward}", HTTPStatus.SEE_OTHER)
    answer.set_cookie(
        cookie_name(request.scope),
        web.sessions.begin(stored.token.id),
        path=root or "/",
        httponly=True,
        samesite="strict",
        secure=is_secure(request.scope),
    )
    return answer


@router.post(LOGOUT)
async def logout(web: WebDep, request: Request) -> Response:
    """End the session."""
    root = str(request.scope.get("root_path", ""))
    web.sessions.end(cookie_of(request.scope))
    answer = Response(status_code=HTTPStatus.NO_CONTENT, headers={"HX-Redirect": f"{root}{LOGIN}"})
    answer.delete_cookie(cookie_name(request.scope), path=root or "/", httponly=True, samesite="strict")
    return answer


def _own(path: str) -> str:
    """Where to go on after the form: a page of this service, the overview otherwise."""
    printable = path.isascii() and path.isprintable() and "\\" not in path
    return path if printable and path.startswith("/ui/") and not path.startswith(LOGIN) else "/"
