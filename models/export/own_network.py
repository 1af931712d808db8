"""ONNX graphs of networks of somebody's own: what a file holds, and the export of a torch module.

A network is measured if it has one input and one output, of float32 and of static shapes, the input in four dimensions (NCHW);
and if its file is all there is: no external data, no operators that a runtime would have to be taught.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import onnx
from onnx import TensorProto, shape_inference

from models.spec import limits
from models.spec.errors import InvalidSpecError
from models.spec.graphs import OwnNetwork
from models.spec.operators import Dtype

if TYPE_CHECKING:
    from torch import nn

MAX_ONNX_BYTES = 2**31 - 1
"""A protocol buffer is never larger. Larger networks have external data."""

_STANDARD = frozenset({"", "ai.onnx"})
Shape = tuple[int, int, int, int]


def read_network(path: Path, input_shape: Shape | None) -> tuple[OwnNetwork, bytes]:
    """The network in an ONNX file, and the ONNX file to build: the same, with the input's shape made static.

    Args:
        path: of the file.
        input_shape: shape of its input (NCHW), if the file leaves sides of it open.

    Raises:
        InvalidSpecError: the file cannot be read, is no ONNX file, or is a network that cannot be measured; says why.
    """
    try:
        size = path.stat().st_size
        if size > MAX_ONNX_BYTES:
            raise InvalidSpecError(
                f"{path} has {size} bytes; an ONNX file has at most {MAX_ONNX_BYTES}",
                hint="Networks with external data are not measured. Export a smaller network.",
            )
        data = path.read_bytes()
    except OSError as error:
        raise InvalidSpecError(
            f"{path} cannot be read: {error.strerror or error}", hint="Check the name of the file."
        ) from error
    try:
        model = onnx.load_model_from_string(data)
    except Exception as error:  # protocol buffers raise errors of several libraries
        raise InvalidSpecError(f"{path} is no ONNX file: {error}", hint="Give a file that an exporter wrote.") from error
    shape = require_measurable(model, str(path), input_shape)
    network = OwnNetwork(name=path.name[-256:], sha256=hashlib.sha256(data).hexdigest(), input_shape=shape)
    return network, model.SerializeToString()


def require_measurable(
    model: onnx.ModelProto, source: str, input_shape: Shape | None = None, *, dtype: Dtype = "float32"
) -> Shape:
    """The shape of the model's input, which is made static in `model`.

    Raises:
        InvalidSpecError: the network cannot be measured; says why.
    """
    graph = model.graph
    if not graph.node:
        raise InvalidSpecError(f"{source} is no ONNX file with a network: its graph has no nodes")
    _require_whole(model, source)
    weights = {initializer.name for initializer in graph.initializer}
    inputs = [value for value in graph.input if value.name not in weights]
    for what, values in (("inputs", inputs), ("outputs", list(graph.output))):
        if len(values) != 1:
            names = ", ".join(value.name for value in values) or "none"
            raise InvalidSpecError(
                f"{source} has {len(values)} {what} ({names}); only networks with one are measured",
                hint="Export the network with one input and one output.",
            )
    (value,) = inputs
    _require_dtype(source, "input", value, dtype)
    shape = _static_input(source, value, input_shape)
    _require_static_output(model, source, dtype)
    return shape


def exported(module: nn.Module, network: OwnNetwork) -> bytes:
    """The ONNX file of a torch module, by `torch.onnx.export(dynamo=True)`.

    Raises:
        InvalidSpecError: the module is not exported, or its file is a network that cannot be measured; says why.
    """
    from models.export.torch_exporter import TorchExportError, by_torch

    size = sum(tensor.numel() * tensor.element_size() for tensor in (*module.parameters(), *module.buffers()))
    if size > MAX_ONNX_BYTES:
        raise InvalidSpecError(f"{network.name} has {size} bytes of weights; an ONNX file has at most {MAX_ONNX_BYTES}")
    try:
        model = by_torch(module, network.input_shape)
    except TorchExportError as error:
        raise InvalidSpecError(f"{network.name}: {error.message}", hint=error.hint) from error
    require_measurable(model, network.name, network.input_shape)
    data: bytes = model.SerializeToString()
    return data


def _require_whole(model: onnx.ModelProto, source: str) -> None:
    """Raises InvalidSpecError for external data or operators outside ONNX's own."""
    own = {function.domain for function in model.functions}
    for node in _nodes([model.graph.node, *(function.node for function in model.functions)]):
        if node.domain not in _STANDARD | own:
            raise InvalidSpecError(
                f"{source}: node {node.name!r} is {node.domain}.{node.op_type}, a custom operator",
                hint="Only operators of ONNX itself are measured. Export the network without it.",
            )
    for tensor in _tensors(model):
        if tensor.data_location == TensorProto.EXTERNAL:
            raise InvalidSpecError(
                f"{source}: tensor {tensor.name!r} lies in another file (external data)",
                hint="Save the network with its weights in one file: onnx.save(onnx.load(path), other).",
            )


def _nodes(lists: Iterable[Iterable[onnx.NodeProto]]) -> Iterable[onnx.NodeProto]:
    """All nodes, those of inner graphs too."""
    waiting = list(lists)
    while waiting:
        for node in waiting.pop():
            yield node
            for attribute in node.attribute:
                waiting += [graph.node for graph in (attribute.g, *attribute.graphs)]


def _tensors(model: onnx.ModelProto) -> Iterable[onnx.TensorProto]:
    yield from model.graph.initializer
    for node in _nodes([model.graph.node, *(function.node for function in model.functions)]):
        for attribute in node.attribute:
            yield from (attribute.t, *attribute.tensors)
            for graph in (attribute.g, *attribute.graphs):
                yield from graph.initializer


_ELEMENT_TYPES = {"float32": TensorProto.FLOAT, "float16": TensorProto.FLOAT16, "bfloat16": TensorProto.BFLOAT16}


def _require_dtype(source: str, what: str, value: onnx.ValueInfoProto, dtype: Dtype) -> None:
    kind = value.type.tensor_type.elem_type
    if kind != _ELEMENT_TYPES[dtype]:
        name = TensorProto.DataType.Name(kind).lower()
        raise InvalidSpecError(f"{source}: {what} {value.name!r} is {name}; only {dtype} is measured")


def _static_input(source: str, value: onnx.ValueInfoProto, given: Shape | None) -> Shape:
    """The input's shape; sides that the file leaves open are set to those given."""
    sides = value.type.tensor_type.shape.dim
    stated = [side.dim_value if side.dim_value > 0 else None for side in sides]  # some exporters write -1 for an open one
    shown = "×".join(str(side) if side else "?" for side in stated) or "none"
    if len(stated) != 4:
        raise InvalidSpecError(f"{source}: input {value.name!r} has shape {shown}; four sides are needed: N×C×H×W")
    if given is None:
        if None in stated:
            raise InvalidSpecError(
                f"{source}: input {value.name!r} has shape {shown}, with open sides (dynamic axes)",
                hint="Say its shape: --input 1x3x512x1024.",
            )
        given = (stated[0] or 0, stated[1] or 0, stated[2] or 0, stated[3] or 0)
    if any(side is not None and side != wanted for side, wanted in zip(stated, given, strict=True)):
        raise InvalidSpecError(
            f"{source}: input {value.name!r} has shape {shown}, not {'×'.join(map(str, given))}",
            hint="Leave --input out, or export the network for that shape.",
        )
    most = (limits.MAX_BATCH, limits.MAX_CHANNELS, limits.MAX_SIDE, limits.MAX_SIDE)
    if any(not 1 <= side <= limit for side, limit in zip(given, most, strict=True)):
        raise InvalidSpecError(
            f"{source}: input {value.name!r} of shape {'×'.join(map(str, given))} cannot be measured",
            hint=f"Sides are 1 or more, and at most {'×'.join(map(str, most))}.",
        )
    for side, wanted in zip(sides, given, strict=True):
        side.dim_value = wanted
    return given


def _require_static_output(model: onnx.ModelProto, source: str, dtype: Dtype) -> None:
    """Infer the output's shape from the input's; raises InvalidSpecError if it depends on the data."""
    output = model.graph.output[0]
    _require_dtype(source, "output", output, dtype)
    if all(side.dim_value for side in output.type.tensor_type.shape.dim) and output.type.tensor_type.HasField("shape"):
        return
    del model.graph.value_info[:]
    output.type.tensor_type.ClearField("shape")
    try:
        inferred = shape_inference.infer_shapes(model, data_prop=True)
    except Exception as error:  # onnx raises errors of several roots
        raise InvalidSpecError(f"{source}: the shape of its output cannot be inferred: {error}") from error
    found = inferred.graph.output[0].type.tensor_type
    if not found.HasField("shape") or not all(side.dim_value for side in found.shape.dim):
        raise InvalidSpecError(
            f"{source}: the shape of output {output.name!r} is not known before it runs: it depends on the data",
            hint="Only networks with static shapes are measured.",
        )
    output.CopyFrom(inferred.graph.output[0])


__all__ = ["MAX_ONNX_BYTES", "exported", "read_network", "require_measurable"]
