"""What every runtime is to the rest of the service: it builds engines from graphs and runs them in a given order.

One contract suite (`profiler_service.testing`) holds for every backend. A backend runs in a worker process of its
own; two backends never share one. Nothing here falls back: a backend that cannot do what was asked raises.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from models.spec.errors import InvalidSpecError
from models.spec.graphs import GraphRequest
from models.spec.operators import Dtype
from models.spec.targets import TargetSpec
from profiler_service.backends.backend_options import BackendOptions
from profiler_service.errors import BuildError, RunError
from profiler_service.measure.throttling import DeviceReading

FloatArray = NDArray[np.float32]

T = TypeVar("T")

_FLUSHED_CACHES = 2
"""Caches' worth of memory that is written to empty one: its replacement is not strictly the oldest line first."""


@dataclass(frozen=True)
class GraphArtifact:
    """A graph ready to be built. Picklable.

    Attributes:
        request: what it is.
        onnx_path: the ONNX file, for backends that read one; None for those that build from torch modules.
        reference_path: `.npy` with the torch module's output (float32) for `seeded_input(request)`; None where
            nothing is to be checked.
        torch_export_s: seconds that `torch.onnx` took, where it exported the graph just now; None where ours did, or the file
            was there.
        unrolled: whether recurrences in the ONNX file are written step by step (`to_onnx`).
    """

    request: GraphRequest
    onnx_path: Path | None = None
    reference_path: Path | None = None
    torch_export_s: float | None = None
    unrolled: bool = False

    def onnx_bytes(self) -> bytes:
        """What the ONNX file holds. Raises BuildError where there is none, or it cannot be read."""
        if self.onnx_path is None:
            raise BuildError(f"{self.request.label()}: no ONNX file was made")
        try:
            return self.onnx_path.read_bytes()
        except OSError as error:
            raise BuildError(f"{self.request.label()}: its ONNX file cannot be read: {error}") from error


class Engine(ABC):
    """A built graph with its input (seeded, normally distributed) already in place."""

    engine_bytes: int | None = None
    """Size of what was built, its weights included; None where nobody knows it."""
    peak_memory_bytes: int | None = None
    """Most memory that it needs besides; None where nobody knows it. A job lets fewer engines live at once where the two take
    more than it expects by itself."""

    @abstractmethod
    def run(self) -> None:
        """One run, finished when this returns. Raises RunError, DeviceMemoryError."""

    @abstractmethod
    def infer(self, array: FloatArray) -> FloatArray:
        """The output for that input, both float32 whatever the engine's dtype. Raises RunError, DeviceMemoryError."""

    @abstractmethod
    def close(self) -> None:
        """Free everything; the engine is not used afterwards. Safe to call twice."""


class Flusher(Engine, Generic[T]):
    """Its run writes a buffer and computes nothing. It is timed like any other; its time is dropped.

    Args:
        buffer: in whatever memory the runtime has; let go of when it is closed.
    """

    def __init__(self, buffer: T) -> None:
        self._buffer: T | None = buffer

    @property
    def buffer(self) -> T:
        """What is written. Raises RunError once it is closed."""
        if self._buffer is None:
            raise RunError("the engine is closed")
        return self._buffer

    def infer(self, array: FloatArray) -> FloatArray:
        """Never. Raises RunError."""
        raise RunError("a flusher computes nothing")

    def close(self) -> None:
        """See `Engine.close`."""
        self._buffer = None


class Backend(ABC):
    """A runtime on one device, with options that stay as they are.

    Args:
        options: of the type that the backend declares.

    Raises:
        InvalidSpecError: the device cannot do what an option asks.
        BackendUnavailableError: the runtime finds no device.
    """

    name: ClassVar[str]
    options_type: ClassVar[type[BackendOptions]] = BackendOptions
    """The record of the options that this backend has. A subclass annotates `options` with it."""
    reads_onnx: ClassVar[bool]
    """Whether `build` needs `artifact.onnx_path`; otherwise it needs torch and builds the module itself."""
    unrolls: ClassVar[bool] = False
    """Whether recurrences in ONNX files for it are written step by step rather than as scans: a CPU gains nothing from a scan.
    Its target says so."""
    builds_on_device: ClassVar[bool]
    """Whether building times kernels, so that nothing else may use the device meanwhile."""
    dtypes: tuple[Dtype, ...]
    """In which it computes, on this device; a dtype that it would silently compute in another is not one of them."""

    def __init__(self, options: BackendOptions) -> None:
        self.options = options

    @abstractmethod
    def target(self) -> TargetSpec:
        """What this backend measures on: everything that changes a time, each option with `Option.in_target` among it.
        `versions` has the runtime's under the backend's own name.

        Raises:
            BackendUnavailableError: the runtime or the device does not say.
        """

    @abstractmethod
    def build(self, artifact: GraphArtifact) -> Engine:
        """An engine, ready to run.

        Raises:
            InvalidSpecError: not one of this backend's dtypes.
            BuildError, DeviceMemoryError: the runtime refused the graph, or memory ran out.
        """

    def rebuild(self, artifact: GraphArtifact) -> Engine:
        """As `build`, but from scratch: nothing that an earlier build has learned or left is used or added to.

        A backend that caches engines, timings or chosen kernels overrides this. What a library caches until the process ends,
        and cannot be made to forget, stays; such a backend says so (`TorchCudaBackend`).
        """
        return self.build(artifact)

    def read_device(self) -> DeviceReading | None:
        """The device's clocks, temperature and power now; None where nobody reports them, as on a CPU.

        Never called while something is timed: a reading disturbs the device.

        Raises:
            BackendUnavailableError: the device does not answer any more.
        """
        return None

    def broken(self) -> bool:
        """Whether a failure has left this process unable to use the device: after an illegal address or a failed launch, every
        call of CUDA's fails until the process ends.
        """
        return False

    def free_bytes(self) -> int | None:
        """Memory of the device that engines could take now; None where they live in the host's, whose own count says more: on a
        CPU, and on a GPU that shares the host's memory.

        Raises:
            BackendUnavailableError: the device does not answer any more.
        """
        return None

    @abstractmethod
    def time_pass(self, engines: Sequence[Engine]) -> list[float]:
        """Run each engine once, in order, and return the milliseconds of each on the device's clock.

        The same engine may stand in the sequence more than once.
        """

    def flush_bytes(self) -> int | None:
        """How much must be written to leave nothing else in the last cache before memory; None where nobody knows its size,
        so that protocol `isolated_cold` is refused.
        """
        return None

    def flusher(self) -> Engine:
        """An engine whose run writes `flush_bytes`, so that what runs next finds nothing of its own in a cache. It takes its
        turn in `time_pass` like any other, hence between timing events of its own; it computes nothing.

        Raises:
            InvalidSpecError: how much would have to be written is not known.
            DeviceMemoryError: there is no room for it.
        """
        nbytes = self.flush_bytes()
        if nbytes is None:
            raise InvalidSpecError(
                f"backend {self.name!r} cannot measure protocol 'isolated_cold': how large the last-level cache is, is not "
                "known",
                hint="Choose protocol isolated_hot, isolated or in_context.",
            )
        return self._flusher(nbytes)

    def _flusher(self, nbytes: int) -> Engine:
        """One that writes so many bytes; every backend has it whose `flush_bytes` may be known. Raises DeviceMemoryError."""
        raise NotImplementedError

    def close(self) -> None:
        """Free what the backend holds besides its engines."""
        return


def require_dtype(backend: str, dtypes: Sequence[Dtype], request: GraphRequest) -> None:
    """Raises InvalidSpecError where the graph's dtype is not one of the backend's."""
    dtype = request.subject.dtype
    if dtype not in dtypes:
        raise InvalidSpecError(
            f"{request.label()}: backend {backend!r} does not compute in {dtype}, only in {', '.join(dtypes)}",
            hint="Choose one of these dtypes, or another backend.",
        )


def seeded_input(request: GraphRequest) -> FloatArray:
    """The same standard normal array for the same graph, in every process.

    Shape: `request.input_shape`.
    """
    generator = np.random.Generator(np.random.SFC64(int(request.key(), 16)))
    return generator.standard_normal(request.input_shape, dtype=np.float32)


def bytes_to_flush(cache_bytes: int | None) -> int | None:
    """How much must be written to leave nothing else in a cache of that size; None where that is not known (None or 0)."""
    return _FLUSHED_CACHES * cache_bytes if cache_bytes else None
