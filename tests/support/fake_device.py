"""A CUDA device that is none: keeps memory on the host, runs at once what is enqueued, and records every call.

Its clock counts only what the work on it takes, as a real device's does for work that stands in a queue.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from profiler_service.backends.blocking_kernel import TimingEvent
from profiler_service.backends.device.base import Buffer, CapturedGraph, Device, DeviceInfo, Enqueue, require_same_size
from profiler_service.errors import BuildError, DeviceMemoryError, RunError
from profiler_service.measure.throttling import DeviceReading

HOPPER = DeviceInfo(
    name="Fake H200",
    pci_bus_id="0000:01:00.0",
    uuid="00000000-0000-0000-0000-000000000000",
    compute_capability=(9, 0),
    multiprocessors=132,
    cuda_driver="13.0",
    l2_cache_bytes=2**20,
)

STREAM, CAPTURING_STREAM = 7, 8


class FakeBuffer:
    """Host memory under an address of its own."""

    def __init__(self, device: FakeDevice, address: int, nbytes: int) -> None:
        self._device, self._address, self._nbytes = device, address, nbytes
        self.bytes = np.zeros(nbytes, np.uint8)

    @property
    def address(self) -> int:
        return self._address

    @property
    def nbytes(self) -> int:
        return self._nbytes

    def close(self) -> None:
        self._device.memory.pop(self._address, None)


class FakeGraph:
    def __init__(self, device: FakeDevice, work: list[Callable[[], None]]) -> None:
        self._device, self._work = device, work
        device.graphs += 1

    def launch(self) -> None:
        self._device.calls.append("launch")
        for work in self._work:
            work()

    def close(self) -> None:
        if self._work is not _CLOSED:
            self._work = _CLOSED
            self._device.graphs -= 1


_CLOSED: list[Callable[[], None]] = []


class FakeDevice(Device):
    """See `Device`.

    Args:
        info: what it says it is.
        memory_bytes: how much it has.
        catches_up: in how many passes it wakes up before the host has enqueued everything.
    """

    def __init__(self, info: DeviceInfo = HOPPER, *, memory_bytes: int = 2**30, catches_up: int = 0) -> None:
        self.info = info
        self.calls: list[str] = []
        self.memory: dict[int, FakeBuffer] = {}
        self.graphs = 0
        self.clock_ms = 0.0
        self.slept_s: list[float] = []
        self.closed = False
        self._free = memory_bytes
        self._next_address = 4096
        self._catches_up = catches_up
        self._capturing: list[Callable[[], None]] | None = None
        self._capture_valid = True
        self._done_ms = 0.0

    def submit(self, stream: int, work: Callable[[], None]) -> None:
        """What a runtime does: work for that stream, recorded while it is captured."""
        self.calls.append(f"submit {stream}")
        if self._capturing is not None:
            assert stream == CAPTURING_STREAM, "work on another stream than the captured one"
            self._capturing.append(work)
        else:
            work()

    def array(self, address: int) -> NDArray[np.uint8]:
        """The memory at that address."""
        return self.memory[address].bytes

    @property
    def stream(self) -> int:
        return STREAM

    def allocate(self, nbytes: int) -> Buffer:
        self.calls.append(f"allocate {nbytes}")
        if nbytes > (self.free_bytes() or 0):
            raise DeviceMemoryError(f"no {nbytes} bytes of device memory: CUDA_ERROR_OUT_OF_MEMORY")
        buffer = FakeBuffer(self, self._next_address, nbytes)
        self.memory[buffer.address] = buffer
        self._next_address += 2 * nbytes
        return buffer

    def free_bytes(self) -> int | None:
        return self._free - sum(buffer.nbytes for buffer in self.memory.values())

    def upload(self, array: NDArray[Any], buffer: Buffer) -> None:
        require_same_size(array, buffer)
        self.calls.append("upload")
        self.array(buffer.address)[:] = array.reshape(-1).view(np.uint8)

    def download(self, buffer: Buffer, array: NDArray[Any]) -> None:
        require_same_size(array, buffer)
        self.calls.append("download")
        array.reshape(-1).view(np.uint8)[:] = self.array(buffer.address)

    def fill(self, buffer: Buffer, byte: int) -> None:
        self.calls.append("fill")
        if self._capturing is None:
            self.array(buffer.address)[:] = byte
        else:
            self._capturing.append(lambda: self.array(buffer.address).fill(byte))

    def capture(self, enqueue: Enqueue) -> CapturedGraph:
        self.calls.append("begin capture")
        self._capturing, self._capture_valid = (work := []), True
        try:
            enqueue(CAPTURING_STREAM)
        finally:
            self._capturing = None
            self.calls.append("end capture")
        if not self._capture_valid:
            raise BuildError("something waited for the device while it was captured")
        return FakeGraph(self, work)

    def sleep(self, seconds: float) -> None:
        self.calls.append("sleep")
        self.slept_s.append(seconds)
        self.clock_ms += seconds * 1e3

    def record(self) -> TimingEvent:
        self.calls.append("event")
        return self.clock_ms

    def wait(self) -> None:
        """What a runtime does that waits for the device: whatever was enqueued before is done."""
        self._catches_up = max(self._catches_up, 1)

    def passed(self, event: TimingEvent) -> bool:
        if event <= self._done_ms:
            return True
        self._catches_up -= 1
        return self._catches_up >= 0

    def elapsed_ms(self, before: TimingEvent, after: TimingEvent) -> float:
        return float(after - before)

    def synchronize(self) -> None:
        self.calls.append("synchronize")
        if self._capturing is not None:
            self._capture_valid = False
            raise RunError("the run failed: nothing may wait for the device while it is captured")
        self._done_ms = self.clock_ms

    def close(self) -> None:
        self.closed = True


STEADY = DeviceReading(sm_clock_mhz=1980, memory_clock_mhz=3201, temperature_c=50, power_w=310.0, other_processes=0)


class FakeTelemetry:
    """NVML's view of a fake device: those readings, the last one for ever. Each is a call on the device's list."""

    def __init__(self, device: FakeDevice, readings: Iterable[DeviceReading] = (STEADY,)) -> None:
        self._device, self._readings = device, list(readings)
        self.closed = False

    def read(self) -> DeviceReading | None:
        self._device.calls.append("read")
        return self._readings.pop(0) if len(self._readings) > 1 else self._readings[0]

    def close(self) -> None:
        self.closed = True
