"""`pynvml`, as far as a survey of GPUs uses it, without one. Its exceptions and constants are the real module's."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import ModuleType, SimpleNamespace
from typing import Any

import pynvml


@dataclass
class FakeGpu:
    """One GPU: free and total memory in GiB, processes by id, MIG instances by name; None where it knows no MIG."""

    name: str = "NVIDIA H200"
    capability: tuple[int, int] = (9, 0)
    free_gib: float | None = 139.0
    mode: int | None = pynvml.NVML_COMPUTEMODE_DEFAULT
    processes: list[int] = field(default_factory=list)
    instances: list[str] | None = None


class FakeNvml(ModuleType):
    """The module.

    Args:
        gpus: that there are.
        error: what its start raises.
    """

    def __init__(self, *gpus: FakeGpu, error: Exception | None = None) -> None:
        super().__init__("pynvml")
        self.gpus, self.error, self.started = gpus, error, 0

    def __getattr__(self, name: str) -> Any:
        if name.startswith(("NVML", "nvml")) and not callable(getattr(pynvml, name)):
            return getattr(pynvml, name)
        if name.startswith("NVMLError"):
            return getattr(pynvml, name)
        raise AttributeError(name)

    def nvmlInit(self) -> None:  # noqa: N802
        if self.error is not None:
            raise self.error
        self.started += 1

    def nvmlShutdown(self) -> None:  # noqa: N802
        self.started -= 1

    def nvmlSystemGetDriverVersion(self) -> str:  # noqa: N802
        return "580.65.06"

    def nvmlDeviceGetCount(self) -> int:  # noqa: N802
        assert self.started
        return len(self.gpus)

    def nvmlDeviceGetHandleByIndex(self, index: int) -> FakeGpu:  # noqa: N802
        return self.gpus[index]

    def nvmlDeviceGetName(self, handle: FakeGpu | str) -> str:  # noqa: N802
        return handle if isinstance(handle, str) else handle.name

    def nvmlDeviceGetCudaComputeCapability(self, handle: FakeGpu) -> tuple[int, int]:  # noqa: N802
        return handle.capability

    def nvmlDeviceGetMemoryInfo(self, handle: FakeGpu) -> Any:  # noqa: N802
        if handle.free_gib is None:
            raise pynvml.NVMLError_NotSupported
        return SimpleNamespace(total=140 * 2**30, free=int(handle.free_gib * 2**30))

    def nvmlDeviceGetComputeMode(self, handle: FakeGpu) -> int:  # noqa: N802
        if handle.mode is None:
            raise pynvml.NVMLError_NotSupported
        return handle.mode

    def nvmlDeviceGetComputeRunningProcesses(self, handle: FakeGpu) -> list[Any]:  # noqa: N802
        return [SimpleNamespace(pid=pid) for pid in handle.processes]

    def nvmlDeviceGetMigMode(self, handle: FakeGpu) -> tuple[int, int]:  # noqa: N802
        if handle.instances is None:
            raise pynvml.NVMLError_NotSupported
        return pynvml.NVML_DEVICE_MIG_ENABLE, pynvml.NVML_DEVICE_MIG_ENABLE

    def nvmlDeviceGetMaxMigDeviceCount(self, handle: FakeGpu) -> int:  # noqa: N802
        return 7

    def nvmlDeviceGetMigDeviceHandleByIndex(self, handle: FakeGpu, index: int) -> str:  # noqa: N802
        instances = handle.instances or []
        if index >= len(instances):
            raise pynvml.NVMLError_NotFound
        return instances[index]
