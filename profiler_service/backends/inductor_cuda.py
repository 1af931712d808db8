"""Inductor on an NVIDIA GPU: kernels generated in Triton, the rest by cuDNN and cuBLAS; captured as `torch_cuda` captures."""

from __future__ import annotations

import os
from importlib.util import find_spec
from typing import ClassVar

import torch
from torch import Tensor, nn

from models.spec.graphs import GraphRequest
from models.spec.targets import TargetSpec
from profiler_service.backends.base import Engine, GraphArtifact
from profiler_service.backends.inductor import NAME, Compiler
from profiler_service.backends.options import BackendOptions, InductorCudaOptions
from profiler_service.backends.torch_cuda import TorchCudaBackend
from profiler_service.errors import BackendUnavailableError


class InductorCudaBackend(TorchCudaBackend):
    """torch.compile of the modules that `torch` runs on a GPU."""

    name: ClassVar[str] = NAME
    options_type: ClassVar[type[BackendOptions]] = InductorCudaOptions
    options: InductorCudaOptions

    def __init__(self, options: InductorCudaOptions) -> None:
        super().__init__(options)
        if find_spec("triton") is None:
            raise BackendUnavailableError(
                "inductor needs Triton on a GPU, which is not installed", hint="pip install triton, or reinstall torch."
            )
        self._compiler = Compiler(options, names=(os.environ["CC"],) if "CC" in os.environ else ("gcc", "clang"))

    def target(self) -> TargetSpec:
        """See `Backend.target`."""
        mode = "compiled, captured" if self.options.cuda_graphs else "compiled"
        return self.torch_target(self._compiler.options() | {"mode": mode}, {NAME: torch.__version__})

    def rebuild(self, artifact: GraphArtifact) -> Engine:
        """See `Backend.rebuild`: compiled anew, but with the algorithms that cuDNN has chosen already (`TorchCudaBackend`)."""
        with self._compiler.from_scratch():
            return self.build(artifact)

    def _module(self, request: GraphRequest, array: Tensor) -> nn.Module:
        return self._compiler.compiled(request.key(), lambda: super(InductorCudaBackend, self)._module(request, array), array)
