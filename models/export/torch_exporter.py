"""Graphs by `torch.export` and `torch.onnx.export(dynamo=True)`: for modules with something in them that no emitter knows.

It takes about a second per graph. `torch.onnx` writes operator set 18 at the oldest, so that such graphs have that instead of
17; everything else is as in ours: static shapes, one dtype, batch normalisation folded, weights inside.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from io import StringIO

import onnx
import torch
from torch import fx, nn

from models.export.emitters import ExportError
from models.spec.graphs import IR_VERSION, opset_of
from models.spec.operators import Dtype

OLDEST_OPSET = 18
"""That `torch.onnx` writes. It can ask onnx to convert a graph to an older one, which fails for reductions."""


class TorchExportError(ExportError):
    """torch does not export a module: its shapes or control flow depend on the data, or something in it has no ONNX form."""


def by_torch(
    module: nn.Module, input_shape: tuple[int, ...], *, dtype: Dtype = "float32", name: str = "", opset: int | None = None
) -> onnx.ModelProto:
    """The module's graph for inference, with one input, `input`; its outputs are called `output`, or numbered.

    Args:
        module: float32, with weights, in evaluation mode; unchanged.
        input_shape: of its input.
        dtype: of everything in the graph. Normalisations are folded in float32 before weights are rounded.
        name: of the graph.
        opset: its operator set; None for the one that `torch.onnx` prefers.

    Raises:
        TorchExportError: says why in one line.
    """
    element_type: torch.dtype = getattr(torch, dtype)
    if dtype != "float32":
        module = flat(module, input_shape).to(element_type)
    with _quiet("torch.onnx.export(dynamo=True)"):
        program = torch.onnx.export(
            module,
            (torch.zeros(input_shape, dtype=element_type),),
            dynamo=True,
            verbose=False,
            opset_version=opset,
            input_names=["input"],
        )
        assert program is not None
        model: onnx.ModelProto = program.model_proto
    outputs = [value.name for value in model.graph.output]
    names = dict(zip(outputs, ["output", *(f"output_{i}" for i in range(2, len(outputs) + 1))], strict=True))
    _rename(model.graph, names)
    model.graph.name = name
    model.ir_version = IR_VERSION
    _forget_sources(model)
    return model


def torch_opset(dtype: Dtype) -> int:
    """The operator set of an operator's graph in that dtype: ours, but not older than `torch.onnx` writes."""
    return max(OLDEST_OPSET, opset_of(dtype))


def _forget_sources(model: onnx.ModelProto) -> None:
    """Remove where in whose code each node comes from: paths of this machine, and pages of them."""
    graph = model.graph
    for item in (model, graph, *graph.node, *graph.value_info, *graph.initializer, *graph.input, *graph.output):
        item.ClearField("metadata_props")


def flat(module: nn.Module, input_shape: tuple[int, ...]) -> fx.GraphModule:
    """The module as the chain of torch's own operators that it runs for an input of that shape, each batch normalisation folded
    into the convolution before it. Its weights are copies.

    Raises:
        TorchExportError: says why in one line.
    """
    with _quiet("torch.export"):
        program = torch.export.export(module, (torch.zeros(input_shape),), strict=False)
        graph_module = program.module()
    assert isinstance(graph_module, fx.GraphModule)
    for node in list(graph_module.graph.nodes):
        if node.target is torch.ops.aten.batch_norm.default:
            _fold(graph_module, node)
        elif node.op == "call_module" and not node.users:
            graph_module.graph.erase_node(node)  # checks of the input's shape, which is the graph's own
    graph_module.graph.eliminate_dead_code()
    graph_module.delete_all_unused_submodules()
    graph_module.recompile()
    return graph_module


@torch.no_grad()
def _fold(graph_module: fx.GraphModule, norm: fx.Node) -> None:
    """Fold it into its source, if that is a convolution that nothing else reads, with weights of its own."""
    source, *parts, training, _, eps, _ = norm.args
    convolution = torch.ops.aten.conv2d.default
    if training or not isinstance(source, fx.Node) or source.target is not convolution or len(source.users) != 1:
        return
    weight_node = source.args[1]
    if not isinstance(weight_node, fx.Node) or weight_node.op != "get_attr":
        return
    gamma, beta, mean, variance = (_attribute(graph_module, part) for part in parts)
    if mean is None or variance is None:
        return
    weight = _attribute(graph_module, weight_node)
    bias = _attribute(graph_module, source.args[2] if len(source.args) > 2 else None)
    assert weight is not None
    assert isinstance(eps, float)
    scale = torch.rsqrt(variance + eps) * (1.0 if gamma is None else gamma)
    shift = (0.0 if beta is None else beta) + ((0.0 if bias is None else bias) - mean) * scale
    graph = graph_module.graph
    with graph.inserting_before(source):
        folded = []
        for name, tensor in (("weight", weight * scale[:, None, None, None]), ("bias", shift)):
            place = f"{source.name}_folded_{name}"
            graph_module.register_parameter(place, nn.Parameter(tensor, requires_grad=False))
            folded.append(graph.get_attr(place))
    source.args = (source.args[0], *folded, *source.args[3:])
    norm.replace_all_uses_with(source)
    graph.erase_node(norm)


def _attribute(graph_module: fx.GraphModule, node: object) -> torch.Tensor | None:
    if not isinstance(node, fx.Node):
        return None
    owner, _, name = str(node.target).rpartition(".")
    tensor: torch.Tensor = getattr(graph_module.get_submodule(owner), name)
    return tensor


def _rename(graph: onnx.GraphProto, names: dict[str, str]) -> None:
    for node in graph.node:
        node.input[:] = [names.get(name, name) for name in node.input]
        node.output[:] = [names.get(name, name) for name in node.output]
    for value in (*graph.output, *graph.value_info):
        value.name = names.get(value.name, value.name)


@contextmanager
def _quiet(exporter: str) -> Iterator[None]:
    """Without the pages that exporters log and print about their own parts; what they raise says enough."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with warnings.catch_warnings(), redirect_stdout(StringIO()), redirect_stderr(StringIO()):
            warnings.simplefilter("ignore")
            yield
    except ImportError as error:
        raise TorchExportError(f"the exporter needs {error.name}", hint="pip install onnxscript") from error
    except MemoryError:
        raise
    except Exception as error:  # exporters' errors have several roots
        raise TorchExportError(f"it is not exported by {exporter}: {_cause(error)}") from error
    finally:
        logging.disable(before)


def _cause(error: BaseException) -> str:
    """The first line of what went wrong at the bottom: the exporter's own text is a page."""
    while error.__cause__ is not None:
        error = error.__cause__
    kind = type(error).__name__
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    data_dependent = "DataDependent" in kind
    why = "its shapes or its control flow depend on the data: " if data_dependent else ""
    return f"{why}{kind}: {lines[0] if lines else ''}"
