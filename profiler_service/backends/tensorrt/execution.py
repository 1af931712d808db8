"""An engine on a device: its memory, its captured graph, its runs."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
from numpy.typing import DTypeLike

from models.spec.operators import Dtype
from profiler_service.backends.base import FloatArray
from profiler_service.backends.device.backend import DeviceEngine
from profiler_service.backends.device.base import Device
from profiler_service.backends.tensorrt.building import Plan
from profiler_service.backends.tensorrt.vendor import Vendor
from profiler_service.errors import BackendUnavailableError, BuildError, RunError

PLAIN_RUNS = 2
"""Before a capture: the first sets up what is left to set up, the second shows that nothing is."""

_HOST_TYPES: dict[Dtype, DTypeLike] = {"float32": np.float32, "float16": np.float16, "bfloat16": ml_dtypes.bfloat16}
_VENDOR_TYPES: dict[Dtype, str] = {"float32": "FLOAT", "float16": "HALF", "bfloat16": "BF16"}


class Loader:
    """Deserialises plans.

    Args:
        vendor: the runtime that built them.

    Raises:
        BackendUnavailableError: the vendor makes no runtime, as on a GPU that it does not support.
    """

    def __init__(self, vendor: Vendor) -> None:
        self._vendor = vendor
        self._runtime: Any = vendor.must("makes no runtime", BackendUnavailableError, vendor.module.Runtime, vendor.logger)

    def load(self, plan: Plan) -> Any:
        """The vendor's engine. Raises BuildError, DeviceMemoryError."""
        return self._vendor.must("does not load its engine", BuildError, self._runtime.deserialize_cuda_engine, plan.memory)

    def layers(self, engine: Any) -> str:
        """What became of the graph, as JSON: fused layers, their kernels and formats. Raises BuildError."""
        must, what = self._vendor.must, "does not describe its engine"
        inspector = must(what, BuildError, engine.create_engine_inspector)
        json = self._vendor.module.LayerInformationFormat.JSON
        text: str = must(what, BuildError, inspector.get_engine_information, json)
        if not text.strip():
            raise self._vendor.failure(what, BuildError, ["it says nothing"])
        return text


class TensorRtEngine(DeviceEngine):
    """One engine with its input, its output and a captured run.

    Args:
        vendor: the runtime.
        device: where it runs.
        engine: the vendor's; one input, one output.
        dtype: of both.
        array: the seeded input.
        layers: see `Loader.layers`.

    Raises:
        BuildError: its tensors are not what they should be, or it cannot be captured.
        RunError, DeviceMemoryError: a plain run failed, or memory ran out.
    """

    def __init__(self, vendor: Vendor, device: Device, engine: Any, dtype: Dtype, array: FloatArray, layers: str) -> None:
        names = _tensor_names(vendor, engine, dtype, array.shape)
        super().__init__(device, _HOST_TYPES[dtype], array, _shape(vendor, engine, names[1]))
        self._vendor, self._engine, self.layers = vendor, engine, layers
        with self._or_closed():
            self._context = self._bound(names)
            for _ in range(PLAIN_RUNS):
                self._execute(device.stream)
                device.synchronize()
            self._require_capturable()
            self._graph = device.capture(self._execute)
            self._resources.callback(self._graph.close)
            self._require_output("the captured CUDA graph")
        self.peak_memory_bytes = _memory_bytes(engine) + self._input.nbytes + self._output.nbytes

    def close(self) -> None:
        """See `Engine.close`."""
        self._context = self._engine = None
        super().close()

    def _enqueue(self) -> None:
        self._graph.launch()

    def _bound(self, names: tuple[str, str]) -> Any:
        """The vendor's execution context, which reads and writes this engine's memory."""
        must = self._vendor.must
        context = must("makes no execution context", BuildError, self._engine.create_execution_context)
        for name, buffer in zip(names, (self._input, self._output), strict=True):
            must(f"does not take the address of {name}", BuildError, context.set_tensor_address, name, buffer.address)
        return context

    def _require_capturable(self) -> None:
        """Raises BuildError where the vendor knows that a capture would fail; a failed capture leaves the stream unusable."""
        if hasattr(self._context, "is_stream_capturable"):
            asked, stream = self._context.is_stream_capturable, self._device.stream
            self._vendor.must("cannot have its engine captured into a CUDA graph", BuildError, asked, stream)

    def _execute(self, stream: int) -> None:
        self._vendor.must("cannot run its engine", RunError, self._context.execute_async_v3, stream)


def _tensor_names(vendor: Vendor, engine: Any, dtype: Dtype, shape: tuple[int, ...]) -> tuple[str, str]:
    """Those of the input and the output. Raises BuildError unless they are all there are, of that dtype and input shape."""
    trt, must = vendor.module, vendor.must
    names = [must("does not name a tensor", BuildError, engine.get_tensor_name, i) for i in range(engine.num_io_tensors)]
    by_mode = {must(f"does not know {name}", BuildError, engine.get_tensor_mode, name): name for name in names}
    wanted = {trt.TensorIOMode.INPUT, trt.TensorIOMode.OUTPUT}
    if set(by_mode) != wanted or engine.num_io_tensors != len(wanted):
        raise BuildError(f"the engine has {engine.num_io_tensors} tensors instead of one input and one output")
    source, result = by_mode[trt.TensorIOMode.INPUT], by_mode[trt.TensorIOMode.OUTPUT]
    expected = getattr(trt.DataType, _VENDOR_TYPES[dtype])
    for name in (source, result):
        if engine.get_tensor_dtype(name) != expected:
            raise BuildError(f"{name} is {engine.get_tensor_dtype(name)} in the engine, not {expected}")
    found = _shape(vendor, engine, source)
    if found != shape:
        raise BuildError(f"{source} is {found} in the engine, not {shape}")
    return source, result


def _shape(vendor: Vendor, engine: Any, name: str) -> tuple[int, ...]:
    """A tensor's. Raises BuildError where it is not reported: memory of another size would be overrun."""
    what = f"does not report the shape of {name}"
    shape: tuple[int, ...] = vendor.must(what, BuildError, lambda: tuple(engine.get_tensor_shape(name)))
    if not shape or min(shape) < 1:
        raise vendor.failure(what, BuildError, [f"it says {shape}"])
    return shape


def _memory_bytes(engine: Any) -> int:
    """Scratch memory and activations; older TensorRT 10 has the old name alone."""
    size = engine.device_memory_size_v2 if hasattr(engine, "device_memory_size_v2") else engine.device_memory_size
    return int(size)
