"""How every figure of the client looks, and the files and pages it goes into.

Ink, muted ink, grid and paper are the colours of a page: a figure that stands in one takes the page's own (`inline_svg`).
"""

from __future__ import annotations

import re
from io import StringIO
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure

from nas_client.errors import ParameterError

INK, MUTED, GRID, PAPER = "#1b1f24", "#6e7781", "#e4e7eb", "#ffffff"
SERIES = ("#2f81d6", "#d1570a", "#8a63d2", "#1f9d6b", "#c2408a", "#9a7b0a", "#6e8fa8")
"""Colours of data, in the order of use; each can be told from both a light and a dark page."""

STYLE: dict[Any, Any] = {
    "font.size": 9,
    "text.color": INK,
    "axes.edgecolor": MUTED,
    "axes.labelcolor": INK,
    "axes.titlesize": 10,
    "axes.titlelocation": "left",
    "axes.titleweight": "bold",
    "axes.titlecolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": GRID,
    "grid.linewidth": 0.6,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "legend.frameon": False,
    "savefig.dpi": 160,
    "svg.hashsalt": "opclock",
}

_PAGE_COLOURS = {INK: "var(--ink)", MUTED: "var(--muted)", GRID: "var(--grid)", PAPER: "var(--paper)"}
_SAME_FILE: dict[str, Any] = {"svg": {"Date": None}, "pdf": {"CreationDate": None}}
"""Metadata without which the same figure gives the same file."""


def save(figure: Figure, path: Path) -> Path:
    """Write a figure in the format of the path's suffix; returns the path.

    Raises:
        ParameterError: the suffix names no format.
        OSError: the file cannot be written.
    """
    suffix = path.suffix.lower().removeprefix(".")
    known = sorted(figure.canvas.get_supported_filetypes())
    if suffix not in known:
        raise ParameterError(f"{path}: {path.suffix!r} is no format of a picture", hint=f"Known: {', '.join(known)}.")
    with mpl.rc_context(STYLE):
        figure.savefig(path, bbox_inches="tight", metadata=_SAME_FILE.get(suffix))
    return path


def save_pair(figure: Figure, stem: Path) -> tuple[Path, Path]:
    """Write a figure as PNG and as SVG."""
    return save(figure, stem.with_suffix(".png")), save(figure, stem.with_suffix(".svg"))


def inline_svg(figure: Figure, name: str, description: str) -> str:
    """A figure as an `<svg>` element for an HTML page, which sets `--ink`, `--muted`, `--grid` and `--paper`.

    Args:
        figure: made with `STYLE`.
        name: letters, digits and dashes; makes its ids differ from those of the page's other figures.
        description: what it shows, for those who do not see it; plain text without markup.
    """
    text = StringIO()
    with mpl.rc_context({**STYLE, "svg.fonttype": "none"}):
        figure.savefig(text, format="svg", bbox_inches="tight", transparent=True, metadata=_SAME_FILE["svg"])
    svg = text.getvalue()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r'(\sid="|url\(#|href="#)', rf"\g<1>{name}-", svg)
    for colour, variable in _PAGE_COLOURS.items():
        svg = svg.replace(colour, variable)
    return svg.replace("<svg", f'<svg role="img" aria-label="{description}"', 1)
