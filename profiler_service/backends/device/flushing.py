"""Emptying a GPU's L2 cache, by writing more than it holds."""

from __future__ import annotations

from profiler_service.backends.base import Engine, FloatArray
from profiler_service.backends.device.base import Buffer, Device
from profiler_service.errors import RunError

_FLUSHED_CACHES = 2
"""L2 caches' worth of memory that is written to empty one: its replacement is not strictly the oldest line first."""


def flush_bytes(l2_cache_bytes: int) -> int | None:
    """How much must be written to leave nothing else in a cache of that size; None where that is not known (0)."""
    return _FLUSHED_CACHES * l2_cache_bytes or None


class DeviceFlusher(Engine):
    """Writes a buffer of that many bytes on the device's stream. Enqueued and timed like a run; its time is dropped."""

    def __init__(self, device: Device, nbytes: int) -> None:
        self._device = device
        self._buffer: Buffer | None = device.allocate(nbytes)

    def run(self) -> None:
        """See `Engine.run`."""
        self.enqueue()
        self._device.synchronize()

    def enqueue(self) -> None:
        """Enqueue one flush; does not wait. Raises RunError."""
        if self._buffer is None:
            raise RunError("the engine is closed")
        self._device.fill(self._buffer, 0)

    def infer(self, array: FloatArray) -> FloatArray:
        """Never. Raises RunError."""
        raise RunError("a flusher computes nothing")

    def close(self) -> None:
        """See `Engine.close`."""
        if self._buffer is not None:
            self._buffer.close()
            self._buffer = None
