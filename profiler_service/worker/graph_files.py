"""A graph's files, made with torch: the ONNX graph, and the output that every engine must reproduce."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

import numpy as np
import torch
from torch import nn

from models.export.either_way import graph_of
from models.export.own_network import exported
from models.spec.errors import InvalidSpecError
from models.spec.graphs import GraphRequest, OwnNetwork
from models.spec.operators import OperatorSpec
from profiler_service.backends.base import GraphArtifact, seeded_input
from profiler_service.backends.torch_modules import module_of
from profiler_service.worker.graphs import GraphCache, missing_files, plugins_digest


def make_files(artifact: GraphArtifact, cache: GraphCache) -> float | None:
    """Write those of the artifact's files that are not there. On one thread, since other graphs are made meanwhile.

    Returns:
        The seconds that `torch.onnx` took, if it exported the graph of an operator or a network of a space, in which something
        has no emitter; None otherwise.

    Raises:
        StorageError: a file cannot be written.
        InvalidSpecError: the module cannot be exported, or its output cannot be compared with; says why.
        Whatever else torch raises where it cannot run the module.
    """
    missing = missing_files(artifact)
    if not missing:
        return None
    torch.set_num_threads(1)
    request = artifact.request
    module = module_of(request)
    if artifact.reference_path in missing:
        cache.write(artifact.reference_path, _reference(module, request))
    if artifact.onnx_path not in missing:
        return None
    if isinstance(request.subject, OwnNetwork):
        cache.write(artifact.onnx_path, exported(module, request.subject))
        return None
    shape, dtype = request.input_shape, request.subject.dtype
    model, seconds = graph_of(module, shape, dtype=dtype, name=request.key(), unrolled=artifact.unrolled)
    cache.write(artifact.onnx_path, model.SerializeToString())
    return seconds


def _reference(module: nn.Module, request: GraphRequest) -> memoryview:
    """The module's output for the seeded input, as a `.npy` file. Code of others runs twice, and must give the same again."""
    array, subject = torch.from_numpy(seeded_input(request)), request.subject
    others = isinstance(subject, OwnNetwork) or bool(plugins_digest(request))
    watched: AbstractContextManager[None] = nullcontext()
    if others and isinstance(subject, OperatorSpec):
        watched = _watched(module.get_submodule("operator") if request.in_context else module, subject)
    with torch.inference_mode(), watched:
        output = module(array)
        if others:
            name = subject.name if isinstance(subject, OwnNetwork) else request.label()
            _require_one_output(name, output, module(array))
    file = io.BytesIO()
    np.save(file, output.numpy())
    return file.getbuffer()


@contextmanager
def _watched(operator: nn.Module, spec: OperatorSpec) -> Iterator[None]:
    """Within it the operator's runs raise InvalidSpecError where it does not give one map of the shape that its spec states."""

    def look(_operator: nn.Module, _inputs: object, output: object) -> None:
        shape = tuple(_tensor(spec.label(), output).shape)
        if shape != spec.output_shape:
            raise InvalidSpecError(
                f"{spec.label()} gives shape {shape}, but an operator of these fields gives {spec.output_shape}",
                hint="Repair its module: its output's shape follows from out_channels, stride and scale, not from the data.",
            )

    hook = operator.register_forward_hook(look)
    try:
        yield
    finally:
        hook.remove()


def _tensor(name: str, output: object) -> torch.Tensor:
    if not isinstance(output, torch.Tensor):
        parts = f" with {len(output)} parts" if isinstance(output, tuple | list | dict) else ""
        raise InvalidSpecError(f"{name} gives a {type(output).__name__}{parts}; only one tensor as output is measured")
    return output


def _require_one_output(name: str, output: object, again: object) -> None:
    """Raises InvalidSpecError unless the output is one tensor of finite float32, and the same each time."""
    first, second = _tensor(name, output), _tensor(name, again)
    if first.dtype != torch.float32:
        raise InvalidSpecError(f"{name} gives {first.dtype}; only float32 is measured")
    if not first.isfinite().all():
        raise InvalidSpecError(f"{name} gives NaN or infinite values for normally distributed input")
    if not torch.equal(first, second):
        raise InvalidSpecError(
            f"{name} gives another output each time; what it computes cannot be checked",
            hint="Leave random numbers out of its forward pass, dropout in evaluation mode among them.",
        )
