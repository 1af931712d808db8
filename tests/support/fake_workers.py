"""Worker processes that are none: engines with known times, and with faults that tests ask for."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from models.spec.graphs import ContextBase, GraphRequest, OwnNetwork
from models.spec.measurements import Status
from models.spec.operators import OperatorSpec
from models.spec.targets import TargetSpec
from profiler_service.backends.base import GraphArtifact
from profiler_service.measure.throttling import DeviceReading, Window, windows_between
from profiler_service.worker.protocol import (
    BackendDescription,
    BuildReport,
    Failure,
    RoundRobin,
    TimingRequest,
    TimingResult,
    build_key,
)

DESCRIPTION = BackendDescription(
    target=TargetSpec(device="imaginary", backend="fake", versions={"fake": "1"}, threads=1),
    dtypes=("float32",),
    reads_onnx=True,
    builds_on_device=False,
    flush_bytes=1000,
)
BASE_MS = 0.05
OWN_LAYER_MS = 1.0
"""Of every layer of somebody's own network, which takes 10 ms itself."""
SENTINEL_MS = 0.3
USUAL_MHZ = 1980


def true_ms(request: GraphRequest) -> float:
    """The time of a graph's engine on the quiet host; operators' own times lie between 0.1 and 1.1 ms."""
    if isinstance(request.subject, ContextBase):
        return BASE_MS
    if isinstance(request.subject, OwnNetwork) and request.subject.name.startswith("base of "):
        return BASE_MS
    if isinstance(request.subject, OwnNetwork) and ", layer " in request.subject.name:
        return OWN_LAYER_MS + BASE_MS
    own = operator_ms(request.subject) if isinstance(request.subject, OperatorSpec) else 10.0
    return own + BASE_MS if request.in_context else own


def operator_ms(operator: OperatorSpec) -> float:
    """What a good measurement finds."""
    return 0.1 + int(operator.key()[:6], 16) / 0xFFFFFF


@dataclass
class FakeWorkers:
    """Stands in for `Workers`, and remembers what it was asked for.

    Attributes:
        description: of the backend.
        noise: relative, per run. visit_noise: relative, per engine and visit.
        slowdown: factor on all times, by the number of groups timed before.
        drift: factor on all times of one pass, by its number within the group. engine_drift: on those of engines alone, the
            sentinel's excepted.
        broken: graph key to what making it ends in. unbuildable: to what checking it ends in.
        crashing: keys of engines that take their process along when a group is run.
        crash: how that counts.
        crashing_once: keys of graphs whose check takes its process along once. dying: of engines whose first visit does.
        leaving: keys of engines that fail by themselves, while the others of the group are timed.
        crowded_out: keys of engines that find no memory where more than `enough` are live; the others are timed.
        room: engines that fit into memory at once; of a group of more nothing is timed. None for any number.
        blaming: whether a crash names the engine, and a lack of room the one that came last.
        peak_memory_bytes: that every engine reports.
        wall_clock: what the wall clock says of a run, over what the backend's own clock says.
        build_noise: relative, per build of a graph that is built several times.
        on_group: called before each group.
        device: the state of the device at its nth reading; runs take longer by as much as its clock is below `USUAL_MHZ`. None
            for a device that reports nothing.
    """

    description: BackendDescription = DESCRIPTION
    noise: float = 0.0
    visit_noise: float = 0.0
    slowdown: Callable[[int], float] = lambda group: 1.0
    drift: Callable[[int], float] = lambda index: 1.0
    engine_drift: Callable[[int], float] = lambda index: 1.0
    broken: dict[str, Status] = field(default_factory=dict)
    unbuildable: dict[str, Status] = field(default_factory=dict)
    crashing: set[str] = field(default_factory=set)
    crash: Status = Status.CRASHED
    crashing_once: set[str] = field(default_factory=set)
    dying: set[str] = field(default_factory=set)
    leaving: dict[str, Status] = field(default_factory=dict)
    crowded_out: set[str] = field(default_factory=set)
    enough: int = 1
    room: int | None = None
    blaming: bool = True
    peak_memory_bytes: int | None = None
    wall_clock: float = 1.0
    build_noise: float = 0.0
    on_group: Callable[[int], None] = lambda group: None
    device: Callable[[int], DeviceReading] | None = None

    def __post_init__(self) -> None:
        self.groups: list[TimingRequest] = []
        self.isolated: list[TimingRequest] = []
        self.prepared: list[GraphRequest] = []
        self.opened = self.closed = self._read = 0
        self._rng = random.Random(0)

    def __enter__(self) -> FakeWorkers:
        self.opened += 1
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self.closed += 1

    def prepare(self, requests: Sequence[GraphRequest]) -> Iterator[tuple[GraphRequest, GraphArtifact | Failure]]:
        self.prepared += requests
        for request in requests:
            key = request.key()
            if key in self.broken:
                yield request, Failure(self.broken[key], "no graph", key)
            else:
                yield request, GraphArtifact(request)

    def check(self, artifacts: Iterable[GraphArtifact]) -> Iterator[BuildReport]:
        for artifact in artifacts:
            key = artifact.request.key()
            status = self.unbuildable.get(key, Status.OK)
            if key in self.crashing_once:
                self.crashing_once.remove(key)
                status = Status.CRASHED
            message = "" if status is Status.OK else "refused"
            yield BuildReport(
                key,
                status,
                message,
                build_s=0.002,
                engine_bytes=1000,
                peak_memory_bytes=self.peak_memory_bytes,
                output_error=1e-7,
            )

    def time(self, request: TimingRequest) -> TimingResult | Failure:
        mode = request.mode
        return self._time_round_robin(request, mode) if isinstance(mode, RoundRobin) else self._time_isolated(request)

    def _time_round_robin(self, request: TimingRequest, mode: RoundRobin) -> TimingResult | Failure:
        self.on_group(len(self.groups))
        self.groups.append(request)
        keys = [artifact.request.key() for artifact in request.artifacts]
        if culprits := self.crashing.intersection(keys):
            return Failure(self.crash, "its process was killed", min(culprits) if self.blaming else None)
        if culprits := self.dying.intersection(keys):
            self.dying -= culprits
            return Failure(Status.CRASHED, "its process was killed", min(culprits))
        if self.room is not None and len(keys) * (mode.builds or 1) > self.room:
            return Failure(Status.OUT_OF_MEMORY, "no room for all", keys[-1] if self.blaming else None)
        leaving = {key: Failure(self.leaving[key], "gave up", key) for key in keys if key in self.leaving}
        if len(keys) > self.enough:
            leaving |= {key: Failure(Status.OUT_OF_MEMORY, "no room", key) for key in self.crowded_out.intersection(keys)}
        factor = self.slowdown(len(self.groups) - 1)
        windows = self._windows(request.passes)
        return TimingResult(
            samples_ms={
                name: self._engine_samples(self._visited_ms(artifact.request) * self._build() * factor, request.passes, windows)
                for artifact in request.artifacts
                if artifact.request.key() not in leaving
                for name in self._names(artifact.request.key(), mode.builds)
            },
            sentinel_ms=self._samples(SENTINEL_MS * factor, request.passes, windows),
            windows=windows,
            plain_ms={
                artifact.request.key(): self._samples(
                    true_ms(artifact.request) * factor * self.wall_clock, request.plain_passes, ()
                )
                for artifact in request.artifacts
                if artifact.request.key() not in leaving
            },
            build_s=0.02,
            warmup_s=0.01,
            sampling_s=0.1,
            peak_rss_bytes=10**8,
            started_at=datetime.now(UTC),
            failures=tuple(leaving.values()),
        )

    def _time_isolated(self, request: TimingRequest) -> TimingResult | Failure:
        self.isolated.append(request)
        (artifact,) = request.artifacts
        key = artifact.request.key()
        if key in self.crashing or key in self.dying:
            self.dying.discard(key)
            return Failure(Status.CRASHED, "its process was killed", key)
        windows = self._windows(1)
        return TimingResult(
            samples_ms={key: self._samples(true_ms(artifact.request), request.passes, windows * request.passes)},
            windows=windows,
            build_s=0.002,
            warmup_s=0.001,
            sampling_s=0.01,
            peak_rss_bytes=10**8,
            started_at=datetime.now(UTC),
        )

    def _visited_ms(self, request: GraphRequest) -> float:
        return true_ms(request) * self._rng.gauss(1.0, self.visit_noise)

    def _names(self, key: str, builds: int | None) -> list[str]:
        return [key] if builds is None else [build_key(key, number) for number in range(builds)]

    def _build(self) -> float:
        return self._rng.gauss(1.0, self.build_noise)

    def _windows(self, count: int) -> tuple[Window, ...]:
        if self.device is None:
            return ()
        readings = [self.device(self._read + index) for index in range(count + 1)]
        self._read += count + 1
        return windows_between(readings)

    def _engine_samples(self, time_ms: float, count: int, windows: Sequence[Window]) -> tuple[float, ...]:
        return tuple(sample * self.engine_drift(index) for index, sample in enumerate(self._samples(time_ms, count, windows)))

    def _samples(self, time_ms: float, count: int, windows: Sequence[Window]) -> tuple[float, ...]:
        slow = [USUAL_MHZ / window.sm_clock_mhz for window in windows] or [1.0] * count
        return tuple(time_ms * slow[index] * self.drift(index) * self._rng.gauss(1.0, self.noise) for index in range(count))
