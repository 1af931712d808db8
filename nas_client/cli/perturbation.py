"""Operators that are decided by their removal, as `derive --perturb` finds and prints them."""

from __future__ import annotations

from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table as Grid

from models.spaces.base import Role, SearchSpace
from models.terminal import progress
from nas_client.cli.firmness import column_name

if TYPE_CHECKING:
    from nas_client.selection.perturbation import Perturbed
    from nas_client.table import LookupTable


def perturbed(run: Path, table: LookupTable, role: Role, images: int | None) -> Perturbed:
    """Decide the operators of the search in that folder, and show how far it is. Raises as `perturb_search`."""
    from nas_client.runs.processes import Processes
    from nas_client.selection.perturbation import perturb_search

    with Processes() as processes, progress() as bar:
        task = bar.add_task("removing operators", total=None, note="")

        def watch(done: int, total: int) -> None:
            bar.update(task, completed=done, total=total)

        return perturb_search(run, table, role=role.name, images=images, processes=processes, watch=watch)


def document(found: Perturbed) -> dict[str, Any]:
    """For `--json`."""
    how = found.perturbation
    rows = [{**row.model_dump(mode="json"), "differs": row.differs, "spread": row.spread} for row in how.rows]
    return {"images": found.images, "before": how.before, "after": how.after, "rows": rows}


def show(console: Console, space: SearchSpace, found: Perturbed) -> None:
    """For people: how many rows differ from the highest α, and which."""
    how = found.perturbation
    differing = [row for row in how.rows if row.differs]
    spread = median(row.spread for row in how.rows)
    lines = (
        f"\noperators by removal: {len(differing)} of {len(how.rows)} rows differ from the highest α; mIoU of the supernet on "
        f"{found.images} images: {how.before:.4f} as the mixture, {how.after:.4f} with one operator in each row",
        f"mIoU between the best and the worst removal of a row: {spread:.4f} (median)",
    )
    for line in lines:
        console.print(line, markup=False, soft_wrap=True)
    if not differing:
        return
    names = space.choice_names().get("alpha", ())
    grid = Grid("group", "row", "highest α", "mIoU\nwithout", "by removal", "mIoU\nwithout", box=None, pad_edge=False)
    for row in differing:
        cells = [(column_name(names, column), f"{row.without[column]:.4f}") for column in (row.highest, row.chosen)]
        grid.add_row(row.group, str(row.row), *cells[0], *cells[1])
    console.print(grid)
