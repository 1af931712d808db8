"""The isolated protocols: what runs in which order, and what is timed of it."""

from __future__ import annotations

import gc
from statistics import median
from typing import Any

import numpy as np
import pytest

from models.spec.errors import InvalidSpecError
from models.spec.targets import TargetSpec
from profiler_service.backends import processor
from profiler_service.backends.backend_options import BackendOptions
from profiler_service.backends.base import Backend, Engine, FloatArray, GraphArtifact, bytes_to_flush
from profiler_service.backends.blocking_kernel import RUNS_AT_ONCE, BlockingKernelTimer, EnqueuedEngine
from profiler_service.backends.cpu import CpuBackend, CpuFlusher
from profiler_service.backends.device.backend import DeviceFlusher
from profiler_service.errors import DeviceMemoryError, RunError
from profiler_service.worker.sampling import HOT_RUNS, run_isolated
from tests.support.fake_device import HOPPER, FakeDevice


class _Enqueued(EnqueuedEngine):
    """Takes a millisecond on the device's clock."""

    def __init__(self, device: FakeDevice) -> None:
        self._device = device

    def enqueue(self) -> None:
        self._device.calls.append("run")
        self._device.clock_ms += 1.0

    def run(self) -> None:
        self.enqueue()

    def infer(self, array: FloatArray) -> FloatArray:
        return array

    def close(self) -> None:
        self._device.calls.append("close")


class _OnDevice(Backend):
    """As the backends on GPUs do it."""

    name = "on device"
    reads_onnx = False
    builds_on_device = True
    dtypes = ("float32",)

    def __init__(self, device: FakeDevice) -> None:
        super().__init__(BackendOptions())
        self.device, self._timer = device, BlockingKernelTimer(device)
        self.collecting = set[bool]()

    def target(self) -> TargetSpec:
        return TargetSpec(device="none", backend=self.name)

    def build(self, artifact: GraphArtifact) -> Engine:
        raise NotImplementedError

    def flush_bytes(self) -> int | None:
        return bytes_to_flush(self.device.info.l2_cache_bytes)

    def _flusher(self, nbytes: int) -> Engine:
        return DeviceFlusher(self.device, nbytes)

    def time_pass(self, engines: Any) -> list[float]:
        self.collecting.add(gc.isenabled())
        return self._timer.time([engine.enqueue for engine in engines])


@pytest.fixture
def backend() -> _OnDevice:
    return _OnDevice(FakeDevice())


def test_plain_runs_have_events_of_their_own(backend: _OnDevice) -> None:
    assert run_isolated(backend, _Enqueued(backend.device), 3) == [1.0] * 3
    assert backend.device.calls == ["sleep", "event", *["event", "run", "event"] * 3, "synchronize"]
    assert backend.collecting == {False}


def test_hot_runs_share_one_pair_of_events(backend: _OnDevice) -> None:
    assert run_isolated(backend, _Enqueued(backend.device), 2, runs_per_interval=HOT_RUNS) == [1.0] * 2
    assert backend.device.calls == ["sleep", "event", *["event", *["run"] * HOT_RUNS, "event"] * 2, "synchronize"]


def test_cold_runs_follow_a_flush_that_no_window_contains(backend: _OnDevice) -> None:
    assert run_isolated(backend, _Enqueued(backend.device), 2, cold=True) == [1.0] * 2
    flushed = [*["event", "fill", "event"], *["event", "run", "event"]]
    assert backend.device.calls == [f"allocate {2 * HOPPER.l2_cache_bytes}", "sleep", "event", *flushed * 2, "synchronize"]
    assert backend.device.memory == {}, "what the caches were flushed with is still there"


@pytest.mark.parametrize("how", [{}, {"runs_per_interval": HOT_RUNS}, {"cold": True}])
def test_never_enqueues_more_than_the_driver_queues(backend: _OnDevice, how: dict[str, Any]) -> None:
    windows = 3 * RUNS_AT_ONCE
    assert run_isolated(backend, _Enqueued(backend.device), windows, **how) == [1.0] * windows
    calls = [call for call in backend.device.calls if not call.startswith("allocate")]
    portions = " ".join(calls).split("synchronize")
    assert max(len(portion.split()) for portion in portions) <= 3 * RUNS_AT_ONCE + 2
    for portion in portions:
        assert portion.count("fill") in (0, portion.count("run")), "a flush and its run were separated"


def test_an_engine_that_is_repeated_stays_open(backend: _OnDevice) -> None:
    run_isolated(backend, _Enqueued(backend.device), 1, runs_per_interval=2)
    assert "close" not in backend.device.calls


def test_no_room_to_flush_with_is_out_of_memory() -> None:
    with pytest.raises(DeviceMemoryError):
        run_isolated(_OnDevice(FakeDevice(memory_bytes=2**20)), _Enqueued(FakeDevice()), 1, cold=True)


def test_a_closed_flusher_stays_closed() -> None:
    device = FakeDevice()
    for flusher in (DeviceFlusher(device, 64), CpuFlusher(64)):
        flusher.run()
        with pytest.raises(RunError, match="computes nothing"):
            flusher.infer(np.zeros(1, np.float32))
        flusher.close()
        flusher.close()
        with pytest.raises(RunError, match="closed"):
            flusher.run()
    assert device.memory == {}


class _Reading(Engine):
    """Reads an array that fits into a core's own cache."""

    def __init__(self) -> None:
        self._array = np.ones(2**16, np.float32)

    def run(self) -> None:
        self._array.sum()

    def infer(self, array: FloatArray) -> FloatArray:
        return array

    def close(self) -> None:
        return


class _Cpu(CpuBackend):
    name = "cpu"
    reads_onnx = False
    dtypes = ("float32",)

    def target(self) -> TargetSpec:
        return self.cpu_target(versions={}, options={})

    def build(self, artifact: GraphArtifact) -> Engine:
        raise NotImplementedError


@pytest.mark.alone
def test_a_cpu_reads_from_memory_what_was_flushed() -> None:
    backend = _Cpu(BackendOptions())
    if backend.flush_bytes() is None:
        pytest.skip("this machine does not tell how large its caches are")
    engine = _Reading()
    hot_ms, cold_ms = [], []
    for _ in range(5):  # in turn, so that a slow phase falls on both
        hot_ms += run_isolated(backend, engine, 5, runs_per_interval=HOT_RUNS)
        cold_ms += run_isolated(backend, engine, 3, cold=True)
    assert median(cold_ms) > 1.2 * median(hot_ms)


def test_a_cpu_that_does_not_tell_its_caches_refuses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processor, "last_level_cache_bytes", lambda: None)
    backend = _Cpu(BackendOptions())
    assert backend.flush_bytes() is None
    with pytest.raises(InvalidSpecError, match="cannot measure protocol 'isolated_cold'") as caught:
        run_isolated(backend, _Reading(), 1, cold=True)
    assert "isolated_hot" in caught.value.hint
