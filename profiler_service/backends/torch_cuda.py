"""torch on an NVIDIA GPU: modules captured into CUDA graphs, timed by events on the device's own clock.

A captured graph replays a network without its Python, so that what is timed is what a deployed engine would run: kernels and
the gaps between them. A table of this backend says how fast torch's own kernels (cuDNN, cuBLAS) are, not TensorRT's.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import nn

from models.spec.operators import Dtype
from models.spec.targets import TargetSpec
from profiler_service.backends.allocation import out_of_memory
from profiler_service.backends.base import Backend, Engine, FloatArray, GraphArtifact, require_dtype
from profiler_service.backends.device.telemetry import driver_version
from profiler_service.backends.head_start import HeadStartTimer
from profiler_service.backends.inputs import seeded_input
from profiler_service.backends.modules import module_of, with_norms_folded
from profiler_service.backends.options import BackendOptions
from profiler_service.errors import BackendError, BackendUnavailableError, BuildError, DeviceMemoryError, RunError

_WARMUP_RUNS = 3
"""Plain runs before a capture: cuDNN picks its algorithms, libraries allocate their workspaces."""

_SLEEP_CYCLES_PER_S = 2.0e9
"""At least as fast as any NVIDIA GPU's clock, so that a head start is never shorter than asked for by more than the clock is
below it."""


class TorchCudaEngine(Engine):
    """A captured module, its input and output at fixed places in device memory."""

    def __init__(self, module: nn.Module, array: torch.Tensor, stream: torch.cuda.Stream) -> None:
        self._stream = stream
        self._input, self._seeded = array, array.clone()
        with torch.inference_mode(), torch.cuda.stream(stream):
            for _ in range(_WARMUP_RUNS):
                module(array)
            stream.synchronize()
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph, stream=stream):
                output = module(array)
        self._module, self._graph, self._output = module, graph, output
        self.engine_bytes = sum(t.numel() * t.element_size() for t in (*module.parameters(), *module.buffers()))
        self._check_not_empty()

    def _check_not_empty(self) -> None:
        """A capture that recorded nothing replays without an error, and leaves the output as it was."""
        with torch.inference_mode(), torch.cuda.stream(self._stream):
            self._output.fill_(torch.nan)
            self._graph.replay()
            untouched = bool(self._output.isnan().all())
        if untouched:
            raise BuildError("the captured CUDA graph writes no output")

    def enqueue(self) -> None:
        """One run on the current stream; does not wait."""
        self._graph.replay()

    def run(self) -> None:
        """See `Engine.run`."""
        if not hasattr(self, "_graph"):
            raise RunError("the engine is closed")
        try:
            with torch.cuda.stream(self._stream):
                self._graph.replay()
            self._stream.synchronize()
        except RuntimeError as error:
            raise translated(error, RunError) from error

    def infer(self, array: FloatArray) -> FloatArray:
        """See `Engine.infer`. The seeded input is put back."""
        if not hasattr(self, "_graph"):
            raise RunError("the engine is closed")
        try:
            with torch.inference_mode(), torch.cuda.stream(self._stream):
                self._input.copy_(torch.from_numpy(array))
                self._graph.replay()
                output: FloatArray = self._output.float().contiguous().cpu().numpy()
                self._input.copy_(self._seeded)
            self._stream.synchronize()
        except RuntimeError as error:
            raise translated(error, RunError) from error
        return output

    def close(self) -> None:
        """See `Engine.close`."""
        self.__dict__.clear()


class TorchCudaBackend(Backend):
    """torch modules, batch normalisation folded, channels last, captured into CUDA graphs."""

    name: ClassVar[str] = "torch"
    reads_onnx: ClassVar[bool] = False
    builds_on_device: ClassVar[bool] = True
    dtypes: ClassVar[tuple[Dtype, ...]] = ("float32", "float16", "bfloat16")
    mode: ClassVar[str] = "captured"

    def __init__(self, options: BackendOptions) -> None:
        super().__init__(options)
        if not torch.cuda.is_available():
            raise BackendUnavailableError(
                "torch finds no CUDA device", hint="Check the driver with nvidia-smi, and that torch is a CUDA build."
            )
        if options.device_index >= torch.cuda.device_count():
            raise BackendUnavailableError(
                f"there is no CUDA device {options.device_index}; {torch.cuda.device_count()} are visible"
            )
        self._device = torch.device("cuda", options.device_index)
        torch.cuda.set_device(self._device)
        torch.backends.cudnn.benchmark = True
        torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = options.tf32
        self._stream = torch.cuda.Stream(self._device)
        self._timer = HeadStartTimer(_TorchTimeline(self._stream))

    def target(self) -> TargetSpec:
        """See `Backend.target`."""
        properties = torch.cuda.get_device_properties(self._device)
        return TargetSpec(
            device=properties.name,
            backend=self.name,
            versions={
                "torch": torch.__version__,
                "cuda": str(torch.version.cuda),
                "cudnn": str(torch.backends.cudnn.version()),
                "driver": driver_version(),
            },
            precision={"tf32": "on" if self.options.tf32 else "off"},
            options={
                "batch_norm": "folded",
                "cudnn_benchmark": "on",
                "device": "cuda",
                "memory_format": "channels_last",
                "mode": self.mode,
                "multiprocessors": str(properties.multi_processor_count),
            },
            compute_capability=f"{properties.major}.{properties.minor}",
        )

    def build(self, artifact: GraphArtifact) -> TorchCudaEngine:
        """See `Backend.build`."""
        request = artifact.request
        require_dtype(self.name, self.dtypes, request)
        try:
            return self._engine(with_norms_folded(module_of(request)), artifact)
        except RuntimeError as error:
            raise translated(error, BuildError) from error

    def _engine(self, module: nn.Module, artifact: GraphArtifact) -> TorchCudaEngine:
        request = artifact.request
        dtype: torch.dtype = getattr(torch, request.subject.dtype)
        array = torch.from_numpy(seeded_input(request)).to(self._device, dtype).to(memory_format=torch.channels_last)
        module = module.to(self._device, dtype).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        return TorchCudaEngine(self._compiled(module), array, self._stream)

    def _compiled(self, module: nn.Module) -> nn.Module:
        """What is captured; another backend compiles it first."""
        return module

    def time_pass(self, engines: Sequence[Engine]) -> list[float]:
        """See `Backend.time_pass`; timed as `HeadStartTimer` does."""
        try:
            with torch.cuda.stream(self._stream):
                return self._timer.time([engine.enqueue for engine in engines])  # type: ignore[attr-defined]
        except RuntimeError as error:
            raise translated(error, RunError) from error


class _TorchTimeline:
    """A stream of torch's, which is the current one while runs are timed. See `Timeline`."""

    def __init__(self, stream: torch.cuda.Stream) -> None:
        self._stream = stream

    def sleep(self, seconds: float) -> None:
        torch.cuda._sleep(int(seconds * _SLEEP_CYCLES_PER_S))

    def mark(self) -> torch.cuda.Event:
        event = torch.cuda.Event(enable_timing=True)
        event.record(self._stream)
        return event

    def passed(self, mark: torch.cuda.Event) -> bool:
        return bool(mark.query())

    def elapsed_ms(self, before: torch.cuda.Event, after: torch.cuda.Event) -> float:
        return float(before.elapsed_time(after))

    def synchronize(self) -> None:
        self._stream.synchronize()


def translated(error: RuntimeError, kind: type[BackendError]) -> BackendError:
    """The same in our tree."""
    return DeviceMemoryError(str(error)) if out_of_memory(error) else kind(str(error))
