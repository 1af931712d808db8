"""Emptying the L2 cache of a `Device` of ours."""

from __future__ import annotations

from profiler_service.backends.blocking_kernel import EnqueuedEngine
from profiler_service.backends.device.base import Buffer, Device
from profiler_service.backends.flushing import Flusher


class DeviceFlusher(Flusher[Buffer], EnqueuedEngine):
    """Writes that many bytes on the device's stream. Enqueued like a run."""

    def __init__(self, device: Device, nbytes: int) -> None:
        super().__init__(device.allocate(nbytes))
        self._device = device

    def run(self) -> None:
        """See `Engine.run`."""
        self.enqueue()
        self._device.synchronize()

    def enqueue(self) -> None:
        """See `EnqueuedEngine.enqueue`."""
        self._device.fill(self.buffer, 0)

    def close(self) -> None:
        """See `Engine.close`."""
        if self._buffer is not None:
            self._buffer.close()
        super().close()
