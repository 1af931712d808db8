"""From architecture parameters to the network that they stand for, with its estimated latency and costs."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from models.networks.module import network_costs
from models.operators.costs import Costs
from models.spaces.base import Probabilities
from models.spaces.registry import create_space
from models.spec.architectures import ArchitectureSpec
from nas_client.estimates import Estimate, estimate
from nas_client.latency.parameters import GRANULARITIES, ArchitectureParameters
from nas_client.table import LookupTable
from nas_client.uncertainty import SumBias


@dataclass(frozen=True)
class Derived:
    """A network that architecture parameters stand for.

    Attributes:
        branches: scales at which its branches end; empty where the space has no such choice.
        estimate: its latency by the table.
        costs: its multiply-adds, FLOPs and parameters.
    """

    branches: tuple[int, ...]
    architecture: ArchitectureSpec
    estimate: Estimate
    costs: Costs


def probabilities(parameters: ArchitectureParameters) -> Probabilities:
    """The softmax of each row of logits, in float64, as a search space decodes it."""
    return {
        granularity: {
            group: torch.softmax(parameters.group(granularity, group).detach().double(), dim=-1).cpu().numpy()
            for group in parameters.shapes[granularity]
        }
        for granularity in GRANULARITIES
    }


def derive(
    parameters: ArchitectureParameters,
    table: LookupTable,
    *,
    branches: tuple[int, ...] = (),
    keep_skips: bool = False,
    widest: bool = False,
    bias: SumBias | None = None,
) -> Derived:
    """The network with those branches; see `SearchSpace.decode` for the arguments.

    Args:
        parameters: logits.
        table: of the space that the parameters belong to.
        branches: scales at which the branches end.
        keep_skips: whether no cell is removed or replaced.
        widest: whether it is a teacher.
        bias: how the table's sums missed measured networks, see `estimate`.

    Raises:
        InvalidSpecError: the parameters or branches are not those of the table's search space.
    """
    space = create_space(table.info.space)
    architecture = space.decode(probabilities(parameters), branches=branches, keep_skips=keep_skips, widest=widest)
    return Derived(
        branches=branches,
        architecture=architecture,
        estimate=estimate(architecture, table, bias=bias),
        costs=network_costs(space.plan(architecture)),
    )
