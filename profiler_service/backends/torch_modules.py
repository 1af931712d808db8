"""The torch module of a graph request: what every engine is compared with, and what torch's own backends run."""

from __future__ import annotations

from copy import deepcopy

from torch import fx, nn

from models.export.emitters import foldable, folded
from models.export.torch_exporter import TorchExportError, flat
from models.export.tracing import Tracer
from models.networks.module import build_module
from models.spaces.registry import space_of
from models.spec.architectures import ArchitectureSpec
from models.spec.graphs import GraphRequest
from profiler_service.backends.errors import one_line, out_of_memory
from profiler_service.errors import BackendError, BuildError, DeviceMemoryError


def module_of(request: GraphRequest) -> nn.Module:
    """Float32, in eval mode, with the weights that its subject's key names.

    Raises:
        InvalidSpecError: the architecture is not one of its space's.
    """
    subject = request.subject
    plan = space_of(subject).plan(subject) if isinstance(subject, ArchitectureSpec) else None
    return build_module(request, plan)


def with_norms_folded(module: nn.Module, input_shape: tuple[int, ...]) -> fx.GraphModule:
    """The same computation, each batch normalisation folded into the convolution before it; takes the module's layers over.

    What torch.fx does not trace is exported (`torch.export`) to the operators that it runs for that shape.

    Raises:
        BuildError: torch exports the module neither way: this happens only to modules of somebody's own.
    """
    try:
        return _folded(module)
    except Exception as error:  # tracing runs the module's own code
        if out_of_memory(error):
            raise
        try:
            return flat(module, input_shape)
        except TorchExportError as other:
            why = f"{type(error).__name__}: {one_line(str(error))}; {other.message}"
            raise BuildError(f"its batch normalisations cannot be folded: {why}") from other


def _folded(module: nn.Module) -> fx.GraphModule:
    traced = fx.GraphModule(module, Tracer().trace(module))
    layers = dict(traced.named_modules())
    for conv_node, norm_node in foldable(traced.graph, layers).items():
        conv = deepcopy(layers[conv_node.target])  # other calls may read the same layer, or its weights
        weight, bias = folded(conv, layers[norm_node.target])
        conv.weight, conv.bias = nn.Parameter(weight), nn.Parameter(bias)
        conv_node.target = f"{conv_node.name}_folded"
        traced.add_submodule(conv_node.target, conv)
        norm_node.replace_all_uses_with(conv_node)
        traced.graph.erase_node(norm_node)
    traced.delete_all_unused_submodules()
    traced.recompile()
    return traced


def translated(error: RuntimeError | MemoryError, kind: type[BackendError]) -> BackendError:
    """DeviceMemoryError, or `kind`; its message in one line. Torch's own errors of every sort are RuntimeErrors."""
    text = one_line(str(error))
    return DeviceMemoryError(text) if out_of_memory(error) else kind(text)
