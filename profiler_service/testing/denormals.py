"""Whether a backend flushes denormals, in inputs and in weights: graphs of one number, run in a process of their own."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from dataclasses import replace
from multiprocessing import get_context
from typing import Any

import numpy as np
import pytest

from profiler_service.backends.backend_options import BackendOptions
from profiler_service.backends.base import Backend, FloatArray, GraphArtifact
from profiler_service.backends.registry import create_backend

DENORMAL, NORMAL, LARGE = 0x000AE398, 0x0DA24260, 0x501502F9
"""Bits of 1e-39, 1e-30 and 1e10. A thread that flushes denormals makes none from a number: an array of 1e-39 would be zeros."""


def require_flushing(backend: Backend) -> None:
    if backend.target().precision.get("denormals") != "zero":
        pytest.skip(f"{backend.name} does not say that it flushes denormals")


def in_own_process(
    backend: Backend, runs: Sequence[tuple[GraphArtifact, int, int | None]]
) -> list[np.ndarray[Any, np.dtype[np.uint32]]]:
    """The bits of the outputs, since comparing floats would flush them too, by the bits of inputs and of kernels.

    In a process of its own, as in the service: of all sessions of a process, ONNX Runtime heeds the first one's wish, and here
    any earlier test may have made that.
    """
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process:
        outputs = process.submit(_outputs, backend.name, backend.options, runs).result()
    return [output.view(np.uint32) for output in outputs]


def _outputs(name: str, options: BackendOptions, runs: Sequence[tuple[GraphArtifact, int, int | None]]) -> list[FloatArray]:
    with closing(create_backend(name, options)) as backend:
        return [_output(backend, *run) for run in runs]


def _output(backend: Backend, artifact: GraphArtifact, inputs: int, weights: int | None) -> FloatArray:
    if weights is not None and artifact.onnx_path is not None:
        artifact = _with_kernels(artifact, weights)
    with ExitStack() as stack:
        if weights is not None and not backend.reads_onnx:
            stack.enter_context(_kernels_of_modules(weights))
        # A backend may keep what it built under the graph's key, which says nothing of these weights.
        build = backend.build if weights is None else backend.rebuild
        engine = stack.enter_context(closing(build(artifact)))
        return engine.infer(_filled(artifact.request.input_shape, inputs))


def _with_kernels(artifact: GraphArtifact, bits: int) -> GraphArtifact:
    """A graph whose kernels hold that number everywhere, and whose biases are zero."""
    import onnx

    assert artifact.onnx_path is not None
    graph = onnx.load(artifact.onnx_path)
    for tensor in graph.graph.initializer:
        tensor.raw_data = _filled(tuple(tensor.dims), bits if len(tensor.dims) == 4 else 0).tobytes()
    path = artifact.onnx_path.with_name(f"{bits}-{artifact.onnx_path.name}")
    onnx.save(graph, path)
    return replace(artifact, onnx_path=path)


@contextmanager
def _kernels_of_modules(bits: int) -> Iterator[None]:
    """The same in every module that is built meanwhile. Not in an engine's: it may have made constants of its weights."""
    import torch

    from profiler_service.backends import torch_modules

    filled: list[torch.Tensor] = []

    def fill(conv: torch.nn.Conv2d, _: torch.nn.BatchNorm2d) -> tuple[torch.Tensor, torch.Tensor]:
        filled.append(torch.from_numpy(_filled(tuple(conv.weight.shape), bits)))
        return filled[-1], torch.zeros(conv.out_channels)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch_modules, "folded", fill)
        yield
    assert filled, "the backend does not build what torch_modules.with_norms_folded returns: teach this suite what it builds"


def _filled(shape: tuple[int, ...], bits: int) -> FloatArray:
    array: FloatArray = np.full(shape, bits, np.uint32).view(np.float32)
    return array
