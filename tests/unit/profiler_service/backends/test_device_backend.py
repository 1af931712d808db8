"""A backend on a device that works, and on one that a failure has broken for this process."""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

import numpy as np
import pytest

from profiler_service.backends.backend_options import TensorRtOptions
from profiler_service.backends.device.base import Device, open_device
from profiler_service.backends.device.nvml import Telemetry
from profiler_service.backends.tensorrt.backend import TensorRtBackend
from profiler_service.backends.tensorrt.vendor import TENSORRT, Vendor
from profiler_service.errors import BackendError, DeviceMemoryError, RunError
from tests.support import fake_cuda_core, fake_pycuda
from tests.support.fake_cuda_core import CUresult, FakeCudaCore
from tests.support.fake_device import FakeDevice, FakeTelemetry
from tests.support.fake_pycuda import FakePyCuda
from tests.support.fake_tensorrt import FakeTensorRt

Break = Callable[[], None]


@pytest.fixture(params=["cuda-core", "pycuda"])
def opened(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> tuple[Device, Break]:
    """A device through a fake of that library, and what makes every call of the library's fail from then on."""
    if request.param == "cuda-core":
        cuda_core = FakeCudaCore()
        fake_cuda_core.install(monkeypatch, cuda_core)
        return open_device("cuda-core", 0), lambda: setattr(cuda_core, "broken", CUresult.CUDA_ERROR_ILLEGAL_ADDRESS)
    pycuda = FakePyCuda()
    fake_pycuda.install(monkeypatch, pycuda)
    return open_device("pycuda", 0), lambda: setattr(pycuda, "broken", "an illegal memory access was encountered")


def _backend(device: Device, telemetry: FakeTelemetry | None = None) -> TensorRtBackend:
    return TensorRtBackend(
        TensorRtOptions(device="cuda"),
        vendor=Vendor(TENSORRT, FakeTensorRt(FakeDevice())),
        device=device,
        driver="580.65.06",
        telemetry=cast("Telemetry", telemetry or FakeTelemetry(FakeDevice())),
    )


def test_a_device_is_broken_only_by_what_lasts(opened: tuple[Device, Break]) -> None:
    device, break_device = opened
    backend = _backend(device)
    assert not backend.broken()
    with pytest.raises(DeviceMemoryError):
        device.allocate(2**50)
    assert not backend.broken()
    break_device()
    with pytest.raises(RunError):
        device.synchronize()
    assert backend.broken()
    assert backend.broken()


def test_a_closed_backend_lets_go_of_the_device_and_of_nvml(opened: tuple[Device, Break]) -> None:
    device, _ = opened
    telemetry = FakeTelemetry(FakeDevice())
    backend = _backend(device, telemetry)
    backend.close()
    assert telemetry.closed
    with pytest.raises(RunError):
        device.synchronize()


def test_whatever_is_asked_of_a_broken_device_is_an_error_of_ours(opened: tuple[Device, Break]) -> None:
    device, break_device = opened
    buffer, array, before = device.allocate(16), np.zeros(16, np.uint8), device.record()
    graph = device.capture(lambda stream: device.fill(buffer, 1))
    device.synchronize()
    after = device.record()
    break_device()
    for call in (
        lambda: device.allocate(16),
        device.free_bytes,
        lambda: device.upload(array, buffer),
        lambda: device.download(buffer, array),
        lambda: device.fill(buffer, 1),
        lambda: device.capture(lambda stream: None),
        graph.launch,
        lambda: device.sleep(0.1),
        device.record,
        lambda: device.passed(after),
        lambda: device.elapsed_ms(before, after),
        device.synchronize,
    ):
        with pytest.raises(BackendError, match=r"illegal|ILLEGAL"):
            call()
