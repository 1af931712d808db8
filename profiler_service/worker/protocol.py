"""What crosses between the service's process and its workers. Everything is frozen and picklable; a failure is a value.

Paths, never arrays: graphs and reference outputs lie in the cache directory that both sides see.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import ClassVar, TypeVar

from models.spec.errors import InvalidSpecError
from models.spec.measurements import Status
from models.spec.operators import Dtype
from models.spec.targets import TargetSpec
from profiler_service.backends.base import GraphArtifact
from profiler_service.measure.throttling import ClockWatch, Window, device_state
from profiler_service.measure.visits import DeviceState

T = TypeVar("T")


@dataclass(frozen=True)
class BackendDescription:
    """What the service must know of a backend, asked once of a process that has loaded its runtime.

    Attributes:
        target: what it measures on.
        dtypes, reads_onnx, builds_on_device, flush_bytes, queues_kernels, unrolls: as of `Backend`.
        free_bytes: as of `Backend`, when it was asked: before anything was built.
    """

    target: TargetSpec
    dtypes: tuple[Dtype, ...]
    reads_onnx: bool
    builds_on_device: bool
    flush_bytes: int | None = None
    free_bytes: int | None = None
    queues_kernels: bool = False
    unrolls: bool = False


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
        engine_bytes: size of the engine, where the backend reports it.
        peak_memory_bytes: most memory the engine held, where the backend reports it.
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
class RoundRobin:
    """All engines are live at once and run once each per pass, the sentinel interspersed (docs/measurement.md).

    Attributes:
        sentinel: the graph whose runs are interspersed in every pass.
        sentinel_every: engines per counted run of the sentinel within a pass; at least one run counts.
        builds: how many engines are built of each graph, from scratch (`Backend.rebuild`); samples are then keyed by
            `build_key`. None for one engine, from the caches.
    """

    sentinel: GraphArtifact
    sentinel_every: int = 16
    builds: int | None = None

    runs_per_pass: ClassVar[int] = 1

    def __post_init__(self) -> None:
        if self.builds is not None and self.builds < 1:
            raise InvalidSpecError(f"builds must be ≥ 1, not {self.builds}")
        if self.sentinel_every < 1:
            raise InvalidSpecError(f"round-robin timing needs sentinel_every ≥ 1, not {self.sentinel_every}")


@dataclass(frozen=True)
class Isolated:
    """One engine is timed by itself; see `worker.sampling.run_isolated`.

    Attributes:
        runs_per_interval: runs between one pair of timing events.
        cold: whether the caches are emptied before each pass, outside it.
    """

    runs_per_interval: int = 1
    cold: bool = False

    @property
    def runs_per_pass(self) -> int:
        """Of each engine."""
        return self.runs_per_interval

    def __post_init__(self) -> None:
        if self.runs_per_interval < 1:
            raise InvalidSpecError(f"isolated timing needs runs_per_interval ≥ 1, not {self.runs_per_interval}")


@dataclass(frozen=True)
class TimingRequest:
    """Engines to be timed in one visit.

    Attributes:
        artifacts: the graphs, each key once; a single one where they are isolated.
        mode: how the engines are run.
        passes: timed passes: one run of each engine, or `runs_per_interval` runs of an isolated one.
        warmup_passes: passes before them, not timed: one run of each engine.
        plain_passes: passes after them in which each run is timed by the wall clock alone.
        seed: of the order of runs.
    """

    artifacts: tuple[GraphArtifact, ...]
    mode: RoundRobin | Isolated
    passes: int
    warmup_passes: int = 2
    plain_passes: int = 0
    seed: int = 0

    def __post_init__(self) -> None:
        if len({artifact.request.key() for artifact in self.artifacts}) != len(self.artifacts) or not self.artifacts:
            raise InvalidSpecError("a group needs at least one graph, and each graph once")
        if isinstance(self.mode, Isolated) and len(self.artifacts) > 1:
            raise InvalidSpecError(f"one engine is timed by itself, not {len(self.artifacts)}")
        if self.passes < 1 or self.warmup_passes < 0:
            raise InvalidSpecError(f"timing needs passes ≥ 1 and warmup_passes ≥ 0, not {self.passes} and {self.warmup_passes}")


def build_key(graph_key: str, build: int) -> str:
    """What names one of several builds of a graph, counted from 0."""
    return f"{graph_key}#{build}"


@dataclass(frozen=True)
class TimingResult:
    """Samples of one visit.

    Attributes:
        samples_ms: graph key to one time of one run per pass, in the order of the passes; failed graphs are absent.
        sentinel_ms: every run of the sentinel that counts (see `worker.sampling`), in order; as many in each pass. Empty for
            an isolated engine.
        failures: engines that could not be built or run; they were left out and the others timed without them.
        build_s: seconds to build all engines and run each once. warmup_s, sampling_s: seconds of the passes.
        peak_rss_bytes: most memory the process has held since it started.
        started_at: UTC.
        windows: the device before and after each pass, or all passes of an isolated engine; empty where it reports nothing.
        device: what became of the windows; see `filtered`.
        plain_ms: graph key to one wall-clock time per plain pass.
    """

    samples_ms: Mapping[str, tuple[float, ...]]
    build_s: float
    warmup_s: float
    sampling_s: float
    peak_rss_bytes: int
    started_at: datetime
    sentinel_ms: tuple[float, ...] = ()
    failures: tuple[Failure, ...] = ()
    windows: tuple[Window, ...] = ()
    device: DeviceState | None = None
    plain_ms: Mapping[str, tuple[float, ...]] = field(default_factory=dict)

    def filtered(self, clock: ClockWatch) -> TimingResult:
        """The samples of the windows that count, and the state of the device; unchanged where it reports nothing."""
        if not self.windows:
            return self
        windows = clock.filter(self.windows)
        samples_ms = {key: windows.samples(samples) for key, samples in self.samples_ms.items()}
        passes = max(map(len, self.samples_ms.values()), default=0)
        return replace(
            self,
            samples_ms=samples_ms,
            sentinel_ms=windows.samples(self.sentinel_ms),
            device=device_state(self.windows, windows, samples_per_window=passes // len(self.windows)),
        )

    def split(self, count: int) -> list[TimingResult]:
        """The passes in so many equal parts, in order."""

        def part(samples: Sequence[T], number: int) -> tuple[T, ...]:
            size = len(samples) // count
            return tuple(samples[number * size : (number + 1) * size])

        return [
            replace(
                self,
                samples_ms={key: part(samples, number) for key, samples in self.samples_ms.items()},
                sentinel_ms=part(self.sentinel_ms, number),
                windows=part(self.windows, number),
            )
            for number in range(count)
        ]
