"""TensorRT's Python module, as far as it is used, on a fake device: its engines double their input.

Any one function can be made to fail as the vendor's does: with None, with False, or with the TypeError that the bindings make
of a null pointer.
"""

from __future__ import annotations

import enum
import json
from collections.abc import Callable
from functools import partial
from types import SimpleNamespace
from typing import Any, ClassVar
from weakref import WeakSet

import ml_dtypes
import numpy as np
import onnx

from tests.support.fake_device import STREAM, FakeDevice

RUN_MS = 0.5
LARGEST_WORKSPACE = 2**36

RETURNS_NONE = (
    "create_network",
    "create_builder_config",
    "build_serialized_network",
    "create_timing_cache",
    "serialize",
    "deserialize_cuda_engine",
    "create_engine_inspector",
    "get_engine_information",
    "create_execution_context",
    "get_tensor_name",
    "get_tensor_mode",
)
RETURNS_NO_SHAPE = ("get_tensor_shape",)
RETURNS_FALSE = ("parse", "set_timing_cache", "combine", "set_tensor_address", "execute_async_v3", "is_stream_capturable")
RAISES = ("Builder", "OnnxParser", "Runtime", "builder_optimization_level")
FAILURES = (*RETURNS_NONE, *RETURNS_NO_SHAPE, *RETURNS_FALSE, *RAISES)
RTX_FAILURES = ("set_compute_capability",)
"""Of TensorRT-RTX alone; it returns False."""

_FLAGS = enum.IntEnum("BuilderFlag", ["TF32", "ERROR_ON_TIMING_CACHE_MISS", "REQUIRE_USER_ALLOCATION"], start=0)
_MODES = enum.Enum("TensorIOMode", ["INPUT", "OUTPUT"])
_TYPES = enum.Enum("DataType", ["FLOAT", "HALF", "BF16", "INT32"])
_HOST_TYPES = {_TYPES.FLOAT: np.float32, _TYPES.HALF: np.float16, _TYPES.BF16: ml_dtypes.bfloat16}
_ELEMENTS = {1: _TYPES.FLOAT, 10: _TYPES.HALF, 16: _TYPES.BF16}


class FakeTensorRt(SimpleNamespace):
    """The module.

    Args:
        device: where its engines run.
        version: of it.
        failing: the function that fails from now on; may be changed.
        reason: what it logs then.
        records_nothing: whether its engines enqueue no work while they are captured.
        raising: whether what fails raises, whatever it usually does.
    """

    def __init__(
        self,
        device: FakeDevice,
        *,
        version: str = "10.13.3.9",
        failing: str | None = None,
        reason: str = "Error Code 2: something broke",
        records_nothing: bool = False,
        raising: bool = False,
    ) -> None:
        self.__version__ = version
        self.device, self.failing, self.reason, self.records_nothing = device, failing, reason, records_nothing
        self.raising = raising
        self.configurations: list[_Config] = []
        self.tactics_timed = self.builds = 0
        self.contexts = WeakSet[_Context]()
        self.output_shape: tuple[int, ...] | None = None
        """What its engines tell of their output, where that is not so."""
        self.layers = json.dumps({"Layers": [{"Name": "doubling", "TacticName": "fake"}]})
        super().__init__(
            ILogger=_Logger,
            NetworkDefinitionCreationFlag=SimpleNamespace(STRONGLY_TYPED=1),
            BuilderFlag=_FLAGS,
            ProfilingVerbosity=SimpleNamespace(DETAILED="DETAILED"),
            MemoryPoolType=SimpleNamespace(WORKSPACE="WORKSPACE"),
            LayerInformationFormat=SimpleNamespace(JSON="JSON"),
            ComputeCapability=SimpleNamespace(SM86="SM86"),
            TensorIOMode=_MODES,
            DataType=_TYPES,
            Builder=partial(self.call, "Builder", partial(_Builder, self)),
            OnnxParser=partial(self.call, "OnnxParser", partial(_Parser, self)),
            Runtime=partial(self.call, "Runtime", partial(_Runtime, self)),
        )

    def call(self, name: str, function: Callable[..., Any], *arguments: Any) -> Any:
        """That function, or its failure."""
        if name != self.failing:
            return function(*arguments)
        if self.raising:
            raise RuntimeError(self.reason)
        if name in RAISES:
            raise TypeError("pybind11::init(): factory function returned nullptr")
        for logger in _Logger.all:
            logger.log(_Logger.ERROR, self.reason)
        if name in RETURNS_NO_SHAPE:
            return _NoShape()
        return None if name in RETURNS_NONE else False


class _NoShape:
    """Of a tensor that is not known: it has -1 dimensions."""

    def __len__(self) -> int:
        return -1

    def __getitem__(self, index: int) -> int:
        raise IndexError(index)


class _Logger:
    INTERNAL_ERROR, ERROR, WARNING = 0, 1, 2
    all: ClassVar[list[Any]] = []

    def __init__(self) -> None:
        _Logger.all[:] = [self]

    def log(self, severity: int, message: str) -> None:
        raise NotImplementedError


class _Builder:
    def __init__(self, trt: FakeTensorRt, logger: Any) -> None:
        logger.log(_Logger.WARNING, "a warning that nobody needs to see")
        self._trt = trt

    def create_network(self, flags: int) -> Any:
        assert flags == 1 << 1, "not strongly typed"
        return self._trt.call("create_network", lambda: SimpleNamespace(model=None, num_inputs=0, num_outputs=0))

    def create_builder_config(self) -> Any:
        return self._trt.call("create_builder_config", partial(_Config, self._trt))

    def build_serialized_network(self, network: Any, config: _Config) -> Any:
        return self._trt.call("build_serialized_network", self._build, network, config)

    def _build(self, network: Any, config: _Config) -> Any:
        self._trt.builds += 1
        kernel = f"kernel of {network.model.graph.name}"
        timings = set[str]() if config.timings is None else config.timings.known
        if kernel not in timings:
            if config.get_flag(_FLAGS.ERROR_ON_TIMING_CACHE_MISS):
                return None
            self._trt.tactics_timed += 1
            timings.add(kernel)
        return SimpleNamespace(nbytes=1000, model=network.model)


class _Config:
    def __init__(self, trt: FakeTensorRt) -> None:
        self._trt, self._flags, self._workspace = trt, {_FLAGS.TF32}, 0
        self.timings: Any = None
        trt.configurations.append(self)

    def set_flag(self, flag: Any) -> None:
        self._flags.add(flag)

    def clear_flag(self, flag: Any) -> None:
        self._flags.discard(flag)

    def get_flag(self, flag: Any) -> bool:
        return flag in self._flags

    @property
    def builder_optimization_level(self) -> int:
        return self._level

    @builder_optimization_level.setter
    def builder_optimization_level(self, level: int) -> None:
        self._level = self._trt.call("builder_optimization_level", lambda: min(level, 5))

    def set_compute_capability(self, capability: str, index: int) -> bool:
        assert (self.num_compute_capabilities, index) == (1, 0)  # type: ignore[attr-defined]
        return bool(self._trt.call("set_compute_capability", lambda: True))

    def set_memory_pool_limit(self, pool: str, size: int) -> None:
        self._workspace = min(size, LARGEST_WORKSPACE)

    def get_memory_pool_limit(self, pool: str) -> int:
        return self._workspace

    def create_timing_cache(self, data: bytes) -> Any:
        return self._trt.call("create_timing_cache", partial(_Timings, self._trt), data)

    def set_timing_cache(self, timings: _Timings, ignore_mismatch: bool) -> bool:
        assert not ignore_mismatch
        return bool(self._trt.call("set_timing_cache", self._set_timings, timings))

    def _set_timings(self, timings: _Timings) -> bool:
        self.timings = timings
        return True


class _Timings:
    def __init__(self, trt: FakeTensorRt, data: bytes) -> None:
        self._trt = trt
        self.known = set(json.loads(data)) if data else set()

    def combine(self, other: _Timings, ignore_mismatch: bool) -> bool:
        assert not ignore_mismatch
        self.known |= other.known
        return bool(self._trt.call("combine", lambda: True))

    def serialize(self) -> Any:
        return self._trt.call("serialize", lambda: json.dumps(sorted(self.known)).encode())


class _Parser:
    def __init__(self, trt: FakeTensorRt, network: Any, logger: Any) -> None:
        self._trt, self._network, self._errors = trt, network, list[Any]()

    @property
    def num_errors(self) -> int:
        return len(self._errors)

    def parse(self, graph: bytes) -> bool:
        if self._trt.failing == "parse" and not self._trt.raising:
            self._errors = [_error("INVALID_NODE", "Resize", "resize"), _error("UNSUPPORTED_NODE", "Conv", "conv1")]
            return False
        model = self._trt.call("parse", onnx.load_from_string, graph)
        self._network.model = model
        self._network.num_inputs, self._network.num_outputs = len(model.graph.input), len(model.graph.output)
        return True

    def get_error(self, index: int) -> Any:
        return self._errors[index]


def _error(code: str, operator: str, name: str) -> Any:
    return SimpleNamespace(
        code=lambda: SimpleNamespace(name=code),
        desc=lambda: f"{operator} is beyond us",
        node_operator=lambda: operator,
        node_name=lambda: name,
    )


class _Runtime:
    def __init__(self, trt: FakeTensorRt, logger: Any) -> None:
        self._trt = trt

    def deserialize_cuda_engine(self, plan: Any) -> Any:
        return self._trt.call("deserialize_cuda_engine", partial(_Engine, self._trt), plan.model)


class _Engine:
    device_memory_size_v2 = 500
    num_io_tensors = 2

    def __init__(self, trt: FakeTensorRt, model: onnx.ModelProto) -> None:
        self._trt, self.tensors = trt, [*model.graph.input, *model.graph.output]

    def get_tensor_name(self, index: int) -> str:
        return self._trt.call("get_tensor_name", lambda: str(self.tensors[index].name))  # type: ignore[no-any-return]

    def get_tensor_mode(self, name: str) -> Any:
        mode = _MODES.INPUT if name == self.tensors[0].name else _MODES.OUTPUT
        return self._trt.call("get_tensor_mode", lambda: mode)

    def get_tensor_dtype(self, name: str) -> Any:
        return _ELEMENTS[self._named(name).elem_type]

    def get_tensor_shape(self, name: str) -> Any:
        if self._trt.output_shape is not None and name != self.tensors[0].name:
            return self._trt.output_shape
        dimensions = self._named(name).shape.dim
        return self._trt.call("get_tensor_shape", lambda: tuple(dimension.dim_value for dimension in dimensions))

    def create_engine_inspector(self) -> Any:
        layers = self._trt.layers
        inspector = SimpleNamespace(get_engine_information=lambda how: self._trt.call("get_engine_information", lambda: layers))
        return self._trt.call("create_engine_inspector", lambda: inspector)

    def create_execution_context(self) -> Any:
        return self._trt.call(
            "create_execution_context", partial(_Context, self._trt, _HOST_TYPES[self.get_tensor_dtype(self.tensors[0].name)])
        )

    def _named(self, name: str) -> Any:
        return next(tensor.type.tensor_type for tensor in self.tensors if tensor.name == name)


class _Context:
    def __init__(self, trt: FakeTensorRt, host_type: Any) -> None:
        self._trt, self._host_type, self._addresses = trt, host_type, dict[str, int]()
        trt.contexts.add(self)  # they hold memory as long as somebody holds them

    def set_tensor_address(self, name: str, address: int) -> bool:
        self._addresses[name] = address
        return bool(self._trt.call("set_tensor_address", lambda: True))

    def is_stream_capturable(self, stream: int) -> bool:
        assert stream == STREAM
        return bool(self._trt.call("is_stream_capturable", lambda: True))

    def execute_async_v3(self, stream: int) -> bool:
        return bool(self._trt.call("execute_async_v3", self._execute, stream))

    def _execute(self, stream: int) -> bool:
        device = self._trt.device
        if not (self._trt.records_nothing and "begin capture" in device.calls):
            device.submit(stream, self._double)
        return True

    def _double(self) -> None:
        device = self._trt.device
        source, result = (device.array(self._addresses[name]) for name in ("input", "output"))
        values = source.view(self._host_type)
        result[:] = np.resize(values + values, result.size // values.itemsize).view(np.uint8)
        device.clock_ms += RUN_MS
