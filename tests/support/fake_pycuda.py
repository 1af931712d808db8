"""`pycuda.driver`, as far as it is used, without a GPU: host memory, and a clock that only counts sleeps.

Refuses what the real one refuses: calls before `init`, or without a current context.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any, ClassVar

import numpy as np
import pytest
from numpy.typing import NDArray

from profiler_service.backends.device import cuda_driver

IMPLEMENTATION = "profiler_service.backends.device.pycuda_device"
CLOCK_KHZ = 1_980_000
MEMORY_BYTES = 2**30


class Error(Exception):
    """pycuda's own root."""


class FakePyCuda(ModuleType):
    """The module.

    Args:
        devices: how many there are.
        error: what `cuInit` says; nothing where it succeeds. context_error: the same of a context.
        name, capability, integrated: of the device.
    """

    Error = Error

    def __init__(
        self,
        *,
        devices: int = 1,
        error: str = "",
        context_error: str = "",
        name: str = "Fake Orin",
        capability: tuple[int, int] = (8, 7),
        integrated: bool = False,
    ) -> None:
        super().__init__("pycuda.driver")
        self.devices, self.error, self.context_error = devices, error, context_error
        self.device_name, self.capability, self.integrated = name, capability, integrated
        self.memory_error = ""
        self.broken = ""
        """What every call says from now on."""
        self.started = False
        self.contexts = 0
        self.memory: dict[int, NDArray[np.uint8]] = {}
        self.cycles = 0
        self.synchronised = 0
        self.capturing: list[Callable[[], None]] | None = None
        self.capture_valid = True
        self.Context = type(
            "Context", (), {"synchronize": staticmethod(self._current), "get_device": staticmethod(lambda: _Device(self))}
        )
        self.device_attribute = type(
            "device_attribute",
            (),
            {"CLOCK_RATE": "clock", "MULTIPROCESSOR_COUNT": "count", "L2_CACHE_SIZE": "l2", "INTEGRATED": "integrated"},
        )

    def init(self) -> None:
        if self.error:
            raise Error(self.error)
        self.started = True

    def get_driver_version(self) -> int:
        return 12060

    def Device(self, index: int) -> Any:  # noqa: N802
        assert self.started, "not initialised"
        if index >= self.devices:
            raise Error("cuDeviceGet failed: invalid device ordinal")
        return _Device(self)

    def Stream(self) -> Any:  # noqa: N802
        self._current()
        return _Stream(self)

    def Event(self) -> Any:  # noqa: N802
        self._current()
        return _Event(self)

    def module_from_buffer(self, code: bytes) -> Any:
        self._current()
        assert b".entry blocking_kernel(" in code
        return type("Module", (), {"get_function": lambda _self, name: self._kernel})()

    def mem_alloc(self, nbytes: int) -> Any:
        self._current()
        if nbytes > self.mem_get_info()[0]:
            raise Error("cuMemAlloc failed: out of memory")
        return _Allocation(self, nbytes)

    def mem_get_info(self) -> tuple[int, int]:
        self._current()
        if self.memory_error:
            raise Error(self.memory_error)
        return MEMORY_BYTES - sum(array.nbytes for array in self.memory.values()), MEMORY_BYTES

    def memcpy_htod(self, address: int, array: NDArray[Any]) -> None:
        self._current()
        self.memory[address][:] = array.reshape(-1).view(np.uint8)

    def memcpy_dtoh(self, array: NDArray[Any], address: int) -> None:
        self._current()
        array.reshape(-1).view(np.uint8)[:] = self.memory[address]

    def memset_d8_async(self, address: int, byte: int, count: int, stream: _Stream) -> None:
        self._current()
        self._enqueue(lambda: self.memory[address][:count].fill(byte))

    def _kernel(self, cycles: np.uint64, *, block: tuple[int, ...], grid: tuple[int, ...], stream: _Stream) -> None:
        self._current()
        assert (block, grid) == ((1, 1, 1), (1, 1))
        self.cycles += int(cycles)

    def _enqueue(self, work: Callable[[], None]) -> None:
        if self.capturing is None:
            work()
        else:
            self.capturing.append(work)

    def _current(self) -> None:
        assert self.contexts > 0, "no current context"
        if self.broken:
            raise Error(self.broken)


class _Device:
    def __init__(self, cuda: FakePyCuda) -> None:
        self._cuda = cuda

    def retain_primary_context(self) -> Any:
        if self._cuda.context_error:
            raise Error(self._cuda.context_error)
        return _Context(self._cuda)

    def get_attribute(self, name: str) -> int:
        return {"clock": CLOCK_KHZ, "count": 16, "l2": 2**22, "integrated": int(self._cuda.integrated)}[name]

    def name(self) -> str:
        return self._cuda.device_name

    def compute_capability(self) -> tuple[int, int]:
        return self._cuda.capability

    def pci_bus_id(self) -> str:
        return "0000:00:00.0"


class _Context:
    def __init__(self, cuda: FakePyCuda) -> None:
        self._cuda = cuda

    def push(self) -> None:
        self._cuda.contexts += 1

    def pop(self) -> None:
        self._cuda.contexts -= 1


class _Stream:
    handle = 11

    def __init__(self, cuda: FakePyCuda) -> None:
        self._cuda = cuda

    def synchronize(self) -> None:
        self._cuda._current()
        if self._cuda.capturing is not None:
            self._cuda.capture_valid = False
            raise Error("cuStreamSynchronize failed: operation not permitted when stream is capturing")
        self._cuda.synchronised += 1


class FakeDriver:
    """`libcuda`, as far as graphs need it: what pycuda enqueues meanwhile is recorded.

    Args:
        cuda: whose stream is captured.
        failing: the function that fails, with which code's name.
    """

    NAMES: ClassVar[dict[int, bytes]] = {
        2: b"CUDA_ERROR_OUT_OF_MEMORY",
        101: b"CUDA_ERROR_INVALID_DEVICE",
        700: b"CUDA_ERROR_ILLEGAL_ADDRESS",
        900: b"CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED",
        901: b"CUDA_ERROR_STREAM_CAPTURE_INVALIDATED",
    }

    def __init__(self, cuda: FakePyCuda, failing: dict[str, int] | None = None) -> None:
        self._cuda = cuda
        self.failing = failing or {}
        self.graphs: dict[int, list[Callable[[], None]]] = {}
        self.executables: dict[int, list[Callable[[], None]]] = {}

    def cuStreamBeginCapture_v2(self, stream: Any, mode: Any) -> int:  # noqa: N802
        assert (stream.value, mode.value) == (_Stream.handle, 1)
        return self._unless_failing("cuStreamBeginCapture_v2", lambda: setattr(self._cuda, "capturing", []))

    def cuStreamEndCapture(self, stream: Any, graph: Any) -> int:  # noqa: N802
        work, self._cuda.capturing = self._cuda.capturing or [], None
        valid, self._cuda.capture_valid = self._cuda.capture_valid, True
        if not valid:
            return 901
        return self._unless_failing("cuStreamEndCapture", lambda: self._put(self.graphs, graph, work))

    def cuGraphInstantiateWithFlags(self, executable: Any, graph: Any, flags: Any) -> int:  # noqa: N802
        work = self.graphs[graph.value]
        return self._unless_failing("cuGraphInstantiateWithFlags", lambda: self._put(self.executables, executable, work))

    def cuGraphDestroy(self, graph: Any) -> int:  # noqa: N802
        return self._unless_failing("cuGraphDestroy", lambda: self.graphs.pop(graph.value))

    def cuGraphLaunch(self, executable: Any, stream: Any) -> int:  # noqa: N802
        return self._unless_failing("cuGraphLaunch", lambda: [step() for step in self.executables[executable.value]])

    def cuGraphExecDestroy(self, executable: Any) -> int:  # noqa: N802
        return self._unless_failing("cuGraphExecDestroy", lambda: self.executables.pop(executable.value))

    def cuGetErrorName(self, code: int, name: Any) -> int:  # noqa: N802
        name._obj.value = self.NAMES.get(code)
        return 0 if code in self.NAMES else 1

    def cuDeviceGet(self, device: Any, index: Any) -> int:  # noqa: N802
        device._obj.value = index.value
        return 0 if index.value < self._cuda.devices else 101

    def cuDeviceGetPCIBusId(self, text: Any, length: Any, device: Any) -> int:  # noqa: N802
        assert len(text) >= length.value > len(b"0000:1B:00.0")
        bus_id = b"0000:%02X:00.0" % (27 + device.value)
        return self._unless_failing("cuDeviceGetPCIBusId", lambda: setattr(text, "value", bus_id))

    def _unless_failing(self, function: str, work: Callable[[], object]) -> int:
        if self._cuda.broken or function in self.failing:
            return self.failing.get(function, 700)
        work()
        return 0

    def _put(self, place: dict[int, list[Callable[[], None]]], reference: Any, work: list[Callable[[], None]]) -> None:
        reference._obj.value = 64 + len(self.graphs) + 64 * len(self.executables)
        place[reference._obj.value] = work


class _Event:
    def __init__(self, cuda: FakePyCuda) -> None:
        self._cuda = cuda

    def record(self, stream: _Stream) -> Any:
        self._cuda._current()
        self.at, self._synchronised = self._cuda.cycles, self._cuda.synchronised
        return self

    def query(self) -> bool:
        self._cuda._current()
        return self._cuda.synchronised > self._synchronised

    def time_since(self, earlier: _Event) -> float:
        self._cuda._current()
        return (self.at - earlier.at) / CLOCK_KHZ


class _Allocation:
    def __init__(self, cuda: FakePyCuda, nbytes: int) -> None:
        self._cuda, self._address = cuda, 1024 + 512 * len(cuda.memory)
        cuda.memory[self._address] = np.zeros(nbytes, np.uint8)

    def __int__(self) -> int:
        return self._address

    def free(self) -> None:
        del self._cuda.memory[self._address]


def install(monkeypatch: pytest.MonkeyPatch, cuda: FakePyCuda, driver: FakeDriver | None = None) -> None:
    """Let `open_device("pycuda", …)` find it, with the driver's library besides."""
    package = ModuleType("pycuda")
    package.driver = cuda  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "pycuda", package)
    monkeypatch.setitem(sys.modules, "pycuda.driver", cuda)
    monkeypatch.setattr(cuda_driver, "driver_library", lambda: driver or FakeDriver(cuda))
    # Set and deleted, so that what is imported now is forgotten afterwards.
    monkeypatch.setitem(sys.modules, IMPLEMENTATION, ModuleType(IMPLEMENTATION))
    monkeypatch.delitem(sys.modules, IMPLEMENTATION)
