"""The parts of a page as data, and the HTML document that they become. The document needs no other file."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from matplotlib.figure import Figure

from nas_client.plotting import inline_svg

NONE = "–"


def percent(fraction: float | None, digits: int = 1) -> str:
    """A fraction in per cent, without the sign."""
    return NONE if fraction is None else f"{100 * fraction:.{digits}f}"


def milliseconds(ms: float | None) -> str:
    """Four significant digits."""
    return NONE if ms is None else f"{ms:#.4g}"


def millions(count: float | None) -> str:
    """A count in millions, four significant digits."""
    return NONE if count is None else f"{count / 1e6:#.4g}"


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


def render(title: str, sections: Sequence[Section]) -> str:
    """The page: text in it is escaped; pictures are the page's own.

    Args:
        title: plain text.
        sections: in order, each with another name.
    """
    environment = Environment(
        loader=PackageLoader("nas_client.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("report.html").render(title=title, sections=sections)
