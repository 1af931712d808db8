"""`CudaCoreDevice` on a fake `cuda.core`: what it calls, in which order, and what is left when a call fails.

What every device must do, `tests/contract/test_devices.py` says.
"""

from __future__ import annotations

import sys
from contextlib import ExitStack

import numpy as np
import pytest

from profiler_service.backends.device.base import Buffer, Device, open_device
from profiler_service.errors import BackendError, BackendUnavailableError, BuildError, DeviceMemoryError, RunError
from tests.support.fake_cuda_core import MEMORY_BYTES, CUresult, FakeCudaCore, install

STARTS = (
    "Device",
    "Device.set_current",
    "Device.create_stream",
    "ObjectCode.from_ptx",
    "ObjectCode.get_kernel",
    "cuDriverGetVersion",
)
"""What opens the device."""

CALLS = {
    "Device.allocate": RunError,
    "Stream.sync": RunError,
    "Stream.record": RunError,
    "Event.is_done": RunError,
    "Event.__sub__": RunError,
    "GraphBuilder.begin_building": BuildError,
    "GraphBuilder.end_building": BuildError,
    "GraphBuilder.complete": BuildError,
    "Graph.upload": BuildError,
    "Graph.launch": RunError,
    "launch": RunError,
    "cuMemGetInfo": BackendUnavailableError,
    "cuMemcpyHtoDAsync": RunError,
    "cuMemcpyDtoHAsync": RunError,
    "cuMemsetD8Async": RunError,
}
"""What each is an error of once the device is open."""


def _opened(monkeypatch: pytest.MonkeyPatch, cuda: FakeCudaCore, index: int = 0) -> Device:
    install(monkeypatch, cuda)
    return open_device("cuda-core", index)


def _content(device: Device, buffer: Buffer) -> list[int]:
    found = np.empty(buffer.nbytes, np.uint8)
    device.download(buffer, found)
    return found.tolist()


def _use(device: Device) -> None:
    """Everything that a device does, once; nothing of it stays where that fails."""
    with ExitStack() as resources:
        buffer = device.allocate(16)
        resources.callback(buffer.close)
        assert device.free_bytes() == MEMORY_BYTES - 16
        device.upload(np.full(16, 1, np.uint8), buffer)
        graph = device.capture(lambda stream: device.fill(buffer, 7))
        resources.callback(graph.close)
        device.sleep(0.01)
        before = device.record()
        graph.launch()
        after = device.record()
        assert not device.passed(after)
        assert _content(device, buffer) == [7] * 16
        assert device.passed(after)
        assert device.elapsed_ms(before, after) >= 0
        device.synchronize()


def test_captures_on_its_one_stream_and_uploads_the_graph(monkeypatch: pytest.MonkeyPatch) -> None:
    cuda = FakeCudaCore()
    device = _opened(monkeypatch, cuda)
    buffer = device.allocate(16)
    device.synchronize()
    cuda.calls.clear()
    streams: list[int] = []

    def enqueue(stream: int) -> None:
        streams.append(stream)
        cuda.driver.cuMemsetD8Async(buffer.address, 7, 16, stream)

    graph = device.capture(enqueue)
    begin, *rest = (f"GraphBuilder.{step}" for step in ("begin_building", "end_building", "complete", "close"))
    assert cuda.calls == [begin, "cuMemsetD8Async", *rest, "Graph.upload"]
    assert cuda.capture_mode == "thread_local", "other threads may do meanwhile what they like"
    assert streams == [device.stream]
    graph.launch()
    assert _content(device, buffer) == [7] * 16
    device.close()


@pytest.mark.parametrize("call", STARTS)
def test_what_fails_at_the_start_makes_the_device_unavailable(monkeypatch: pytest.MonkeyPatch, call: str) -> None:
    cuda = FakeCudaCore(failing={call: CUresult.CUDA_ERROR_OUT_OF_MEMORY})
    with pytest.raises(BackendUnavailableError, match="no memory left to start on"):
        _opened(monkeypatch, cuda)
    assert cuda.failing == {}


@pytest.mark.parametrize(("call", "kind"), CALLS.items())
@pytest.mark.parametrize("code", [CUresult.CUDA_ERROR_INVALID_VALUE, CUresult.CUDA_ERROR_OUT_OF_MEMORY])
def test_every_call_that_fails_is_told_and_the_device_goes_on(
    monkeypatch: pytest.MonkeyPatch, call: str, kind: type[Exception], code: CUresult
) -> None:
    cuda = FakeCudaCore()
    device = _opened(monkeypatch, cuda)
    cuda.failing[call] = code
    with pytest.raises(BackendError, match=code.name) as caught:
        _use(device)
    assert type(caught.value) is (DeviceMemoryError if code is CUresult.CUDA_ERROR_OUT_OF_MEMORY else kind)
    assert cuda.failing == {}
    _use(device)
    device.close()


def test_no_call_goes_without_such_a_test(monkeypatch: pytest.MonkeyPatch) -> None:
    cuda = FakeCudaCore()
    device = _opened(monkeypatch, cuda)
    _use(device)
    device.close()
    never_raise = {"Buffer.close", "GraphBuilder.close"}
    assert set(cuda.calls) == {*STARTS, *CALLS, *never_raise}


def test_a_captured_graph_without_its_memory_breaks_the_device_for_good(monkeypatch: pytest.MonkeyPatch) -> None:
    device = _opened(monkeypatch, FakeCudaCore())
    buffer = device.allocate(16)
    graph = device.capture(lambda stream: device.fill(buffer, 7))
    buffer.close()
    graph.launch()
    for _ in range(2):
        with pytest.raises(RunError, match="the run failed: CUDA_ERROR_ILLEGAL_ADDRESS"):
            device.synchronize()
    with pytest.raises(RunError, match="a captured graph cannot be launched: CUDA_ERROR_ILLEGAL_ADDRESS"):
        graph.launch()


def test_gives_all_memory_back_and_a_closed_graph_stays_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    cuda = FakeCudaCore()
    device = _opened(monkeypatch, cuda)
    buffer = device.allocate(16)
    graph = device.capture(lambda stream: device.fill(buffer, 7))
    graph.close()
    buffer.close()
    with pytest.raises(RunError, match="closed"):
        graph.launch()
    device.synchronize()
    assert cuda.memory == {}
    device.close()
    with pytest.raises(RunError, match="closed"):
        device.synchronize()


def test_memory_shared_with_the_host_is_left_to_the_hosts_count(monkeypatch: pytest.MonkeyPatch) -> None:
    device = _opened(monkeypatch, FakeCudaCore(integrated=True))
    assert device.free_bytes() is None
    device.close()


def test_a_device_of_another_index_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(BackendUnavailableError, match="there is no GPU of that index"):
        _opened(monkeypatch, FakeCudaCore(), index=1)


def test_a_gpu_that_is_too_old_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    cuda = FakeCudaCore(name="GTX 1080 Ti", capability=(6, 1))
    with pytest.raises(BackendUnavailableError, match=r"GTX 1080 Ti is not supported: its compute capability is 6\.1"):
        _opened(monkeypatch, cuda)


def test_its_absence_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, FakeCudaCore())
    monkeypatch.setitem(sys.modules, "cuda.core", None)
    with pytest.raises(BackendUnavailableError, match="cuda-core is not installed") as caught:
        open_device("cuda-core", 0)
    assert caught.value.hint == "pip install 'cuda-core[cu13]'"
