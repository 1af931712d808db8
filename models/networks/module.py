"""Fixed networks as torch modules, read off their plan."""

from __future__ import annotations

from functools import reduce

import torch
from torch import Tensor, nn

from models.networks.plan import INPUT, JoinStep, NetworkPlan, OperatorStep
from models.operators.costs import Costs, module_costs, operator_costs
from models.operators.registry import build_operator
from models.operators.resize import Resize

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
