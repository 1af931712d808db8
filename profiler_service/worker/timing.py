"""What the runtime's process does: builds engines, compares them with torch, and times them. Imports no torch itself."""

from __future__ import annotations

import os
import random
import resource
from collections.abc import Sequence
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from time import perf_counter

import numpy as np

from models.spec.measurements import Status
from profiler_service.backends.backend_options import BackendOptions, GpuOptions
from profiler_service.backends.base import Backend, Engine, GraphArtifact, seeded_input
from profiler_service.backends.errors import one_line
from profiler_service.backends.registry import create_backend, target_settings
from profiler_service.errors import BackendError, BuildError, DeviceMemoryError
from profiler_service.worker.output_check import change_problem, output_problem
from profiler_service.worker.process import ActivityFile, Phase
from profiler_service.worker.protocol import (
    BackendDescription,
    BuildReport,
    Failure,
    Isolated,
    RoundRobin,
    TimingRequest,
    TimingResult,
    build_key,
)
from profiler_service.worker.sampling import PassTimes, isolated_passes, run_isolated, run_passes, run_plainly

DEVICE_BROKEN = 75
"""The exit code of a process that a failure has left unable to use the device."""

_PATIENCE = 20
"""How many times longer than their first runs the passes may take before they count as hung."""


@cache
def _backend(name: str, options: BackendOptions) -> Backend:
    """This process's backend; there is never a second one."""
    return create_backend(name, options)


@dataclass(frozen=True)
class TimingWorker:
    """What to run on, and how long its steps may take; picklable, its methods are called in a worker.

    Attributes:
        backend_name, options: see `create_backend`.
        build_timeout_s: for one engine to be built.
        run_timeout_s: for its first run; the passes may take that long on top of what the first runs let expect.
    """

    backend_name: str
    options: BackendOptions
    build_timeout_s: float
    run_timeout_s: float

    def describe(self, _: None, activity: ActivityFile) -> BackendDescription:
        """Load the runtime and say what it is. Raises as `create_backend` does."""
        backend = self._backend
        settings = target_settings(self.backend_name, self.options)
        return BackendDescription(
            backend.target().model_copy(update={"settings": settings}),
            dtypes=backend.dtypes,
            reads_onnx=backend.reads_onnx,
            builds_on_device=backend.builds_on_device,
            flush_bytes=backend.flush_bytes(),
            free_bytes=backend.free_bytes(),
            queues_kernels=backend.options.queues_kernels,
            unrolls=backend.unrolls,
        )

    def check(self, artifact: GraphArtifact, activity: ActivityFile) -> BuildReport:
        """Build an engine and compare its output with the torch module's."""
        key, backend = artifact.request.key(), self._backend
        start = perf_counter()
        engine = self._built(backend, artifact, activity)
        if isinstance(engine, Failure):
            return BuildReport(key, engine.status, engine.message)
        build_s = perf_counter() - start
        error, problem = None, ""
        with closing(engine):
            activity.note(Phase.RUNNING, key, self.run_timeout_s)
            try:
                array, dtype = seeded_input(artifact.request), artifact.request.subject.dtype
                tf32 = isinstance(self.options, GpuOptions) and self.options.tf32
                output = engine.infer(array).copy()
                if artifact.reference_path is not None:
                    error, problem = output_problem(output, np.load(artifact.reference_path), dtype, tf32=tf32)
                problem = problem or change_problem(output, engine.infer(array), dtype, tf32=tf32)
                status = Status.WRONG_OUTPUT if problem else Status.OK
            except Exception as raised:
                failure = _failure(backend, raised, key, activity)
                status, problem = failure.status, failure.message
            return BuildReport(
                key,
                status,
                problem,
                build_s=build_s,
                engine_bytes=engine.engine_bytes,
                peak_memory_bytes=engine.peak_memory_bytes,
                output_error=error,
            )

    def time(self, request: TimingRequest, activity: ActivityFile) -> TimingResult | Failure:
        """Time the request's engines. All are closed when this returns.

        A failure means that the sentinel or an isolated engine failed; or that one of several engines failed after its first
        run, when it is not known which.
        """
        backend, mode = self._backend, request.mode
        started_at = datetime.now(UTC)
        watch = _StopWatch()
        with ExitStack() as open_engines:
            live = self._live(backend, request, activity, open_engines)
            if isinstance(live, Failure):
                return live
            build_s = watch.lap()
            (key,) = live.engines if isinstance(mode, Isolated) else (None,)
            rng = random.Random(request.seed)  # noqa: S311 - an order, not a secret
            try:
                activity.note(Phase.RUNNING, key, self._allowance_s(request.warmup_passes, live.run_s))
                _warm_up(backend, live, mode, request.warmup_passes, rng)
                warmup_s = watch.lap()
                activity.note(Phase.RUNNING, key, self._allowance_s(request.passes * mode.runs_per_pass, live.run_s))
                times = _run_passes(backend, live, mode, request.passes, rng)
                activity.note(Phase.RUNNING, key, self._allowance_s(request.plain_passes, live.run_s))
                plain = run_plainly(list(live.engines.values()), passes=request.plain_passes, rng=rng)
            except Exception as error:
                return _failure(backend, error, key, activity)
            return TimingResult(
                samples_ms=dict(zip(live.engines, times.engines_ms, strict=True)),
                sentinel_ms=times.sentinel_ms,
                build_s=build_s,
                warmup_s=warmup_s,
                sampling_s=watch.lap(),
                peak_rss_bytes=_peak_rss_bytes(),
                started_at=started_at,
                failures=tuple(live.failures),
                windows=times.windows,
                plain_ms=dict(zip(live.engines, plain, strict=True)),
            )

    @property
    def _backend(self) -> Backend:
        """The backend; loaded here if this is the first task, hence taken before any clock starts."""
        return _backend(self.backend_name, self.options)

    def _allowance_s(self, runs: int, run_s: float) -> float:
        return self.run_timeout_s + _PATIENCE * runs * run_s

    def _built(
        self, backend: Backend, artifact: GraphArtifact, activity: ActivityFile, *, afresh: bool = False
    ) -> Engine | Failure:
        key = artifact.request.key()
        activity.note(Phase.BUILDING, key, self.build_timeout_s)
        try:
            return backend.rebuild(artifact) if afresh else backend.build(artifact)
        except Exception as error:
            return _failure(backend, error, key, activity)

    def _live(
        self, backend: Backend, request: TimingRequest, activity: ActivityFile, open_engines: ExitStack
    ) -> _LiveEngines | Failure:
        """The request's engines, each run once, and its sentinel: live until `open_engines` is closed.

        A failure means that there is nothing to time, since the sentinel or an isolated engine failed.
        """
        mode = request.mode
        if isinstance(mode, Isolated):
            isolated = self._started(backend, request.artifacts, activity, open_engines)
            return isolated.failures[0] if isolated.failures else isolated
        sentinel = self._started(backend, [mode.sentinel], activity, open_engines)
        if sentinel.failures:
            return replace(sentinel.failures[0], message=f"the sentinel failed: {sentinel.failures[0].message}")
        group = self._started(backend, request.artifacts, activity, open_engines, builds=mode.builds)
        (group.sentinel,) = sentinel.engines.values()
        group.run_s += sentinel.run_s
        return group

    def _started(
        self,
        backend: Backend,
        artifacts: Sequence[GraphArtifact],
        activity: ActivityFile,
        open_engines: ExitStack,
        *,
        builds: int | None = None,
    ) -> _LiveEngines:
        """Engines that were built and have run once; see `RoundRobin` for `builds`."""
        result = _LiveEngines()
        graph_keys: dict[str, str] = {}
        for artifact in artifacts:
            key = artifact.request.key()
            for name in [key] if builds is None else [build_key(key, number) for number in range(builds)]:
                engine = self._built(backend, artifact, activity, afresh=builds is not None)
                if isinstance(engine, Failure):
                    result.failures.append(engine)
                else:
                    result.engines[name] = open_engines.enter_context(closing(engine))
                    graph_keys[name] = key
        for name, engine in list(result.engines.items()):
            activity.note(Phase.RUNNING, graph_keys[name], self.run_timeout_s)
            start = perf_counter()
            try:
                engine.run()
            except Exception as error:
                result.failures.append(_failure(backend, error, graph_keys[name], activity))
                del result.engines[name]
            result.run_s += perf_counter() - start
        return result


@dataclass
class _LiveEngines:
    """Engines by key, those that failed, the sentinel of round-robin timing, and the seconds that the first runs took."""

    engines: dict[str, Engine] = field(default_factory=dict)
    failures: list[Failure] = field(default_factory=list)
    sentinel: Engine | None = None
    run_s: float = 0.0


def _warm_up(backend: Backend, live: _LiveEngines, mode: RoundRobin | Isolated, passes: int, rng: random.Random) -> None:
    """So many passes of single runs, not timed. Raises what the engines raise."""
    if isinstance(mode, Isolated):
        (engine,) = live.engines.values()
        run_isolated(backend, engine, passes)
    else:
        _run_passes(backend, live, mode, passes, rng)


def _run_passes(
    backend: Backend, live: _LiveEngines, mode: RoundRobin | Isolated, passes: int, rng: random.Random
) -> PassTimes:
    """So many timed passes over the live engines. Raises what they raise."""
    engines = list(live.engines.values())
    if isinstance(mode, Isolated):
        (engine,) = engines
        return isolated_passes(backend, engine, passes, runs_per_interval=mode.runs_per_interval, cold=mode.cold)
    assert live.sentinel is not None
    return run_passes(backend, engines, live.sentinel, passes=passes, sentinel_every=mode.sentinel_every, rng=rng)


class _StopWatch:
    """Seconds between one lap and the next."""

    def __init__(self) -> None:
        self._start = perf_counter()

    def lap(self) -> float:
        previous, self._start = self._start, perf_counter()
        return self._start - previous


def _failure(backend: Backend, error: Exception, key: str | None, activity: ActivityFile) -> Failure:
    """The error as a value; Python's own MemoryError brings no message. Mistakes of ours are raised again.

    Where it has broken the device for this process, the process ends here, so that what comes next finds a fresh one: its
    death blames what it was busy with, and its last words say why. Nothing is closed first, since that would fail too,
    whatever was raised.
    """
    if backend.broken():
        with suppress(OSError):  # a full disk must not keep it alive
            activity.say(f"the device cannot be used any more: {one_line(str(error))}")
        os._exit(DEVICE_BROKEN)
    if not isinstance(error, BackendError | MemoryError):
        raise error
    if isinstance(error, DeviceMemoryError | MemoryError):
        status = Status.OUT_OF_MEMORY
    else:
        status = Status.BUILD_ERROR if isinstance(error, BuildError) else Status.RUN_ERROR
    return Failure(status, str(error) or "out of memory", key)


def _peak_rss_bytes() -> int:
    """Most memory this process has held. Linux counts the process alone; elsewhere its parent's share may be in it."""
    status = Path("/proc/self/status")
    if status.exists():
        (kilobytes,) = (line.split()[1] for line in status.read_text().splitlines() if line.startswith("VmHWM:"))
        return int(kilobytes) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
