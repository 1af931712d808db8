"""From a torch module to an ONNX graph, in milliseconds.

A framework exporter takes seconds per module and rediscovers every time what our modules are. They are chains and
joins of a dozen primitives, so the graph is read off by symbolic tracing and written primitive by primitive.
"""

from __future__ import annotations

from typing import Any

import onnx
from torch import fx, nn

from models.export.emitters import FUNCTIONS, MODULES, UnsupportedPrimitiveError, convolution, foldable
from models.export.graph_builder import GraphBuilder, Value
from models.spec.operators import Dtype


class _Tracer(fx.Tracer):
    """Stops at the layers that have an emitter."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return type(m) in MODULES or super().is_leaf_module(m, module_qualified_name)


def to_onnx(module: nn.Module, input_shape: tuple[int, ...], *, dtype: Dtype = "float32", name: str) -> onnx.ModelProto:
    """The module's graph for inference, with static shapes and batch normalisation folded.

    Weights, activations, input and output are all of `dtype`, so that a runtime which takes the graph at its word
    (strongly typed) computes in it; the weights are folded in float32 and rounded once.

    Args:
        module: with weights, in evaluation mode; one tensor in, one tensor out. Tracing is not thread-safe.
        input_shape: NCHW.
        dtype: of everything in the graph.
        name: of the graph.

    Returns:
        A model with one input, `input`, and one output, `output`.

    Raises:
        UnsupportedPrimitiveError: names what no emitter knows.
    """
    if type(module) in MODULES:
        module = nn.Sequential(module)  # the tracer looks into its root, whatever that is
    graph = _Tracer().trace(module)
    layers = dict(module.named_modules())
    norms = foldable(graph, layers)
    convolutions = {norm: conv for conv, norm in norms.items()}
    builder = GraphBuilder(dtype)
    source = builder.input("input", input_shape)
    first, *body, last = graph.nodes
    values = {first: source}
    for node in body:
        builder.enter(node.name)
        if node in convolutions:
            values[node] = values[convolutions[node]]
        elif node in norms:
            norm = layers[norms[node].target]
            values[node] = convolution(builder, layers[node.target], values[node.args[0]], norm)
        else:
            values[node] = _emit(builder, node, layers, values)
    return builder.model(name, source, values[last.args[0]])


def _emit(builder: GraphBuilder, node: fx.Node, layers: dict[str, nn.Module], values: dict[fx.Node, Value]) -> Value:
    value_of: Any = values.__getitem__
    arguments: Any = fx.map_arg(node.args, value_of)
    keywords: Any = fx.map_arg(node.kwargs, value_of)
    if node.op == "call_module":
        layer = layers[str(node.target)]
        emitter, what = MODULES.get(type(layer)), f"layer {type(layer).__name__}"
        arguments = (layer, *arguments)
    else:
        function: Any = node.target
        emitter, what = FUNCTIONS.get(function), f"{node.op} of {getattr(function, '__name__', function)}"
    if emitter is None:
        raise UnsupportedPrimitiveError(
            f"{what} ({node.name}) cannot be exported to ONNX",
            hint="Write an emitter for it in models/export/emitters.py.",
        )
    return emitter(builder, *arguments, **keywords)
