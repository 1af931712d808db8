"""The device's clock on a real GPU: does it say what other clocks say?"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from statistics import median
from time import perf_counter

import pytest

from profiler_service.backends.blocking_kernel import RUNS_AT_ONCE, BlockingKernelTimer
from profiler_service.backends.device.base import Buffer, CapturedGraph, Device, open_device
from profiler_service.backends.device.nvml import Telemetry, driver_version
from profiler_service.errors import BackendUnavailableError
from tests.support.in_force import OptionsInForce
from tests.support.skips import why_skipped

pytestmark = pytest.mark.gpu

LONG_S = 0.05


@pytest.fixture(params=["cuda-core", "pycuda"])
def device(request: pytest.FixtureRequest, options_in_force: OptionsInForce) -> Iterator[Device]:
    try:
        device = open_device(request.param, options_in_force("cuda").device_index)
    except BackendUnavailableError as error:
        pytest.skip(why_skipped(error, gpu=True))
    yield device
    device.close()


@pytest.fixture
def buffer(device: Device) -> Iterator[Buffer]:
    buffer = device.allocate(2**26)
    yield buffer
    buffer.close()


def _fills(device: Device, buffer: Buffer, count: int) -> CapturedGraph:
    """A graph that writes the whole buffer so often."""

    def enqueue(_stream: int) -> None:
        for byte in range(count):
            device.fill(buffer, byte)

    return device.capture(enqueue)


def test_agrees_with_the_hosts_clock(device: Device) -> None:
    def on_the_host() -> float:
        device.synchronize()
        start = perf_counter()
        device.sleep(LONG_S)
        device.synchronize()
        return (perf_counter() - start) * 1e3

    on_the_host()
    device_ms = median(BlockingKernelTimer(device).time([partial(device.sleep, LONG_S)] * 5))
    host_ms = median(on_the_host() for _ in range(5))
    assert device_ms == pytest.approx(host_ms, rel=0.02)


def test_twice_the_work_takes_twice_the_time(device: Device, buffer: Buffer) -> None:
    once, twice = _fills(device, buffer, 8), _fills(device, buffer, 16)
    timer = BlockingKernelTimer(device)
    timer.time([once.launch, twice.launch] * 5)
    times_ms = timer.time([once.launch, twice.launch] * 25)
    assert median(times_ms[1::2]) == pytest.approx(2 * median(times_ms[::2]), rel=0.1)


def test_graphs_of_a_whole_network_queue_up_and_take_as_long_each_as_few_of_them(device: Device) -> None:
    """Whatever the driver makes of a launch of two hundred kernels; `runs_at_once` says how many of them it queued."""
    small = device.allocate(2**16)
    graph, timer = _fills(device, small, 200), BlockingKernelTimer(device)
    timer.time([graph.launch] * 5)
    few_ms = median(timer.time([graph.launch] * 4))
    many_ms = median(timer.time([graph.launch] * RUNS_AT_ONCE))
    small.close()
    assert many_ms == pytest.approx(few_ms, rel=0.1), timer.runs_at_once


def test_a_short_run_is_not_timed_as_its_launch(device: Device) -> None:
    """Behind a blocking kernel, a tiny graph takes the device less than launching it and waiting for it takes the host."""
    tiny = device.allocate(4)
    graph = _fills(device, tiny, 1)
    timer = BlockingKernelTimer(device)
    timer.time([graph.launch] * 20)
    device_ms = median(timer.time([graph.launch] * 100))
    device.synchronize()
    start = perf_counter()
    for _ in range(100):
        graph.launch()
        device.synchronize()
    host_ms = (perf_counter() - start) * 1e3 / 100
    tiny.close()
    assert device_ms < host_ms


def test_nvml_finds_the_device(device: Device) -> None:
    with Telemetry(device.info.pci_bus_id) as telemetry:
        reading = telemetry.read()
    assert reading.sm_clock_mhz > 0
    assert 0 < reading.temperature_c < 120
    assert driver_version().split(".")[0].isdigit()
