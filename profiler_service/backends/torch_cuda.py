"""torch on an NVIDIA GPU, timed by events on the device's own clock: captured into CUDA graphs, or launched kernel by kernel.

A captured graph replays a network without its Python, so that what is timed is what a deployed engine would run: kernels and
the gaps between them. Eager runs are timed behind a blocking kernel too: theirs is the time of a device that never waits
for its host to launch the next kernel. A table of this backend says how fast torch's own kernels (cuDNN, cuBLAS) are, not
TensorRT's.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, ClassVar

import torch
from torch import nn

from models.spec.graphs import GraphRequest
from models.spec.operators import Dtype
from models.spec.targets import TargetSpec
from profiler_service.backends.backend_options import BackendOptions, TorchCudaOptions
from profiler_service.backends.base import Engine, FloatArray, Flusher, GraphArtifact, require_dtype, seeded_input
from profiler_service.backends.blocking_kernel import BlockingKernelTimer, EnqueuedEngine
from profiler_service.backends.device.backend import GpuBackend
from profiler_service.backends.device.base import capability_text, computed_in, require_supported, require_tf32
from profiler_service.backends.device.cuda_driver import pci_bus_id
from profiler_service.backends.device.nvml import Telemetry, driver_version, why_unavailable
from profiler_service.backends.torch_modules import module_of, translated, with_norms_folded
from profiler_service.errors import BackendUnavailableError, BuildError, RunError

_WARMUP_RUNS = 3
"""Plain runs before a capture: cuDNN picks its algorithms, libraries allocate their workspaces."""

_SLEEP_CYCLES_PER_S = 2.0e9
"""About the fastest clock of NVIDIA's GPUs. Where one is faster, a blocking kernel ends early, and the timer lengthens it."""


class TorchCudaEngine(EnqueuedEngine):
    """A module, its input at a fixed place in device memory; captured, its output too.

    Args:
        module: what runs, on the device and in the input's dtype.
        array: the seeded input, on the device.
        stream: of all runs; the current one here.
        captured: whether runs are replays of a CUDA graph.

    Raises:
        BuildError: the captured graph writes no output.
    """

    def __init__(self, module: nn.Module, array: torch.Tensor, stream: torch.cuda.Stream, *, captured: bool) -> None:
        self._stream = stream
        self._input, self._seeded = array, array.clone()
        self._module: nn.Module | None = module
        self._graph: torch.cuda.CUDAGraph | None = None
        with torch.inference_mode():
            for _ in range(_WARMUP_RUNS):
                self._output = module(array)
            stream.synchronize()
            if captured:
                self._capture(module)
        self.engine_bytes = sum(t.numel() * t.element_size() for t in (*module.parameters(), *module.buffers()))

    def _capture(self, module: nn.Module) -> None:
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, stream=self._stream):
            self._output = module(self._input)
        self._graph = graph
        self._output.fill_(torch.nan)  # a capture that recorded nothing replays without an error, and leaves it there
        graph.replay()
        if bool(self._output.isnan().all()):
            raise BuildError("the captured CUDA graph is empty: it writes no output")

    def enqueue(self) -> None:
        """See `EnqueuedEngine.enqueue`; on the current stream, which is the engine's, in inference mode."""
        if self._graph is not None:
            self._graph.replay()
        elif self._module is not None:
            self._output = self._module(self._input)
        else:
            raise RunError("the engine is closed")

    def run(self) -> None:
        """See `Engine.run`."""
        _run(self.enqueue, self._stream)

    def infer(self, array: FloatArray) -> FloatArray:
        """See `Engine.infer`. The seeded input is put back."""
        if self._module is None:
            raise RunError("the engine is closed")
        if array.shape != tuple(self._input.shape):
            raise RunError(f"the input must be {tuple(self._input.shape)}, not {array.shape}")
        try:
            with torch.inference_mode(), torch.cuda.stream(self._stream):
                self._input.copy_(torch.from_numpy(array))
                self.enqueue()
                output: FloatArray = self._output.float().contiguous().cpu().numpy()
                self._input.copy_(self._seeded)
            self._stream.synchronize()
        except RuntimeError as error:
            raise translated(error, RunError) from error
        return output

    def close(self) -> None:
        """See `Engine.close`."""
        self._module = self._graph = None
        self._input = self._seeded = self._output = torch.empty(0)


class TorchCudaFlusher(Flusher[torch.Tensor], EnqueuedEngine):
    """Writes that many bytes on the stream, the current one here. Enqueued like a run."""

    def __init__(self, nbytes: int, device: torch.device, stream: torch.cuda.Stream) -> None:
        super().__init__(torch.empty(nbytes, dtype=torch.uint8, device=device))
        self._stream = stream

    def run(self) -> None:
        """See `Engine.run`."""
        _run(self.enqueue, self._stream)

    def enqueue(self) -> None:
        """See `EnqueuedEngine.enqueue`; on the current stream."""
        self.buffer.zero_()


def _run(enqueue: Callable[[], None], stream: torch.cuda.Stream) -> None:
    """One run on that stream, until it is done. Raises RunError, DeviceMemoryError."""
    try:
        with torch.inference_mode(), torch.cuda.stream(stream):
            enqueue()
        stream.synchronize()
    except RuntimeError as error:
        raise translated(error, RunError) from error


class TorchCudaBackend(GpuBackend):
    """torch modules, batch normalisation folded, channels last; captured into CUDA graphs, or eager.

    A rebuild is not quite from scratch: which algorithms cuDNN was fastest with, torch remembers until the process ends, and
    offers no way to forget (`TORCH_CUDNN_V8_API_LRU_CACHE_LIMIT`, read once, could only make every single run choose anew). All
    builds of a graph in one process run the same algorithms.
    """

    name: ClassVar[str] = "torch"
    reads_onnx: ClassVar[bool] = False
    dtypes: tuple[Dtype, ...] = ("float32", "float16", "bfloat16")
    options_type: ClassVar[type[BackendOptions]] = TorchCudaOptions
    options: TorchCudaOptions

    def __init__(self, options: TorchCudaOptions) -> None:
        super().__init__(options)
        self._device = _device(options.device_index)
        self._properties = _started(self._device)
        require_supported(self._properties.name, self._capability)
        require_tf32(self._properties.name, self._capability, options)
        self.dtypes = computed_in(self.dtypes, self._capability)
        torch.backends.cudnn.benchmark = options.cudnn_benchmark
        torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = options.tf32
        with _starting():
            self._stream = torch.cuda.Stream(self._device)
            bus_id = pci_bus_id(options.device_index)
        self._timeline = _TorchTimeline(self._stream)
        self._timer = BlockingKernelTimer(self._timeline)
        self._telemetry = Telemetry(bus_id)
        self._l2_cache_bytes = self._properties.L2_cache_size

    def target(self) -> TargetSpec:
        """See `Backend.target`."""
        return self.torch_target({"mode": "captured" if self.options.cuda_graphs else "eager"})

    def torch_target(self, options: Mapping[str, str], versions: Mapping[str, str] | None = None) -> TargetSpec:
        """The target of modules run in that way, on what these versions name besides torch itself."""
        properties = self._properties
        return TargetSpec(
            device=properties.name,
            backend=self.name,
            versions={
                "torch": torch.__version__,
                "cuda": str(torch.version.cuda),
                "cudnn": str(torch.backends.cudnn.version()),
                "driver": driver_version(),
            }
            | dict(versions or {}),
            precision={"tf32": "on" if self.options.tf32 else "off"},
            options={
                "batch_norm": "folded",
                "cudnn_benchmark": "on" if self.options.cudnn_benchmark else "off",
                "device": "cuda",
                "memory_format": "channels_last",
                "multiprocessors": str(properties.multi_processor_count),
            }
            | dict(options),
            compute_capability=capability_text(self._capability),
        )

    def build(self, artifact: GraphArtifact) -> TorchCudaEngine:
        """See `Backend.build`."""
        request = artifact.request
        require_dtype(self.name, self.dtypes, request)
        try:
            with torch.cuda.stream(self._stream):  # all of it: nothing waits for what another stream has not done
                return self._engine(request)
        except RuntimeError as error:
            raise translated(error, BuildError) from error

    @property
    def _capability(self) -> tuple[int, int]:
        return self._properties.major, self._properties.minor

    def _engine(self, request: GraphRequest) -> TorchCudaEngine:
        dtype: torch.dtype = getattr(torch, request.subject.dtype)
        array = torch.from_numpy(seeded_input(request)).to(self._device, dtype).to(memory_format=torch.channels_last)
        return TorchCudaEngine(self._module(request, array), array, self._stream, captured=self.options.cuda_graphs)

    def _module(self, request: GraphRequest, array: torch.Tensor) -> nn.Module:
        """What is captured, or launched, with that input; another backend compiles it first."""
        module = with_norms_folded(module_of(request), request.input_shape).to(self._device, array.dtype)
        return module.to(memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]

    def free_bytes(self) -> int | None:
        """See `Backend.free_bytes`; what torch's allocator holds unused is free too."""
        if self._properties.is_integrated:
            return None
        try:
            free, _ = torch.cuda.mem_get_info(self._device)
            unused = torch.cuda.memory_reserved(self._device) - torch.cuda.memory_allocated(self._device)
        except RuntimeError as error:
            raise translated(error, BackendUnavailableError) from error
        return int(free + unused)

    def _flusher(self, nbytes: int) -> Engine:
        try:
            with torch.cuda.stream(self._stream):
                return TorchCudaFlusher(nbytes, self._device, self._stream)
        except RuntimeError as error:
            raise translated(error, RunError) from error

    def time_pass(self, engines: Sequence[Engine]) -> list[float]:
        """See `GpuBackend.time_pass`."""
        try:
            with torch.inference_mode(), torch.cuda.stream(self._stream):
                return super().time_pass(engines)
        except RuntimeError as error:
            raise translated(error, RunError) from error


class _TorchTimeline:
    """A stream of torch's, which is the current one while runs are timed. See `Timeline`."""

    def __init__(self, stream: torch.cuda.Stream) -> None:
        self._stream = stream

    def sleep(self, seconds: float) -> None:
        torch.cuda._sleep(int(seconds * _SLEEP_CYCLES_PER_S))

    def record(self) -> torch.cuda.Event:
        event = torch.cuda.Event(enable_timing=True)
        event.record(self._stream)
        return event

    def passed(self, event: torch.cuda.Event) -> bool:
        return bool(event.query())

    def elapsed_ms(self, before: torch.cuda.Event, after: torch.cuda.Event) -> float:
        return float(before.elapsed_time(after))

    def synchronize(self) -> None:
        try:
            self._stream.synchronize()
        except RuntimeError as error:
            raise translated(error, RunError) from error


def _device(index: int) -> torch.device:
    return torch.device("cuda", index)


def _started(device: torch.device) -> Any:
    """The device's properties, once a kernel has run on it. Raises BackendUnavailableError."""
    with _starting(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what torch has to say against the device it says again as an error
        torch.cuda.init()
        torch.cuda.set_device(device)
        torch.ones(1, device=device).add_(1)
        torch.cuda.synchronize(device)
        return torch.cuda.get_device_properties(device)


@contextmanager
def _starting() -> Iterator[None]:
    """Whatever torch or the driver raises says why the GPU cannot be used."""
    try:
        yield
    except (RuntimeError, AssertionError, OSError) as error:
        raise why_unavailable(error) from error
