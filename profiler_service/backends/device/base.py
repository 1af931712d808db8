"""What a backend needs of a CUDA device: memory, one stream, captured graphs, timing events; and how a device is opened.

Every method may raise DeviceMemoryError, and otherwise the error it names; vendor exceptions stay inside the implementations.
All work goes onto the device's one stream, in the order of the calls.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from models.spec.errors import InvalidSpecError
from models.spec.operators import Dtype
from profiler_service.backends.backend_options import DeviceAccess, GpuOptions
from profiler_service.backends.blocking_kernel import TimingEvent
from profiler_service.backends.errors import require_version, unavailable
from profiler_service.errors import BackendUnavailableError

Enqueue = Callable[[int], None]
"""Enqueues work on the CUDA stream of that handle."""

Capability = tuple[int, int]

OLDEST: Capability = (7, 0)
"""What the blocking kernel is written for; no runtime of today supports older GPUs."""

_AMPERE: Capability = (8, 0)
"""The first with TF32 and bfloat16."""


@dataclass(frozen=True)
class DeviceInfo:
    """What a device is.

    Attributes:
        name: as its driver names it, a MIG instance's profile included.
        pci_bus_id: by which NVML finds it. uuid: empty where the library does not report it. Both are provenance, never part
            of a target.
        compute_capability: (9, 0) …
        multiprocessors: how many it has.
        cuda_driver: the CUDA version that the driver offers, `13.0`.
        l2_cache_bytes: size of the cache before memory; 0 where the library does not report it.
    """

    name: str
    pci_bus_id: str
    uuid: str
    compute_capability: tuple[int, int]
    multiprocessors: int
    cuda_driver: str
    l2_cache_bytes: int = 0

    @property
    def capability(self) -> str:
        """`9.0`."""
        return capability_text(self.compute_capability)


class Buffer(Protocol):
    """A piece of device memory."""

    @property
    def address(self) -> int:
        """Where it is, on the device."""

    @property
    def nbytes(self) -> int:
        """How long it is."""

    def close(self) -> None:
        """Free it. Safe to call twice."""


class CapturedGraph(Protocol):
    """Work that was captured once and can be launched again and again."""

    def launch(self) -> None:
        """Enqueue it on the device's stream; does not wait."""

    def close(self) -> None:
        """Free it. Safe to call twice."""


class Device(ABC):
    """One device and its one stream; also the `Timeline` of what runs there.

    Raises (from the constructor):
        BackendUnavailableError: no driver, no such device, or one that cannot be used.
    """

    info: DeviceInfo

    @property
    @abstractmethod
    def stream(self) -> int:
        """Handle of the stream, for runtimes that enqueue their own work."""

    @abstractmethod
    def allocate(self, nbytes: int) -> Buffer:
        """Device memory, contents undefined."""

    @abstractmethod
    def free_bytes(self) -> int | None:
        """How much of its own memory is free now; None where it shares the host's, of which CUDA's count may leave out what
        the system would give back. Raises BackendUnavailableError.
        """

    @abstractmethod
    def upload(self, array: NDArray[Any], buffer: Buffer) -> None:
        """Copy a contiguous host array of the buffer's size there. Done when this returns."""

    @abstractmethod
    def download(self, buffer: Buffer, array: NDArray[Any]) -> None:
        """Copy the buffer into a contiguous host array of its size. Done when this returns."""

    @abstractmethod
    def fill(self, buffer: Buffer, byte: int) -> None:
        """Enqueue that every byte becomes that one."""

    @abstractmethod
    def capture(self, enqueue: Enqueue) -> CapturedGraph:
        """Record what `enqueue` enqueues, without running it. What it raises passes through, and nothing stays captured."""

    @abstractmethod
    def sleep(self, seconds: float) -> None:
        """See `Timeline.sleep`."""

    @abstractmethod
    def record(self) -> TimingEvent:
        """See `Timeline.record`."""

    @abstractmethod
    def passed(self, event: TimingEvent) -> bool:
        """See `Timeline.passed`."""

    @abstractmethod
    def elapsed_ms(self, before: TimingEvent, after: TimingEvent) -> float:
        """See `Timeline.elapsed_ms`."""

    @abstractmethod
    def synchronize(self) -> None:
        """See `Timeline.synchronize`."""

    @abstractmethod
    def close(self) -> None:
        """Free what the device holds besides buffers and graphs. Safe to call twice."""


def require_same_size(array: NDArray[np.generic], buffer: Buffer) -> None:
    """Raises ValueError for a copy that would run past an end, or that is not contiguous."""
    if array.nbytes != buffer.nbytes or not array.flags.c_contiguous:
        raise ValueError(f"an array of {array.nbytes} bytes cannot be copied whole to or from {buffer.nbytes}")


@dataclass(frozen=True)
class _Library:
    """A way to a device.

    Attributes:
        module, class_name: of its implementation.
        package: that brings the library. oldest: its first version with everything that is called.
        command: how to install it.
    """

    module: str
    class_name: str
    package: str
    oldest: tuple[int, ...]
    command: str


_LIBRARIES: dict[DeviceAccess, _Library] = {
    "cuda-core": _Library(
        "profiler_service.backends.device.cuda_core_device",
        "CudaCoreDevice",
        "cuda-core",
        (1, 0),
        "pip install 'cuda-core[cu13]'",
    ),
    "pycuda": _Library(
        "profiler_service.backends.device.pycuda_device", "PyCudaDevice", "pycuda", (2020, 1), "pip install pycuda"
    ),
}


def open_device(access: DeviceAccess, index: int) -> Device:
    """That device, its primary context current on this thread.

    Raises:
        BackendUnavailableError: the library is not installed or too old, there is no driver, or the device cannot be used; says
            which.
    """
    library = _LIBRARIES[access]
    with suppress(PackageNotFoundError):  # then its import says so
        require_version(access, version(library.package), library.oldest, library.command)
    try:
        module = import_module(library.module)
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("profiler_service"):
            raise
        raise BackendUnavailableError(f"{access} is not installed: {error}", hint=library.command) from error
    except (ImportError, OSError, RuntimeError) as error:  # its native part cannot be loaded
        raise unavailable(error) from error
    device: Device = getattr(module, library.class_name)(index)
    return device


def require_supported(name: str, capability: Capability) -> None:
    """Raises BackendUnavailableError for a GPU that is too old."""
    if capability < OLDEST:
        raise BackendUnavailableError(
            f"{name} is not supported: its compute capability is {capability_text(capability)}, "
            f"and {capability_text(OLDEST)} is the least",
            hint="Choose another OPCLOCK_DEVICE_INDEX, or a backend on the CPU.",
        )


def require_tf32(name: str, capability: Capability, options: GpuOptions) -> None:
    """Raises InvalidSpecError where TF32 is asked of a GPU that has none."""
    if options.tf32 and capability < _AMPERE:
        raise InvalidSpecError(f"{name} has no TF32", hint="Leave tf32 off.")


def computed_in(dtypes: tuple[Dtype, ...], capability: Capability) -> tuple[Dtype, ...]:
    """Those of them that the GPU computes in itself: older ones compute bfloat16 in another type."""
    return tuple(dtype for dtype in dtypes if dtype != "bfloat16" or capability >= _AMPERE)


def capability_text(capability: Capability) -> str:
    """`8.6`."""
    return ".".join(map(str, capability))
