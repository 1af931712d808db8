"""The service in the foreground, from its settings to its end."""

from __future__ import annotations

import errno
import ipaddress
import os
import signal
import socket
import ssl
import sys
import threading
import webbrowser
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType
from typing import NoReturn

import structlog
import uvicorn

from models.atomic_file import replacing
from models.terminal import emit
from profiler_service.api.app import create_app
from profiler_service.api.connections import HANDSHAKES, BoundedListener, connection_limit, server_config
from profiler_service.backends.registry import kind_meant
from profiler_service.cli.runtime import describe_backend, open_runner, open_store
from profiler_service.cli.stop_deadline import StopDeadline, orderly_seconds
from profiler_service.conditions import look
from profiler_service.errors import ServiceStartError
from profiler_service.jobs.gaps import VisitGaps
from profiler_service.jobs.queue import JobQueue
from profiler_service.jobs.waiting import QueueLimits
from profiler_service.logs import JobLog, configure_logs
from profiler_service.settings import Settings
from profiler_service.storage.job_rows import Owner, this_box
from profiler_service.storage.location import PostgresUrl, make_room
from profiler_service.storage.store import Store
from profiler_service.storage.upkeep import require_sound, sole_use
from profiler_service.storage.upkeep import warnings as database_warnings

log = structlog.get_logger(__name__)

BACKLOG = 128
"""Connections that may wait to be accepted; what common servers take."""

BUSY_TIMEOUT_S = 5.0
"""How long a request waits for another writer of the database: each one that waits holds one of forty threads."""

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM)


def run_service(settings: Settings, *, url_file: Path | None, as_json: bool, open_page: bool = False) -> None:
    """Serve until SIGTERM or SIGINT.

    Args:
        settings: where, and what measures.
        url_file: holds the address while the service answers.
        as_json: whether the address is printed as JSON.
        open_page: whether the page is opened in this machine's browser once the service answers.

    Raises:
        ServiceStartError: see `listen`, `require_token`, `require_certificate` and `connection_limit`.
        OpclockError: what `open_store` or `describe_backend` raises.
    """
    job_log = JobLog()
    configure_logs(settings.log_level, settings.log_format, keep=job_log)
    with ExitStack() as stack:
        stack.enter_context(_exiting_on_signals())
        require_certificate(settings)
        listener = stack.enter_context(listen(settings.host, settings.port))
        url = url_of(listener, settings.host, secure=settings.tls_certificate is not None)
        make_room(settings.database)
        stack.enter_context(sole_use(settings.database))
        store = stack.enter_context(open_store(settings, busy_timeout_s=BUSY_TIMEOUT_S))
        require_sound(settings.database)
        store.mend_etags()
        for warning in database_warnings(settings.database):
            log.warning(warning)
        exposed = is_exposed(listener, settings)
        if exposed:
            require_token(store, listener)
        found = describe_backend(settings)
        gaps = VisitGaps()
        runner = open_runner(store, settings, gaps)
        queue = stack.enter_context(
            JobQueue(
                store,
                runner,
                stop_timeout_s=orderly_seconds(settings.shutdown_timeout_s),
                cancel_timeout_s=settings.cancel_timeout_s,
                limits=QueueLimits(
                    jobs=settings.max_queued_jobs,
                    workloads=settings.max_queued_workloads,
                    share=settings.max_queued_share,
                    kept_jobs=settings.max_kept_jobs,
                ),
                owner=Owner(found.target.id(), this_box()) if isinstance(settings.database, PostgresUrl) else None,
            )
        )
        warn_of_machine(settings)
        warn_of_clear_text(listener, settings)
        app = create_app(settings, store=store, queue=queue, backend=found, exposed=exposed, job_log=job_log, gaps=gaps)

        def announce() -> None:
            log.info("serving", url=url, database=str(settings.database), target=found.target.label())
            if url_file is not None:
                stack.callback(url_file.unlink, missing_ok=True)
                with replacing(url_file) as part:  # whoever waits for the file reads a complete address
                    part.write_text(url)
            emit(
                {"url": url, "database": str(settings.database), "target": found.target.model_dump(mode="json")},
                as_json=as_json,
                text=lambda console: console.print(f"{url} measures on {found.target.label()}; Ctrl-C ends it"),
            )
            if open_page:  # in a thread of its own: a browser that is not running yet takes seconds
                threading.Thread(target=show_page, args=(f"{url}{settings.root_path}/",), daemon=True).start()

        limit = connection_limit(settings.max_connections)
        listener.limit = limit + HANDSHAKES
        graceful_s = int(orderly_seconds(settings.shutdown_timeout_s)) or 1
        deadline = StopDeadline(
            settings.shutdown_timeout_s,
            on_begin=queue.begin_to_stop,
            on_end=lambda: None if url_file is None else url_file.unlink(missing_ok=True),
        )
        server = _AnnouncingServer(server_config(app, settings, limit, graceful_s=graceful_s), announce, deadline)
        for number in STOP_SIGNALS:
            # The server shuts down at the first signal and then raises it again.
            signal.signal(number, signal.SIG_IGN)
        server.run(sockets=[listener])
    log.info("stopped; unfinished jobs continue when the service starts again")


def show_page(url: str) -> None:
    """Open the page in this machine's browser; a warning where there is none."""
    if not webbrowser.open(url):
        log.warning("no browser could be opened; open the page yourself", url=url)


def warn_of_machine(settings: Settings) -> None:
    """Log what will disturb measuring; on a GPU other work on the processor hardly matters."""
    if kind_meant(settings.backend, settings.device) != "cuda":
        for warning in look().warnings(settings.threads):
            log.warning(warning)


def is_exposed(listener: socket.socket, settings: Settings) -> bool:
    """Whether others than this machine may reach the service: from the network, or through a proxy that has a name for it."""
    return not _is_loopback(listener) or bool(settings.root_path or settings.allowed_hosts)


def _is_loopback(listener: socket.socket) -> bool:
    return ipaddress.ip_address(listener.getsockname()[0].partition("%")[0]).is_loopback


def require_token(store: Store, listener: socket.socket) -> None:
    """Raises ServiceStartError unless the database has a valid token, without which nobody could use an exposed service."""
    now = datetime.now(UTC)
    if not any(not stored.token.ended(now) for stored in store.tokens()):
        why = f"it listens on {listener.getsockname()[0]}" if not _is_loopback(listener) else "a proxy makes it known to others"
        raise ServiceStartError(
            f"the service needs a token, since {why}, and database {store.location} has no valid one",
            hint=f"Make one: `profiler-service token create NAME --role profile --database {store.location}`. "
            "Or listen on 127.0.0.1 alone.",
        )


def require_certificate(settings: Settings) -> None:
    """Raises ServiceStartError unless the certificate and its key, if any are set, can be used."""
    certificate, key = settings.tls_certificate, settings.tls_key
    if certificate is None and key is None:
        return
    if certificate is None or key is None:
        lacking = "tls_certificate" if certificate is None else "tls_key"
        raise ServiceStartError(
            f"TLS needs a certificate and its key; {lacking} is not set", hint="Set --tls-certificate and --tls-key."
        )
    for path in (certificate, key):
        if not os.access(path, os.R_OK):
            raise ServiceStartError(f"{path} cannot be read", hint="Name PEM files that this user may read.")
    try:
        # Without a passphrase of ours OpenSSL would ask for one at the terminal.
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, key, password="")
    except (ssl.SSLError, ValueError) as error:
        raise ServiceStartError(
            f"TLS cannot use {certificate} with {key}: {error}",
            hint="Both must be PEM files, the key that of the certificate and without a passphrase.",
        ) from error


def warn_of_clear_text(listener: socket.socket, settings: Settings) -> None:
    """Log that tokens can be read on the way."""
    if settings.tls_certificate is None and not _is_loopback(listener):
        log.warning("tokens cross the network in clear text; set --tls-certificate and --tls-key, or use a proxy with TLS")


def listen(host: str, port: int) -> BoundedListener:
    """A listening socket.

    Raises:
        ServiceStartError: the port is in use, may not be used, or there is no such address here.
    """
    where = f"{host} port {port}"
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        # With its protocol: asyncio sends answers at once (TCP_NODELAY) only on sockets that are TCP by name.
        listener = BoundedListener(family, kind, protocol)
    except OSError as error:
        raise ServiceStartError(f"cannot listen on {where}: {error.strerror}", hint="Check the address.") from error
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # restart while old connections still linger
        listener.bind(address)
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        if error.errno == errno.EADDRINUSE:
            raise ServiceStartError(
                f"{where} is in use", hint="Is the service already running? Choose another --port, or 0 for a free one."
            ) from error
        raise ServiceStartError(
            f"cannot listen on {where}: {error.strerror}", hint="Choose another --host or --port."
        ) from error
    return listener


def url_of(listener: socket.socket, host: str, *, secure: bool = False) -> str:
    """The address under which a client on this machine reaches the listener."""
    port = listener.getsockname()[1]
    reachable = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - names the wildcard, binds nothing
    return f"{'https' if secure else 'http'}://{f'[{reachable}]' if ':' in reachable else reachable}:{port}"


class _AnnouncingServer(uvicorn.Server):
    """A server that calls a function once it answers, and ends in time."""

    def __init__(self, config: uvicorn.Config, announce: Callable[[], None], deadline: StopDeadline) -> None:
        super().__init__(config)
        self._announce, self._deadline = announce, deadline

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """At a stop signal."""
        self._deadline.signalled(sig)
        super().handle_exit(sig, frame)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._announce()


@contextmanager
def _exiting_on_signals() -> Iterator[None]:
    """Exit through every `finally` if a stop signal arrives before the server handles signals itself."""

    def leave(number: int, frame: object) -> NoReturn:
        sys.exit(0)

    before = {number: signal.signal(number, leave) for number in STOP_SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
