"""Torch modules: the fixed network of a plan, and the module of every graph that a backend builds and is compared with."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable
from functools import reduce

import torch
from torch import Tensor, nn

from models.networks.own_module import load_module
from models.networks.structure import INPUT, JoinStep, NetworkPlan, OperatorStep
from models.operators.costs import Costs, module_costs, operator_costs, require_size
from models.operators.layers import Resize, build_operator
from models.operators.seeded_weights import fill, seeded
from models.spec.architectures import ArchitectureSpec
from models.spec.errors import InvalidSpecError
from models.spec.graphs import PREFIX_CHANNELS, ContextBase, GraphRequest, OwnNetwork
from models.spec.kinds import KINDS
from models.spec.operators import OperatorSpec

Shape = tuple[int, int, int, int]


class Join(nn.Module):
    """Brings maps to one size and together, see `JoinStep`.

    Shape: inputs (N, C_i, H_i, W_i); output (N, C, *step.size), C being the sum of the C_i for `concat`.
    """

    def __init__(self, step: JoinStep, source_shapes: tuple[Shape, ...]) -> None:
        super().__init__()
        self.how = step.how
        self.resizes = nn.ModuleList(nn.Identity() if shape[2:] == step.size else Resize(step.size) for shape in source_shapes)

    def forward(self, *maps: Tensor) -> Tensor:
        resized = [resize(x) for resize, x in zip(self.resizes, maps, strict=True)]
        return torch.cat(resized, dim=1) if self.how == "concat" else reduce(torch.add, resized)


class Network(nn.Module):
    """The network of a plan; the submodule of each step has the step's name.

    Shape: input and output as in the plan.
    """

    def __init__(self, plan: NetworkPlan) -> None:
        super().__init__()
        self.plan = plan
        shapes = map_shapes(plan)
        self.steps = nn.ModuleDict()
        for step in plan.steps:
            if isinstance(step, OperatorStep):
                self.steps[step.name] = build_operator(step.operator)
            else:
                self.steps[step.name] = _join(step, shapes)

    def forward(self, x: Tensor) -> Tensor:
        return self.maps(x)[self.plan.steps[-1].name]

    def maps(self, x: Tensor) -> dict[str, Tensor]:
        """The map of every step, by its name, `INPUT` included."""
        maps = {INPUT: x}
        for step in self.plan.steps:
            sources = (step.source,) if isinstance(step, OperatorStep) else step.sources
            maps[step.name] = self.steps[step.name](*(maps[source] for source in sources))
        return maps


def build_network(plan: NetworkPlan) -> Network:
    """The plan's network, with weights as torch initialises them, on torch's current default device."""
    return Network(plan)


def network_costs(plan: NetworkPlan) -> Costs:
    """The costs of the plan's network: of its operators and of the resizing where maps join."""
    shapes = map_shapes(plan)
    total = Costs()
    for step in plan.steps:
        if isinstance(step, OperatorStep):
            total += operator_costs(step.operator)
        else:
            total += module_costs(_join(step, shapes), *(shapes[source] for source in step.sources))
    return total


def map_shapes(plan: NetworkPlan) -> dict[str, Shape]:
    """The NCHW shape of every map of the plan, by the name of the step that makes it, `INPUT` included.

    Raises:
        ValueError: a step reads a map of another shape than it was made for, or maps that cannot be joined.
    """
    shapes: dict[str, Shape] = {}
    for step in plan.steps:
        if isinstance(step, OperatorStep):
            wanted = step.operator.input_shape
            found = shapes.setdefault(step.source, wanted) if step.source == INPUT else shapes[step.source]
            if found != wanted:
                raise ValueError(f"step {step.name!r} takes a map of {wanted}, but {step.source!r} has {found}")
            shapes[step.name] = step.operator.output_shape
        else:
            shapes[step.name] = _joined_shape(step, [shapes[source] for source in step.sources])
    return shapes


def _joined_shape(step: JoinStep, sources: list[Shape]) -> Shape:
    batches, channels = {shape[0] for shape in sources}, [shape[1] for shape in sources]
    if len(batches) != 1 or (step.how == "add" and len(set(channels)) != 1):
        raise ValueError(f"step {step.name!r} cannot {step.how} maps of {sources}")
    return (batches.pop(), sum(channels) if step.how == "concat" else channels[0], *step.size)


def _join(step: JoinStep, shapes: dict[str, Shape]) -> Join:
    return Join(step, tuple(shapes[source] for source in step.sources))


def build_module(request: GraphRequest, plan: NetworkPlan | None = None) -> nn.Module:
    """The module of that graph: float32, on the CPU, in evaluation mode, its weights seeded by the subject's key.

    An operator has the same weights isolated and in context, and a context has the same prefix as its base, so that their
    outputs can be compared.

    Shape: input `request.input_shape`; output that of the subject, or (N, C, 1, 1) after a suffix.

    Args:
        request: what to build.
        plan: the network of an architecture, which its search space writes; None for every other subject.

    Raises:
        InvalidSpecError: an architecture came without a plan, or a module of somebody's own cannot be loaded.
    """
    subject = request.subject
    if isinstance(subject, OperatorSpec):
        operator = _filled_operator(subject)
        return _in_context(operator, subject, request.has_suffix) if request.in_context else operator
    if isinstance(subject, ContextBase):
        return _sequence(prefix=_prefix(subject), suffix=nn.AdaptiveAvgPool2d(1))
    if isinstance(subject, OwnNetwork):
        return load_module(subject.name)
    return _filled_network(subject, plan)


def _filled_operator(spec: OperatorSpec) -> nn.Module:
    if not KINDS.origin(spec.kind).own:
        require_size(spec)
    return _filled(lambda: build_operator(spec), [spec.kind], spec.key())


def _filled(build: Callable[[], nn.Module], kinds: Iterable[str], seed_key: str) -> nn.Module:
    """Modules of ours are made on `meta`, which costs nothing; others may compute tensors of their own while they are made."""
    if all(KINDS.origin(kind).own for kind in kinds):
        with torch.device("meta"):
            module = build()
    else:
        with seeded(seed_key):
            module = build()
    return fill(module, seed_key)


def _filled_network(architecture: ArchitectureSpec, plan: NetworkPlan | None) -> nn.Module:
    if plan is None:
        raise InvalidSpecError(f"{architecture.label()} cannot be built without its plan")
    kinds = {operator.kind for operator in plan.operators()}
    return _filled(lambda: build_network(plan), kinds, architecture.key())


def _in_context(operator: nn.Module, spec: OperatorSpec, has_suffix: bool) -> nn.Module:
    prefix = _prefix(ContextBase.of(spec))
    if not has_suffix:
        return _sequence(prefix=prefix, operator=operator)
    return _sequence(prefix=prefix, operator=operator, suffix=nn.AdaptiveAvgPool2d(1))


def _prefix(base: ContextBase) -> nn.Module:
    with torch.device("meta"):
        module = nn.Conv2d(PREFIX_CHANNELS, base.channels, kernel_size=1)
    return fill(module, base.key())


def _sequence(**parts: nn.Module) -> nn.Module:
    return nn.Sequential(OrderedDict(parts)).eval()
