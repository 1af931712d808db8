"""From architecture parameters to the network that they stand for, with its estimated latency and costs."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from models.networks.module import network_costs
from models.operators.costs import Costs
from models.spaces.base import DecodeOptions, Probabilities, Role
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
        alternative: which of the space's alternatives it is; empty where there is nothing to choose.
        estimate: its latency by the table.
        costs: its multiply-adds, FLOPs and parameters.
    """

    alternative: str
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
    alternative: str = "",
    role: Role | None = None,
    options: DecodeOptions | None = None,
    bias: SumBias | None = None,
) -> Derived:
    """The network of an alternative; see `SearchSpace.decode`.

    Args:
        parameters: logits.
        table: of the space that the parameters belong to.
        alternative: in any spelling that the space knows.
        role: for whom; the role that sees latency where None.
        options: of the space's decoding.
        bias: how the table's sums missed measured networks, see `estimate`.

    Raises:
        InvalidSpecError: parameters, alternative or options are not those of the table's search space.
    """
    space = create_space(table.info.space)
    named = space.resolve_alternative(alternative)
    architecture = space.decode(probabilities(parameters), alternative=named, role=role, options=options)
    return Derived(
        alternative=named,
        architecture=architecture,
        estimate=estimate(architecture, table, bias=bias),
        costs=network_costs(space.plan(architecture)),
    )
