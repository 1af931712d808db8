"""The parts of the service that a command starts from its settings. Each is imported when it is started, because together they
take half a second.
"""

from __future__ import annotations

import os
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from models.spec.errors import UnknownNameError
from profiler_service.conditions import look

if TYPE_CHECKING:
    from profiler_service.jobs.gaps import VisitGaps
    from profiler_service.jobs.runner import JobRunner
    from profiler_service.jobs.workers import Workers
    from profiler_service.settings import Settings
    from profiler_service.storage.store import Store
    from profiler_service.worker.protocol import BackendDescription


def load_settings(**chosen: object) -> Settings:
    """Those of the environment and of a command's options. Raises InvalidSpecError; see `Settings.load`."""
    from profiler_service.settings import Settings

    return Settings.load(**chosen)


def measuring_settings(**chosen: object) -> Settings:
    """The settings of a command that measures. Unknown variables `OPCLOCK_…` are refused.

    Raises:
        UnknownNameError: see `require_known_settings`.
        InvalidSpecError: see `Settings.load`.
    """
    from profiler_service.settings import require_known_settings

    require_known_settings(os.environ)
    return load_settings(**chosen)


def open_store(settings: Settings, *, busy_timeout_s: float | None = None) -> Store:
    """The database. A file and its directory are made if missing, and so are the tables of a database on a server.

    Args:
        settings: say where.
        busy_timeout_s: how long a transaction waits for another writer, where not as long as usual.

    Raises:
        StorageError, OSError: it cannot be opened.
    """
    from profiler_service.storage.database import BUSY_TIMEOUT_S
    from profiler_service.storage.location import make_room
    from profiler_service.storage.store import Store

    make_room(settings.database)
    return Store.open(settings.database, busy_timeout_s=BUSY_TIMEOUT_S if busy_timeout_s is None else busy_timeout_s)


def open_existing_store(settings: Settings) -> Store:
    """The database, for a command that only reads. Raises StorageError if it does not exist."""
    from profiler_service.storage.store import Store

    return Store.open(settings.database, create=False)


def open_workers(settings: Settings, gaps: VisitGaps | None = None) -> Workers:
    """The worker processes of that backend. None is started yet.

    Args:
        settings: of the backend, and how the processes are run.
        gaps: see `Workers`.

    Raises:
        UnknownNameError: no backend of that name.
        InvalidSpecError: the machine does not have the requested cores.
    """
    from profiler_service.backends.registry import backend_names
    from profiler_service.jobs.workers import Workers, WorkerSettings

    if settings.backend not in backend_names():
        raise UnknownNameError.of("backend", settings.backend, backend_names())
    return Workers(
        settings.backend,
        settings.chosen_options(),
        cache_dir=settings.cache_path,
        settings=WorkerSettings(
            core=settings.core,
            start_timeout_s=settings.start_timeout_s,
            graph_timeout_s=settings.build_timeout_s,
            build_timeout_s=settings.build_timeout_s,
            run_timeout_s=settings.run_timeout_s,
            build_memory_bytes=settings.build_memory_bytes,
            run_memory_bytes=settings.run_memory_bytes,
            cache_limit_bytes=settings.cache_max_bytes,
        ),
        gaps=gaps,
    )


def open_runner(store: Store, settings: Settings, gaps: VisitGaps | None = None) -> JobRunner:
    """The runner of jobs on that backend. Each job has its own processes. `gaps`: see `Workers`."""
    from profiler_service.jobs.runner import JobRunner

    return JobRunner(
        store,
        settings,
        lambda: open_workers(settings, gaps),
        lock_directory=settings.lock_dir,
        is_quiet=lambda: settings.device == "cuda" or not look().busy,
    )


def describe_backend(settings: Settings) -> BackendDescription:
    """The backend as a worker process describes it: target, dtypes, capabilities. Leaves no files behind.

    Raises:
        UnknownNameError, InvalidSpecError: as `open_workers`.
        BackendUnavailableError: the runtime is not installed, or finds no device.
    """
    with (
        TemporaryDirectory(prefix="opclock-") as directory,
        open_workers(settings.model_copy(update={"cache_dir": Path(directory)})) as workers,
    ):
        return workers.description
