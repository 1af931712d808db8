"""How firmly searched parameters decide, as `derive` prints it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table as Grid

from models.spaces.base import LETTERS, JointChoice, SearchSpace
from models.terminal import people

if TYPE_CHECKING:
    from nas_client.search.firmness import Firmness

MOST_TIES = 3
"""Of a granularity that are named to people."""


def document(found: Sequence[Firmness], joint: Sequence[JointChoice]) -> dict[str, Any]:
    """For `--json`: by granularity, and what rows choose together."""
    return {
        "firmness": {
            one.granularity: {
                **one.model_dump(mode="json", exclude={"granularity"}),
                "ties": len(one.ties),
                "nearly_random": one.nearly_random,
            }
            for one in found
        },
        "joint_choices": [
            {
                "what": choice.what,
                "count": choice.count,
                "chosen": choice.chosen,
                "probability": choice.probability,
                "second": choice.second,
                "second_probability": choice.second_probability,
                "tied": choice.tied,
            }
            for choice in joint
        ],
    }


def show(console: Console, space: SearchSpace, found: Sequence[Firmness], joint: Sequence[JointChoice]) -> None:
    """For people."""
    from nas_client.search.firmness import CLOSE_GAP

    grid = Grid(box=None, pad_edge=False)
    for heading in ("how firmly", "entropy\n(nats)", "at most\n(nats)", "rows", f"best two\nwithin {CLOSE_GAP}", "ties"):
        grid.add_column(heading, justify="left" if heading == "how firmly" else "right", no_wrap=True)
    for one in found:
        numbers = (f"{one.entropy:.3f}", f"{one.entropy_maximum:.3f}")
        counts = (len(one.gaps), one.close_rows, len(one.ties))
        grid.add_row(_name(space, one.granularity), *numbers, *map(str, counts))
    if found:
        console.print(grid)
    for choice in joint:
        second = f"; next {choice.second}, {choice.second_probability:.3g}" if choice.second else ""
        console.print(f"{choice.what}: {choice.chosen}, probability {choice.probability:.3g} of {choice.count} ways{second}")


def warn(space: SearchSpace, found: Sequence[Firmness], joint: Sequence[JointChoice]) -> None:
    """To stderr: which choices were made by chance, or by a rule between equals."""
    console = people()
    for line in (*_nearly_random(space, found), *_ties(space, found, joint)):
        console.print(line, style="yellow", markup=False)


def _nearly_random(space: SearchSpace, found: Sequence[Firmness]) -> Iterator[str]:
    for one in found:
        if one.nearly_random:
            yield (
                f"{_name(space, one.granularity)}: decoding is close to chance: probabilities lie {one.learned:.2g} nats "
                f"(mean divergence) from equal ones or from those that a search starts with, and the best two choices of "
                f"{one.close_rows} of {len(one.gaps)} rows are nearly equal"
            )


def _ties(space: SearchSpace, found: Sequence[Firmness], joint: Sequence[JointChoice]) -> Iterator[str]:
    names = space.choice_names()
    for one in found:
        name, columns = _name(space, one.granularity), names.get(one.granularity, ())
        for row in one.ties[:MOST_TIES]:
            where = f"row {row.row}" + (f" of group {row.group!r}" if row.group else "")
            yield f"{name}: tie in {where}: {_column(columns, row.choice)} and {_column(columns, row.second)}"
        if len(one.ties) > MOST_TIES:
            yield f"{name}: ties in {len(one.ties) - MOST_TIES} more rows; --json has the gap of each"
    for choice in joint:
        if choice.tied:
            yield f"{choice.what}: tie: {choice.chosen}, and {choice.second}"


def _column(names: Sequence[str], column: int) -> str:
    return names[column] if column < len(names) else f"choice {column}"


def _name(space: SearchSpace, granularity: str) -> str:
    return f"{space.granularity_labels[granularity]} ({LETTERS[granularity]})"
