"""`pycuda.driver`, as far as it is used, without a GPU: host memory, and a clock that only counts sleeps.

Refuses what the real one refuses: calls before `init`, or without a current context.
"""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

CLOCK_KHZ = 1_980_000


class Error(Exception):
    """pycuda's own root."""


class FakePyCuda(ModuleType):
    """The module.

    Args:
        devices: how many there are.
        driver: whether there is one.
    """

    Error = Error

    def __init__(self, *, devices: int = 1, driver: bool = True) -> None:
        super().__init__("pycuda.driver")
        self.devices, self.driver = devices, driver
        self.started = False
        self.contexts = 0
        self.memory: dict[int, NDArray[np.uint8]] = {}
        self.cycles = 0
        self.synchronised = 0
        self.capturing: list[Callable[[], None]] | None = None
        self.Context = type("Context", (), {"synchronize": staticmethod(self._current)})
        self.device_attribute = type(
            "device_attribute", (), {"CLOCK_RATE": "clock", "MULTIPROCESSOR_COUNT": "count", "L2_CACHE_SIZE": "l2"}
        )
        self.capture_mode = type("capture_mode", (), {"THREAD_LOCAL": "thread local"})

    def init(self) -> None:
        if not self.driver:
            raise Error("cuInit failed: no CUDA-capable device is detected")
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
        assert b".entry head_start(" in code
        return type("Module", (), {"get_function": lambda _self, name: self._kernel})()

    def mem_alloc(self, nbytes: int) -> Any:
        self._current()
        if nbytes > 2**30:
            raise Error("cuMemAlloc failed: out of memory")
        return _Allocation(self, nbytes)

    def memcpy_htod(self, address: int, array: NDArray[Any]) -> None:
        self.memory[address][:] = array.reshape(-1).view(np.uint8)

    def memcpy_dtoh(self, array: NDArray[Any], address: int) -> None:
        array.reshape(-1).view(np.uint8)[:] = self.memory[address]

    def memset_d8_async(self, address: int, byte: int, count: int, stream: Any) -> None:
        self._enqueue(lambda: self.memory[address][:count].fill(byte))

    def _kernel(self, cycles: np.uint64, *, block: tuple[int, ...], grid: tuple[int, ...], stream: Any) -> None:
        assert (block, grid) == ((1, 1, 1), (1, 1))
        self.cycles += int(cycles)

    def _enqueue(self, work: Callable[[], None]) -> None:
        if self.capturing is None:
            work()
        else:
            self.capturing.append(work)

    def _current(self) -> None:
        assert self.contexts > 0, "no current context"


class _Device:
    def __init__(self, cuda: FakePyCuda) -> None:
        self._cuda = cuda

    def retain_primary_context(self) -> Any:
        return _Context(self._cuda)

    def get_attribute(self, name: str) -> int:
        return {"clock": CLOCK_KHZ, "count": 16, "l2": 2**22}[name]

    def name(self) -> str:
        return "Fake Orin"

    def compute_capability(self) -> tuple[int, int]:
        return (8, 7)

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
        self._cuda.synchronised += 1

    def begin_capture(self, mode: str) -> None:
        assert mode == "thread local"
        self._cuda.capturing = []

    def end_capture(self) -> Any:
        work, self._cuda.capturing = self._cuda.capturing or [], None
        launch = type("GraphExec", (), {"launch": lambda _self, stream: [step() for step in work]})
        return type("Graph", (), {"instantiate": lambda _self: launch()})()


class _Event:
    def __init__(self, cuda: FakePyCuda) -> None:
        self._cuda = cuda

    def record(self, stream: Any) -> Any:
        self.at, self._synchronised = self._cuda.cycles, self._cuda.synchronised
        return self

    def query(self) -> bool:
        return self._cuda.synchronised > self._synchronised

    def time_since(self, earlier: _Event) -> float:
        return (self.at - earlier.at) / CLOCK_KHZ


class _Allocation:
    def __init__(self, cuda: FakePyCuda, nbytes: int) -> None:
        self._cuda, self._address = cuda, 1024 + 512 * len(cuda.memory)
        cuda.memory[self._address] = np.zeros(nbytes, np.uint8)

    def __int__(self) -> int:
        return self._address

    def free(self) -> None:
        del self._cuda.memory[self._address]
