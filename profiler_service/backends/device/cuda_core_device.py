"""A device through NVIDIA's `cuda-core`, in its primary context, so that runtimes of the same process share it."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import numpy as np
from cuda.bindings import driver
from cuda.core import Device as CudaDevice
from cuda.core import EventOptions, LaunchConfig, ObjectCode, launch
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
from profiler_service.backends.device.cuda_driver import KERNEL, PTX, cycles
from profiler_service.backends.device.nvml import why_unavailable
from profiler_service.backends.errors import translated
from profiler_service.errors import BackendUnavailableError, BuildError

_TIMED = EventOptions(timing_enabled=True)
_ONE_THREAD = LaunchConfig(grid=1, block=1)


class _Memory:
    """Memory of the device's pool, freed in the order of its stream."""

    def __init__(self, buffer: Any, nbytes: int) -> None:
        self.buffer, self.nbytes = buffer, nbytes
        self.address = int(buffer.handle)

    def close(self) -> None:
        self.buffer.close()


class _Graph:
    def __init__(self, graph: Any, stream: Any) -> None:
        self._graph, self._stream = graph, stream

    def launch(self) -> None:
        with translated("a captured graph cannot be launched"):
            self._graph.launch(self._stream)

    def close(self) -> None:
        self._graph.close()


class CudaCoreDevice(Device):
    """See `Device`.

    Args:
        index: as CUDA counts devices.
    """

    def __init__(self, index: int) -> None:
        try:
            self._device: Any = CudaDevice(index)
            self._device.set_current()
            capability = tuple(self._device.compute_capability)
            require_supported(self._device.name, capability)
            self._stream: Any = self._device.create_stream()
            self._sleep: Any = ObjectCode.from_ptx(PTX).get_kernel(KERNEL)
            properties = self._device.properties
            self._clock_khz: int = properties.clock_rate
            self.info = DeviceInfo(
                name=self._device.name,
                pci_bus_id=self._device.pci_bus_id,
                uuid=self._device.uuid,
                compute_capability=capability,
                multiprocessors=properties.multiprocessor_count,
                cuda_driver=_version(_checked(driver.cuDriverGetVersion())),
                l2_cache_bytes=properties.l2_cache_size,
            )
        except BackendUnavailableError:
            raise
        except Exception as error:  # cuda-core's exceptions have no root of their own
            raise why_unavailable(error) from error

    @property
    def stream(self) -> int:
        """See `Device.stream`."""
        return int(self._stream.handle)

    def allocate(self, nbytes: int) -> Buffer:
        """See `Device.allocate`."""
        with translated(f"no {nbytes} bytes of device memory"):
            return _Memory(self._device.allocate(nbytes, stream=self._stream), nbytes)

    def free_bytes(self) -> int | None:
        """See `Device.free_bytes`; what the device's pool holds unused is not counted."""
        with translated("the device does not report its free memory", BackendUnavailableError):
            return None if self._device.properties.integrated else int(_checked(driver.cuMemGetInfo()))

    def upload(self, array: NDArray[Any], buffer: Buffer) -> None:
        """See `Device.upload`."""
        require_same_size(array, buffer)
        with translated("cannot copy to the device"):
            _checked(driver.cuMemcpyHtoDAsync(buffer.address, array.ctypes.data, array.nbytes, self._stream.handle))
            self._stream.sync()

    def download(self, buffer: Buffer, array: NDArray[Any]) -> None:
        """See `Device.download`."""
        require_same_size(array, buffer)
        with translated("cannot copy from the device"):
            _checked(driver.cuMemcpyDtoHAsync(array.ctypes.data, buffer.address, array.nbytes, self._stream.handle))
            self._stream.sync()

    def fill(self, buffer: Buffer, byte: int) -> None:
        """See `Device.fill`."""
        with translated("cannot fill device memory"):
            _checked(driver.cuMemsetD8Async(buffer.address, byte, buffer.nbytes, self._stream.handle))

    def capture(self, enqueue: Enqueue) -> CapturedGraph:
        """See `Device.capture`."""
        with translated("the run cannot be captured into a CUDA graph", BuildError):
            builder = self._stream.create_graph_builder().begin_building("thread_local")
            try:
                enqueue(int(builder.stream.handle))
                graph = builder.end_building().complete()
            except BaseException:
                with suppress(Exception):  # what went wrong first is what counts
                    builder.close()  # ends a capture that is not valid any more, too, which `end_building` refuses to
                del builder  # where that failed it tries once more when it goes: now, not in the middle of another capture
                raise
            builder.close()
            graph.upload(self._stream)
            return _Graph(graph, self._stream)

    def sleep(self, seconds: float) -> None:
        """See `Timeline.sleep`."""
        with translated("cannot launch a kernel"):
            launch(self._stream, _ONE_THREAD, self._sleep, np.uint64(cycles(seconds, self._clock_khz)))

    def record(self) -> TimingEvent:
        """See `Timeline.record`."""
        with translated("cannot record an event"):
            return self._stream.record(options=_TIMED)

    def passed(self, event: TimingEvent) -> bool:
        """See `Timeline.passed`."""
        with translated("cannot query an event"):
            return bool(event.is_done)

    def elapsed_ms(self, before: TimingEvent, after: TimingEvent) -> float:
        """See `Timeline.elapsed_ms`."""
        with translated("cannot read the device's clock"):
            return float(after - before)

    def synchronize(self) -> None:
        """See `Timeline.synchronize`."""
        with translated("the run failed"):
            self._stream.sync()

    def close(self) -> None:
        """See `Device.close`. The primary context stays; it belongs to the process."""
        self._stream.close()


def _checked(result: tuple[Any, ...]) -> Any:
    """The driver's answer. Raises RuntimeError with its code, as cuda-core does."""
    code, *values = result
    if code != driver.CUresult.CUDA_SUCCESS:
        raise RuntimeError(f"{code.name}")
    return values[0] if values else None


def _version(number: int) -> str:
    return f"{number // 1000}.{number % 1000 // 10}"
