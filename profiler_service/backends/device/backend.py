"""What backends on NVIDIA GPUs have in common, and those of them whose engines run on a `Device` of ours."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from profiler_service.backends.base import Backend, Engine
from profiler_service.backends.blocking_kernel import BlockingKernelTimer, EnqueuedEngine, Timeline
from profiler_service.backends.device.base import Device
from profiler_service.backends.device.capabilities import computed_in, require_tf32
from profiler_service.backends.device.flushing import DeviceFlusher
from profiler_service.backends.device.opening import open_device
from profiler_service.backends.device.telemetry import Telemetry, driver_version
from profiler_service.backends.flushing import flush_bytes
from profiler_service.backends.options import BackendOptions, DeviceOptions, GpuOptions
from profiler_service.errors import BackendError
from profiler_service.measure.throttling import DeviceReading


class GpuBackend(Backend):
    """A backend with one NVIDIA GPU. Its constructor sets these:

    Attributes:
        _timeline: all its runs are enqueued there. _timer: of that timeline.
        _telemetry: NVML's view of the GPU. _l2_cache_bytes: 0 where it is not reported.
    """

    options_type: ClassVar[type[BackendOptions]] = GpuOptions
    options: GpuOptions
    builds_on_device: ClassVar[bool] = True

    _timeline: Timeline
    _timer: BlockingKernelTimer
    _telemetry: Telemetry
    _l2_cache_bytes: int

    def read_device(self) -> DeviceReading | None:
        """See `Backend.read_device`; what NVML tells."""
        return self._telemetry.read()

    def broken(self) -> bool:
        """See `Backend.broken`."""
        try:
            self._timeline.synchronize()
        except BackendError:
            return True
        return False

    def time_pass(self, engines: Sequence[Engine]) -> list[float]:
        """See `Backend.time_pass`; on the GPU's own clock.

        Captured runs are one launch each and wait in the queue together. Otherwise each gets a blocking kernel of its own: a
        network has a hundred kernels and more, and the driver makes the host wait once about a thousand launches are queued.

        Raises:
            TypeError: an engine is not a GPU's.
        """
        enqueues = [_enqueued(engine).enqueue for engine in engines]
        if self.options.queues_kernels:
            return [time_ms for enqueue in enqueues for time_ms in self._timer.time([enqueue])]
        return self._timer.time(enqueues)

    def flush_bytes(self) -> int | None:
        """See `Backend.flush_bytes`."""
        return flush_bytes(self._l2_cache_bytes)

    def close(self) -> None:
        """See `Backend.close`."""
        self._telemetry.close()


class DeviceBackend(GpuBackend):
    """A backend with one device, its clock, and NVML's view of it.

    Args:
        options: see `DeviceOptions`.
        device, driver, telemetry: by default the device that the options name, its driver's version, and NVML's view of it.

    Raises:
        InvalidSpecError: TF32 is asked for, and the device has none.
    """

    options_type: ClassVar[type[BackendOptions]] = DeviceOptions
    options: DeviceOptions

    def __init__(
        self, options: DeviceOptions, *, device: Device | None, driver: str | None, telemetry: Telemetry | None
    ) -> None:
        super().__init__(options)
        self._device = self._timeline = device = device or open_device(options.device_access, options.device_index)
        require_tf32(device.info.name, device.info.compute_capability, options)
        self.dtypes = computed_in(self.dtypes, device.info.compute_capability)
        self._driver = driver or driver_version()
        self._telemetry = telemetry or Telemetry(device.info.pci_bus_id)
        self._l2_cache_bytes = device.info.l2_cache_bytes
        self._timer = BlockingKernelTimer(device)

    def free_bytes(self) -> int | None:
        """See `Backend.free_bytes`."""
        return self._device.free_bytes()

    def close(self) -> None:
        """See `Backend.close`."""
        super().close()
        self._device.close()

    def _flusher(self, nbytes: int) -> Engine:
        return DeviceFlusher(self._device, nbytes)


def _enqueued(engine: Engine) -> EnqueuedEngine:
    """Raises TypeError for an engine of another kind of backend."""
    if not isinstance(engine, EnqueuedEngine):
        raise TypeError(f"a {type(engine).__name__} cannot be enqueued on a GPU")
    return engine
