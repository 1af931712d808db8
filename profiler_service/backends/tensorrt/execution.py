"""An engine on a device: its memory, its captured graph, its runs."""

from __future__ import annotations

from contextlib import ExitStack
from math import prod
from typing import Any

import ml_dtypes
import numpy as np
from numpy.typing import DTypeLike, NDArray

from models.spec.operators import Dtype
from profiler_service.backends.base import Engine, FloatArray
from profiler_service.backends.device.base import Buffer, CapturedGraph, Device
from profiler_service.backends.tensorrt.building import Plan
from profiler_service.backends.tensorrt.vendor import Vendor
from profiler_service.errors import BackendUnavailableError, BuildError, RunError

PLAIN_RUNS = 2
"""Before a capture: the first sets up what is left to set up, the second shows that nothing is."""

_HOST_TYPES: dict[Dtype, DTypeLike] = {"float32": np.float32, "float16": np.float16, "bfloat16": ml_dtypes.bfloat16}
_VENDOR_TYPES: dict[Dtype, str] = {"float32": "FLOAT", "float16": "HALF", "bfloat16": "BF16"}

_POISON = 0xFF
"""In every byte of an output it is not a number, in all three dtypes; a graph that recorded nothing leaves it there."""


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


class TensorRtEngine(Engine):
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
        self._vendor, self._device, self._host_type = vendor, device, np.dtype(_HOST_TYPES[dtype])
        self.layers = layers
        self._resources = ExitStack()
        with ExitStack() as unfinished:
            unfinished.callback(self.close)
            self._prepare(engine, dtype, array)
            unfinished.pop_all()

    def run(self) -> None:
        """See `Engine.run`."""
        self.enqueue()
        self._device.synchronize()

    def enqueue(self) -> None:
        """Enqueue one run; does not wait. Raises RunError."""
        if self._graph is None:
            raise RunError("the engine is closed")
        self._graph.launch()

    def infer(self, array: FloatArray) -> FloatArray:
        """See `Engine.infer`. The seeded input is put back."""
        if self._graph is None:
            raise RunError("the engine is closed")
        if array.shape != self._seeded.shape:
            raise RunError(f"the input must be {self._seeded.shape}, not {array.shape}")
        self._device.upload(self._converted(array), self._input)
        try:
            self._graph.launch()
            output = self._download()
        finally:
            self._device.upload(self._seeded, self._input)
        return output.astype(np.float32)

    def close(self) -> None:
        """See `Engine.close`."""
        self._graph: CapturedGraph | None = None
        self._context: Any = None
        self._engine: Any = None
        self._resources.close()

    def _prepare(self, engine: Any, dtype: Dtype, array: FloatArray) -> None:
        must, device = self._vendor.must, self._device
        self._engine = engine
        names = self._tensor_names(dtype, array.shape)
        self._seeded = self._converted(array)
        self._output_shape = tuple(engine.get_tensor_shape(names[1]))
        self._input = self._buffer(self._seeded.nbytes)
        self._output = self._buffer(prod(self._output_shape) * self._host_type.itemsize)
        context = must("makes no execution context", BuildError, engine.create_execution_context)
        self._context = context
        for name, buffer in zip(names, (self._input, self._output), strict=True):
            must(f"does not take the address of {name}", BuildError, context.set_tensor_address, name, buffer.address)
        device.upload(self._seeded, self._input)
        for _ in range(PLAIN_RUNS):
            self._execute(device.stream)
            device.synchronize()
        self._graph = self._captured()
        self.peak_memory_bytes = _memory_bytes(engine) + self._input.nbytes + self._output.nbytes

    def _tensor_names(self, dtype: Dtype, shape: tuple[int, ...]) -> tuple[str, str]:
        """Those of the input and the output."""
        trt, engine, must = self._vendor.module, self._engine, self._vendor.must
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
        if tuple(engine.get_tensor_shape(source)) != shape:
            raise BuildError(f"{source} is {tuple(engine.get_tensor_shape(source))} in the engine, not {shape}")
        return source, result

    def _buffer(self, nbytes: int) -> Buffer:
        buffer = self._device.allocate(nbytes)
        self._resources.callback(buffer.close)
        return buffer

    def _execute(self, stream: int) -> None:
        self._vendor.must("cannot run its engine", RunError, self._context.execute_async_v3, stream)

    def _captured(self) -> CapturedGraph:
        """One run as a CUDA graph that demonstrably writes the output."""
        graph = self._device.capture(self._execute)
        self._resources.callback(graph.close)
        self._device.fill(self._output, _POISON)
        graph.launch()
        if bool((self._download().view(np.uint8) == _POISON).all()):
            raise BuildError("the captured CUDA graph is empty: it writes no output")
        return graph

    def _download(self) -> NDArray[Any]:
        output = np.empty(self._output_shape, self._host_type)
        self._device.download(self._output, output)
        return output

    def _converted(self, array: FloatArray) -> NDArray[Any]:
        return np.ascontiguousarray(array, self._host_type)


def _memory_bytes(engine: Any) -> int:
    """Scratch memory and activations; older TensorRT 10 has the old name alone."""
    size = engine.device_memory_size_v2 if hasattr(engine, "device_memory_size_v2") else engine.device_memory_size
    return int(size)
