"""`cuda.core` (1.x) and the driver's functions beside it, as far as they are used, without a GPU: host memory, and a clock that
only counts sleeps.

As on a real device nothing happens when it is enqueued, but when somebody waits for its stream, in that stream's order: work on
another stream than the one that is waited for is not done then. Copies from and to ordinary host memory are an exception there
and here: the one is read when it is enqueued, the other waits for its stream.

Refuses what the real one refuses: work for what is closed, waiting for a stream that is being captured (that capture is invalid
until it ends), a time between events that keep none. Memory that is used outside of its life breaks the device for good, as an
illegal address does.
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

IMPLEMENTATION = "profiler_service.backends.device.cuda_core_device"
CLOCK_KHZ = 1_980_000
MEMORY_BYTES = 2**30

Work = Callable[[], None]


class CUDAError(Exception):
    """cuda-core's own root."""


class CUresult(IntEnum):
    """Of the driver's codes, those that are told here."""

    CUDA_SUCCESS = 0
    CUDA_ERROR_INVALID_VALUE = 1
    CUDA_ERROR_OUT_OF_MEMORY = 2
    CUDA_ERROR_ILLEGAL_ADDRESS = 700
    CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED = 900
    CUDA_ERROR_STREAM_CAPTURE_INVALIDATED = 901


@dataclass(frozen=True)
class EventOptions:
    """As the real ones."""

    timing_enabled: bool | None = False
    blocking_sync: bool | None = False
    ipc_enabled: bool | None = False


@dataclass(frozen=True)
class LaunchConfig:
    """As the real one."""

    grid: int
    block: int


class FakeCudaCore(ModuleType):
    """The module.

    Args:
        name, capability, integrated: of the one device.
        failing: calls that fail the next time they are made, with which code; may be changed.
    """

    EventOptions, LaunchConfig = EventOptions, LaunchConfig

    def __init__(
        self,
        *,
        name: str = "Fake B200",
        capability: tuple[int, int] = (10, 0),
        integrated: bool = False,
        failing: dict[str, CUresult] | None = None,
    ) -> None:
        super().__init__("cuda.core")
        self.device_name, self.capability, self.integrated = name, capability, integrated
        self.failing = failing or {}
        self.broken: CUresult | None = None
        self.calls: list[str] = []
        self.memory: dict[int, NDArray[np.uint8]] = {}
        self.held_bytes = 0
        self.cycles = 0
        self.current = False
        self.capture_mode = ""
        self.queues = {0: Queue(self, 0)}  # the default stream, which no other waits for
        self.driver = FakeDriver(self)
        self.ObjectCode = SimpleNamespace(from_ptx=self._from_ptx)

    def Device(self, device_id: int) -> Any:  # noqa: N802
        self.call("Device")
        if device_id > 0:
            raise ValueError(f"device_id must be within [0, 1), got {device_id}")
        return _Device(self)

    def launch(self, stream: Any, config: LaunchConfig, kernel: Any, *arguments: Any) -> None:
        stream.require_open()
        self.call("launch", stream.queue)
        (cycles,) = arguments
        assert (kernel.name, config.grid, config.block, cycles.dtype) == ("blocking_kernel", 1, 1, np.uint64)
        stream.queue.enqueue(lambda: self._spend(int(cycles)))

    def call(self, name: str, queue: Queue | None = None) -> None:
        """As `code`, but raised as the library does."""
        require(self.code(name, queue))

    def code(self, name: str, queue: Queue | None = None) -> CUresult:
        """Record it; what it fails with, or success. Once the device is broken, every call says so; while a capture is invalid,
        every call for its stream.
        """
        self.calls.append(name)
        if queue is not None and not queue.valid:
            return CUresult.CUDA_ERROR_STREAM_CAPTURE_INVALIDATED
        return self.broken or self.failing.pop(name, CUresult.CUDA_SUCCESS)

    def at(self, address: int) -> NDArray[np.uint8]:
        """The memory there, when the device comes to use it."""
        if address not in self.memory:
            self.broken = CUresult.CUDA_ERROR_ILLEGAL_ADDRESS
        return self.memory.get(address, np.empty(0, np.uint8))

    def _from_ptx(self, code: bytes) -> Any:
        self.call("ObjectCode.from_ptx")
        assert b".entry blocking_kernel(" in code
        return SimpleNamespace(get_kernel=self._kernel)

    def _kernel(self, name: str) -> Any:
        self.call("ObjectCode.get_kernel")
        return SimpleNamespace(name=name)

    def _spend(self, cycles: int) -> None:
        self.cycles += cycles


@dataclass(frozen=True)
class CUstream:
    """A handle: no number, but it can be made one."""

    address: int

    def __int__(self) -> int:
        return self.address


class Queue:
    """A stream's work, in order; or what is captured of it."""

    def __init__(self, cuda: FakeCudaCore, handle: int) -> None:
        self._cuda, self.handle = cuda, CUstream(handle)
        self._work: list[Work] = []
        self.captured: list[Work] | None = None
        self.valid = True
        """Whether what is being captured may still become a graph."""

    def enqueue(self, work: Work) -> None:
        (self._work if self.captured is None else self.captured).append(work)

    def wait(self) -> CUresult:
        """Work it off; what that ends with."""
        if self.captured is not None:
            self.valid = False
            return CUresult.CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED
        while self._work and not self._cuda.broken:
            self._work.pop(0)()
        return self._cuda.broken or CUresult.CUDA_SUCCESS

    def end(self) -> list[Work]:
        """What was captured; nothing is any more. Raises that it may not be used."""
        work, valid = self.captured or [], self.valid
        self.captured, self.valid = None, True
        require(CUresult.CUDA_SUCCESS if valid else CUresult.CUDA_ERROR_STREAM_CAPTURE_INVALIDATED)
        return work


def require(code: CUresult) -> None:
    """Raises CUDAError for a failure, as the library does."""
    if code:
        raise CUDAError(f"{code.name}: what it means, in a sentence.")


class _Closable:
    _closed = False

    def require_open(self) -> None:
        if self._closed:
            raise RuntimeError(f"{type(self).__name__.strip('_')} has been closed")

    def close(self) -> None:
        self._closed = True


class _Device:
    def __init__(self, cuda: FakeCudaCore) -> None:
        self._cuda = cuda
        self.name, self.pci_bus_id = cuda.device_name, "0000:1B:00.0"
        self.uuid = "00000000-0000-0000-0000-000000000000"
        self.compute_capability = cuda.capability
        self.properties = SimpleNamespace(
            clock_rate=CLOCK_KHZ, multiprocessor_count=148, l2_cache_size=2**20, integrated=cuda.integrated
        )

    def set_current(self) -> None:
        self._cuda.call("Device.set_current")
        self._cuda.current = True

    def create_stream(self) -> Any:
        self._require_current()
        self._cuda.call("Device.create_stream")
        address = 16 * len(self._cuda.queues)
        queue = self._cuda.queues[address] = Queue(self._cuda, address)
        return _Stream(self._cuda, queue)

    def allocate(self, size: int, *, stream: Any) -> Any:
        self._require_current()
        stream.require_open()
        self._cuda.call("Device.allocate", stream.queue)
        if size > MEMORY_BYTES - self._cuda.held_bytes:
            require(CUresult.CUDA_ERROR_OUT_OF_MEMORY)
        return _Buffer(self._cuda, size, stream.queue)

    def _require_current(self) -> None:
        if not self._cuda.current:
            raise CUDAError("Device 0 is not yet initialized, perhaps you forgot to call .set_current() first?")


class _Stream(_Closable):
    def __init__(self, cuda: FakeCudaCore, queue: Queue) -> None:
        self._cuda, self.queue = cuda, queue

    @property
    def handle(self) -> CUstream:
        return CUstream(0) if self._closed else self.queue.handle  # as the real one: that of the default stream

    def sync(self) -> None:
        self.require_open()
        self._cuda.call("Stream.sync", self.queue)
        require(self.queue.wait())

    def record(self, *, options: EventOptions) -> Any:
        self.require_open()
        self._cuda.call("Stream.record", self.queue)
        event = _Event(self._cuda, options)
        self.queue.enqueue(event.happen)
        return event

    def create_graph_builder(self) -> Any:
        self.require_open()
        return GraphBuilder(self._cuda, self)


class _Event:
    def __init__(self, cuda: FakeCudaCore, options: EventOptions) -> None:
        self._cuda, self._timed = cuda, options.timing_enabled
        self._at: int | None = None

    def happen(self) -> None:
        self._at = self._cuda.cycles

    @property
    def is_done(self) -> bool:
        self._cuda.call("Event.is_done")
        return self._at is not None

    def __sub__(self, earlier: _Event) -> float:
        self._cuda.call("Event.__sub__")
        if not (self._timed and earlier._timed):
            raise RuntimeError("Both Events must be created with timing enabled in order to subtract them")
        if self._at is None or earlier._at is None:
            raise RuntimeError("One or both events have not completed")
        return (self._at - earlier._at) / CLOCK_KHZ


class _Buffer(_Closable):
    """There once its stream comes to it, and until it comes to its end."""

    def __init__(self, cuda: FakeCudaCore, size: int, queue: Queue) -> None:
        self._cuda, self._size, self._queue = cuda, size, queue
        self._address = 4096 * (1 + len([call for call in cuda.calls if call == "Device.allocate"]))
        cuda.held_bytes += size
        queue.enqueue(self._appear)

    @property
    def handle(self) -> int:
        return 0 if self._closed else self._address

    def close(self) -> None:
        if not self._closed:
            super().close()
            if not self._cuda.code("Buffer.close", self._queue):  # the real one prints a warning, and the memory stays taken
                self._cuda.held_bytes -= self._size
                self._queue.enqueue(self._vanish)

    def _appear(self) -> None:
        memory = self._cuda.memory[self._address] = np.empty(self._size, np.uint8)
        memory[:4096] = 0xCD  # not, by chance, what somebody looks for

    def _vanish(self) -> None:
        del self._cuda.memory[self._address]


class GraphBuilder(_Closable):
    """Ends an invalid capture only when it is closed, as the real one does."""

    def __init__(self, cuda: FakeCudaCore, stream: _Stream) -> None:
        self._cuda, self._stream = cuda, stream
        self._building = False
        self._work: list[Work] | None = None

    @property
    def stream(self) -> _Stream:
        self.require_open()
        return self._stream

    def begin_building(self, mode: str = "relaxed") -> GraphBuilder:
        self.require_open()
        self._cuda.call("GraphBuilder.begin_building")
        self._cuda.capture_mode = mode
        self._stream.queue.captured = []
        self._building = True
        return self

    def end_building(self) -> GraphBuilder:
        self.require_open()
        self._cuda.call("GraphBuilder.end_building")
        if not self._building:
            raise RuntimeError("Graph builder is not building.")
        if not self._stream.queue.valid:
            raise RuntimeError("Build process encountered an error and has been invalidated. Build process must now be ended.")
        self._work, self._building = self._stream.queue.end(), False
        return self

    def complete(self) -> Any:
        self.require_open()
        self._cuda.call("GraphBuilder.complete")
        if self._work is None:
            raise RuntimeError("Graph has not finished building.")
        return Graph(self._cuda, self._work)

    def close(self) -> None:
        self._cuda.calls.append("GraphBuilder.close")
        building, self._building = self._building, False
        super().close()
        if building:
            self._stream.queue.end()


class Graph(_Closable):
    def __init__(self, cuda: FakeCudaCore, work: list[Work]) -> None:
        self._cuda, self._work = cuda, work

    def upload(self, stream: _Stream) -> None:
        self._on(stream, "Graph.upload")

    def launch(self, stream: _Stream) -> None:
        self._on(stream, "Graph.launch")
        for work in self._work:
            stream.queue.enqueue(work)

    def _on(self, stream: _Stream, call: str) -> None:
        self.require_open()
        stream.require_open()
        self._cuda.call(call, stream.queue)


class FakeDriver(ModuleType):
    """`cuda.bindings.driver`: every function returns a tuple that begins with its code."""

    CUresult = CUresult

    def __init__(self, cuda: FakeCudaCore) -> None:
        super().__init__("cuda.bindings.driver")
        self._cuda = cuda

    def cuDriverGetVersion(self) -> tuple[CUresult, int]:  # noqa: N802
        return self._cuda.code("cuDriverGetVersion"), 13000

    def cuMemGetInfo(self) -> tuple[CUresult, int, int]:  # noqa: N802
        return self._cuda.code("cuMemGetInfo"), MEMORY_BYTES - self._cuda.held_bytes, MEMORY_BYTES

    def cuMemcpyHtoDAsync(self, address: int, host: int, nbytes: int, stream: Any) -> tuple[CUresult]:  # noqa: N802
        array = _host(host, nbytes).copy()
        return self._enqueued("cuMemcpyHtoDAsync", stream, lambda: _copy(array, self._cuda.at(address)))

    def cuMemcpyDtoHAsync(self, host: int, address: int, nbytes: int, stream: Any) -> tuple[CUresult]:  # noqa: N802
        queue = self._cuda.queues[int(stream)]
        code = self._cuda.code("cuMemcpyDtoHAsync", queue) or queue.wait()
        if not code:
            _copy(self._cuda.at(address), _host(host, nbytes))
        return (code,)

    def cuMemsetD8Async(self, address: int, byte: int, count: int, stream: Any) -> tuple[CUresult]:  # noqa: N802
        return self._enqueued("cuMemsetD8Async", stream, lambda: self._cuda.at(address)[:count].fill(byte))

    def _enqueued(self, name: str, stream: Any, work: Work) -> tuple[CUresult]:
        queue = self._cuda.queues[int(stream)]
        code = self._cuda.code(name, queue)
        if not code:
            queue.enqueue(work)
        return (code,)


def _host(address: int, nbytes: int) -> NDArray[np.uint8]:
    """Memory of the host's, by its address."""
    return np.ctypeslib.as_array((ctypes.c_uint8 * nbytes).from_address(address))


def _copy(source: NDArray[np.uint8], target: NDArray[np.uint8]) -> None:
    target[: len(source)] = source[: len(target)]


def install(monkeypatch: pytest.MonkeyPatch, cuda: FakeCudaCore) -> None:
    """Let `open_device("cuda-core", …)` find it."""
    bindings = ModuleType("cuda.bindings")
    bindings.driver = cuda.driver  # type: ignore[attr-defined]
    modules = {"cuda": ModuleType("cuda"), "cuda.core": cuda, "cuda.bindings": bindings, "cuda.bindings.driver": cuda.driver}
    for name, module in modules.items():
        monkeypatch.setitem(sys.modules, name, module)
    # Set and deleted, so that what is imported now is forgotten afterwards.
    monkeypatch.setitem(sys.modules, IMPLEMENTATION, ModuleType(IMPLEMENTATION))
    monkeypatch.delitem(sys.modules, IMPLEMENTATION)
