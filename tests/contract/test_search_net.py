"""The suite of what every search space must satisfy, on SEARCH-Net: the whole U, and instances small enough to enumerate."""

from __future__ import annotations

from models.spaces.search_net.parameters import OPERATORS, pairs
from models.spaces.search_net.space import SearchNetSpace
from models.spec.architectures import ArchitectureSpec, SpaceSpec
from models.spec.operators import OperatorSpec
from models.testing import SmallSpaceSuite, SpaceSuite
from models.testing.graph_reference import Probabilities


class SearchNetSuite(SpaceSuite):
    spread = 1.3

    def architectures(self, space: SearchNetSpace, choices: Probabilities) -> list[ArchitectureSpec]:
        """Rows in the order of docs/search-net.md: cell by cell, node by node, edge by edge."""
        parameters = space.parameters
        alpha, beta = iter(choices.alpha), iter(choices.beta)
        names = [list(OPERATORS)[number - 1] for number in parameters.operators]

        def cell() -> list[dict[str, list[object]]]:
            nodes = []
            operators = [[names[next(alpha).index(1)] for _ in range(2 + node)] for node in range(parameters.nodes)]
            for node, of_edges in enumerate(operators):
                kept = pairs(node)[next(beta).index(1) if node else 0]
                nodes.append({"inputs": list(kept), "operators": [of_edges[edge] for edge in kept]})
            return nodes

        if parameters.sharing:
            cells = [one for one in (cell(), cell()) for _ in range(parameters.levels)]
        else:
            cells = [cell() for _ in range(2 * parameters.levels)]
        fields = space.spec.model_dump(include={"input_size", "classes", "batch", "dtype"})
        return [
            ArchitectureSpec(
                space="search_net", parameters=parameters.network.model_dump(), genotype={"cells": cells}, **fields
            )
        ]

    def charged(self, space: SearchNetSpace, architecture: ArchitectureSpec) -> list[OperatorSpec]:
        return list(space.architecture_operators(architecture))[:-2]  # without the head


class TestSearchNet(SearchNetSuite):
    """Eight cells, each its own, with all operators."""

    spec = SpaceSpec(name="search_net", input_size=(32, 48), classes=2, parameters={"base_channels": 8, "silu": 1})


class TestSearchNetShared(SearchNetSuite, SmallSpaceSuite):
    """Two cells down that are alike, two up that are alike; one with a skip from the way down."""

    spec = SpaceSpec(
        name="search_net",
        input_size=(16, 24),
        classes=3,
        parameters={"base_channels": 4, "levels": 2, "nodes": 2, "operators": (3, 7), "sharing": 1},
    )
    spread = 1.2


class TestSearchNetOfTwoCells(SearchNetSuite, SmallSpaceSuite):
    """The fewest cells, with bottlenecks."""

    spec = SpaceSpec(
        name="search_net",
        input_size=(8, 12),
        classes=3,
        batch=2,
        parameters={"base_channels": 4, "levels": 1, "nodes": 2, "operators": (1, 5), "expansion": 2},
    )
