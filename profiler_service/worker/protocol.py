"""What crosses between the service's process and its workers. Everything is frozen and picklable; a failure is a value.

Paths, never arrays: graphs and reference outputs lie in the cache directory that both sides see.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from models.spec.errors import InvalidSpecError
from models.spec.measurements import Status
from models.spec.operators import Dtype
from models.spec.targets import TargetSpec
from profiler_service.backends.base import GraphArtifact
from profiler_service.measure.throttling import Window
from profiler_service.measure.visits import DeviceState


@dataclass(frozen=True)
class BackendDescription:
    """What the service must know of a backend, asked once of a process that has loaded its runtime.

    Attributes:
        target: what it measures on.
        dtypes, reads_onnx, builds_on_device, flush_bytes, queues_kernels: as of `Backend`.
        free_bytes: as of `Backend`, when it was asked: before anything was built.
    """

    target: TargetSpec
    dtypes: tuple[Dtype, ...]
    reads_onnx: bool
    builds_on_device: bool
    flush_bytes: int | None = None
    free_bytes: int | None = None
    queues_kernels: bool = False


@dataclass(frozen=True)
class Failure:
    """A graph that could not be made, built or run.

    Attributes:
        status: how it failed, never `ok`.
        message: why, for people.
        key: of the `GraphRequest` that is to blame; None where several engines were at work and none can be singled out.
    """

    status: Status
    message: str
    key: str | None

    def __post_init__(self) -> None:
        if self.status is Status.OK:
            raise InvalidSpecError(f"a failure cannot have status {self.status}: {self.message}")


@dataclass(frozen=True)
class BuildReport:
    """How building one engine and comparing its output with the torch module went.

    Attributes:
        key: of the `GraphRequest`.
        status: `ok`, or how it failed; then `message` says why.
        build_s: seconds to build; None where it was not built.
        engine_bytes: size of the engine, where the backend tells.
        peak_memory_bytes: most memory the engine held, where the backend tells.
        output_error: relative L2 error against the torch module in float32, a fraction; None where there was no output
            or no reference.
    """

    key: str
    status: Status
    message: str = ""
    build_s: float | None = None
    engine_bytes: int | None = None
    peak_memory_bytes: int | None = None
    output_error: float | None = None


@dataclass(frozen=True)
class GroupRequest:
    """Engines to be timed in turn (docs/measurement.md): all live at once, one run each per pass.

    Attributes:
        artifacts: the graphs, each key once.
        sentinel: the graph whose runs are interspersed in every pass.
        passes: timed passes. warmup_passes: passes before them, not timed.
        seed: of the shuffling.
        sentinel_every: engines per run of the sentinel within a pass; one run at the least.
        builds: how many engines are built of each graph, from scratch (`Backend.rebuild`); samples are then keyed by
            `build_key`. None for one, as usual.
        plain_passes: passes after those in which each run is timed by the wall clock alone.
    """

    artifacts: tuple[GraphArtifact, ...]
    sentinel: GraphArtifact
    passes: int
    warmup_passes: int = 2
    seed: int = 0
    sentinel_every: int = 16
    builds: int | None = None
    plain_passes: int = 0

    def __post_init__(self) -> None:
        if len({artifact.request.key() for artifact in self.artifacts}) != len(self.artifacts) or not self.artifacts:
            raise InvalidSpecError("a group needs at least one graph, and each graph once")
        if self.builds is not None and self.builds < 1:
            raise InvalidSpecError(f"builds must be ≥ 1, not {self.builds}")
        if self.passes < 1 or self.warmup_passes < 0 or self.sentinel_every < 1:
            raise InvalidSpecError(
                f"a group needs passes ≥ 1, warmup_passes ≥ 0 and sentinel_every ≥ 1, "
                f"not {self.passes}, {self.warmup_passes} and {self.sentinel_every}"
            )


def build_key(graph_key: str, build: int) -> str:
    """What names one of several builds of a graph, counted from 0."""
    return f"{graph_key}#{build}"


@dataclass(frozen=True)
class GroupTimes:
    """Samples of one visit of a group.

    Attributes:
        samples_ms: graph key to one time per pass, in the order of the passes; failed graphs are absent.
        sentinel_ms: every run of the sentinel that counts (see `worker.sampling`), in order; `passes` times those per pass.
        failures: engines that could not be built or run; they were left out and the others timed without them.
        build_s: seconds to build all engines and run each once. warmup_s, sampling_s: seconds of the passes.
        peak_rss_bytes: most memory the process has held since it started.
        started_at: UTC.
        windows: the device before and after each pass; none where nobody tells of it.
        device: what became of the windows; see `jobs.sifting`.
        plain_ms: graph key to one wall-clock time per plain pass.
    """

    samples_ms: Mapping[str, tuple[float, ...]]
    sentinel_ms: tuple[float, ...]
    build_s: float
    warmup_s: float
    sampling_s: float
    peak_rss_bytes: int
    started_at: datetime
    failures: tuple[Failure, ...] = field(default=())
    windows: tuple[Window, ...] = ()
    device: DeviceState | None = None
    plain_ms: Mapping[str, tuple[float, ...]] = field(default_factory=dict)


@dataclass(frozen=True)
class IsolatedRequest:
    """One engine to be timed by itself; see `worker.sampling.run_isolated`.

    Attributes:
        artifact: the graph.
        runs: timed runs, or windows of several. warmup_runs: runs before them, not timed.
        runs_per_interval: runs between one pair of timing events.
        cold: whether the caches are emptied before each window, outside it.
    """

    artifact: GraphArtifact
    runs: int
    warmup_runs: int = 5
    runs_per_interval: int = 1
    cold: bool = False

    def __post_init__(self) -> None:
        if min(self.runs, self.runs_per_interval) < 1 or self.warmup_runs < 0:
            raise InvalidSpecError(
                f"runs and runs_per_interval must be ≥ 1 and warmup_runs ≥ 0, not {self.runs}, {self.runs_per_interval} and "
                f"{self.warmup_runs}"
            )


@dataclass(frozen=True)
class IsolatedTimes:
    """Samples of one engine timed by itself.

    Attributes:
        samples_ms: one time of one run per run or window, in order.
        build_s: seconds to build the engine and run it once. warmup_s, sampling_s: seconds of the runs.
        peak_rss_bytes: most memory the process has held since it started.
        started_at: UTC.
        windows: the device before and after all runs; none where nobody tells of it.
        device: what became of the window; see `jobs.sifting`.
    """

    key: str
    samples_ms: tuple[float, ...]
    build_s: float
    warmup_s: float
    sampling_s: float
    peak_rss_bytes: int
    started_at: datetime
    windows: tuple[Window, ...] = ()
    device: DeviceState | None = None
