"""Who may call what. It holds for every path, known or not, before any route is looked for.

A request passes where all of this holds: it addresses the service by one of its names, a change does not come from another
site's page, and there is a valid token whose role covers the call. Without any token in the database, a service that only this
machine can reach is open.
"""

from __future__ import annotations

import hmac
import ipaddress
import re
import threading
import time
from collections.abc import Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from http import HTTPStatus
from urllib.parse import quote, urlsplit

import structlog
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers
from starlette.responses import RedirectResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from models.spec.errors import ErrorCode, OpclockError
from profiler_service.api.bodies import require_fitting_body
from profiler_service.api.errors import STATUS, RequestError, answer_to, respond
from profiler_service.api.sessions import CSRF_HEADER, SessionBook, cookie_of
from profiler_service.errors import AccessError, ForbiddenError, UnauthenticatedError
from profiler_service.storage.store import Store
from profiler_service.tokens import Role, StoredToken, id_of, matches

log = structlog.get_logger(__name__)

REALM = "opclock"
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
PUBLIC_PATHS = frozenset({"/", "/healthz", "/readyz", "/docs", "/redoc", "/openapi.json"})
"""What anybody may read: whether the service lives, and the description of its calls, which is the same everywhere."""

PUBLIC_ASSETS = ("/docs/assets/", "/ui/static/")
PAGES = "/ui/"
"""Below it are the pages, and what they alone may ask for: changes there need a session."""

LOGIN, LOGOUT = "/ui/login", "/ui/logout"
PUBLIC_CALLS = frozenset({("GET", LOGIN), ("HEAD", LOGIN), ("POST", LOGIN)})
READING_CALLS = frozenset({("POST", "/v1/lookup"), ("POST", LOGOUT)})
"""Calls that change nothing although their method might."""

_HOST = re.compile(r"(?:\[(?P<bracketed>[0-9a-f:.]+)\]|(?P<name>[a-z0-9._-]+))(?::\d{1,5})?")
LOOPBACK_NAMES = frozenset({"localhost", "127.0.0.1", "::1"})
FRESH_S = 1.0
"""How long the tokens that were read count; a revoked one is refused after that."""


@dataclass(frozen=True)
class Caller:
    """Who makes a request.

    Attributes:
        name: of the token; `anonymous` without one.
        role: what the caller may do; None for nothing that is not public.
        csrf: of the browser's session; empty where the caller has none.
    """

    name: str
    role: Role | None
    csrf: str = ""


ANONYMOUS = "anonymous"


class _RoleError(ForbiddenError):
    """The token is valid, but not for this call."""


def route_path(scope: Scope) -> str:
    """The path below the root path, with which routes are matched."""
    return str(scope["path"]).removeprefix(str(scope.get("root_path", ""))) or "/"


def is_public(method: str, path: str) -> bool:
    """Whether anybody may make that call."""
    if (method, path) in PUBLIC_CALLS:
        return True
    return method in ("GET", "HEAD") and (path in PUBLIC_PATHS or path.startswith(PUBLIC_ASSETS))


def role_for(method: str, path: str) -> Role:
    """What a caller needs to be: whatever is not known to read is taken to change something."""
    return Role.READ if method in SAFE_METHODS or (method, path) in READING_CALLS else Role.PROFILE


class TokenBook:
    """The tokens of a database, read at most once a second. For any number of threads."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._lock = threading.Lock()
        self._read_at = float("-inf")
        self._tokens: Mapping[str, StoredToken] = {}

    def fresh(self) -> Mapping[str, StoredToken] | None:
        """Each token by its id; None if they were read too long ago."""
        tokens, read_at = self._tokens, self._read_at  # in this order: `read` sets them in the same
        return tokens if time.monotonic() - read_at < FRESH_S else None

    def read(self) -> Mapping[str, StoredToken]:
        """Each token by its id, from the database where that is needed. Raises StorageError, rather than to go by old ones."""
        with self._lock:
            if (tokens := self.fresh()) is None:
                started = time.monotonic()
                tokens = self._tokens = {stored.token.id: stored for stored in self._store.tokens()}
                self._read_at = started
            return tokens

    async def caller(self, authorization: Collection[str], *, open_without: bool) -> Caller:
        """Who sent those Authorization headers.

        Args:
            authorization: the values of all such headers.
            open_without: whether everybody may do everything as long as no token has been made.

        Raises:
            UnauthenticatedError: there is one, but it is not valid.
            StorageError: the tokens cannot be read.
        """
        tokens = self.fresh()
        if tokens is None:
            tokens = await run_in_threadpool(self.read)
        if not authorization:
            return Caller(ANONYMOUS, Role.PROFILE if open_without and not tokens else None)
        scheme, _, text = next(iter(authorization)).partition(" ")
        if len(authorization) > 1 or scheme.lower() != "bearer":
            raise UnauthenticatedError("the Authorization header is not understood", hint=_SEND)
        stored = valid_token(tokens, text.strip())
        return Caller(stored.token.name, stored.token.role)

    async def holder(self, token_id: str, csrf: str) -> Caller | None:
        """Who signed in with that token; None once it is no longer valid. Raises StorageError."""
        tokens = self.fresh()
        if tokens is None:
            tokens = await run_in_threadpool(self.read)
        stored = tokens.get(token_id)
        if stored is None or stored.token.ended(datetime.now(UTC)):
            return None
        return Caller(stored.token.name, stored.token.role, csrf)


def valid_token(tokens: Mapping[str, StoredToken], text: str) -> StoredToken:
    """The one of the tokens that this is. Raises UnauthenticatedError where it is none, or no longer valid."""
    stored = tokens.get(id_of(text) or "")
    if stored is None or not matches(text, stored):
        raise UnauthenticatedError("there is no such token here", hint=f"It may be another service's. {_MAKE}")
    if ended := stored.token.ended(datetime.now(UTC)):
        raise UnauthenticatedError(f"token {stored.token.name!r} {ended}", hint=_MAKE)
    return stored


_MAKE = "Whoever runs the service makes one with `profiler-service token create NAME --role read`."
_SEND = "Send one header `Authorization: Bearer TOKEN`."


class AccessControl:
    """Refuses what may not pass, and logs an audit line for each change.

    Args:
        app: is called with `state.caller` for what passes.
        book: the tokens.
        sessions: of browsers.
        exposed: whether others than this machine may reach the service, so that it is never open.
        allowed_hosts: names of the service besides loopback and the address that a connection came in on.
    """

    def __init__(
        self, app: ASGIApp, *, book: TokenBook, sessions: SessionBook, exposed: bool, allowed_hosts: Collection[str]
    ) -> None:
        self._app = app
        self._book, self._sessions = book, sessions
        self._exposed = exposed
        self._names = LOOPBACK_NAMES | {_host_of(name) for name in allowed_hosts}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self._app(scope, receive, send)
            return  # nothing here speaks WebSocket
        method, path, headers = scope["method"], route_path(scope), Headers(scope=scope)
        caller = Caller(ANONYMOUS, None)
        try:
            self._require_own_name(scope, headers)
            if method not in SAFE_METHODS:
                _require_own_page(headers)
            caller = await self._caller(scope, method, path, headers)
            _require_role(caller, method, path)
            if method not in SAFE_METHODS and path.startswith(PAGES) and path != LOGIN:
                _require_session(caller, headers)
            require_fitting_body(method, headers, form=path.startswith(PAGES))
        except AccessError as error:
            if error.code is ErrorCode.UNAUTHENTICATED and method == "GET" and path.startswith(PAGES) and is_page(headers):
                await _to_login(scope, receive, send)
                return
            _audit(scope, method, path, caller, STATUS[error.code], reason=error.message)
            await _refuse(scope, receive, send, error, role_for(method, path))
            return
        except RequestError as error:
            await answer_to(error, _id(scope))(scope, receive, send)
            return
        except OpclockError as error:  # the tokens cannot be read
            log.error("access cannot be checked", code=error.code.value, error=error.message)
            answer = respond(STATUS[error.code], error.code, error.message, error.hint, _id(scope))
            await answer(scope, receive, send)
            return
        scope["state"]["caller"] = caller

        async def audited(message: Message) -> None:
            if message["type"] == "http.response.start":
                _audit(scope, method, path, caller, message["status"], made=Headers(scope=message).get("Location", ""))
            await send(message)

        await self._app(scope, receive, audited)

    async def _caller(self, scope: Scope, method: str, path: str, headers: Headers) -> Caller:
        authorization = headers.getlist("Authorization")
        if not authorization and (method in SAFE_METHODS or path.startswith(PAGES)):
            session = self._sessions.find(cookie) if (cookie := cookie_of(scope)) else None
            with suppress(OpclockError):  # whether the tokens can be read is found out below
                if session is not None and (holder := await self._book.holder(session.token_id, session.csrf)) is not None:
                    return holder
        if is_public(method, path) and not authorization:
            try:
                return await self._book.caller((), open_without=not self._exposed)
            except OpclockError:  # liveness is told whatever the database is like
                return Caller(ANONYMOUS, None)
        return await self._book.caller(authorization, open_without=not self._exposed)

    def _require_own_name(self, scope: Scope, headers: Headers) -> None:
        """Raises ForbiddenError for a Host that is none of the service's names: another site's, made to resolve to it."""
        given = headers.get("Host", "")
        host = _host_of(given)
        own = scope.get("server") or ("",)
        if host not in self._names and host != _host_of(str(own[0])):
            raise ForbiddenError(
                f"the service is not called {given[:100]!r}",
                hint="Address it by its IP address, or have its operator add the name to OPCLOCK_ALLOWED_HOSTS.",
            )


def _host_of(text: str) -> str:
    """The host in a Host header, an address or a setting, in one spelling and without a port; empty if there is none."""
    found = _HOST.fullmatch(text.lower())
    host = text if found is None else found["bracketed"] or found["name"]
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host.rstrip(".") if found else ""
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return str(mapped or address)


def _require_own_page(headers: Headers) -> None:
    """Raises ForbiddenError for a change that another site's page asks a browser for."""
    origins, site = headers.getlist("Origin"), headers.get("Sec-Fetch-Site", "none")
    foreign = [origin for origin in origins if urlsplit(origin).netloc.lower() != headers.get("Host", "").lower()]
    if foreign or site not in ("none", "same-origin"):
        raise ForbiddenError(
            f"a page of {(foreign or [site])[0][:100]!r} may change nothing here",
            hint="Send the request from a program, or from the service's own /docs.",
        )


def _require_session(caller: Caller, headers: Headers) -> None:
    """Raises UnauthenticatedError, ForbiddenError: a page changes nothing without a session, and what its own pages know."""
    if not caller.csrf:
        raise UnauthenticatedError("this needs a session", hint="Sign in with a token of role profile.")
    if not hmac.compare_digest(headers.get(CSRF_HEADER, "").encode(), caller.csrf.encode()):
        raise ForbiddenError("the page is of an earlier session", hint="Reload the page and try again.")


def is_page(headers: Headers) -> bool:
    """Whether a browser asks for a page to show, and not a script for a part of one."""
    return "text/html" in headers.get("Accept", "") and "HX-Request" not in headers


async def _to_login(scope: Scope, receive: Receive, send: Send) -> None:
    path = f"{route_path(scope)}?{scope['query_string'].decode('ascii', 'replace')}".rstrip("?")
    target = f"{scope.get('root_path', '')}{LOGIN}?next={quote(path, safe='')}"
    await RedirectResponse(target, HTTPStatus.SEE_OTHER)(scope, receive, send)


def _require_role(caller: Caller, method: str, path: str) -> None:
    """Raises UnauthenticatedError, ForbiddenError."""
    if is_public(method, path):
        return
    needed = role_for(method, path)
    if caller.role is None:
        raise UnauthenticatedError("this service needs a token", hint=f"{_SEND} {_MAKE}")
    if not caller.role.covers(needed):
        raise _RoleError(
            f"token {caller.name!r} has the role {caller.role.value!r}; {method} {path} needs {needed.value!r}",
            hint=f"Ask for a token of role {needed.value}.",
        )


async def _refuse(scope: Scope, receive: Receive, send: Send, error: AccessError, needed: Role) -> None:
    status, headers = STATUS[error.code], {}
    if status is HTTPStatus.UNAUTHORIZED:
        headers["WWW-Authenticate"] = f'Bearer realm="{REALM}"'
        if "Authorization" in Headers(scope=scope):
            headers["WWW-Authenticate"] += ', error="invalid_token"'
    elif isinstance(error, _RoleError):
        headers["WWW-Authenticate"] = f'Bearer realm="{REALM}", error="insufficient_scope", scope="{needed.value}"'
    await respond(status, error.code, error.message, error.hint, _id(scope), headers)(scope, receive, send)


def _audit(scope: Scope, method: str, path: str, caller: Caller, status: int, **more: str) -> None:
    """One line for each attempt to change something; reading is in the ordinary log."""
    if role_for(method, path) is Role.PROFILE:
        client = scope.get("client") or ("",)
        told = {name: value for name, value in more.items() if value}
        log.info("audit", who=caller.name, did=f"{method} {quote(path)}", status=int(status), client=client[0], **told)


def _id(scope: Scope) -> str:
    return str(scope["state"]["request_id"])
