"""How much of its search space a table covers, as far as a list of tables shows."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from models.spaces.registry import create_space
from models.spec.architectures import SpaceSpec
from models.spec.errors import InvalidSpecError
from models.spec.tables import TableInfo
from models.spec.wire import TablePublic


@dataclass(frozen=True)
class Coverage:
    """Entries of a table against the grid of its space.

    Attributes:
        entries: operators with an entry. Lists count them without naming them, so that an operator from outside the grid, if
            the table has any, counts too.
        failed: of these, how many have no value.
        grid: operators of the grid; None where that is not known, as of imported tables or spaces unknown here.
    """

    entries: int
    failed: int
    grid: int | None

    @property
    def complete(self) -> bool:
        """Whether the entries cover the grid."""
        return self.grid is not None and self.entries >= self.grid

    @property
    def partial(self) -> bool:
        """Whether entries are certainly missing."""
        return self.grid is not None and self.entries < self.grid

    def label(self) -> str:
        """For people: `5 of 692 entries, partial`."""
        text = f"{self.entries} entries" if self.grid is None else f"{self.entries} of {self.grid} entries"
        return text + (", partial" if self.partial else "") + (f", {self.failed} failed" if self.failed else "")


def coverage(table: TablePublic) -> Coverage:
    """How much of its space that table covers."""
    return Coverage(table.entries, table.failed, grid_size(table.info))


def grid_size(info: TableInfo) -> int | None:
    """Number of operators in the grid of a table's space; None where it is unknown."""
    if info.target.options.get("origin") == "imported":
        return None
    return _operators(info.space.model_dump_json())


@lru_cache(maxsize=64)
def _operators(space: str) -> int | None:
    """Operators of the space in that JSON text. Cached, because it takes milliseconds."""
    spec = SpaceSpec.parse_json(space)
    try:
        space_of_table = create_space(spec)
    except InvalidSpecError:
        return None
    return len(space_of_table.operators()) if space_of_table.spec == spec else None
