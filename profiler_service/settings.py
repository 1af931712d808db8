"""Everything about the service that an operator of the box may choose, made once at the edge and passed down.

Each setting is read from the environment (`OPCLOCK_PORT=9000`), and a command-line option of the same meaning goes before it.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BeforeValidator, Field, InstanceOf, ValidationError, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from models.plugins import VARIABLE
from models.spec import limits
from models.spec.base import invalid_settings
from models.spec.errors import UnknownNameError
from profiler_service.backends.backend_options import ENVIRONMENT_PREFIX, AllOptions, BackendOptions
from profiler_service.storage.location import PostgresUrl, location_of

_OTHERS_PREFIX = "OPCLOCK_CLIENT_"
"""Of variables that concern the client alone."""

_OTHERS = frozenset({"OPCLOCK_URL", "OPCLOCK_REFERENCE", VARIABLE})
"""Variables that are read elsewhere: where a service is, where data published with papers is, and which plugins to import."""

LogLevel = Literal["debug", "info", "warning", "error"]
LogForm = Literal["console", "json"]
Seconds = Annotated[float, Field(gt=0, le=86_400)]
MemoryBytes = Annotated[int, Field(ge=256 * 2**20)]
HostName = Annotated[str, Field(pattern=r"^[A-Za-z0-9.:_-]{1,255}$")]

DatabaseLocation = Annotated[Path | InstanceOf[PostgresUrl], BeforeValidator(location_of), NoDecode]


class Settings(AllOptions, BaseSettings):
    """The settings of one service, or of one command that measures. Times in seconds, sizes in bytes.

    The options of backends come first; profiler_service/backends/backend_options.py describes them.

    >>> Settings.load(threads=4, database=Path("lut.sqlite")).cache_path.name
    'lut.sqlite.cache'
    """

    model_config = SettingsConfigDict(
        env_prefix=ENVIRONMENT_PREFIX,
        frozen=True,
        extra="forbid",
        allow_inf_nan=False,
        use_attribute_docstrings=True,
        hide_input_in_errors=True,  # a URL may hold a password
    )

    database: DatabaseLocation = Path("lut_data/opclock.sqlite")
    """SQLite file, or URL of a PostgreSQL database, `postgresql://USER@HOST:PORT/NAME`. The file is in the working directory,
    so that a checkout's tables stay with the checkout. A password is better off in PGPASSWORD or ~/.pgpass than in the URL."""

    host: Annotated[str, Field(min_length=1)] = "127.0.0.1"
    """Address to listen on. Beyond loopback a token is needed: the service does not start before one is made."""

    port: Annotated[int, Field(ge=0, le=65_535)] = 8731
    """TCP port; 0 takes a free one. Not one that a common service uses."""

    allowed_hosts: Annotated[tuple[HostName, ...], NoDecode] = ()
    """Names under which clients may address the service, besides this machine's loopback names and the address that is
    listened on; several with commas, as `box,box.lab.example`. Under any other name it does not answer, because a page of
    another site could have that name resolve to this machine. A token is then needed, on loopback as well."""

    root_path: Annotated[str, Field(pattern=r"^(/[A-Za-z0-9._~-]+)*$")] = ""
    """Path under which a reverse proxy shows the service, such as `/opclock`. A token is then needed, on loopback as well."""

    tls_certificate: Path | None = None
    """PEM file with the certificate, and those between it and its root. With it the service speaks HTTPS alone."""

    tls_key: Path | None = None
    """PEM file with the certificate's private key, without a passphrase."""

    backend: str = "onnxruntime"
    """Runtime that measures. The default needs no device besides the CPU."""

    core: Annotated[int, Field(ge=0, le=4_095)] | None = None
    """CPU core that the timing process is pinned to; with several threads the first of them. By default the last one
    that the process may use, since interrupts and other work gather on the first."""

    lock_dir: Path | None = None
    """Directory of the locks by which only one service or command at a time measures on a device. By default that of
    temporary files, /tmp; containers on one device, and users with a TMPDIR of their own, must be given one that they share."""

    start_timeout_s: Seconds = 120.0
    """For a worker process to import its runtime. Reading a large runtime from a cold, slow disk takes half a minute."""

    build_timeout_s: Seconds = 600.0
    """For one engine to be built. The largest operators take about a second on a CPU, but whole networks may take TensorRT and
    TorchInductor minutes on one core; what takes longer hangs, and should not hold up a job."""

    run_timeout_s: Seconds = 120.0
    """For one visit of a group of engines, beyond which the slowest engine counts as hung."""

    live_engines: Annotated[int, Field(ge=2, le=1_024)] = 96
    """Engines that are live at once and run round-robin. More make the caches as cold as inside a network: 24 at the least,
    96 better; memory may allow fewer."""

    memory_fraction: Annotated[float, Field(gt=0, le=0.9)] = 0.5
    """Share of the memory that is free when a job starts which live engines may take: of the host's or, on a GPU with memory of
    its own, of that, whichever is less. The rest is left for building, for what runtimes take besides (workspaces, rounding
    up), for the page cache and for other users of the box."""

    build_memory_bytes: MemoryBytes | None = None
    """Memory of the host that a process may take to make graphs, or to build and check engines, beyond what it starts with.
    What needs more fails as `out_of_memory`. By default the system alone sets a limit. Where engines are built on the device,
    `run_memory_bytes` holds for both. Linux only."""

    run_memory_bytes: MemoryBytes | None = None
    """The same for the process that times, with all its live engines: groups are made no larger, either. By default
    `memory_fraction` alone limits them."""

    plain_check: bool = True
    """Whether each job ends by timing a few engines by the wall clock alone, to confirm its values. Some seconds."""

    database_patience_s: Seconds = 600.0
    """How long a running job waits for a database that cannot be written for now: locked, on a full disk, or moved away. Then
    it gives its device back, stays first in the queue and is tried again."""

    cancel_timeout_s: Seconds = 5.0
    """For the running visit to end when its job is cancelled. A longer one is cut off, and is lost."""

    cache_max_bytes: Annotated[int, Field(ge=0)] = 4 * 2**30
    """Bytes of graph files in the cache. When a job ends, those used least recently are deleted beyond that, except what other
    running jobs need. They can be made again."""

    max_queued_jobs: Annotated[int, Field(ge=1, le=100_000)] = 100
    """Jobs that may wait to be measured; further ones are refused with status 429."""

    max_queued_workloads: Annotated[int, Field(ge=1)] = 200_000
    """Workloads that all waiting jobs together may list. The grid of a space counts as none."""

    max_queued_share: Annotated[float, Field(gt=0, le=1)] = 0.5
    """Share of both that the jobs of one token may take up, so that others find room."""

    max_kept_jobs: Annotated[int, Field(ge=1)] = 1_000
    """Ended jobs that are still listed. Older ones are deleted, a day after they ended at the earliest; what they measured
    stays."""

    max_request_bytes: Annotated[int, Field(ge=1_024, le=limits.MAX_REQUEST_BYTES)] = limits.MAX_REQUEST_BYTES
    """Bytes of a request's body. The default holds the largest job that is allowed."""

    max_connections: Annotated[int, Field(ge=8, le=65_536)] = 256
    """Connections at once. For one more, the one that has been idle for longest is closed. Fewer where the process may open
    fewer files."""

    max_event_streams: Annotated[int, Field(ge=2, le=65_536)] = 64
    """Event streams of jobs at once, each of which holds a connection; one caller may hold half of them. Further ones get
    status 429. Fewer than connections, so that there is always room for other requests."""

    max_requests_per_s: Annotated[float, Field(gt=0, le=1e6)] = 500.0
    """Requests per second of one token or, without one, of one address; twice as many may come at once. Further ones get status
    429. What anybody may read is not counted."""

    head_timeout_s: Seconds = 10.0
    """For the head of a request to arrive, from the first byte on or from the connection on."""

    body_timeout_s: Seconds = 120.0
    """For the body of a request to arrive. The largest one takes 27 s at 10 Mbit/s."""

    heartbeat_s: Annotated[float, Field(gt=0, le=30)] = 15.0
    """Between comments on a silent event stream, so that proxies, which drop it after 30 to 60 s, keep it open."""

    shutdown_timeout_s: Seconds = 10.0
    """For open requests and the running visit to end after SIGTERM. Container engines kill after 10 s by default; what is
    cut off then is measured again, nothing else is lost."""

    log_level: LogLevel = "info"
    """Least severity that a running service logs to stderr; a command that ends by itself logs warnings and errors."""

    log_format: LogForm = "console"
    """How log lines look: for people, or one JSON object each for a log collector."""

    @field_validator("allowed_hosts", mode="before")
    @classmethod
    def _names_with_commas(cls, value: object) -> object:
        return tuple(filter(None, value.replace(" ", "").split(","))) if isinstance(value, str) else value

    @classmethod
    def load(cls, **chosen: object) -> Self:
        """The settings of the environment, except where `chosen` gives a value other than None.

        Raises:
            InvalidSpecError: names the setting, its value and what is allowed.
        """
        given = {name: value for name, value in chosen.items() if value is not None}
        try:
            return cls.model_validate(given)
        except ValidationError as error:
            raise invalid_settings(error, cls.__name__, prefix=ENVIRONMENT_PREFIX, chosen=given) from error

    @property
    def cache_path(self) -> Path:
        """Where graph files go."""
        if self.cache_dir is not None:
            return self.cache_dir
        if isinstance(self.database, PostgresUrl):
            return Path("lut_data") / f"{self.database.name or 'postgresql'}.cache"
        return self.database.with_name(f"{self.database.name}.cache")

    @property
    def options(self) -> AllOptions:
        """The options of every backend; `create_backend` takes those of one, and refuses what that does not have."""
        values = {name: getattr(self, name) for name in AllOptions.model_fields}
        return AllOptions.model_validate(values | {"cache_dir": self.cache_path})

    def chosen_options(self) -> BackendOptions:
        """The options of the backend, wherever one is created: for jobs, for the check of a GPU box, for the contract suite.

        Raises:
            UnknownNameError: no backend of that name, or none that runs on the kind of device.
            InvalidSpecError: the backend does not have an option that is set.
        """
        from profiler_service.backends.registry import options_for

        return options_for(self.backend, self.options)


def unknown_settings(variables: Iterable[str]) -> dict[str, str]:
    """The variables of the environment that look like settings and are none, which nothing would heed; each with a hint.

    As when settings are read, it makes no difference whether they are written in capitals.
    """
    known = {f"{ENVIRONMENT_PREFIX}{name.upper()}" for name in Settings.model_fields} | _OTHERS
    return {
        name: _hint(name.upper(), known)
        for name in sorted(variables)
        if name.upper().startswith(ENVIRONMENT_PREFIX)
        and not name.upper().startswith(_OTHERS_PREFIX)
        and name.upper() not in known - _OTHERS
        and name not in _OTHERS
    }


def require_known_settings(variables: Iterable[str]) -> None:
    """Refuse variables of the environment that were meant to be settings: everything would be measured without them.

    Raises:
        UnknownNameError: names them, and the nearest setting of each.
    """
    if unknown := unknown_settings(variables):
        hints = list(unknown.values()) if len(unknown) == 1 else [f"{name}: {hint}" for name, hint in unknown.items()]
        raise UnknownNameError(f"no setting is called {', '.join(unknown)}", hint=" ".join(hints))


def _hint(name: str, known: Iterable[str]) -> str:
    """The nearest known variable; the prefix, which all of them have, makes none near."""
    rests = [variable.removeprefix(ENVIRONMENT_PREFIX) for variable in known]
    close = difflib.get_close_matches(name.removeprefix(ENVIRONMENT_PREFIX), rests, n=1)
    return f"Did you mean {ENVIRONMENT_PREFIX}{close[0]}?" if close else "Unset it; docs/reference/settings.md has them all."
