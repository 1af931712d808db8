"""An architecture drawn as in FasterSeg's Figure 6: its path through scales and layers, operator by operator."""

from __future__ import annotations

from dataclasses import dataclass

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Circle, FancyBboxPatch, Patch, PathPatch, Rectangle
from matplotlib.path import Path as Curve

from models.spec.architectures import ArchitectureSpec
from nas_client.drawing.placement import Connection, Place, Placement, place
from nas_client.plotting import GRID, INK, MUTED, PAPER, STYLE

_ON_DARK, _ON_LIGHT = "#fdfdfd", "#15181c"  # on boxes, whose colour is the same on every page
_INCHES = 0.56
"""Of a column, and of a lane."""
_LEGEND_LINE = 0.36
"""Columns."""
_HALF_WIDTH, _LEAST_HALF_HEIGHT, _FULL_HALF_HEIGHT = 0.36, 0.19, 0.40


@dataclass(frozen=True)
class _Look:
    colour: str
    name: str


_LOOKS = {
    "skip": _Look("#c4cbd3", "skip connection"),
    "conv3x3": _Look("#7db4e8", "3×3 conv."),
    "conv3x3_x2": _Look("#1f66b0", "3×3 conv. ×2"),
    "zoomed_conv3x3": _Look("#f2b36b", "zoomed conv."),
    "zoomed_conv3x3_x2": _Look("#c2570c", "zoomed conv. ×2"),
    "conv5x5": _Look("#7c5cc4", "5×5 conv."),
    "dilated3x3": _Look("#d16a8a", "3×3 conv., dilated"),
    "depthwise3x3": _Look("#5aa897", "depthwise 3×3 conv."),
    "partial_conv3x3": _Look("#7db4e8", "3×3 conv. of half the channels"),
    "identity": _Look("#e3e7eb", "identity"),
    "sep_conv": _Look("#2b7a9b", "separable conv. ×2"),
    "dil_conv": _Look("#d98c5f", "separable conv., dilated"),
    "mbconv": _Look("#6b57a8", "bottleneck with a gate"),
    "skip_connect": _Look("#c4cbd3", "skip connection"),
    "max_pool": _Look("#b9a84c", "maximum pooling"),
    "path": _Look("#d9c48c", "path (1×1 conv.)"),
    "last_channels": _Look("#eee3c4", "untouched half"),
    "object_context_head": _Look("#4a545e", "OCR head"),
    "classifier": _Look("#5b6874", "classifier"),
    "adaptive_attention": _Look("#b0549b", "adaptive attention"),
    "irnn": _Look("#d3a3c9", "recurrences"),
    "conv_bn_relu": _Look("#98a2ad", "conv."),
    "feature_fusion": _Look("#7a8793", "feature fusion"),
    "segmentation_head": _Look("#5b6874", "classifier"),
    "upsample": _Look("#dde3e9", "upsampling"),
}


@dataclass(frozen=True)
class _Join:
    symbol: str
    name: str


_JOINS = {
    "add": _Join("+", "sum"),
    "concat": _Join("c", "concatenation"),
    "resize": _Join("r", "resize"),
    "scale": _Join("×", "scaling"),
}


def draw_architecture(architecture: ArchitectureSpec, *, title: str = "") -> Figure:
    """The architecture's path over scales and layers.

    One box per operator, where it works: columns are layers, rows downsample rates. Its colour says the kind, its number the
    output channels, a cell's height how much of the search space's widest that is. Cells that branches share stand once.

    Args:
        architecture: of any space.
        title: stands above; the architecture's label where empty.

    Raises:
        InvalidSpecError: see `place`.

    Source: FasterSeg, Figure 6 and Table 7.
    """
    placement = place(architecture)
    rows = _Rows(placement)
    columns = placement.stem + placement.layers + placement.head
    with mpl.rc_context(STYLE):
        looks = _looks(placement)
        below = 0.48 + _LEGEND_LINE * max(2, -(-len(looks) // _legend_columns(columns)))
        figure = Figure(figsize=(_INCHES * (columns + 1.4), _INCHES * (rows.height + 1 + below)))
        axes = figure.add_axes((0, 0, 1, 1))
        axes.set(xlim=(-1.4, columns), ylim=(rows.height + below, -1.0), aspect="equal")
        axes.set_axis_off()
        axes.text(-1.3, -0.75, title or architecture.label(), fontsize=10, weight="bold", va="center")
        _background(axes, placement, rows, columns)
        for connection in placement.connections:
            _connect(axes, connection, rows)
        for standing in placement.places.values():
            _draw(axes, standing, rows)
        _legend(axes, placement, looks, rows, columns)
    return figure


class _Rows:
    """Vertical positions: one unit per lane, a gap between rows."""

    GAP = 0.3

    def __init__(self, placement: Placement) -> None:
        self.tops: dict[int, float] = {}
        top = 0.0
        for scale in placement.scales:
            self.tops[scale] = top
            top += placement.lanes[scale] + self.GAP
        self.height = top - self.GAP

    def y(self, standing: Place) -> float:
        return self.lane(standing.scale, standing.lane)

    def lane(self, scale: int, lane: int) -> float:
        return self.tops[scale] + lane + 0.5


def _background(axes: Axes, placement: Placement, rows: _Rows, columns: int) -> None:
    for scale in placement.scales:
        band = (0.0, rows.tops[scale]), columns, placement.lanes[scale]
        axes.add_patch(Rectangle(*band, facecolor=GRID, alpha=0.45, linewidth=0, zorder=0))
        middle = rows.tops[scale] + placement.lanes[scale] / 2
        axes.text(-0.2, middle, f"1/{scale}", ha="right", va="center", color=INK, fontsize=9)
    parts = {"stem": placement.stem, "": placement.layers, "head": placement.head}
    start = 0
    for name, width in parts.items():
        if not width:
            continue
        if start:
            axes.plot([start, start], [0, rows.height], color=MUTED, linewidth=0.7, dashes=(3, 3), zorder=1)
        if name:
            axes.text(start + width / 2, -0.2, name, ha="center", va="center", color=MUTED, fontsize=8)
        start += width
    for layer in range(placement.layers):
        axes.text(placement.stem + layer + 0.5, -0.2, str(layer + 1), ha="center", va="center", color=MUTED, fontsize=8)


def _connect(axes: Axes, connection: Connection, rows: _Rows) -> None:
    """A line that changes lanes between two columns, where no box is in its way."""
    source, destination = connection.source, connection.destination
    passing = rows.lane(connection.scale, connection.lane)
    points, codes = [(source.column + 0.5, rows.y(source))], [Curve.MOVETO]
    if destination.column > source.column + 1:
        _turn(points, codes, source.column + 1, passing)
    _turn(points, codes, destination.column, rows.y(destination))
    points.append((destination.column + 0.5, rows.y(destination)))
    codes.append(Curve.LINETO)
    axes.add_patch(PathPatch(Curve(points, codes), facecolor="none", edgecolor=MUTED, linewidth=1.2, zorder=2))


def _turn(points: list[tuple[float, float]], codes: list[np.uint8], x: float, y: float) -> None:
    """Go straight to that column's border, and around it to that height."""
    before = points[-1][1]
    points += [(x - 0.14, before), (x, before), (x, y), (x + 0.14, y)]
    codes += [Curve.LINETO, Curve.CURVE4, Curve.CURVE4, Curve.CURVE4]


def _draw(axes: Axes, standing: Place, rows: _Rows) -> None:
    centre = (standing.column + 0.5, rows.y(standing))
    operator = standing.step.operator
    if operator.kind in _JOINS:
        axes.add_patch(Circle(centre, 0.17, facecolor=PAPER, edgecolor=INK, linewidth=1, zorder=3))
        axes.text(*centre, _JOINS[operator.kind].symbol, ha="center", va="center", color=INK, fontsize=7, zorder=4)
        return
    look = _look(operator.kind)
    share = 0.5 if standing.fullness is None else standing.fullness
    half = _LEAST_HALF_HEIGHT + (_FULL_HALF_HEIGHT - _LEAST_HALF_HEIGHT) * share
    corner = (centre[0] - _HALF_WIDTH, centre[1] - half)
    style = "round,pad=0,rounding_size=0.08"
    box = FancyBboxPatch(corner, 2 * _HALF_WIDTH, 2 * half, boxstyle=style, facecolor=look.colour, linewidth=0, zorder=3)
    axes.add_patch(box)
    ink = _ON_LIGHT if _is_light(look.colour) else _ON_DARK
    axes.text(*centre, str(operator.out_channels), ha="center", va="center", color=ink, fontsize=7.5, zorder=4)


def _kinds(placement: Placement) -> set[str]:
    return {standing.step.operator.kind for standing in placement.places.values()}


def _looks(placement: Placement) -> list[_Look]:
    kinds = sorted(_kinds(placement))
    return [_look(kind) for kind in sorted(kinds, key=[*_LOOKS, *kinds].index) if kind not in _JOINS]


def _legend_columns(columns: int) -> int:
    return max(1, columns // 4)


def _legend(axes: Axes, placement: Placement, looks: list[_Look], rows: _Rows, columns: int) -> None:
    kinds = _kinds(placement)
    handles = [Patch(facecolor=look.colour, label=look.name) for look in looks]
    said = [f"{join.symbol}: {join.name}" for kind, join in _JOINS.items() if kind in kinds]
    notes = ["numbers: output channels", *said]
    axes.legend(
        handles=handles,
        title=" · ".join(notes),
        title_fontsize=8,
        alignment="left",
        loc="upper left",
        bbox_to_anchor=(0, rows.height + 0.1),
        bbox_transform=axes.transData,
        ncols=_legend_columns(columns),
        fontsize=8,
        handlelength=1.0,
        borderaxespad=0,
        columnspacing=1.2,
    )


def _look(kind: str) -> _Look:
    return _LOOKS.get(kind) or _Look("#98a2ad", kind)


def _is_light(colour: str) -> bool:
    red, green, blue = (int(colour[start : start + 2], 16) for start in (1, 3, 5))
    return 0.299 * red + 0.587 * green + 0.114 * blue > 140
