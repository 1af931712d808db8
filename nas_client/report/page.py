"""From sections to one HTML document that needs nothing beside itself."""

from __future__ import annotations

from collections.abc import Sequence

from jinja2 import Environment, PackageLoader, StrictUndefined

from nas_client.report.blocks import Section


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
