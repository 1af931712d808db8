"""The processes behind a job: graphs are made, engines built, checked and timed elsewhere; here only values come and go.

The process that owns `Workers` imports neither torch nor a runtime.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from types import TracebackType
from typing import Annotated, Self

import structlog
from pydantic import Field, StrictInt

from models.spec.base import Record
from models.spec.errors import InvalidSpecError
from models.spec.graphs import GraphRequest
from models.spec.measurements import Status
from profiler_service.backends.backend_options import BackendOptions
from profiler_service.backends.base import GraphArtifact, require_dtype
from profiler_service.backends.processor import usable_cores
from profiler_service.errors import BackendUnavailableError, StorageError
from profiler_service.jobs.gaps import VisitGaps
from profiler_service.jobs.worker_pool import Death, WorkerPool
from profiler_service.worker.graphs import LARGE_REFERENCE_BYTES, TORCH_MODULE, GraphCache, GraphWorker, files_of, missing_files
from profiler_service.worker.passed_checks import PassedChecks
from profiler_service.worker.process import Phase
from profiler_service.worker.protocol import (
    BackendDescription,
    BuildReport,
    Failure,
    RoundRobin,
    TimingRequest,
    TimingResult,
)
from profiler_service.worker.pruning import InUse, prune
from profiler_service.worker.timing import TimingWorker

log = structlog.get_logger(__name__)

Seconds = Annotated[float, Field(gt=0)]


class WorkerSettings(Record):
    """How the processes of a job are run. Times in seconds.

    Attributes:
        core: what the timing process is pinned to; with several threads the first of them. None for the last one that
            this process may use, since interrupts and other work gather on the first.
        processes: for making graphs, and for checking engines; None for one per core.
        start_timeout_s: for a process to start and import its runtime.
        graph_timeout_s: for one graph to be made.
        build_timeout_s: for one engine to be built.
        run_timeout_s: for an engine's first run; passes over a group may take that long on top of twenty times what the first
            runs let expect.
        build_memory_bytes: memory that a process which makes graphs or checks engines may take beyond what it starts with; None
            for any.
        run_memory_bytes: likewise, of the process that times.
        modules: imported by every process when it starts: they may register backends, operator kinds, search spaces.
        cache_limit_bytes: of graph files in the cache, once the job has ended. None for any number.
    """

    core: Annotated[StrictInt, Field(ge=0)] | None = None
    processes: Annotated[StrictInt, Field(ge=1)] | None = None
    start_timeout_s: Seconds = 120.0
    graph_timeout_s: Seconds = 120.0
    build_timeout_s: Seconds = 600.0
    run_timeout_s: Seconds = 120.0
    build_memory_bytes: Annotated[StrictInt, Field(ge=0)] | None = None
    run_memory_bytes: Annotated[StrictInt, Field(ge=0)] | None = None
    modules: tuple[str, ...] = ()
    cache_limit_bytes: Annotated[StrictInt, Field(ge=0)] | None = None


class Workers:
    """The worker processes of one backend, started when first needed, ended by `close` or at the end of a `with` block.

    A process that dies or hangs becomes a `Failure`, and the next call finds a fresh one. Calls come from one thread;
    `close` may come from another, and then what is under way raises JobError.

    Args:
        backend_name: see `create_backend`.
        options: of the backend.
        cache_dir: where graphs are cached; made if it is not there.
        settings: how the processes are run.
        gaps: keep what else this process does away from timing; None where it does nothing else.

    Raises:
        InvalidSpecError: the machine has not the cores asked for.
        StorageError: the cache directory cannot be made.
    """

    def __init__(
        self,
        backend_name: str,
        options: BackendOptions | None = None,
        *,
        cache_dir: Path,
        settings: WorkerSettings | None = None,
        gaps: VisitGaps | None = None,
    ) -> None:
        self._gaps = gaps or VisitGaps()
        options = options or BackendOptions()
        self._settings = settings = settings or WorkerSettings()
        cores = timing_cores(settings.core, options.threads)  # first: it may refuse
        self._backend_name = backend_name
        self._cache = GraphCache.open(cache_dir)
        self._worker = TimingWorker(backend_name, options, settings.build_timeout_s, settings.run_timeout_s)
        self._in_use: InUse | None = None
        self._notes = TemporaryDirectory(prefix="opclock-")
        processes = settings.processes or len(usable_cores())
        self._graphs = self._pool("graphs", processes, settings.build_memory_bytes, modules=(TORCH_MODULE,))
        self._checks = self._pool("checks", processes, settings.build_memory_bytes)
        self._timing = self._pool("timing", 1, settings.run_memory_bytes, cores=cores)

    @cached_property
    def description(self) -> BackendDescription:
        """What the backend is and measures on; the first access loads the runtime.

        Raises:
            UnknownNameError: no backend of that name.
            BackendUnavailableError: the runtime is not installed, finds no device, or dies when it is loaded.
            InvalidSpecError: the backend cannot do what an option asks.
        """
        outcome = self._timing.call(self._worker.describe, None)
        if isinstance(outcome, Death):
            raise BackendUnavailableError(f"backend {self._backend_name!r} cannot be loaded: {outcome.reason}")
        return outcome

    def prepare(self, requests: Sequence[GraphRequest]) -> Iterator[tuple[GraphRequest, GraphArtifact | Failure]]:
        """Make the graphs in parallel; each comes as soon as it is there, those made earlier first.

        Raises (at once, before anything is made):
            InvalidSpecError: a graph's dtype is not one of the backend's.
        Raises (on the way):
            StorageError: the cache directory is full or may not be written.
        """
        for request in requests:
            require_dtype(self._backend_name, self.description.dtypes, request)
        return self._prepare(requests)

    def check(self, artifacts: Iterable[GraphArtifact]) -> Iterator[BuildReport]:
        """Build an engine of each graph and compare its output with torch's, in parallel where the backend allows.

        The reports come as the checks finish. What has passed on this target before is reported as it was, and not built. A
        large reference is deleted once an output has agreed with it, unless another job needs the graph.
        """
        pool = self._timing if self.description.builds_on_device else self._checks
        passed: list[BuildReport] = []
        for artifact, outcome in pool.map(self._worker.check, self._unchecked(artifacts, passed)):
            if isinstance(outcome, Death):
                failure = _failure(outcome, [artifact])
                outcome = BuildReport(artifact.request.key(), failure.status, failure.message)
            if outcome.status is Status.OK:
                self._keep(artifact, outcome)
                self._discard_if_large(artifact.reference_path)
            yield outcome
            while passed:
                yield passed.pop()
        yield from passed

    def time(self, request: TimingRequest) -> TimingResult | Failure:
        """Time engines; a failure names the engine that is to blame, where that is known.

        On a CPU, let `prepare` and `check` finish first: the machine should have nothing else to do.
        """
        with self._gaps.visit():
            outcome = self._timing.call(self._worker.time, request)
        if not isinstance(outcome, Death):
            return outcome
        sentinels = [request.mode.sentinel] if isinstance(request.mode, RoundRobin) else []
        return _failure(outcome, [*sentinels, *request.artifacts])

    def close(self) -> None:
        """End all processes. Safe to call twice."""
        for pool in (self._graphs, self._checks, self._timing):
            pool.close()
        self._notes.cleanup()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self.close()
        if self._in_use is not None:
            self._in_use.close()
            if self._settings.cache_limit_bytes is not None:
                self._prune(self._settings.cache_limit_bytes)

    def _prune(self, limit_bytes: int) -> None:
        try:
            pruned = prune(self._cache.directory, limit_bytes)
        except StorageError as error:  # what was measured is stored; the cache can wait
            log.warning("the cache of graphs cannot be cleaned", reason=error.message)
            return
        if pruned.files:
            log.info("cleaned the cache of graphs", **asdict(pruned))

    @cached_property
    def _passed(self) -> PassedChecks:
        return PassedChecks(self._cache, self.description.target.id())

    def _unchecked(self, artifacts: Iterable[GraphArtifact], passed: list[BuildReport]) -> Iterator[GraphArtifact]:
        """Those that have not passed before; the reports on the others are added to the list."""
        for artifact in artifacts:
            report = self._passed.find(artifact)
            if report is None:
                yield artifact
            else:
                passed.append(report)

    def _keep(self, artifact: GraphArtifact, report: BuildReport) -> None:
        try:
            self._passed.keep(artifact, report)
        except (StorageError, OSError) as error:  # it is checked again next time
            log.warning("a check that passed cannot be kept", reason=str(error))

    def _discard_if_large(self, reference: Path | None) -> None:
        """Does nothing where `prepare` has noted no graphs: the file may be anybody's."""
        if reference is None or self._in_use is None:
            return
        try:
            if reference.stat().st_size > LARGE_REFERENCE_BYTES:
                self._in_use.discard(reference)
        except FileNotFoundError:  # another service on this cache has deleted it
            return
        except (StorageError, OSError) as error:  # it goes when the cache is pruned
            log.warning("a reference that was compared with cannot be deleted", reason=str(error))

    def _prepare(self, requests: Sequence[GraphRequest]) -> Iterator[tuple[GraphRequest, GraphArtifact | Failure]]:
        worker = GraphWorker(
            self._cache,
            self.description.reads_onnx,
            self._settings.graph_timeout_s,
            unrolled=self.description.unrolls,
        )
        absent = []
        if self._in_use is None:
            self._in_use = InUse(self._cache)
        artifacts = [worker.artifact(request) for request in requests]
        self._in_use.add(path for artifact in artifacts for path in files_of(artifact))
        for request, artifact in zip(requests, artifacts, strict=True):
            missing = missing_files(artifact)
            if missing and not (missing == [artifact.reference_path] and self._passed.find(artifact)):
                absent.append(request)
            else:
                yield request, artifact
        for request, outcome in self._graphs.map(worker, absent):
            if isinstance(outcome, Death):
                outcome = _failure(outcome, [worker.artifact(request)])
            yield request, outcome

    def _pool(
        self, name: str, size: int, memory_bytes: int | None, *, cores: tuple[int, ...] = (), modules: tuple[str, ...] = ()
    ) -> WorkerPool:
        directory = Path(self._notes.name) / name
        directory.mkdir()
        return WorkerPool(
            size,
            directory=directory,
            start_timeout_s=self._settings.start_timeout_s,
            cores=cores,
            modules=modules + self._settings.modules,
            memory_bytes=memory_bytes,
        )


def timing_cores(first: int | None, threads: int) -> tuple[int, ...]:
    """The cores that the timing process keeps to, one per thread.

    Raises:
        InvalidSpecError: the machine has not that many, or this process may not use them.
    """
    usable = usable_cores()
    start = len(usable) - threads if first is None else next((i for i, core in enumerate(usable) if core == first), -1)
    cores = usable[start : start + threads] if start >= 0 else ()
    if len(cores) < threads:
        wanted = f"{threads} core{'s' if threads > 1 else ''}" + ("" if first is None else f" from core {first} on")
        raise InvalidSpecError(
            f"{wanted} cannot be had; this process may use {', '.join(map(str, usable))}",
            hint="Choose fewer threads or another core.",
        )
    return cores


def _failure(death: Death, artifacts: Sequence[GraphArtifact]) -> Failure:
    """What a worker's death means for the graphs it was busy with."""
    activity = death.activity
    labels = {artifact.request.key(): artifact.request.label() for artifact in artifacts}
    what = labels.get(activity.key or "", "a group of engines")
    if not death.overdue:
        status = Status.CRASHED
    elif activity.phase is Phase.RUNNING:
        status = Status.RUN_TIMEOUT
    else:
        status = Status.BUILD_TIMEOUT
    return Failure(status, f"{death.reason} while {activity.phase.verb} {what}", activity.key)
