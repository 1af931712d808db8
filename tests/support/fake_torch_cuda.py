"""`torch.cuda`, as far as it is used, on the CPU.

Its graphs record torch's operators and run them again; each stream's clock counts them. Memory belongs to the stream that was
current when it was allocated, as in torch's allocator: work on any other stream that uses it fails the test.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, nullcontext
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from profiler_service.backends import torch_cuda
from tests.support.fake_device import FakeDevice, FakeTelemetry

OPERATOR_MS = 0.01
CYCLES_PER_MS = 2e6


class FakeCuda:
    """A GPU whose clock moves by so much with each operator. Operators are seen while it is watched.

    Args:
        name, capability, integrated: of the GPU.
        failing: what the first kernel raises, and asking for its memory; may be changed.
        records_nothing: whether captures stay empty.
    """

    def __init__(
        self,
        *,
        name: str = "Fake H200",
        capability: tuple[int, int] = (9, 0),
        failing: Exception | None = None,
        records_nothing: bool = False,
        integrated: bool = False,
    ) -> None:
        self.properties = SimpleNamespace(
            name=name,
            major=capability[0],
            minor=capability[1],
            multi_processor_count=132,
            L2_cache_size=2**20,
            is_integrated=int(integrated),
        )
        self.failing, self.records_nothing = failing, records_nothing
        self.broken = ""
        """What every call of CUDA's says from now on."""
        self.default = self.current = _Stream(self)
        self.streams = [self.default]
        self.capturing = False
        self.sleeps = 0
        self.telemetry = FakeTelemetry(FakeDevice())
        self._owners: dict[StorageWeakRef, _Stream] = {}
        self.free_bytes, self.reserved_bytes, self.allocated_bytes = 2**30, 2**21, 2**20

    def install(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Put it in the place of torch's."""
        monkeypatch.setattr(torch_cuda, "_device", lambda index: torch.device("cpu"))
        monkeypatch.setattr(torch_cuda, "driver_version", lambda: "580.65.06")
        monkeypatch.setattr(torch_cuda, "pci_bus_id", lambda index: f"0000:{27 + index:02X}:00.0")
        replacements: dict[str, Any] = {
            "init": self._init,
            "set_device": lambda device: None,
            "synchronize": lambda device: [stream.synchronize() for stream in self.streams],
            "get_device_properties": lambda device: self.properties,
            "Stream": self._stream,
            "stream": self.on,
            "Event": lambda enable_timing: _Event(self),
            "CUDAGraph": lambda: _Graph(self),
            "graph": lambda graph, stream: graph.capturing(stream),
            "_sleep": self._sleep,
            "mem_get_info": self._mem_get_info,
            "memory_reserved": lambda device: self.reserved_bytes,
            "memory_allocated": lambda device: self.allocated_bytes,
        }
        for function, replacement in replacements.items():
            monkeypatch.setattr(torch.cuda, function, replacement)

    @property
    def busy(self) -> bool:
        """Whether work was enqueued anywhere that nobody has waited for."""
        return any(stream.busy for stream in self.streams)

    @contextmanager
    def on(self, stream: _Stream) -> Iterator[None]:
        """Make it the current stream meanwhile."""
        before, self.current = self.current, stream
        try:
            yield
        finally:
            self.current = before

    def watch(self) -> TorchDispatchMode:
        """A context in which operators are its work."""
        return _Watching(self)

    def require_working(self) -> None:
        """Raises what broke it."""
        if self.broken:
            raise RuntimeError(self.broken)

    def enqueue(self, operators: int, used: Iterable[StorageWeakRef]) -> None:
        """Work for the current stream, on that memory. What is no stream's is the host's."""
        owners = {self._owners.get(storage, self.current) for storage in used}
        assert owners <= {self.current}, "memory of another stream is used, which need not be there yet, or any more"
        if self.current is not self.default:
            self.require_working()
        if not self.capturing:
            self.current.clock_ms += OPERATOR_MS * operators
            self.current.busy = True

    def allocated(self, storages: Iterable[StorageWeakRef]) -> None:
        """Memory that the current stream has from now on."""
        self._owners |= dict.fromkeys(storages, self.current)

    def _stream(self, device: torch.device) -> _Stream:
        self.streams.append(_Stream(self))
        return self.streams[-1]

    def _init(self) -> None:
        if self.failing is not None:
            raise self.failing

    def _mem_get_info(self, device: torch.device) -> tuple[int, int]:
        if self.failing is not None:
            raise self.failing
        return self.free_bytes, 2**31

    def _sleep(self, cycles: int) -> None:
        self.sleeps += 1
        self.current.clock_ms += cycles / CYCLES_PER_MS
        self.current.asleep = self.current.busy = True


class _Stream:
    """Wakes up, once it was put to sleep, only when somebody waits for it: no host is ever too slow."""

    def __init__(self, cuda: FakeCuda) -> None:
        self._cuda = cuda
        self.clock_ms = 0.0
        self.waits = 0
        self.busy = self.asleep = False

    def synchronize(self) -> None:
        self._cuda.require_working()
        if self._cuda.capturing:
            raise RuntimeError("CUDA error: operation not permitted when stream is capturing")
        self.waits += 1
        self.busy = self.asleep = False


class _Watching(TorchDispatchMode):
    """Sees every operator, on whatever stream."""

    def __init__(self, cuda: FakeCuda) -> None:
        super().__init__()
        self._cuda = cuda

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        used = _storages(args, kwargs)
        self._cuda.enqueue(1, used)
        results = function(*args, **(kwargs or {}))
        self._cuda.allocated(_storages(results) - used)
        if function is torch.ops.aten._local_scalar_dense.default:
            self._cuda.current.synchronize()  # a number for the host
        return results


class _Event:
    def __init__(self, cuda: FakeCuda) -> None:
        self._cuda = cuda

    def record(self, stream: _Stream) -> None:
        self._cuda.require_working()
        self._stream, self._at_ms = stream, stream.clock_ms
        self._passed_after = stream.waits if stream.asleep else -1

    def query(self) -> bool:
        self._cuda.require_working()
        return self._stream.waits > self._passed_after

    def elapsed_time(self, later: _Event) -> float:
        if not later.query():
            raise RuntimeError("CUDA error: device not ready")
        return later._at_ms - self._at_ms


class _Graph:
    def __init__(self, cuda: FakeCuda) -> None:
        self._cuda = cuda
        self._steps: list[Callable[[], None]] = []
        self._used: set[StorageWeakRef] = set()

    @contextmanager
    def capturing(self, stream: _Stream) -> Iterator[None]:
        recording = nullcontext() if self._cuda.records_nothing else _Recording(self._steps, self._used)
        with self._cuda.on(stream), recording:
            self._cuda.capturing = True
            try:
                yield
            finally:
                self._cuda.capturing = False

    def replay(self) -> None:
        self._cuda.enqueue(len(self._steps), self._used)
        for step in self._steps:
            step()


class _Recording(TorchDispatchMode):
    """Notes each operator, to be run again into the same memory."""

    def __init__(self, steps: list[Callable[[], None]], used: set[StorageWeakRef]) -> None:
        super().__init__()
        self._steps, self._used = steps, used

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        results = function(*args, **kwargs)
        given = _storages(args, kwargs)
        self._used |= given

        def step() -> None:
            with _without_modes():
                for old, new in zip(tree_leaves(results), tree_leaves(function(*args, **kwargs)), strict=True):
                    if not _storages(old) <= given:  # neither a view nor the result of work in place
                        old.copy_(new)

        self._steps.append(step)
        return results


def _storages(*values: Any) -> set[StorageWeakRef]:
    """The memory of every tensor in there."""
    return {StorageWeakRef(leaf.untyped_storage()) for leaf in tree_leaves(values) if isinstance(leaf, torch.Tensor)}


@contextmanager
def _without_modes() -> Iterator[None]:
    """A replay is no new work of the host's."""
    with torch.utils._python_dispatch._disable_current_modes():
        yield
