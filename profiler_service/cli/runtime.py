"""The parts of the service that a command starts, from its settings."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

from models.spec.errors import UnknownNameError
from profiler_service.backends.registry import backend_names
from profiler_service.conditions import look
from profiler_service.jobs.runner import JobRunner
from profiler_service.jobs.workers import Workers, WorkerSettings
from profiler_service.settings import Settings
from profiler_service.storage.store import Store
from profiler_service.worker.protocol import BackendDescription


def open_store(settings: Settings) -> Store:
    """The database, made if it is missing, its directory too. Raises StorageError, OSError."""
    settings.database.parent.mkdir(parents=True, exist_ok=True)
    return Store.open(settings.database)


def open_existing_store(settings: Settings) -> Store:
    """The database of a command that only reads. Raises StorageError where there is none."""
    return Store.open(settings.database, create=False)


def open_workers(settings: Settings) -> Workers:
    """Processes for that backend; none is started yet.

    Raises:
        UnknownNameError: no backend of that name.
        InvalidSpecError: the machine has not the cores asked for.
    """
    if settings.backend not in backend_names():
        raise UnknownNameError.of("backend", settings.backend, backend_names())
    return Workers(
        settings.backend,
        settings.backend_options(),
        cache_dir=settings.cache_path,
        settings=WorkerSettings(
            core=settings.core,
            start_timeout_s=settings.start_timeout_s,
            graph_timeout_s=settings.build_timeout_s,
            build_timeout_s=settings.build_timeout_s,
            run_timeout_s=settings.run_timeout_s,
        ),
    )


def open_runner(store: Store, settings: Settings) -> JobRunner:
    """What runs jobs on that backend, each with processes of its own."""
    return JobRunner(
        store,
        settings,
        lambda: open_workers(settings),
        lock_directory=settings.lock_dir,
        is_quiet=lambda: settings.device == "cuda" or not look().busy,
    )


def describe_backend(settings: Settings) -> BackendDescription:
    """What a worker process finds out about that backend. Leaves no trace.

    Raises:
        UnknownNameError, InvalidSpecError: as `open_workers`.
        BackendUnavailableError: the runtime is not installed, or finds no device.
    """
    with (
        TemporaryDirectory(prefix="opclock-") as directory,
        open_workers(settings.model_copy(update={"cache_dir": Path(directory)})) as workers,
    ):
        return workers.description
