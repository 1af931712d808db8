"""What a SEARCH-Net architecture records: the cells that were found, or the name of a reference network.

Neither the classes nor the input size are part of it, so that found cells can be moved to another data set: the same genotype
in an architecture of other classes or another size is the same network.
"""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import Field, StrictInt, model_validator

from models.spaces.search_net.parameters import INPUTS, TAKEN, SearchNetParameters, pairs
from models.spec import limits
from models.spec.architectures import ArchitectureSpec
from models.spec.base import Record
from models.spec.errors import InvalidSpecError, UnknownNameError

Name = Annotated[str, Field(min_length=1, max_length=64)]


class NodeSpec(Record):
    """One node of a cell: the sum of two edges.

    Attributes:
        inputs: where its edges come from, ascending: 0 and 1 are the cell's inputs, 2 its first node.
        operators: of these edges, by their names in `OPERATORS`.
    """

    inputs: Annotated[tuple[StrictInt, ...], Field(min_length=TAKEN, max_length=TAKEN)]
    operators: Annotated[tuple[Name, ...], Field(min_length=TAKEN, max_length=TAKEN)]


class SearchNetGenotype(Record):
    """The genotype of an architecture.

    Attributes:
        cells: the nodes of each cell, C1 first; none in a reference network.
        reference: name of a reference network; empty where there are cells.
    """

    cells: Annotated[
        tuple[Annotated[tuple[NodeSpec, ...], Field(max_length=limits.MAX_CELLS)], ...],
        Field(max_length=limits.MAX_CELLS, fail_fast=True),
    ] = ()
    reference: Annotated[str, Field(max_length=64)] = ""

    @model_validator(mode="after")
    def _one_of_them(self) -> Self:
        if bool(self.cells) == bool(self.reference):
            raise InvalidSpecError("cells and reference: a network has exactly one of the two")
        return self

    @classmethod
    def of(cls, architecture: ArchitectureSpec) -> Self:
        """The architecture's. Raises InvalidSpecError that names the field, its value and what is allowed."""
        return cls.parse(architecture.genotype, source="genotype")

    def document(self) -> dict[str, object]:
        """As an architecture holds it."""
        return self.model_dump(mode="json", exclude_defaults=True)

    def require_cells_of(self, parameters: SearchNetParameters) -> None:
        """Raises InvalidSpecError unless the cells are of that space; names the field, its value and what is allowed."""
        if len(self.cells) != len(parameters.places):
            raise InvalidSpecError(
                f"genotype.cells: {len(self.cells)} cells; {parameters.levels} levels have {len(parameters.places)}"
            )
        for cell, nodes in enumerate(self.cells):
            if len(nodes) != parameters.nodes:
                raise InvalidSpecError(f"genotype.cells.{cell}: {len(nodes)} nodes; a cell has {parameters.nodes}")
            for index, node in enumerate(nodes):
                where = f"genotype.cells.{cell}.{index}"
                if node.inputs not in pairs(index):
                    raise InvalidSpecError(
                        f"{where}.inputs: {list(node.inputs)} are not two of 0 to {INPUTS + index - 1}, ascending"
                    )
                for name in node.operators:
                    if name not in parameters.names:
                        raise UnknownNameError.of(f"operator in {where}", name, parameters.names)
