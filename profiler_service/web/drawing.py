"""A network as a drawing that a template makes: layers from left to right, finer maps above coarser ones."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

from models.networks.structure import INPUT, OperatorStep, downsample_rate
from models.spaces.registry import space_of
from models.spec.architectures import ArchitectureSpec

COLUMN, LANE, WIDTH, HEIGHT = 44, 34, 34, 22
LEFT, TOP = 44, 8

KINDS = ("skip", "conv3x3", "conv3x3_x2", "zoomed_conv3x3", "zoomed_conv3x3_x2")
"""Those with a colour of their own; all others share one."""

JOINS = {"add": "+", "concat": "∥"}
"""Signs of those whose channels say little."""


@dataclass(frozen=True)
class Box:
    """One step. `colour` is the number of its kind's colour."""

    x: int
    y: int
    colour: int
    text: str
    title: str


@dataclass(frozen=True)
class Line:
    """From one step to a later one."""

    x1: int
    y1: int
    x2: int
    y2: int


@dataclass(frozen=True)
class Drawing:
    """Everything in units of the drawing. `rates`: text and vertical place of each row of maps; `kinds`: colour to name."""

    width: int
    height: int
    boxes: tuple[Box, ...]
    lines: tuple[Line, ...]
    rates: tuple[tuple[str, int], ...]
    kinds: dict[int, str]


def draw(architecture: ArchitectureSpec) -> Drawing:
    """The drawing of a network. Raises InvalidSpecError, UnknownNameError where its space does not know it."""
    plan = space_of(architecture).plan(architecture)
    columns: dict[str, int] = {}
    rate_of: dict[str, int] = {}
    taken: defaultdict[tuple[int, int], int] = defaultdict(int)
    lanes: defaultdict[int, int] = defaultdict(lambda: 1)
    at: dict[str, tuple[int, int, int]] = {}
    for step in plan.steps:
        sources = [name for name in step.sources if name != INPUT]
        column = columns[step.name] = max((columns[name] + 1 for name in sources), default=0)
        rate = rate_of[step.name] = _rate(step, architecture)
        lane = taken[column, rate]
        taken[column, rate] += 1
        lanes[rate] = max(lanes[rate], lane + 1)
        at[step.name] = (column, rate, lane)
    tops: dict[int, int] = {}
    y = TOP
    for rate in sorted(lanes):
        tops[rate] = y
        y += lanes[rate] * LANE + 6
    place = {name: (LEFT + column * COLUMN, tops[rate] + lane * LANE) for name, (column, rate, lane) in at.items()}
    lines = [
        Line(place[source][0] + WIDTH, place[source][1] + HEIGHT // 2, place[step.name][0], place[step.name][1] + HEIGHT // 2)
        for step in plan.steps
        for source in step.sources
        if source != INPUT
    ]
    boxes = [_box(step, *place[step.name]) for step in plan.steps]
    used = {step.operator.kind for step in plan.steps}
    kinds = {index: kind.replace("_", " ") for index, kind in enumerate(KINDS) if kind in used}
    if used - set(KINDS):
        kinds[len(KINDS)] = "others"
    return Drawing(
        width=LEFT + (max(columns.values(), default=0) + 1) * COLUMN,
        height=y,
        boxes=tuple(boxes),
        lines=tuple(lines),
        rates=tuple((f"1/{rate}", tops[rate] + HEIGHT // 2 + 4) for rate in sorted(lanes)),
        kinds=kinds,
    )


def _rate(step: OperatorStep, architecture: ArchitectureSpec) -> int:
    """By how much the step's input is smaller than the image."""
    return downsample_rate(architecture.input_size, (step.operator.height, step.operator.width))


def _box(step: OperatorStep, x: int, y: int) -> Box:
    kind = step.operator.kind
    colour = KINDS.index(kind) if kind in KINDS else len(KINDS)
    text = JOINS.get(kind, str(step.operator.out_channels))
    return Box(x, y, colour, text, step.operator.label())
