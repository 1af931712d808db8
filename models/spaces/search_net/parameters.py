"""What a SEARCH-Net space is made of: its operators, the cells of its U, and the parameters that a spec may set."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations
from typing import Annotated, NamedTuple, Self

from pydantic import Field, StrictInt, field_validator, model_validator

from models.spec import limits
from models.spec.architectures import ArchitectureSpec, SpaceSpec, known_parameters
from models.spec.base import Record
from models.spec.errors import InvalidSpecError
from models.spec.kinds import AttributeValue

OPERATORS: Mapping[str, tuple[str, Mapping[str, AttributeValue]]] = {
    "sep_conv_3x3": ("sep_conv", {"kernel": 3}),
    "sep_conv_5x5": ("sep_conv", {"kernel": 5}),
    "dil_conv_3x3": ("dil_conv", {"kernel": 3}),
    "dil_conv_5x5": ("dil_conv", {"kernel": 5}),
    "mbconv_3x3": ("mbconv", {"kernel": 3}),
    "mbconv_5x5": ("mbconv", {"kernel": 5}),
    "skip_connect": ("skip_connect", {}),
}
"""The choices of an edge in a cell, in the paper's order, with the kind and attributes of each.

Items 1 and 2 of the paper's list cannot be read in the copy at hand; as its text names DARTS' operators, they are the separable
convolutions.
"""

INPUTS = 2
"""Maps that a cell takes."""

TAKEN = 2
"""Edges that a node of a cell keeps, the best two."""

MAX_LEVELS = 4
"""At most so many cells lead down, so that sides divisible by 16 are always enough."""

Flag = Annotated[StrictInt, Field(ge=0, le=1)]


class Place(NamedTuple):
    """Where a cell stands in the U.

    Attributes:
        level: 0 for the first and the last cell.
        downwards: whether it halves the sides.
    """

    level: int
    downwards: bool

    @property
    def scale(self) -> int:
        """Its output has the image's sides divided by this."""
        return 2 << self.level


class NetworkParameters(Record):
    """Those of the space's parameters that its networks depend on.

    Attributes:
        base_channels: of the stem, and of the first and the last cell; each level further down doubles them.
        levels: cells on the way down, and as many on the way up.
        nodes: of a cell; each has channels / nodes, and the cell concatenates them.
        expansion: of the bottlenecks.
        silu: 1: SiLU in the bottlenecks; 0: ReLU.

    Source: the paper's section 3.2 gives the eight cells and 64 to 512 channels; nodes are DARTS', and the rest is ours.
    """

    base_channels: Annotated[StrictInt, Field(ge=1, le=limits.MAX_CHANNELS)] = 64
    levels: Annotated[StrictInt, Field(ge=1, le=MAX_LEVELS)] = 4
    nodes: Annotated[StrictInt, Field(ge=2, le=8)] = 4
    expansion: Annotated[StrictInt, Field(ge=1, le=16)] = 6
    silu: Flag = 0

    @classmethod
    def of_architecture(cls, architecture: ArchitectureSpec) -> NetworkParameters:
        """The architecture's; those that it does not state are the default space's.

        Raises:
            InvalidSpecError: names the parameter, its value and what is allowed.
        """
        whose = f"a network of search space {architecture.space!r}"
        stated = known_parameters(architecture.parameters, NetworkParameters.model_fields, whose)
        return NetworkParameters.parse(stated, source="parameters")

    @model_validator(mode="after")
    def _whole_channels(self) -> Self:
        if self.base_channels % self.nodes:
            raise InvalidSpecError(
                f"base_channels {self.base_channels} is not divisible by nodes {self.nodes}, which share a cell's channels"
            )
        return self

    @property
    def places(self) -> tuple[Place, ...]:
        """Of the cells, in order: down, then up."""
        down = range(self.levels)
        return (*(Place(level, True) for level in down), *(Place(level, False) for level in reversed(down)))

    @property
    def coarsest(self) -> int:
        """Scale of the lowest cells' maps, by which an image's sides are divisible."""
        return 1 << self.levels

    def channels(self, level: int) -> int:
        """Of a cell's output at that level."""
        return self.base_channels << level


class SearchNetParameters(NetworkParameters):
    """All parameters of a SEARCH-Net space.

    Attributes:
        operators: choices of every edge, by their numbers in the paper's list: 1 is the first of `OPERATORS`.
        sharing: 1: the cells that lead down are alike, and so are those that lead up; 0: each cell has its own choices.
    """

    operators: Annotated[tuple[StrictInt, ...], Field(min_length=1, max_length=len(OPERATORS))] = tuple(
        range(1, len(OPERATORS) + 1)
    )
    sharing: Flag = 0

    @classmethod
    def of(cls, spec: SpaceSpec) -> Self:
        """The parameters that the spec states, the others at their defaults.

        Raises:
            InvalidSpecError: names the parameter, its value and its limits.
        """
        return cls.parse(known_parameters(spec.parameters, cls.model_fields, f"search space {spec.name!r}"))

    @field_validator("operators")
    @classmethod
    def _known_operators(cls, operators: tuple[int, ...]) -> tuple[int, ...]:
        if list(operators) != sorted(set(operators)) or not 1 <= operators[0] <= operators[-1] <= len(OPERATORS):
            raise InvalidSpecError(f"operators are numbers from 1 to {len(OPERATORS)} that ascend, each once")
        return operators

    @property
    def network(self) -> NetworkParameters:
        """Those that a network depends on."""
        return NetworkParameters.parse(self.model_dump(include=set(NetworkParameters.model_fields)))

    @property
    def names(self) -> tuple[str, ...]:
        """The operators, in the order of α's columns."""
        named = tuple(OPERATORS)
        return tuple(named[number - 1] for number in self.operators)


def pairs(node: int) -> tuple[tuple[int, int], ...]:
    """The two edges that a node may keep, in the order of β's columns; edges count the cell's inputs, then earlier nodes."""
    return tuple(combinations(range(INPUTS + node), TAKEN))  # type: ignore[arg-type]


class Rows:
    """Which rows of α and β decide what.

    Args:
        parameters: of the space.
        shared: whether cells share rows as the parameters say; otherwise each has its own.
    """

    def __init__(self, parameters: SearchNetParameters, *, shared: bool = True) -> None:
        self.nodes, self._choices = parameters.nodes, len(parameters.operators)
        names = [f"c{index + 1}" for index in range(len(parameters.places))]
        if shared and parameters.sharing:
            names = ["down" if place.downwards else "up" for place in parameters.places]
        self.groups = tuple(dict.fromkeys(names))
        self._group = [self.groups.index(name) for name in names]
        self._edges = sum(INPUTS + node for node in range(self.nodes))

    def shapes(self) -> dict[str, dict[str, tuple[int, int]]]:
        """As `SearchSpace.parameter_shapes`. The first node of a cell has nothing to choose from, hence no row of β."""
        beta = {f"{group}_node{node}": (1, len(pairs(node))) for group in self.groups for node in range(1, self.nodes)}
        return {"alpha": dict.fromkeys(self.groups, (self._edges, self._choices)), "beta": beta, "gamma": {}}

    def alpha(self, cell: int, node: int, edge: int) -> int:
        """The row that chooses the operator of an edge into a node of that cell."""
        return self._group[cell] * self._edges + sum(INPUTS + earlier for earlier in range(node)) + edge

    def beta(self, cell: int, node: int) -> int | None:
        """The row that chooses that node's edges."""
        return self._group[cell] * (self.nodes - 1) + node - 1 if node else None
