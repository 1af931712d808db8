"""What an engine with one input and one output in device memory has in common with every other."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from math import prod

import numpy as np
from numpy.typing import DTypeLike

from profiler_service.backends.base import FloatArray
from profiler_service.backends.blocking_kernel import EnqueuedEngine
from profiler_service.backends.device.base import Buffer, Device
from profiler_service.errors import BuildError, RunError

_POISON = 0xFF
"""In every byte of an output it is not a number, in all floating-point types; what runs nothing leaves it there."""


class DeviceEngine(EnqueuedEngine):
    """The seeded input is in place once it is made.

    Args:
        device: where it runs.
        host_type: numpy's type of what is in device memory.
        array: the seeded input.
        output_shape: of the output.

    Raises:
        DeviceMemoryError, RunError: no memory, or the input cannot be copied.
    """

    def __init__(self, device: Device, host_type: DTypeLike, array: FloatArray, output_shape: tuple[int, ...]) -> None:
        self._device, self._host_type = device, np.dtype(host_type)
        self._seeded = np.ascontiguousarray(array, self._host_type)
        self._output_shape = output_shape
        self._resources = ExitStack()
        self._open = True
        with self._or_closed():
            self._input = self._buffer(self._seeded.nbytes)
            self._output = self._buffer(prod(output_shape) * self._host_type.itemsize)
            device.upload(self._seeded, self._input)

    @abstractmethod
    def _enqueue(self) -> None:
        """One run on the device's stream; does not wait. Raises RunError, DeviceMemoryError."""

    def enqueue(self) -> None:
        """See `EnqueuedEngine.enqueue`."""
        if not self._open:
            raise RunError("the engine is closed")
        self._enqueue()

    def run(self) -> None:
        """See `Engine.run`."""
        self.enqueue()
        self._device.synchronize()

    def infer(self, array: FloatArray) -> FloatArray:
        """See `Engine.infer`. The seeded input is put back."""
        if not self._open:
            raise RunError("the engine is closed")
        if array.shape != self._seeded.shape:
            raise RunError(f"the input must be {self._seeded.shape}, not {array.shape}")
        self._device.upload(np.ascontiguousarray(array, self._host_type), self._input)
        try:
            self._enqueue()
            output = self._download()
        finally:
            self._device.upload(self._seeded, self._input)
        return output.astype(np.float32)

    def close(self) -> None:
        """See `Engine.close`."""
        self._open = False
        self._resources.close()

    @contextmanager
    def _or_closed(self) -> Iterator[None]:
        """Close it where what is done inside fails: nobody else can."""
        try:
            yield
        except BaseException:
            self.close()
            raise

    def _require_output(self, what: str) -> None:
        """Run once, and raise BuildError if that wrote no output; `what` says what ran."""
        self._device.fill(self._output, _POISON)
        self._enqueue()
        if bool((self._download().view(np.uint8) == _POISON).all()):
            raise BuildError(f"{what} is empty: it writes no output")

    def _download(self) -> np.ndarray:
        output = np.empty(self._output_shape, self._host_type)
        self._device.download(self._output, output)
        return output

    def _buffer(self, nbytes: int) -> Buffer:
        buffer = self._device.allocate(nbytes)
        self._resources.callback(buffer.close)
        return buffer
