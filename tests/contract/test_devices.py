"""What every way to a CUDA device must do; on a fake of each library everywhere, on the real ones where there is a GPU."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from contextlib import nullcontext, suppress
from pathlib import Path

import numpy as np
import pytest

from profiler_service.backends.blocking_kernel import BlockingKernelTimer
from profiler_service.backends.device import cuda_driver
from profiler_service.backends.device.base import Buffer, Device, open_device
from profiler_service.errors import BackendError, BackendUnavailableError, BuildError, DeviceMemoryError, RunError
from tests.support import fake_cuda_core
from tests.support.fake_device import FakeDevice
from tests.support.fake_pycuda import IMPLEMENTATION, FakeDriver, FakePyCuda, install
from tests.support.in_force import OptionsInForce
from tests.support.skips import why_skipped


def _on_fake_pycuda(
    monkeypatch: pytest.MonkeyPatch, cuda: FakePyCuda, index: int = 0, driver: FakeDriver | None = None
) -> Device:
    install(monkeypatch, cuda, driver)
    return open_device("pycuda", index)


@pytest.fixture(
    params=[
        "fake",
        "fake cuda-core",
        "fake pycuda",
        pytest.param("cuda-core", marks=pytest.mark.gpu),
        pytest.param("pycuda", marks=pytest.mark.gpu),
    ]
)
def device(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, options_in_force: OptionsInForce
) -> Iterator[Device]:
    if request.param == "fake":
        device: Device = FakeDevice()
    elif request.param == "fake cuda-core":
        fake_cuda_core.install(monkeypatch, fake_cuda_core.FakeCudaCore())
        device = open_device("cuda-core", 0)
    elif request.param == "fake pycuda":
        device = _on_fake_pycuda(monkeypatch, FakePyCuda())
    else:
        try:
            device = open_device(request.param, options_in_force("cuda").device_index)
        except BackendUnavailableError as error:
            pytest.skip(why_skipped(error, gpu=True))
    yield device
    device.close()
    device.close()


@pytest.fixture
def buffer(device: Device) -> Iterator[Buffer]:
    buffer = device.allocate(256)
    yield buffer
    buffer.close()
    buffer.close()


def _content(device: Device, buffer: Buffer) -> np.ndarray:
    found = np.empty(buffer.nbytes, np.uint8)
    device.download(buffer, found)
    return found


def test_gives_back_what_was_copied_there(device: Device, buffer: Buffer) -> None:
    array = np.arange(64, dtype=np.float32).reshape(4, 16)
    device.upload(array, buffer)
    found = np.empty_like(array)
    device.download(buffer, found)
    np.testing.assert_array_equal(found, array)


@pytest.mark.parametrize("array", [np.zeros(63, np.float32), np.zeros(65, np.float32), np.zeros((8, 16), np.float32)[:, ::2]])
def test_no_copy_runs_past_an_end_or_out_of_order(device: Device, buffer: Buffer, array: np.ndarray) -> None:
    with pytest.raises(ValueError, match="cannot be copied"):
        device.upload(array, buffer)
    with pytest.raises(ValueError, match="cannot be copied"):
        device.download(buffer, array)


def test_two_buffers_are_apart(device: Device, buffer: Buffer) -> None:
    other = device.allocate(256)
    device.fill(buffer, 1)
    device.fill(other, 2)
    assert (_content(device, buffer) == 1).all()
    assert (_content(device, other) == 2).all()
    other.close()


def test_more_memory_than_there_is_is_told(device: Device) -> None:
    with pytest.raises(DeviceMemoryError):
        device.allocate(2**50)


def test_what_is_allocated_is_not_free_any_more(device: Device) -> None:
    before = device.free_bytes()
    if before is None:
        pytest.skip("this device shares the host's memory")
    buffer = device.allocate(2**28)
    after = device.free_bytes()
    buffer.close()
    assert after is not None
    assert 0 < after <= before - 2**27  # a pool may have held some of it


def test_what_is_captured_runs_at_each_launch_and_not_before(device: Device, buffer: Buffer) -> None:
    device.fill(buffer, 1)
    graph = device.capture(lambda stream: device.fill(buffer, 7))
    assert (_content(device, buffer) == 1).all()
    for _ in range(2):
        graph.launch()
        assert (_content(device, buffer) == 7).all()
        device.fill(buffer, 1)
    graph.close()
    graph.close()


def test_a_failed_capture_leaves_the_stream_usable(device: Device, buffer: Buffer) -> None:
    def fail(_stream: int) -> None:
        raise RunError("the runtime refuses")

    with pytest.raises(RunError, match="the runtime refuses"):
        device.capture(fail)
    device.fill(buffer, 3)
    assert (_content(device, buffer) == 3).all()


@pytest.mark.parametrize("told", [True, False], ids=["told", "ignored"])
def test_a_capture_that_waits_for_the_device_is_refused_and_leaves_the_stream_usable(
    device: Device, buffer: Buffer, told: bool
) -> None:
    def wait(_stream: int) -> None:
        with nullcontext() if told else suppress(BackendError):
            device.synchronize()

    with pytest.raises(BackendError) as caught:
        device.capture(wait)
    assert type(caught.value) is (RunError if told else BuildError)
    device.fill(buffer, 3)
    assert (_content(device, buffer) == 3).all()
    graph = device.capture(lambda stream: device.fill(buffer, 4))
    graph.launch()
    assert (_content(device, buffer) == 4).all()
    graph.close()


def test_passes_a_mark_once_it_has_come_there(device: Device) -> None:
    device.sleep(0.1)
    event = device.record()
    assert not device.passed(event)
    device.synchronize()
    assert device.passed(event)


def test_sleeps_at_least_as_long_as_asked(device: Device) -> None:
    before = device.record()
    device.sleep(0.01)
    after = device.record()
    device.synchronize()
    assert device.elapsed_ms(before, after) >= 9.99


def test_a_timer_runs_on_it(device: Device, buffer: Buffer) -> None:
    graph = device.capture(lambda stream: device.fill(buffer, 9))
    times_ms = BlockingKernelTimer(device).time([graph.launch] * 3)
    assert len(times_ms) == 3
    assert min(times_ms) >= 0
    assert (_content(device, buffer) == 9).all()
    graph.close()


def test_says_what_it_is(device: Device) -> None:
    info = device.info
    assert info.name
    assert info.pci_bus_id.count(":") == 2
    assert info.capability == f"{info.compute_capability[0]}.{info.compute_capability[1]}"
    assert info.multiprocessors > 0
    assert info.l2_cache_bytes >= 2**18
    assert float(info.cuda_driver) >= 11


class TestPyCuda:
    def test_uses_the_primary_context_and_lets_go_of_it(self, monkeypatch: pytest.MonkeyPatch) -> None:
        cuda = FakePyCuda()
        device = _on_fake_pycuda(monkeypatch, cuda)
        assert cuda.contexts == 1
        assert "pycuda.autoinit" not in sys.modules
        device.close()
        assert cuda.contexts == 0

    @pytest.mark.parametrize(
        "function", ["cuStreamBeginCapture_v2", "cuStreamEndCapture", "cuGraphInstantiateWithFlags", "cuGraphDestroy"]
    )
    @pytest.mark.parametrize(
        ("code", "kind", "says"),
        [
            (900, BuildError, "CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED"),
            (2, DeviceMemoryError, "CUDA_ERROR_OUT_OF_MEMORY"),
            (4711, BuildError, "CUDA error 4711"),
        ],
    )
    def test_each_step_of_a_capture_that_fails_is_told(
        self, monkeypatch: pytest.MonkeyPatch, function: str, code: int, kind: type[Exception], says: str
    ) -> None:
        cuda = FakePyCuda()
        driver = FakeDriver(cuda, {function: code})
        device = _on_fake_pycuda(monkeypatch, cuda, driver=driver)
        with pytest.raises(kind, match=f"{function}: {says}"):
            device.capture(lambda stream: None)
        assert function == "cuGraphDestroy" or driver.graphs == driver.executables == {}
        device.close()

    def test_a_launch_or_an_end_that_fails_is_a_run_error_and_a_closed_graph_stays_closed(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        cuda = FakePyCuda()
        driver = FakeDriver(cuda)
        device = _on_fake_pycuda(monkeypatch, cuda, driver=driver)
        graph = device.capture(lambda stream: None)
        driver.failing["cuGraphLaunch"] = 900
        with pytest.raises(RunError, match="a captured graph cannot be launched: cuGraphLaunch"):
            graph.launch()
        driver.failing["cuGraphExecDestroy"] = 900
        with pytest.raises(RunError, match="a captured graph cannot be freed: cuGraphExecDestroy"):
            graph.close()
        graph.close()
        with pytest.raises(RunError, match="closed"):
            graph.launch()
        device.close()

    def test_memory_shared_with_the_host_is_left_to_the_hosts_count(self, monkeypatch: pytest.MonkeyPatch) -> None:
        device = _on_fake_pycuda(monkeypatch, FakePyCuda(integrated=True))
        assert device.free_bytes() is None
        device.close()

    def test_a_device_that_does_not_tell_its_memory_is_unavailable(self, monkeypatch: pytest.MonkeyPatch) -> None:
        cuda = FakePyCuda()
        device = _on_fake_pycuda(monkeypatch, cuda)
        cuda.memory_error = "cuMemGetInfo failed: an illegal memory access was encountered"
        with pytest.raises(BackendUnavailableError, match=r"does not report its free memory: .*illegal memory access"):
            device.free_bytes()
        device.close()

    def test_calls_nothing_that_released_pycuda_lacks(self) -> None:
        """Its streams cannot capture, its graphs do not exist: those come from the driver."""
        text = Path(cuda_driver.__file__).with_name("pycuda_device.py").read_text()
        assert not {"begin_capture", "end_capture", "capture_mode", "instantiate"} & set(re.findall(r"\w+", text))

    def test_its_absence_says_how_to_install_it(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "pycuda", None)
        monkeypatch.delitem(sys.modules, IMPLEMENTATION, raising=False)
        with pytest.raises(BackendUnavailableError, match="pycuda is not installed") as caught:
            open_device("pycuda", 0)
        assert caught.value.hint == "pip install pycuda"


def test_the_driver_tells_where_a_device_is_and_what_it_refuses(monkeypatch: pytest.MonkeyPatch) -> None:
    library = FakeDriver(FakePyCuda(devices=1))
    monkeypatch.setattr(cuda_driver, "driver_library", lambda: library)
    assert cuda_driver.pci_bus_id(0) == "0000:1B:00.0"
    with pytest.raises(RuntimeError, match="cuDeviceGet: CUDA_ERROR_INVALID_DEVICE"):
        cuda_driver.pci_bus_id(1)
    library.failing["cuDeviceGetPCIBusId"] = 101
    with pytest.raises(RuntimeError, match="cuDeviceGetPCIBusId: CUDA_ERROR_INVALID_DEVICE"):
        cuda_driver.pci_bus_id(0)
