"""An architecture drawn as in FasterSeg's Figure 6: its path through scales and layers, operator by operator."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Circle, FancyBboxPatch, Patch, PathPatch, Rectangle
from matplotlib.path import Path as Curve
from matplotlib.transforms import Bbox, TransformedBbox

from models.spec.architectures import ArchitectureSpec
from nas_client.drawing.placement import Connection, Place, Placement, place
from nas_client.plotting import GRID, INK, MUTED, PAPER, STYLE

_ON_DARK, _ON_LIGHT = "#fdfdfd", "#15181c"  # on boxes, whose colour is the same on every page
_INCHES = 0.56
"""Of a column, and of a lane."""
MOST_COLUMNS = 40
"""Of a picture: what is longer is folded, so that its numbers can be read on a page."""
_BETWEEN, _BEYOND = 1.0, 0.2
"""Between two bands of a folded picture, and how far a line is drawn beyond the fold, in columns."""
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
    output channels, a cell's height how much of the search space's widest that is. Cells that branches share stand once. A
    network of more than `MOST_COLUMNS` columns is folded: it goes on below, where the lines that cross the fold go on too.

    Args:
        architecture: of any space.
        title: stands above; the architecture's label where empty.

    Raises:
        InvalidSpecError: see `place`.

    Source: FasterSeg, Figure 6 and Table 7.
    """
    placement = place(architecture)
    bands = _bands(placement)
    width, bottom = bands[0].stop, bands[-1].top + bands[-1].height
    with mpl.rc_context(STYLE):
        looks = _looks(placement)
        below = 0.48 + _LEGEND_LINE * max(2, -(-len(looks) // _legend_columns(width)))
        right = width + _BEYOND * (len(bands) > 1)
        figure = Figure(figsize=(_INCHES * (right + 1.4), _INCHES * (bottom + 1 + below)))
        axes = figure.add_axes((0, 0, 1, 1))
        axes.set(xlim=(-1.4, right), ylim=(bottom + below, -1.0), aspect="equal")
        axes.set_axis_off()
        axes.text(-1.3, -0.75, title or architecture.label(), fontsize=10, weight="bold", va="center")
        for band in bands:
            _background(axes, placement, band)
            for connection in placement.connections:
                if band.reached_by(connection):
                    _connect(axes, connection, band)
            for standing in placement.places.values():
                if band.start <= standing.column < band.stop:
                    _draw(axes, standing, band)
        _legend(axes, placement, looks, bottom, width)
    return figure


@dataclass(frozen=True)
class _Band:
    """A stretch of columns, drawn from x = 0 and y = `top` on: one unit per column and lane, a gap between rows.

    Attributes:
        start, stop: its columns; the second is not among them.
        lanes: of each row those in which something stands or passes here, or on the other side of a fold; no row without any.
            Their order is that of the whole network, so that lines cross a fold in one order.
    """

    GAP: ClassVar[float] = 0.3

    start: int
    stop: int
    top: float
    lanes: Mapping[int, Sequence[int]]

    @classmethod
    def of(cls, placement: Placement, start: int, stop: int, top: float) -> _Band:
        """The band of these columns."""
        here = range(start - 1, stop + 1)
        used = {(place.scale, place.lane) for place in placement.places.values() if place.column in here}
        for connection in placement.connections:
            passed = range(connection.source.column + 1, connection.destination.column)
            if max(here.start, passed.start) < min(here.stop, passed.stop):
                used.add((connection.scale, connection.lane))
        lanes = {scale: sorted(lane for row, lane in used if row == scale) for scale in placement.scales}
        return cls(start, stop, top, {scale: found for scale, found in lanes.items() if found})

    @property
    def height(self) -> float:
        return sum(map(len, self.lanes.values())) + self.GAP * (len(self.lanes) - 1)

    def row(self, scale: int) -> float:
        """The top of a row."""
        return self.top + sum(len(lanes) + self.GAP for finer, lanes in self.lanes.items() if finer < scale)

    def y(self, scale: int, lane: int) -> float:
        """The middle of a lane; of one that is not in the band, the nearest place in its order."""
        return self.row(scale) + bisect_left(self.lanes.get(scale, ()), lane) + 0.5

    def x(self, column: float) -> float:
        return column - self.start

    def reached_by(self, connection: Connection) -> bool:
        """Whether a part of its line lies here."""
        return connection.destination.column >= self.start and connection.source.column < self.stop


def _bands(placement: Placement) -> list[_Band]:
    """As few as the page needs, all of one width but the last."""
    columns = placement.stem + placement.layers + placement.head
    width = -(-columns // -(-columns // MOST_COLUMNS))
    bands: list[_Band] = []
    for start in range(0, columns, width):
        top = bands[-1].top + bands[-1].height + _BETWEEN if bands else 0.0
        bands.append(_Band.of(placement, start, min(start + width, columns), top))
    return bands


def _background(axes: Axes, placement: Placement, band: _Band) -> None:
    for scale, lanes in band.lanes.items():
        corner, width = (0.0, band.row(scale)), band.stop - band.start
        axes.add_patch(Rectangle(corner, width, len(lanes), facecolor=GRID, alpha=0.45, linewidth=0, zorder=0))
        axes.text(-0.3, corner[1] + len(lanes) / 2, f"1/{scale}", ha="right", va="center", color=INK, fontsize=9)

    def above(column: float, text: str) -> None:
        axes.text(band.x(column), band.top - 0.2, text, ha="center", va="center", color=MUTED, fontsize=8)

    parts = {"stem": placement.stem, "": placement.layers, "head": placement.head}
    start = 0
    for name, width in parts.items():
        shown = max(start, band.start), min(start + width, band.stop)
        if width and start and band.start <= start < band.stop:
            x, y = band.x(start), [band.top, band.top + band.height]
            axes.plot([x, x], y, color=MUTED, linewidth=0.7, dashes=(3, 3), zorder=1)
        if name and shown[0] < shown[1]:
            above(sum(shown) / 2, name)
        start += width
    for layer in range(placement.layers):
        if band.start <= placement.stem + layer < band.stop:
            above(placement.stem + layer + 0.5, str(layer + 1))


def _connect(axes: Axes, connection: Connection, band: _Band) -> None:
    """A line that changes lanes between two columns, where no box is in its way; of it what lies in the band."""
    source, destination = connection.source, connection.destination
    points, codes = [(source.column + 0.5, band.y(source.scale, source.lane))], [Curve.MOVETO]
    if destination.column > source.column + 1:
        _turn(points, codes, source.column + 1, band.y(connection.scale, connection.lane))
    end = band.y(destination.scale, destination.lane)
    _turn(points, codes, destination.column, end)
    points.append((destination.column + 0.5, end))
    codes.append(Curve.LINETO)
    path = Curve([(band.x(column), y) for column, y in points], codes)
    patch = axes.add_patch(PathPatch(path, facecolor="none", edgecolor=MUTED, linewidth=1.2, zorder=2))
    left, right = -_BEYOND, band.x(band.stop) + _BEYOND
    box = Bbox.from_extents(left, band.top + band.height, right, band.top)  # y grows downwards
    patch.set_clip_box(TransformedBbox(box, axes.transData))


def _turn(points: list[tuple[float, float]], codes: list[np.uint8], x: float, y: float) -> None:
    """Go straight to that column's border, and around it to that height."""
    before = points[-1][1]
    points += [(x - 0.14, before), (x, before), (x, y), (x + 0.14, y)]
    codes += [Curve.LINETO, Curve.CURVE4, Curve.CURVE4, Curve.CURVE4]


def _draw(axes: Axes, standing: Place, band: _Band) -> None:
    centre = (band.x(standing.column + 0.5), band.y(standing.scale, standing.lane))
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


def _legend(axes: Axes, placement: Placement, looks: list[_Look], bottom: float, columns: int) -> None:
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
        bbox_to_anchor=(0, bottom + 0.1),
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
