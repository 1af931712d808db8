"""Inductor on the CPU: kernels generated in C++, convolutions by oneDNN."""

from __future__ import annotations

import os
from typing import ClassVar

import torch
from torch import Tensor, nn

from models.spec.graphs import GraphRequest
from models.spec.targets import TargetSpec
from profiler_service.backends.base import Engine, GraphArtifact
from profiler_service.backends.inductor import NAME, Compiler
from profiler_service.backends.options import BackendOptions, InductorOptions
from profiler_service.backends.torch_cpu import TorchBackend


class InductorBackend(TorchBackend):
    """torch.compile of the modules that eager torch runs."""

    name: ClassVar[str] = NAME
    options_type: ClassVar[type[BackendOptions]] = InductorOptions
    options: InductorOptions

    def __init__(self, options: InductorOptions) -> None:
        super().__init__(options)
        self._compiler = Compiler(options, names=(os.environ.get("CXX", "g++"),))

    def target(self) -> TargetSpec:
        """See `Backend.target`."""
        return self.torch_target(self._compiler.options() | {"mode": "compiled"}, {NAME: torch.__version__})

    def rebuild(self, artifact: GraphArtifact) -> Engine:
        """See `Backend.rebuild`."""
        with self._compiler.from_scratch():
            return self.build(artifact)

    def _module(self, request: GraphRequest, array: Tensor) -> nn.Module:
        return self._compiler.compiled(request.key(), lambda: super(InductorBackend, self)._module(request, array), array)
