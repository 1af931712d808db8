"""A device through pycuda, which JetPack and NGC images bring along. Its primary context, never `pycuda.autoinit`'s own."""

from __future__ import annotations

import atexit
from contextlib import suppress
from typing import Any

import numpy as np
import pycuda.driver as cuda
from numpy.typing import NDArray

from profiler_service.backends.blocking_kernel import TimingEvent
from profiler_service.backends.device.base import (
    Buffer,
    CapturedGraph,
    Device,
    DeviceInfo,
    Enqueue,
    require_same_size,
    require_supported,
)
from profiler_service.backends.device.cuda_driver import KERNEL, PTX, DriverGraph, DriverGraphs, cycles, driver_library
from profiler_service.backends.device.nvml import why_unavailable
from profiler_service.backends.errors import translated
from profiler_service.errors import BackendUnavailableError, BuildError


class _Memory:
    def __init__(self, allocation: Any, nbytes: int) -> None:
        self._allocation, self.nbytes = allocation, nbytes
        self.address = int(allocation)

    def close(self) -> None:
        if self._allocation is not None:
            self._allocation.free()
            self._allocation = None


class _Graph:
    def __init__(self, graph: DriverGraph) -> None:
        self._graph = graph

    def launch(self) -> None:
        with translated("a captured graph cannot be launched"):
            self._graph.launch()

    def close(self) -> None:
        with translated("a captured graph cannot be freed"):
            self._graph.close()


class PyCudaDevice(Device):
    """See `Device`.

    Args:
        index: as CUDA counts devices.
    """

    def __init__(self, index: int) -> None:
        try:
            cuda.init()
            device = cuda.Device(index)
            capability = tuple(device.compute_capability())
            require_supported(device.name(), capability)
            self._context: Any = device.retain_primary_context()
            self._context.push()
            atexit.register(self.close)  # pycuda aborts a process that ends with a context on its stack
            self._stream: Any = cuda.Stream()
            self._graphs = DriverGraphs(driver_library(), int(self._stream.handle))
            self._module: Any = cuda.module_from_buffer(PTX)
            self._sleep: Any = self._module.get_function(KERNEL)
            attribute = cuda.device_attribute
            self._clock_khz: int = device.get_attribute(attribute.CLOCK_RATE)
            version = cuda.get_driver_version()
            self.info = DeviceInfo(
                name=device.name(),
                pci_bus_id=device.pci_bus_id(),
                uuid="",
                compute_capability=capability,
                multiprocessors=device.get_attribute(attribute.MULTIPROCESSOR_COUNT),
                cuda_driver=f"{version // 1000}.{version % 1000 // 10}",
                l2_cache_bytes=device.get_attribute(attribute.L2_CACHE_SIZE),
            )
        except (cuda.Error, OSError) as error:
            raise why_unavailable(error) from error

    @property
    def stream(self) -> int:
        """See `Device.stream`."""
        return int(self._stream.handle)

    def allocate(self, nbytes: int) -> Buffer:
        """See `Device.allocate`."""
        with translated(f"no {nbytes} bytes of device memory"):
            return _Memory(cuda.mem_alloc(nbytes), nbytes)

    def free_bytes(self) -> int | None:
        """See `Device.free_bytes`."""
        with translated("the device does not report its free memory", BackendUnavailableError):
            if cuda.Context.get_device().get_attribute(cuda.device_attribute.INTEGRATED):
                return None
            free, _ = cuda.mem_get_info()
            return int(free)

    def upload(self, array: NDArray[Any], buffer: Buffer) -> None:
        """See `Device.upload`."""
        require_same_size(array, buffer)
        with translated("cannot copy to the device"):
            self._stream.synchronize()
            cuda.memcpy_htod(buffer.address, array)
            cuda.Context.synchronize()

    def download(self, buffer: Buffer, array: NDArray[Any]) -> None:
        """See `Device.download`."""
        require_same_size(array, buffer)
        with translated("cannot copy from the device"):
            self._stream.synchronize()
            cuda.memcpy_dtoh(array, buffer.address)

    def fill(self, buffer: Buffer, byte: int) -> None:
        """See `Device.fill`."""
        with translated("cannot fill device memory"):
            cuda.memset_d8_async(buffer.address, byte, buffer.nbytes, self._stream)

    def capture(self, enqueue: Enqueue) -> CapturedGraph:
        """See `Device.capture`."""
        with translated("the run cannot be captured into a CUDA graph", BuildError):
            self._graphs.begin()
            try:
                enqueue(self.stream)
            except BaseException:
                with suppress(Exception):  # what went wrong first is what counts
                    self._graphs.end().close()
                raise
            return _Graph(self._graphs.end())

    def sleep(self, seconds: float) -> None:
        """See `Timeline.sleep`."""
        with translated("cannot launch a kernel"):
            wanted = np.uint64(cycles(seconds, self._clock_khz))
            self._sleep(wanted, block=(1, 1, 1), grid=(1, 1), stream=self._stream)

    def record(self) -> TimingEvent:
        """See `Timeline.record`."""
        with translated("cannot record an event"):
            return cuda.Event().record(self._stream)

    def passed(self, event: TimingEvent) -> bool:
        """See `Timeline.passed`."""
        with translated("cannot query an event"):
            return bool(event.query())

    def elapsed_ms(self, before: TimingEvent, after: TimingEvent) -> float:
        """See `Timeline.elapsed_ms`."""
        with translated("cannot read the device's clock"):
            return float(after.time_since(before))

    def synchronize(self) -> None:
        """See `Timeline.synchronize`."""
        with translated("the run failed"):
            self._stream.synchronize()

    def close(self) -> None:
        """See `Device.close`. The primary context stays with the process; only this thread lets go of it."""
        if self._context is not None:
            self._sleep = self._module = self._stream = None
            self._context.pop()
            self._context = None
            atexit.unregister(self.close)
