"""What backends on NVIDIA GPUs have in common, and those of them whose engines run on a `Device` of ours."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from math import prod
from typing import ClassVar

import numpy as np
from numpy.typing import DTypeLike

from models.spec.graphs import IR_VERSION, OPSET
from profiler_service.backends.backend_options import BackendOptions, DeviceOptions, GpuOptions
from profiler_service.backends.base import Backend, Engine, FloatArray, Flusher, bytes_to_flush
from profiler_service.backends.blocking_kernel import BlockingKernelTimer, EnqueuedEngine, Timeline
from profiler_service.backends.device.base import Buffer, Device, computed_in, open_device, require_tf32
from profiler_service.backends.device.nvml import Telemetry, driver_version
from profiler_service.errors import BackendError, BuildError, RunError
from profiler_service.measure.throttling import DeviceReading

FIRST_SHAPE = (1, 4, 8, 8)
"""Of the input and output of `first_graph`, in float32."""

_POISON = 0xFF
"""In every byte of an output it is not a number, in all floating-point types; what runs nothing leaves it there."""


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
        """See `Backend.read_device`; what NVML reports."""
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
        return bytes_to_flush(self._l2_cache_bytes)

    def close(self) -> None:
        """See `Backend.close`."""
        self._telemetry.close()


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


def first_graph() -> bytes:
    """A 3×3 convolution, by which a backend that reads ONNX finds out whether its runtime works on a GPU at all.

    Most runtimes leave it to their vendor's library; 1×1 is a matrix product. Made without `models.export.graph_builder`, which
    needs torch: a process that times must not load that beside another runtime.
    """
    from onnx import TensorProto, helper

    channels = FIRST_SHAPE[1]
    weight = helper.make_tensor("weight", TensorProto.FLOAT, [channels, channels, 3, 3], [0.25] * (9 * channels**2))
    graph = helper.make_graph(
        [helper.make_node("Conv", ["input", "weight"], ["output"], "first", pads=[1, 1, 1, 1])],
        "first",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, FIRST_SHAPE)],
        [helper.make_tensor_value_info("output", TensorProto.FLOAT, FIRST_SHAPE)],
        [weight],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)
    serialised: bytes = model.SerializeToString()
    return serialised


def _enqueued(engine: Engine) -> EnqueuedEngine:
    """Raises TypeError for an engine of another kind of backend."""
    if not isinstance(engine, EnqueuedEngine):
        raise TypeError(f"a {type(engine).__name__} cannot be enqueued on a GPU")
    return engine
