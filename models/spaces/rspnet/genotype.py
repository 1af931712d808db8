"""What an RSPNet architecture records: the cell's operators, and the two paths into each place."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Self

from pydantic import Field

from models.networks.graph_plan import GraphChoices
from models.spaces.rspnet.parameters import CELL_EDGES, OPERATORS, RspNetParameters
from models.spec import limits
from models.spec.architectures import ArchitectureSpec
from models.spec.base import Record
from models.spec.errors import InvalidSpecError, UnknownNameError

Word = Annotated[str, Field(min_length=1, max_length=limits.MAX_GENOTYPE_TEXT)]
Pairs = Annotated[tuple[tuple[Word, Word], ...], Field(min_length=1, max_length=limits.MAX_LAYERS, fail_fast=True)]


class RspNetGenotype(Record):
    """The genotype of an architecture.

    Attributes:
        cell: the operator of each edge of the cell: from its input to the first node, from its input to the second, and from
            the first to the second.
        paths: by downsample rate, for each layer the two paths into its cells: the downsample rate of a map of the layer
            before, or `current`.
    """

    cell: Annotated[tuple[Word, ...], Field(min_length=len(CELL_EDGES), max_length=len(CELL_EDGES))]
    paths: Annotated[Mapping[Word, Pairs], Field(min_length=1, max_length=16)]

    @classmethod
    def of(cls, architecture: ArchitectureSpec) -> Self:
        """The architecture's. Raises InvalidSpecError that names the field, its value and what is allowed."""
        found = cls.parse(architecture.genotype, source="genotype")
        for kind in found.cell:
            if kind not in OPERATORS:
                raise UnknownNameError.of("genotype.cell: operator", kind, OPERATORS)
        return found

    def choices(self, parameters: RspNetParameters) -> GraphChoices:
        """The choice of each row of α and β.

        Raises:
            InvalidSpecError: a scale, a layer or a pair is none of the space's.
        """
        rates = [str(rate) for rate in parameters.rates]
        if sorted(self.paths) != sorted(rates):
            raise InvalidSpecError(f"genotype.paths: scales {', '.join(self.paths)}; this space has {', '.join(rates)}")
        chosen = []
        for rate in rates:
            pairs = self.paths[rate]
            if len(pairs) != parameters.layers:
                raise InvalidSpecError(f"genotype.paths.{rate}: {len(pairs)} pairs; this space has {parameters.layers} layers")
            for layer, pair in enumerate(pairs):
                if pair not in parameters.pairs:
                    raise InvalidSpecError(
                        f"genotype.paths.{rate}.{layer}: {' and '.join(pair)} is no pair of {', '.join(parameters.paths)}",
                        hint="Name two of them, in this order.",
                    )
                chosen.append(parameters.pairs.index(pair))
        return GraphChoices(alpha=tuple(map(OPERATORS.index, self.cell)), beta=tuple(chosen))

    @classmethod
    def from_choices(cls, choices: GraphChoices, parameters: RspNetParameters) -> Self:
        """The genotype of those choices."""
        layers = parameters.layers
        return cls(
            cell=tuple(OPERATORS[choice] for choice in choices.alpha),
            paths={
                str(rate): tuple(parameters.pairs[choice] for choice in choices.beta[level * layers : (level + 1) * layers])
                for level, rate in enumerate(parameters.rates)
            },
        )
