"""PyTorch in eager mode on the CPU: how a network runs where nobody has deployed it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor, nn

from models.spec.graphs import GraphRequest
from models.spec.operators import Dtype
from models.spec.targets import TargetSpec
from profiler_service.backends.backend_options import BackendOptions
from profiler_service.backends.base import Engine, FloatArray, GraphArtifact, require_dtype, seeded_input
from profiler_service.backends.cpu import CpuBackend
from profiler_service.backends.torch_modules import module_of, translated, with_norms_folded
from profiler_service.errors import BuildError, RunError

_LAYOUT = torch.channels_last
"""Faster than contiguous for every convolution tried (oneDNN 3.12, AVX-512): 1.02 to 1.6 times in float32, 1.4 to 3.1 in
bfloat16."""


class TorchEngine(Engine):
    """A module and its input, both in one dtype and in the layout the convolutions want."""

    def __init__(self, module: nn.Module, array: Tensor) -> None:
        self._module: nn.Module | None = module
        self._input: Tensor | None = array
        self._shape, self._dtype = tuple(array.shape), array.dtype
        self.engine_bytes = sum(t.numel() * t.element_size() for t in (*module.parameters(), *module.buffers()))

    def run(self) -> None:
        """See `Engine.run`."""
        self._forward(self._input)

    def infer(self, array: FloatArray) -> FloatArray:
        """See `Engine.infer`."""
        if array.shape != self._shape:
            raise RunError(f"the input must be {self._shape}, not {array.shape}")
        output: FloatArray = self._forward(placed(array, self._dtype)).to(torch.float32).contiguous().numpy()
        return output

    def close(self) -> None:
        """See `Engine.close`."""
        self._module = self._input = None

    def _forward(self, tensor: Tensor | None) -> Tensor:
        if self._module is None:
            raise RunError("the engine is closed")
        try:
            with torch.inference_mode():
                output: Tensor = self._module(tensor)
        except (RuntimeError, MemoryError) as error:
            raise translated(error, RunError) from error
        return output


class TorchBackend(CpuBackend):
    """Eager PyTorch. bfloat16 and float16 are computed as such, at whatever speed the processor has for them."""

    name: ClassVar[str] = "torch"
    reads_onnx: ClassVar[bool] = False
    dtypes: tuple[Dtype, ...] = ("float32", "bfloat16", "float16")

    def __init__(self, options: BackendOptions) -> None:
        super().__init__(options)
        torch.set_num_threads(options.threads)
        torch.set_flush_denormal(True)

    def target(self) -> TargetSpec:
        """See `Backend.target`."""
        return self.torch_target({"mode": "eager"})

    def torch_target(self, options: Mapping[str, str], versions: Mapping[str, str] | None = None) -> TargetSpec:
        """The target of modules run in that way, on what these versions name besides torch itself."""
        return self.cpu_target(
            versions={"torch": torch.__version__} | dict(versions or {}),
            options={"batch_norm": "folded", "device": "cpu", "memory_format": "channels_last"} | dict(options),
        )

    def build(self, artifact: GraphArtifact) -> TorchEngine:
        """See `Backend.build`."""
        request = artifact.request
        require_dtype(self.name, self.dtypes, request)
        dtype: torch.dtype = getattr(torch, request.subject.dtype)
        try:
            array = placed(seeded_input(request), dtype)
            return TorchEngine(self._module(request, array), array)
        except (RuntimeError, MemoryError) as error:
            raise translated(error, BuildError) from error

    def _module(self, request: GraphRequest, array: Tensor) -> nn.Module:
        """What runs on that input; another backend compiles it first."""
        module = with_norms_folded(module_of(request), request.input_shape).to(array.dtype)
        return module.to(memory_format=_LAYOUT)  # type: ignore[call-overload, no-any-return]


def placed(array: FloatArray, dtype: torch.dtype) -> Tensor:
    """The array as a tensor of that dtype, in the layout the convolutions want."""
    return torch.from_numpy(array).to(dtype=dtype, memory_format=_LAYOUT)
