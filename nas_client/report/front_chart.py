"""The front of a selection as a chart whose points show their networks: SVG and CSS, without a script.

A point that is hovered over, or reached with the keyboard, draws its network below the chart.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
from markupsafe import Markup
from matplotlib.ticker import MaxNLocator

from nas_client.drawing.picture import draw_architecture
from nas_client.plotting import SERIES, inline_svg
from nas_client.selection.candidates import Candidate, spread_over

WIDTH, HEIGHT, DRAWING = 900, 380, 420
"""Of the chart, and the height that a network's drawing gets below it."""

LEFT, RIGHT, TOP, BOTTOM = 60, 20, 16, 46
"""Margins around the points."""

MOST_DRAWN = 24
"""Points of a front that draw their networks; of a longer front they are spread evenly over it."""

_HINT = "Hover over a point of the front, or reach it with the tab key: its network is drawn here."


def front_chart(candidates: Sequence[Candidate], front: Sequence[Candidate], chosen: Sequence[Candidate], name: str) -> Markup:
    """An `<svg>` element: every candidate as a dot, the front as points.

    Args:
        candidates: all of them.
        front: theirs, ascending.
        chosen: networks that were chosen, which may stand off the front.
        name: letters, digits and dashes; unlike any other picture's on the page.
    """
    drawn = {c.architecture.key(): c for c in (*spread_over(front, MOST_DRAWN), *chosen)}
    shown = [*candidates, *drawn.values()]
    x = _Axis([c.latency_ms for c in shown], LEFT, WIDTH - RIGHT)
    y = _Axis([100 * c.accuracy for c in shown], HEIGHT - BOTTOM, TOP)
    parts = [_axes(x, y)]
    parts += [Markup('<circle cx="{:.1f}" cy="{:.1f}" r="2" class="dot"/>').format(*_place(c, x, y)) for c in candidates]
    line = " ".join("{:.1f},{:.1f}".format(*_place(candidate, x, y)) for candidate in front)
    parts.append(Markup('<polyline points="{}" class="front"/>').format(line))
    parts.append(Markup('<text x="{}" y="{}" class="hint">{}</text>').format(LEFT, HEIGHT + 24, _HINT))
    stars = {candidate.architecture.key() for candidate in chosen}
    for index, (key, candidate) in enumerate(drawn.items()):
        parts.append(_point(candidate, _place(candidate, x, y), f"{name}-{index}", starred=key in stars))
    start = Markup('<svg role="img" aria-label="{}" class="front-chart" viewBox="0 0 {} {}" width="{}" height="{}">').format(
        "Candidates and front by estimated latency and accuracy", WIDTH, HEIGHT + DRAWING, WIDTH, HEIGHT + DRAWING
    )
    return start + Markup("").join(parts) + Markup("</svg>")


class _Axis:
    """From values to places on the page, and round values between."""

    def __init__(self, values: Sequence[float], first: float, last: float) -> None:
        low, high = min(values), max(values)
        margin = 0.05 * (high - low) or 1.0
        self._low, self._high, self._first, self._last = low - margin, high + margin, first, last

    def __call__(self, value: float) -> float:
        share = (value - self._low) / (self._high - self._low)
        return self._first + share * (self._last - self._first)

    def ticks(self) -> list[float]:
        """Round values within."""
        found = np.asarray(MaxNLocator(6).tick_values(self._low, self._high))
        return [float(tick) for tick in found if self._low <= tick <= self._high]


def _place(candidate: Candidate, x: _Axis, y: _Axis) -> tuple[float, float]:
    return x(candidate.latency_ms), y(100 * candidate.accuracy)


def _axes(x: _Axis, y: _Axis) -> Markup:
    parts = []
    for tick in x.ticks():
        parts.append(Markup('<line x1="{0:.1f}" x2="{0:.1f}" y1="{1}" y2="{2}"/>').format(x(tick), TOP, HEIGHT - BOTTOM))
        parts.append(Markup('<text x="{:.1f}" y="{}" text-anchor="middle">{:g}</text>').format(x(tick), HEIGHT - 28, tick))
    for tick in y.ticks():
        parts.append(Markup('<line x1="{0}" x2="{1}" y1="{2:.1f}" y2="{2:.1f}"/>').format(LEFT, WIDTH - RIGHT, y(tick)))
        parts.append(Markup('<text x="{}" y="{:.1f}" text-anchor="end">{:g}</text>').format(LEFT - 8, y(tick) + 4, tick))
    parts.append(Markup('<text x="{}" y="{}" text-anchor="middle">estimated latency (ms)</text>').format(WIDTH / 2, HEIGHT - 8))
    parts.append(Markup('<text x="4" y="12">mIoU in the supernet (%)</text>'))
    return Markup('<g class="axes">') + Markup("").join(parts) + Markup("</g>")


def _point(candidate: Candidate, place: tuple[float, float], name: str, *, starred: bool) -> Markup:
    trained = "" if candidate.trained is None else f", {100 * candidate.trained:.1f} % after a short training"
    words = (
        f"{candidate.alternative or 'network'}: {candidate.latency_ms:.4g} ± {candidate.stderr_ms:.2g} ms, "
        f"mIoU {100 * candidate.accuracy:.1f} % in the supernet{trained}"
    )
    circle = Markup('<circle cx="{:.1f}" cy="{:.1f}" r="{}" fill="{}"/>').format(
        *place, 7 if starred else 5, SERIES[1] if starred else SERIES[0]
    )
    start = Markup('<g class="point" tabindex="0"><title>{}</title>').format(words)
    caption = Markup('<text x="{}" y="{}" class="words">{}</text>').format(LEFT, HEIGHT + 24, words)
    return start + circle + Markup('<g class="shown">') + caption + _drawing(candidate, name, words) + Markup("</g></g>")


def _drawing(candidate: Candidate, name: str, words: str) -> Markup:
    """The network's drawing below the chart."""
    figure = draw_architecture(candidate.architecture, title=candidate.alternative)
    svg = inline_svg(figure, name, str(Markup.escape(words)))
    placed = f'<svg x="0" y="{HEIGHT + 36}" width="{WIDTH}" height="{DRAWING - 40}" preserveAspectRatio="xMinYMin meet"'
    head, rest = svg.split(">", 1)
    head = re.sub(r'\s(width|height)="[^"]*"', "", head).replace("<svg", placed, 1)
    return Markup(f"{head}>{rest}")  # noqa: S704 (our own SVG)
