"""`torch.cuda`, as far as it is used, on the CPU.

Its graphs record torch's operators and run them again; its clock counts them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from profiler_service.backends import torch_cuda

OPERATOR_MS = 0.01
CYCLES_PER_MS = 2e6


class FakeCuda:
    """A GPU whose clock moves by so much with each operator.

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
        self.clock_ms = 0.0
        self.sleeps = 0
        self.free_bytes, self.reserved_bytes, self.allocated_bytes = 2**30, 2**21, 2**20

    def install(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Put it in the place of torch's."""
        monkeypatch.setattr(torch_cuda, "_device", lambda index: torch.device("cpu"))
        monkeypatch.setattr(torch_cuda, "driver_version", lambda: "580.65.06")
        monkeypatch.setattr(torch_cuda, "pci_bus_id", lambda index: f"0000:{27 + index:02X}:00.0")
        replacements: dict[str, Any] = {
            "init": self._init,
            "set_device": lambda device: None,
            "synchronize": lambda device: None,
            "get_device_properties": lambda device: self.properties,
            "Stream": lambda device: SimpleNamespace(synchronize=lambda: None),
            "stream": lambda stream: _Counting(self),
            "Event": lambda enable_timing: _Event(self),
            "CUDAGraph": lambda: _Graph(self),
            "graph": lambda graph, stream: graph.capturing(),
            "_sleep": self._sleep,
            "mem_get_info": self._mem_get_info,
            "memory_reserved": lambda device: self.reserved_bytes,
            "memory_allocated": lambda device: self.allocated_bytes,
        }
        for function, replacement in replacements.items():
            monkeypatch.setattr(torch.cuda, function, replacement)

    def _init(self) -> None:
        if self.failing is not None:
            raise self.failing

    def _mem_get_info(self, device: torch.device) -> tuple[int, int]:
        if self.failing is not None:
            raise self.failing
        return self.free_bytes, 2**31

    def _sleep(self, cycles: int) -> None:
        self.sleeps += 1
        self.clock_ms += cycles / CYCLES_PER_MS


class _Counting(TorchDispatchMode):
    """The current stream: every operator takes its time."""

    def __init__(self, cuda: FakeCuda) -> None:
        super().__init__()
        self._cuda = cuda

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self._cuda.clock_ms += OPERATOR_MS
        return function(*args, **(kwargs or {}))


class _Event:
    def __init__(self, cuda: FakeCuda) -> None:
        self._cuda, self.at_ms = cuda, 0.0

    def record(self, stream: Any) -> None:
        self.at_ms = self._cuda.clock_ms

    def query(self) -> bool:
        return False

    def elapsed_time(self, later: _Event) -> float:
        return later.at_ms - self.at_ms


class _Graph:
    def __init__(self, cuda: FakeCuda) -> None:
        self._cuda = cuda
        self._steps: list[Callable[[], None]] = []

    @contextmanager
    def capturing(self) -> Iterator[None]:
        recording = nullcontext() if self._cuda.records_nothing else _Recording(self._steps)
        with recording:
            yield

    def replay(self) -> None:
        self._cuda.clock_ms += OPERATOR_MS * len(self._steps)
        for step in self._steps:
            step()


class _Recording(TorchDispatchMode):
    """Notes each operator, to be run again into the same memory."""

    def __init__(self, steps: list[Callable[[], None]]) -> None:
        super().__init__()
        self._steps = steps

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        results = function(*args, **kwargs)
        given = {leaf.untyped_storage().data_ptr() for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, torch.Tensor)}

        def step() -> None:
            with _without_modes():
                for old, new in zip(tree_leaves(results), tree_leaves(function(*args, **kwargs)), strict=True):
                    if old.untyped_storage().data_ptr() not in given:  # neither a view nor the result of work in place
                        old.copy_(new)

        self._steps.append(step)
        return results


@contextmanager
def _without_modes() -> Iterator[None]:
    """A replay is no new work of the host's."""
    with torch.utils._python_dispatch._disable_current_modes():
        yield
