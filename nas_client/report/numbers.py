"""Numbers as the page writes them; a dash for what there is not."""

from __future__ import annotations

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
