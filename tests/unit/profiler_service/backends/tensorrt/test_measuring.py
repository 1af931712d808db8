"""Measuring with TensorRT on a fake device: what the timing process does there, in which order, and what it reads meanwhile."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from models.spec.errors import InvalidSpecError
from profiler_service.backends.backend_options import TensorRtOptions
from profiler_service.backends.base import GraphArtifact
from profiler_service.backends.registry import create_backend
from profiler_service.errors import BuildError, DeviceMemoryError
from profiler_service.measure.throttling import ClockWatch
from profiler_service.worker import timing
from profiler_service.worker.process import ActivityFile
from profiler_service.worker.protocol import Failure, Isolated, RoundRobin, TimingRequest, TimingResult
from profiler_service.worker.sampling import HOT_RUNS, run_isolated, run_passes
from profiler_service.worker.timing import TimingWorker
from tests.support.fake_device import HOPPER, STEADY, FakeDevice, FakeTelemetry
from tests.support.fake_tensorrt import RUN_MS, FakeTensorRt
from tests.unit.profiler_service.backends.tensorrt.conftest import MakeArtifact, backend_of

HOT = replace(STEADY, sm_clock_mhz=1200, throttling=("power_cap",))


@pytest.fixture
def trt() -> FakeTensorRt:
    return FakeTensorRt(FakeDevice())


def _timed(calls: list[str]) -> list[str]:
    """The calls without those that allocate or free."""
    return [call for call in calls if not call.startswith("allocate")]


def test_hot_runs_replay_k_times_between_one_pair_of_events(trt: FakeTensorRt, artifact: GraphArtifact) -> None:
    backend = backend_of(trt)
    engine = backend.build(artifact)
    trt.device.calls.clear()
    assert run_isolated(backend, engine, 2, runs_per_interval=HOT_RUNS) == pytest.approx([RUN_MS] * 2)
    assert trt.device.calls == ["sleep", "event", *["event", *["launch"] * HOT_RUNS, "event"] * 2, "synchronize"]


def test_cold_runs_replay_after_writing_twice_the_l2_outside_the_events(trt: FakeTensorRt, artifact: GraphArtifact) -> None:
    backend = backend_of(trt)
    engine = backend.build(artifact)
    trt.device.calls.clear()
    assert backend.flush_bytes() == 2 * HOPPER.l2_cache_bytes
    assert run_isolated(backend, engine, 2, cold=True) == [RUN_MS] * 2
    assert trt.device.calls[0] == f"allocate {2 * HOPPER.l2_cache_bytes}"
    turn = ["event", "fill", "event", "event", "launch", "event"]
    assert _timed(trt.device.calls) == ["sleep", "event", *turn * 2, "synchronize"]


def test_cold_needs_a_device_that_tells_its_l2(artifact: GraphArtifact) -> None:
    trt = FakeTensorRt(FakeDevice(replace(HOPPER, l2_cache_bytes=0)))
    backend = backend_of(trt)
    assert backend.flush_bytes() is None
    with pytest.raises(InvalidSpecError, match="'tensorrt' cannot measure protocol 'isolated_cold'"):
        run_isolated(backend, backend.build(artifact), 1, cold=True)


def test_the_device_is_read_between_passes_and_never_within_one(trt: FakeTensorRt, make_artifact: MakeArtifact) -> None:
    backend = backend_of(trt)
    engines = [backend.build(make_artifact(height=height)) for height in (6, 7)]
    sentinel = backend.build(make_artifact(height=8))
    trt.device.calls.clear()
    times = run_passes(backend, engines, sentinel, passes=2, sentinel_every=2, rng=random.Random(0))
    one_pass = ["sleep", "event", *["event", "launch", "event"] * 4, "synchronize"]
    assert trt.device.calls == ["read", *one_pass, "read", *one_pass, "read"]
    assert [(window.before, window.after) for window in times.windows] == [(STEADY, STEADY)] * 2


class _Process:
    """The timing process, with its backend on the fake device."""

    def __init__(self, trt: FakeTensorRt, directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.trt, self.backend = trt, backend_of(trt)
        monkeypatch.setattr(timing, "_backend", lambda name, options: self.backend)
        self.worker = TimingWorker("tensorrt", TensorRtOptions(device="cuda"), build_timeout_s=60.0, run_timeout_s=60.0)
        self.activity = ActivityFile.create(directory / "activity", 60.0)


@pytest.fixture
def process(trt: FakeTensorRt, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[_Process]:
    process = _Process(trt, tmp_path, monkeypatch)
    with closing(process.backend):
        yield process


def _telemetry(process: _Process, *readings: object) -> None:
    process.backend._telemetry = FakeTelemetry(process.trt.device, readings)  # type: ignore[assignment,arg-type]


def test_says_how_much_memory_the_device_has_left(process: _Process, artifact: GraphArtifact) -> None:
    before = process.worker.describe(None, process.activity).free_bytes
    assert before == 2**30
    with closing(process.backend.build(artifact)):
        held = sum(buffer.nbytes for buffer in process.trt.device.memory.values())
        assert process.worker.describe(None, process.activity).free_bytes == before - held < before


def test_passes_under_a_throttle_are_told_apart_in_the_service(process: _Process, make_artifact: MakeArtifact) -> None:
    graphs, sentinel = (make_artifact(height=6), make_artifact(height=7)), make_artifact(height=8)
    _telemetry(process, STEADY, STEADY, HOT, HOT, STEADY, STEADY)  # one reading before and after each of five passes
    request = TimingRequest(graphs, RoundRobin(sentinel), passes=5, warmup_passes=0)
    times = process.worker.time(request, process.activity)
    assert isinstance(times, TimingResult)
    filtered = times.filtered(ClockWatch())
    assert {len(samples) for samples in times.samples_ms.values()} == {5}
    assert {len(samples) for samples in filtered.samples_ms.values()} == {2}
    assert len(filtered.sentinel_ms) == len(times.sentinel_ms) * 2 // 5
    assert filtered.device is not None
    assert (filtered.device.set_aside, filtered.device.reasons, filtered.device.throttled) == (3, ("power_cap",), False)


@pytest.mark.parametrize(("runs_per_interval", "cold"), [(1, False), (HOT_RUNS, False), (1, True)])
def test_an_engine_alone_lies_between_two_readings(
    process: _Process, artifact: GraphArtifact, runs_per_interval: int, *, cold: bool
) -> None:
    _telemetry(process, STEADY, HOT)
    mode = Isolated(runs_per_interval=runs_per_interval, cold=cold)
    times = process.worker.time(TimingRequest((artifact,), mode, passes=3, warmup_passes=5), process.activity)
    assert isinstance(times, TimingResult)
    assert times.samples_ms[artifact.request.key()] == pytest.approx((RUN_MS,) * 3)
    ((before, after),) = [(window.before, window.after) for window in times.windows]
    assert (before, after) == (STEADY, HOT)
    calls = [call for call in process.trt.device.calls if call in ("sleep", "synchronize", "read")]
    assert calls[-4:] == ["read", "sleep", "synchronize", "read"]


def test_no_room_to_flush_with_is_a_result_of_that_engine(
    process: _Process, artifact: GraphArtifact, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(nbytes: int) -> None:
        raise DeviceMemoryError(f"no {nbytes} bytes of device memory")

    monkeypatch.setattr(process.backend, "flusher", lambda: full(2**21))
    request = TimingRequest((artifact,), Isolated(cold=True), passes=1)
    outcome = process.worker.time(request, process.activity)
    assert isinstance(outcome, Failure)
    assert (outcome.status.value, outcome.key) == ("out_of_memory", artifact.request.key())


def test_rebuilding_learns_anew_and_leaves_no_trace(trt: FakeTensorRt, artifact: GraphArtifact, tmp_path: Path) -> None:
    backend = backend_of(trt, cache_dir=tmp_path)
    backend.build(artifact).close()
    (cache,) = tmp_path.glob("*.timing")
    before = cache.read_bytes()
    for count in (2, 3):
        backend.rebuild(artifact).run()
        assert (trt.builds, trt.tactics_timed) == (count, count), "an earlier build's plan or timings were used"
    assert cache.read_bytes() == before
    backend.build(artifact).close()
    assert trt.builds == 3, "the plan that rounds are timed with was replaced"


def test_the_layers_of_every_build_are_kept(trt: FakeTensorRt, artifact: GraphArtifact, tmp_path: Path) -> None:
    backend = backend_of(trt, cache_dir=tmp_path)
    backend.build(artifact)
    for _ in range(2):
        backend.rebuild(artifact)
    names = {path.name.split(".", 1)[1] for path in tmp_path.glob(f"{artifact.request.key()}-*")}
    assert names == {"layers.json", "rebuild-1.layers.json", "rebuild-2.layers.json"}


class TestReplay:
    def test_builds_what_the_cache_knows_and_fails_where_it_has_a_gap(
        self, artifact: GraphArtifact, make_artifact: MakeArtifact, tmp_path: Path
    ) -> None:
        backend_of(FakeTensorRt(FakeDevice()), cache_dir=tmp_path).build(artifact)
        trt = FakeTensorRt(FakeDevice())
        replaying = backend_of(trt, cache_dir=tmp_path, replay_builds=True)
        replaying.build(artifact).run()
        assert trt.configurations[-1].get_flag(trt.BuilderFlag.ERROR_ON_TIMING_CACHE_MISS)
        assert trt.tactics_timed == 0
        with pytest.raises(BuildError, match="builds no engine from its timing cache alone"):
            replaying.build(make_artifact(height=7))

    def test_is_no_part_of_the_target(self, tmp_path: Path) -> None:
        plain = backend_of(FakeTensorRt(FakeDevice()), cache_dir=tmp_path).target()
        assert plain == backend_of(FakeTensorRt(FakeDevice()), cache_dir=tmp_path, replay_builds=True).target()

    def test_a_version_without_it_refuses(self) -> None:
        trt = FakeTensorRt(FakeDevice())
        trt.BuilderFlag = type("BuilderFlag", (), {"TF32": 0})
        with pytest.raises(InvalidSpecError, match=r"TensorRT 10\.13\.3\.9 cannot replay builds"):
            backend_of(trt, replay_builds=True)

    def test_a_runtime_that_learns_nothing_refuses(self) -> None:
        with pytest.raises(InvalidSpecError, match="'onnxruntime' has no replay_builds"):
            create_backend("onnxruntime", TensorRtOptions(replay_builds=True))
