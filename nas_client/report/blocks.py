"""What a page is made of, as data; `page` turns it into HTML."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

from markupsafe import Markup
from matplotlib.figure import Figure

from nas_client.plotting import inline_svg


@dataclass(frozen=True)
class Picture:
    """A picture with its caption. `wide`: not shrunk to the screen, but scrolled, so that its text stays readable."""

    kind: ClassVar[str] = "picture"
    content: Markup
    caption: str
    wide: bool = False


@dataclass(frozen=True)
class Grid:
    """A table. `numbers`: columns from this one on hold numbers. `folded`: shown once somebody opens its caption."""

    kind: ClassVar[str] = "grid"
    headings: Sequence[str]
    rows: Sequence[Sequence[str]]
    caption: str = ""
    numbers: int = 1
    folded: bool = False


@dataclass(frozen=True)
class Text:
    """A paragraph."""

    kind: ClassVar[str] = "text"
    text: str


@dataclass(frozen=True)
class Fold:
    """Text in its own form, folded away until somebody opens it."""

    kind: ClassVar[str] = "fold"
    title: str
    text: str


Block = Picture | Grid | Text | Fold


@dataclass(frozen=True)
class Section:
    """A part of the page with a heading of its own."""

    name: str
    title: str
    blocks: list[Block] = field(default_factory=list)


def drawn(figure: Figure, name: str, caption: str, *, wide: bool = False) -> Picture:
    """A figure for the page.

    Args:
        figure: made with the client's style.
        name: unlike any other picture's on the page; letters, digits and dashes.
        caption: plain text.
        wide: see `Picture`.
    """
    return Picture(Markup(inline_svg(figure, name, str(Markup.escape(caption)))), caption, wide)  # noqa: S704 (our own SVG)


def embedded(path: Path, caption: str) -> Picture:
    """A PNG file as part of the page. Raises OSError."""
    data = base64.b64encode(path.read_bytes()).decode("ascii")
    source = Markup('<img alt="{}" src="data:image/png;base64,{}">').format(caption, data)
    return Picture(source, caption)
