"""Where everything of a network stands in its drawing: layers from left to right, downsample rates from top to bottom. Pure.

Read off the network's plan, so that what is drawn is what is built and charged: cells that branches share stand once.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import count

from models.networks.structure import INPUT, OperatorStep, downsample_rate
from models.spaces.registry import space_of
from models.spec.architectures import ArchitectureSpec


@dataclass(frozen=True)
class Place:
    """One step of the plan on the grid.

    Attributes:
        column: counted from the network's first operator; a cell's is `Placement.stem` plus its place in its branch.
        scale: downsample rate of the row: that of the step's input. What is finer than all cells stands in the cells' finest.
        lane: within the row, counted from the top; two steps never share column, scale and lane.
        fullness: for a cell, its output channels as a share of the most that the search space has there; else None.
    """

    step: OperatorStep
    column: int
    scale: int
    lane: int
    fullness: float | None


@dataclass(frozen=True)
class Connection:
    """A map from one place to another, and the row and lane in which its line passes the columns between the two."""

    source: Place
    destination: Place
    scale: int
    lane: int


@dataclass(frozen=True)
class Placement:
    """A network on its grid.

    Attributes:
        scales: the rows, finest first.
        lanes: how many each row has.
        stem, layers, head: how many columns each of the three parts has, in order. Where no step is a cell, all are layers.
        places: by name of the step, in the plan's order.
        connections: between them.
    """

    scales: tuple[int, ...]
    lanes: dict[int, int]
    stem: int
    layers: int
    head: int
    places: dict[str, Place]
    connections: tuple[Connection, ...]


def place(architecture: ArchitectureSpec) -> Placement:
    """The architecture's network on a grid.

    Raises:
        InvalidSpecError: it is no architecture of its search space.
    """
    space = space_of(architecture)
    plan = space.plan(architecture)
    cells = [step for step in plan.steps if step.cell is not None]
    steps = {step.name: step for step in plan.steps}
    columns = _columns(steps, cells)
    finest = min(_rate(architecture, step) for step in cells or plan.steps)
    rows = {name: max(_rate(architecture, step), finest) for name, step in steps.items()}
    scales = tuple(sorted(set(rows.values())))
    runs = _Runs(steps, columns, rows)
    full = _most_channels(architecture, {step.operator.kind for step in cells})
    places = {
        name: Place(step, columns[name], rows[name], runs.of[name].lane, _fullness(step, full)) for name, step in steps.items()
    }
    stem = columns[cells[0].name] if cells else 0
    layers = 1 + max((step.cell for step in cells if step.cell is not None), default=max(columns.values()))
    return Placement(
        scales=scales,
        lanes={scale: 1 + max(run.lane for run in runs.all if run.scale == scale) for scale in scales},
        stem=stem,
        layers=layers,
        head=1 + max(columns.values()) - stem - layers,
        places=places,
        connections=tuple(
            Connection(places[source], places[name], run.scale, run.lane) for (source, name), run in runs.ways.items()
        ),
    )


def sources(step: OperatorStep) -> Iterator[str]:
    """The steps whose maps that step takes."""
    return (name for name in step.sources if name != INPUT)


def _columns(steps: Mapping[str, OperatorStep], cells: Sequence[OperatorStep]) -> dict[str, int]:
    """Each step one to the right of the last of its sources; the head to the right of all cells, which precede it in a plan."""
    columns: dict[str, int] = {}
    names = {cell.name for cell in cells}
    head = 0
    for name, step in steps.items():
        after = max((columns[source] + 1 for source in sources(step)), default=0)
        if name in names:
            columns[name] = after
            head = max(head, after + 1)
        else:
            columns[name] = max(after, head)
    return columns


def _rate(architecture: ArchitectureSpec, step: OperatorStep) -> int:
    """Downsample rate of what enters the step."""
    return downsample_rate(architecture.input_size, (step.operator.height, step.operator.width))


@dataclass
class _Run:
    """A stretch of one row's lane: steps that follow each other, and lines that pass."""

    scale: int
    first: int
    last: int
    lane: int = 0

    def overlaps(self, other: _Run) -> bool:
        """Whether both cannot have the same lane."""
        return self.scale == other.scale and self.first <= other.last and other.first <= self.last


class _Runs:
    """The runs of a network, each in the topmost lane that earlier ones leave free.

    Attributes:
        all: in the order of the plan.
        of: by name of the step that stands in it.
        ways: by names of source and destination: the run in which the line between them passes.
    """

    def __init__(self, steps: Mapping[str, OperatorStep], columns: Mapping[str, int], rows: Mapping[str, int]) -> None:
        self._columns, self._rows = columns, rows
        self.all: list[_Run] = []
        self.of: dict[str, _Run] = {}
        self.ways: dict[tuple[str, str], _Run] = {}
        self._ends: set[str] = set()  # steps after which their run may go on
        for name, step in steps.items():
            self._add(name, tuple(sources(step)))
        for index, run in enumerate(self.all):
            taken = {other.lane for other in self.all[:index] if other.overlaps(run)}
            run.lane = next(lane for lane in count() if lane not in taken)

    def _add(self, name: str, entering: tuple[str, ...]) -> None:
        row, column = self._rows[name], self._columns[name]
        beside = [source for source in entering if self._rows[source] == row]
        followed = next((source for source in beside if source in self._ends), None)
        run = self.of[followed] if followed is not None else None
        if run is None:
            followed = next(iter(beside), None)
            run = self._new(row, column if followed is None else self._columns[followed] + 1, column)
        for source in entering:
            self.ways[source, name] = run if source == followed else self._passing(source, column)
        self._ends.discard(followed or "")
        self._ends.add(name)
        self.of[name] = run
        run.last = max(run.last, column)

    def _passing(self, source: str, column: int) -> _Run:
        """The run by which a line from that step reaches that column: the step's own where nothing follows there."""
        run = self.of[source]
        start = self._columns[source] + 1
        if start < column and source not in self._ends:
            return self._new(run.scale, start, column - 1)
        run.last = max(run.last, column - 1)
        return run

    def _new(self, scale: int, first: int, last: int) -> _Run:
        run = _Run(scale, first, last)
        self.all.append(run)
        return run


def _most_channels(architecture: ArchitectureSpec, kinds: set[str]) -> dict[int, int]:
    """By height of the output: the most channels that operators of those kinds have in the search space."""
    most: dict[int, int] = defaultdict(int)
    for operator in space_of(architecture).operators():
        if operator.kind in kinds:
            height = operator.output_shape[2]
            most[height] = max(most[height], operator.out_channels)
    return most


def _fullness(step: OperatorStep, most: Mapping[int, int]) -> float | None:
    if step.cell is None:
        return None
    return step.operator.out_channels / most[step.operator.output_shape[2]]
