"""How much one caller may ask for: requests per second, and event streams at once.

A caller is a token, or, without one, an address. What anybody may read is not counted: it costs next to nothing.
"""

from __future__ import annotations

import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from http import HTTPStatus
from math import ceil

from starlette.types import ASGIApp, Receive, Scope, Send

from models.spec.errors import ErrorCode
from profiler_service.api.access import ANONYMOUS, is_public, route_path
from profiler_service.api.errors import RequestError, answer_to

BURST_S = 2.0
"""So many seconds' worth of requests may come at once."""

MOST_CALLERS = 4_096
"""Callers that are remembered; the one that was heard of longest ago is forgotten first."""

SHARE_OF_ONE = 0.5
"""Of the event streams, those that one caller may hold."""


class RequestRates:
    """A bucket for each caller: every request takes a unit out, and units flow in at a rate.

    Args:
        per_s: units that flow in each second.
        clock: seconds that never go back.
    """

    def __init__(self, per_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._per_s, self._clock = per_s, clock
        self._most = max(BURST_S * per_s, 1.0)
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()  # units and when they were counted

    def wait_s(self, caller: str) -> float:
        """Take a unit; 0 where there was one, otherwise the seconds until there is."""
        now_s = self._clock()
        units, since_s = self._buckets.pop(caller, (self._most, now_s))
        units = min(units + (now_s - since_s) * self._per_s, self._most)
        granted = units >= 1.0
        self._buckets[caller] = (units - granted, now_s)
        if len(self._buckets) > MOST_CALLERS:
            self._buckets.popitem(last=False)
        return 0.0 if granted else (1.0 - units) / self._per_s


class StreamPlaces:
    """Event streams at once: each holds a connection for as long as its job takes.

    Args:
        most: of all callers together.
    """

    def __init__(self, most: int) -> None:
        self._most, self._of_one = most, max(int(SHARE_OF_ONE * most), 1)
        self._held: Counter[str] = Counter()

    @contextmanager
    def one(self, caller: str) -> Iterator[None]:
        """Hold a place for the length of a `with` block. Raises RequestError where there is none."""
        if self._held.total() >= self._most:
            raise _too_many(f"{self._most} event streams are open, as many as may", 5.0)
        if self._held[caller] >= self._of_one:
            raise _too_many(f"{caller} has {self._of_one} event streams open, as many as one may", 5.0)
        self._held[caller] += 1
        try:
            yield
        finally:
            self._held[caller] -= 1
            if not self._held[caller]:
                del self._held[caller]


class CallerLimits:
    """Answers 429, with `Retry-After`, to who asks too much. Within AccessControl, which knows the callers.

    Args:
        app: receives the other requests.
        per_s: requests of one caller.
        streams: event streams at once.
    """

    def __init__(self, app: ASGIApp, *, per_s: float, streams: int) -> None:
        self._app = app
        self._rates, self._streams = RequestRates(per_s), StreamPlaces(streams)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = route_path(scope) if scope["type"] == "http" else ""
        if scope["type"] != "http" or is_public(scope["method"], path):
            await self._app(scope, receive, send)
            return
        caller = _name(scope)
        try:
            if wait_s := self._rates.wait_s(caller):
                raise _too_many(f"{caller} sends too many requests", wait_s)
            with self._streams.one(caller) if _is_stream(scope["method"], path) else nullcontext():
                await self._app(scope, receive, send)
        except RequestError as error:
            await answer_to(error, str(scope["state"]["request_id"]))(scope, receive, send)


def _name(scope: Scope) -> str:
    name = scope["state"]["caller"].name
    return f"address {(scope.get('client') or ('unknown',))[0]}" if name == ANONYMOUS else f"token {name!r}"


def _is_stream(method: str, path: str) -> bool:
    return method == "GET" and path.startswith("/v1/jobs/") and path.endswith("/events")


def _too_many(message: str, wait_s: float) -> RequestError:
    return RequestError(
        HTTPStatus.TOO_MANY_REQUESTS,
        ErrorCode.TOO_MANY_REQUESTS,
        message,
        hint="Send the request again after the seconds in Retry-After, or ask for many workloads in one request.",
        headers={"Retry-After": str(ceil(wait_s))},
    )
