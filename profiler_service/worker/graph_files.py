"""A graph's files, made with torch: the ONNX graph, and the output that every engine must reproduce."""

from __future__ import annotations

import io

import numpy as np
import torch
from torch import nn

from models.export.onnx_graph import to_onnx
from models.export.own_network import exported
from models.spec.errors import InvalidSpecError
from models.spec.graphs import GraphRequest, OwnNetwork
from profiler_service.backends.base import GraphArtifact, seeded_input
from profiler_service.backends.torch_modules import module_of
from profiler_service.worker.graphs import GraphCache, missing_files


def make_files(artifact: GraphArtifact, cache: GraphCache) -> None:
    """Write those of the artifact's files that are not there. On one thread, since other graphs are made meanwhile.

    Raises:
        StorageError: a file cannot be written.
        Whatever torch or the exporter raise where they cannot make a graph.
    """
    missing = missing_files(artifact)
    if not missing:
        return
    torch.set_num_threads(1)
    request = artifact.request
    module = module_of(request)
    if artifact.reference_path in missing:
        cache.write(artifact.reference_path, _reference(module, request))
    if artifact.onnx_path in missing:
        if isinstance(request.subject, OwnNetwork):
            cache.write(artifact.onnx_path, exported(module, request.subject))
            return
        model = to_onnx(module, request.input_shape, dtype=request.subject.dtype, name=request.key())
        cache.write(artifact.onnx_path, model.SerializeToString())


def _reference(module: nn.Module, request: GraphRequest) -> memoryview:
    """The module's output for the seeded input, as a `.npy` file."""
    array = torch.from_numpy(seeded_input(request))
    with torch.inference_mode():
        output = module(array)
        if isinstance(request.subject, OwnNetwork):
            _require_one_output(request.subject, output, module(array))
    file = io.BytesIO()
    np.save(file, output.numpy())
    return file.getbuffer()


def _require_one_output(network: OwnNetwork, output: object, again: object) -> None:
    """Raises InvalidSpecError unless the output is one tensor of finite float32, and the same each time."""
    if not isinstance(output, torch.Tensor) or not isinstance(again, torch.Tensor):
        parts = f" with {len(output)} parts" if isinstance(output, tuple | list | dict) else ""
        raise InvalidSpecError(f"{network.name} gives a {type(output).__name__}{parts}; only one tensor as output is measured")
    if output.dtype != torch.float32:
        raise InvalidSpecError(f"{network.name} gives {output.dtype}; only float32 is measured")
    if not output.isfinite().all():
        raise InvalidSpecError(f"{network.name} gives NaN or infinite values for normally distributed input")
    if not torch.equal(output, again):
        raise InvalidSpecError(f"{network.name} gives another output each time; what it computes cannot be checked")
