"""Sessions of browsers: one form takes a token, and a cookie that says nothing by itself stands for it from then on.

Sessions are kept in memory alone: they end with the service, with the browser, with their token, or after half a day.
"""

from __future__ import annotations

import hashlib
import secrets
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from http.cookies import CookieError, SimpleCookie

from starlette.datastructures import Headers
from starlette.types import Scope

LIFETIME_S = 12 * 3600.0
LIMIT = 1_000
"""Sessions at once; the oldest makes room."""

CSRF_HEADER = "Opclock-Csrf"
"""Carries what only a page of the service can know. A cookie alone changes nothing."""


@dataclass(frozen=True)
class Session:
    """One browser that has signed in.

    Attributes:
        token_id: of the token that was given; what it may do is looked up at each request.
        csrf: what a change must carry besides the cookie.
        ends_s: on the clock of the book.
    """

    token_id: str
    csrf: str
    ends_s: float


class SessionBook:
    """The sessions of one service, by a digest of what their cookies hold. For any number of threads.

    Args:
        clock: seconds that never go back.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._sessions: OrderedDict[str, Session] = OrderedDict()

    def begin(self, token_id: str) -> str:
        """A new session for the holder of that token; what its cookie holds."""
        text = secrets.token_urlsafe(32)
        session = Session(token_id, secrets.token_urlsafe(32), self._clock() + LIFETIME_S)
        with self._lock:
            self._sessions[_digest(text)] = session
            while len(self._sessions) > LIMIT:
                self._sessions.popitem(last=False)
        return text

    def find(self, text: str) -> Session | None:
        """The session of that cookie; None where it has ended, or never was."""
        with self._lock:
            session = self._sessions.get(key := _digest(text))
            if session is not None and session.ends_s <= self._clock():
                del self._sessions[key]
                return None
            return session

    def end(self, text: str) -> None:
        """End it, if there is one."""
        with self._lock:
            self._sessions.pop(_digest(text), None)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def cookie_name(scope: Scope) -> str:
    """Of this service: cookies know hosts, not ports, and several services may share a host."""
    where = f"{Headers(scope=scope).get('Host', '').lower()}{scope.get('root_path', '')}"
    return f"opclock_{_digest(where)[:10]}"


def cookie_of(scope: Scope) -> str:
    """What the request's session cookie holds; empty without one."""
    try:
        cookies = SimpleCookie(Headers(scope=scope).get("Cookie", ""))
    except CookieError:
        return ""
    found = cookies.get(cookie_name(scope))
    return "" if found is None else found.value


def is_secure(scope: Scope) -> bool:
    """Whether the browser speaks TLS, to the service or to a proxy before it: then the cookie is sent over nothing else."""
    return scope.get("scheme") == "https" or Headers(scope=scope).get("Origin", "").startswith("https:")
