"""Torch modules: the fixed network of a plan, and the module of every graph that a backend builds and is compared with."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn

from models.networks.contexts import base_module, in_context, isolated
from models.networks.own_module import load_module
from models.networks.structure import INPUT, NetworkPlan
from models.operators.costs import Costs, operator_costs, require_size
from models.operators.layers import build_operator
from models.operators.seeded_weights import adopt_scales, fill, random_input, seeded
from models.spec.architectures import ArchitectureSpec
from models.spec.errors import InvalidSpecError
from models.spec.graphs import ContextBase, GraphRequest, OwnNetwork
from models.spec.kinds import KINDS
from models.spec.operators import OperatorSpec

Shape = tuple[int, int, int, int]


class Network(nn.Module):
    """The network of a plan; the submodule of each step has the step's name.

    Shape: input and output as in the plan.
    """

    def __init__(self, plan: NetworkPlan) -> None:
        super().__init__()
        self.plan = plan
        map_shapes(plan)  # refuses what does not fit together
        self.steps = nn.ModuleDict({step.name: build_operator(step.operator) for step in plan.steps})

    def forward(self, x: Tensor) -> Tensor:
        return self.maps(x)[self.plan.steps[-1].name]

    def maps(self, x: Tensor) -> dict[str, Tensor]:
        """The map of every step, by its name, `INPUT` included."""
        maps = {INPUT: x}
        for step in self.plan.steps:
            maps[step.name] = self.steps[step.name](*(maps[source] for source in step.sources))
        return maps


def build_network(plan: NetworkPlan) -> Network:
    """The plan's network, with weights as torch initialises them, on torch's current default device."""
    return Network(plan)


def network_costs(plan: NetworkPlan) -> Costs:
    """The costs of the plan's network, joins included."""
    return sum((operator_costs(step.operator) for step in plan.steps), Costs())


def map_shapes(plan: NetworkPlan) -> dict[str, Shape]:
    """The NCHW shape of every map of the plan, by the name of the step that makes it, `INPUT` included.

    Raises:
        ValueError: a step reads maps of other shapes than it was made for.
    """
    shapes: dict[str, Shape] = {}
    for step in plan.steps:
        wanted = step.operator.source_shapes
        if len(wanted) != len(step.sources):
            raise ValueError(f"step {step.name!r} takes {len(wanted)} maps, but {len(step.sources)} sources are named")
        for source, shape in zip(step.sources, wanted, strict=True):
            found = shapes.setdefault(source, shape) if source == INPUT else shapes[source]
            if found != shape:
                raise ValueError(f"step {step.name!r} takes a map of {shape}, but {source!r} has {found}")
        shapes[step.name] = step.operator.output_shape
    return shapes


def build_module(request: GraphRequest, plan: NetworkPlan | None = None) -> nn.Module:
    """The module of that graph: float32, on the CPU, in evaluation mode, its weights seeded by the subject's key.

    An operator has the same weights isolated and in context, and a context has the same prefix as its base, so that their
    outputs can be compared. A network's batch normalisations fit the maps of a random input.

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
        if request.in_context:
            return in_context(operator, subject, has_suffix=request.has_suffix)
        return isolated(operator, subject)
    if isinstance(subject, ContextBase):
        return base_module(subject)
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
    network = _filled(lambda: build_network(plan), kinds, architecture.key())
    adopt_scales(network, torch.from_numpy(random_input(architecture.input_shape, architecture.key())))
    return network
