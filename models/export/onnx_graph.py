"""From a torch module to an ONNX graph, in milliseconds.

A framework exporter takes most of a second per module and rediscovers every time what our modules are. They are chains and
joins of a few primitives, so the graph is read off by symbolic tracing and written primitive by primitive. Shapes are known,
so whatever a module computes of them and of its weights alone is computed here. `torch_exporter` exports the modules that
have something else in them.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from functools import reduce
from inspect import signature
from typing import Any

import onnx
import torch
from torch import fx, nn

from models.export import layer_emitters, shape_emitters, tensor_emitters  # noqa: F401 - which register what they emit
from models.export.emitters import FUNCTIONS, MODULES, Emitter, UnsupportedPrimitiveError, convolution, foldable
from models.export.graph_builder import GraphBuilder, Value
from models.export.tracing import IN_PLACE, Tracer
from models.spec.operators import Dtype

_VIEWS = frozenset({"Expand", "Reshape", "Slice", "Split", "Transpose"})
"""What shares its input's memory in torch, or may."""


class _Tracer(Tracer):
    """Stops at the layers that have an emitter."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return type(m) in MODULES or super().is_leaf_module(m, module_qualified_name)


def to_onnx(
    module: nn.Module, input_shape: tuple[int, ...], *, dtype: Dtype = "float32", name: str, unrolled: bool = False
) -> onnx.ModelProto:
    """The module's graph for inference, with static shapes and batch normalisation folded.

    Weights, activations, input and output are all of `dtype`, so that a runtime which takes the graph at its word
    (strongly typed) computes in it; the weights are folded in float32 and rounded once.

    Args:
        module: with weights, in evaluation mode; one tensor in, one tensor out. Tracing is not thread-safe.
        input_shape: NCHW.
        dtype: of everything in the graph.
        name: of the graph.
        unrolled: whether a recurrence is written step by step, for runtimes on a CPU, rather than as a scan.

    Returns:
        A model with one input, `input`, and one output, `output`.

    Raises:
        UnsupportedPrimitiveError: names what no emitter knows.
    """
    if type(module) in MODULES:
        module = nn.Sequential(module)  # the tracer looks into its root, whatever that is
    graph = _traced(module)
    layers = dict(module.named_modules())
    norms = foldable(graph, layers)
    convolutions = {norm: conv for conv, norm in norms.items()}
    builder = GraphBuilder(dtype, unrolled=unrolled)
    source = builder.input("input", input_shape)
    first, *body, last = graph.nodes
    values: dict[fx.Node, Any] = {first: source}
    overwritten: dict[str, str] = {}
    for node in body:
        builder.enter(node.name)
        if node in convolutions:
            values[node] = values[convolutions[node]]
        elif node in norms:
            norm = layers[norms[node].target]
            values[node] = convolution(builder, layers[node.target], values[node.args[0]], norm)
        else:
            values[node] = _evaluated(builder, node, module, layers, values)
            overwritten |= _overwritten(node, layers, values)
    result = fx.map_arg(last.args[0], values.__getitem__)
    if not isinstance(result, Value):
        raise UnsupportedPrimitiveError(f"a module that gives {_described(result)} cannot be exported, only one tensor")
    _require_none_stale(builder.written, overwritten, result)
    return builder.model(name, source, result)


def _traced(module: nn.Module) -> fx.Graph:
    """Raises UnsupportedPrimitiveError where the module's code asks a tensor for more than its shape."""
    try:
        return _Tracer().trace(module)
    except MemoryError:
        raise
    except Exception as error:  # tracing runs the module's own code
        raise UnsupportedPrimitiveError(f"its forward pass cannot be traced: {type(error).__name__}: {error}") from error


def _overwritten(node: fx.Node, layers: dict[str, nn.Module], values: dict[fx.Node, Any]) -> dict[str, str]:
    """The name of what the node gives, to that of the value over which torch writes it; empty for all but in-place ones."""
    options = vars(layers[str(node.target)]) if node.op == "call_module" else node.kwargs
    if not (options.get("inplace") or node.target in IN_PLACE):
        return {}
    result, source = values[node], values[node.all_input_nodes[0]]
    is_written = isinstance(result, Value) and isinstance(source, Value) and result != source
    return {result.name: source.name} if is_written else {}


def _require_none_stale(nodes: Sequence[onnx.NodeProto], overwritten: Mapping[str, str], result: Value) -> None:
    """Raises UnsupportedPrimitiveError where a value is read that torch has changed by then, by itself or through a view."""
    memory: dict[str, str] = {}
    stale: set[str] = set()
    for node in nodes:
        _require_fresh(stale.intersection(node.input))
        for name in node.output:
            shared = overwritten.get(name, node.input[0] if node.op_type in _VIEWS else name)
            memory[name] = owner = memory.get(shared, shared)
            if name in overwritten:
                stale |= {owner, *(other for other, of in memory.items() if of == owner)} - {name}
    _require_fresh(stale.intersection([result.name]))


def _require_fresh(stale: Collection[str]) -> None:
    if stale:
        raise UnsupportedPrimitiveError(f"{min(stale)} is read after it has been changed in place: this cannot be exported")


def _described(result: object) -> str:
    return f"a {type(result).__name__}" + (f" of {len(result)}" if isinstance(result, tuple | list | dict) else "")


def _evaluated(
    builder: GraphBuilder, node: fx.Node, module: nn.Module, layers: dict[str, nn.Module], values: dict[fx.Node, Any]
) -> Any:
    """What the node gives: a value of the graph, or, where no input leads to it, what Python computes."""
    value_of: Any = values.__getitem__
    arguments: Any = fx.map_arg(node.args, value_of)
    keywords: Any = fx.map_arg(node.kwargs, value_of)
    if node.op == "get_attr":
        return reduce(getattr, str(node.target).split("."), module)
    if node.op == "placeholder" and arguments:
        return arguments[0]  # a further input takes its default
    if node.op == "call_module":
        layer = layers[str(node.target)]
        return _emitted(builder, MODULES.get(type(layer)), (layer, *arguments), keywords, node, type(layer).__name__)
    if node.op in ("call_function", "call_method") and not _has_value((arguments, keywords)):
        called: Any = node.target if node.op == "call_function" else getattr(arguments[0], str(node.target))
        with torch.no_grad():
            return called(*(arguments if node.op == "call_function" else arguments[1:]), **keywords)
    function: Any = node.target
    emitter = FUNCTIONS.get(function) if node.op in ("call_function", "call_method") else None
    return _emitted(builder, emitter, arguments, keywords, node, getattr(function, "__name__", str(function)))


def _has_value(arguments: Any) -> bool:
    if isinstance(arguments, tuple | list):
        return any(map(_has_value, arguments))
    return _has_value(list(arguments.values())) if isinstance(arguments, dict) else isinstance(arguments, Value)


def _emitted(builder: GraphBuilder, emitter: Emitter | None, arguments: Any, keywords: Any, node: fx.Node, called: str) -> Any:
    """Raises UnsupportedPrimitiveError where nothing emits the node, or not with these arguments."""
    what = f"layer {called}" if node.op == "call_module" else f"{node.op} of {called}"
    if emitter is None:
        raise UnsupportedPrimitiveError(
            f"{what} ({node.name}) cannot be exported to ONNX",
            hint="Write an emitter for it with models.export.emitters.emits.",
        )
    try:
        signature(emitter).bind(builder, *arguments, **keywords)
    except TypeError as error:
        raise UnsupportedPrimitiveError(f"{what} ({node.name}) cannot be exported to ONNX so: {error}") from error
    return emitter(builder, *arguments, **keywords)
