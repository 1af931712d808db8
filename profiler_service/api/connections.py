"""Connections: how many there may be, and how long one may stay without asking for anything.

Each costs a file descriptor, of which the database and the worker processes need some too. So their number is bounded, and a
full house makes room by closing the one that has been idle for longest: whoever holds connections open keeps nobody out.
"""

from __future__ import annotations

import asyncio
import resource
import socket
from collections.abc import Callable
from typing import Any

import structlog
import uvicorn
from fastapi import FastAPI
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.server import ServerState

from profiler_service.errors import ServiceStartError
from profiler_service.settings import Settings

log = structlog.get_logger(__name__)

KEEP_ALIVE_S = 15.0
"""For the next request on a connection; longer than the 5 s after which common clients give one up themselves."""

FAREWELL_S = 0.5
"""For a client to end TLS when the service stops; asyncio itself would wait half a minute."""

RESERVED_DESCRIPTORS = 256
"""File descriptors that are left for the database, worker processes, logs and files of the runtime."""

HANDSHAKES = 32
"""Connections beyond the limit that may be in a TLS handshake, or about to be closed to make room."""


def server_config(app: FastAPI, settings: Settings, limit: int, *, graceful_s: int) -> uvicorn.Config:
    """How the application is served, on at most so many connections; open requests may end within the last argument."""

    class Limited(BoundedProtocol):
        max_connections = limit
        head_timeout_s = settings.head_timeout_s

    return uvicorn.Config(
        app,
        http=Limited,
        ws="none",
        loop="asyncio",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,  # nothing here depends on who a proxy says a client is
        timeout_keep_alive=int(KEEP_ALIVE_S),
        timeout_graceful_shutdown=graceful_s,
        ssl_certfile=settings.tls_certificate,
        ssl_keyfile=settings.tls_key,
    )


def connection_limit(wanted: int) -> int:
    """The connections that there may be: as many as wanted, or fewer where the process may open few files.

    Raises:
        ServiceStartError: there is no room for any.
    """
    descriptors, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    room = wanted if descriptors == resource.RLIM_INFINITY else descriptors - RESERVED_DESCRIPTORS - HANDSHAKES
    if room < 1:
        raise ServiceStartError(
            f"this process may open {descriptors} files; the service needs more than {RESERVED_DESCRIPTORS + HANDSHAKES}",
            hint="Raise the limit with `ulimit -n 1024`, or LimitNOFILE= of its systemd unit.",
        )
    if room < wanted:
        log.warning(
            "fewer connections than set, since the process may open few files", set=wanted, limit=room, files=descriptors
        )
    return min(wanted, room)


class BoundedProtocol(H11Protocol):
    """uvicorn's HTTP/1.1, with a limit of connections and of the time that a request's head may take.

    uvicorn itself answers 503 beyond a limit but keeps the connection, and waits for a head without end.
    """

    max_connections: int
    head_timeout_s: float

    def __init__(
        self,
        config: uvicorn.Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._head_timer: asyncio.TimerHandle | None = None
        self._idle_since = 0.0

    @property
    def idle(self) -> bool:
        """Whether no request of this connection is being answered."""
        return self.cycle is None or self.cycle.response_complete

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Take the connection, and make room for it if there is none."""
        super().connection_made(transport)
        self._idle_since = self.loop.time()
        self._expect_head()
        if len(self.connections) > self.max_connections:
            every = [other for other in self.connections if isinstance(other, BoundedProtocol) and other is not self]
            victim = min((other for other in every if other.idle), key=lambda other: other._idle_since, default=self)
            log.warning("too many connections; one is closed", limit=self.max_connections, idle=victim is not self)
            victim.transport.abort()
            self.connections.discard(victim)  # it is gone at the loop's next turn, in which more may come

    def data_received(self, data: bytes) -> None:
        """Read on; a head that has begun must be complete in time."""
        super().data_received(data)
        if not self.idle:
            self._stop_timer()
        elif self._head_timer is None:
            self._expect_head()

    def on_response_complete(self) -> None:
        """From now on the connection is idle, until uvicorn's own time for that is over or another request comes."""
        self._idle_since = self.loop.time()
        super().on_response_complete()
        if not self.idle:  # the next request had come already
            self._stop_timer()
        elif self.conn.trailing_data[0] and self._head_timer is None:  # or has begun
            self._expect_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        self._stop_timer()
        super().connection_lost(exc)

    def shutdown(self) -> None:
        """Close an idle connection; without waiting for a client that does not take part in ending TLS."""
        super().shutdown()
        if self.idle:
            self.loop.call_later(FAREWELL_S, self.transport.abort)

    def _expect_head(self) -> None:
        self._head_timer = self.loop.call_later(self.head_timeout_s, self._give_up)

    def _give_up(self) -> None:
        self._head_timer = None
        if self.idle and not self.transport.is_closing():
            self.transport.abort()

    def _stop_timer(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None


class BoundedListener(socket.socket):
    """A listening socket that accepts no more than so many connections at once, TLS handshakes included.

    One beyond that is closed at once: left in the queue it would wake the loop over and over.
    """

    limit = 2**31
    _accepted = 0

    def accept(self) -> tuple[socket.socket, Any]:
        """The next connection there is room for. Raises BlockingIOError if no other one waits."""
        while True:
            descriptor, address = self._accept()  # type: ignore[attr-defined]  # as the method of the class above does
            if self._accepted < self.limit:
                self._accepted += 1
                return _Accepted(self._one_ended, self.family, self.type, self.proto, descriptor), address
            socket.close(descriptor)

    def _one_ended(self) -> None:
        self._accepted -= 1


class _Accepted(socket.socket):
    """A connection that tells once when it has been closed."""

    def __init__(self, tell: Callable[[], None], family: int, kind: int, protocol: int, descriptor: int) -> None:
        super().__init__(family, kind, protocol, fileno=descriptor)
        self._tell: Callable[[], None] | None = tell

    def close(self) -> None:
        """Close the connection."""
        super().close()
        if self._tell is not None:
            told, self._tell = self._tell, None
            told()
