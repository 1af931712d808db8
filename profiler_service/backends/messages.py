"""What a runtime said, as one line that a person can read."""

from __future__ import annotations

MOST_CHARACTERS = 400
"""Compilers repeat whole command lines and sources in their errors."""


def one_line(text: str) -> str:
    """The text without line breaks, its end left out where it is long."""
    line = " ".join(text.split())
    return line if len(line) <= MOST_CHARACTERS else f"{line[: MOST_CHARACTERS - 1]}…"
