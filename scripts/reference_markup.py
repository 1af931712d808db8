"""Markdown of the reference pages: how types, defaults, paragraphs and whole pages are written."""

from __future__ import annotations

import re
import textwrap
import types
from collections.abc import Iterable
from enum import Enum
from pathlib import Path, PurePath
from typing import Any, Literal, Union, get_args, get_origin

from pydantic import SecretStr

from profiler_service.storage.location import PostgresUrl

MADE = "Made by `python -m scripts.reference_docs`. Change {source}, not this page."

WIDTH = 120
"""Of lines of text. Tables and examples have the lines that they need."""


def code(text: str) -> str:
    """As code, in a table or out of it."""
    return f"`{text}`"


def prose(text: str) -> str:
    """A docstring's paragraph as one line, with the pages that it names as links."""
    return " ".join(re.sub(r"docs/([\w-]+)\.md", r"[\1.md](../\1.md)", text).split())


def paragraphs(text: str) -> str:
    """A docstring's paragraphs, wrapped."""
    lines = (textwrap.fill(prose(part), WIDTH, break_long_words=False, break_on_hyphens=False) for part in text.split("\n\n"))
    return "\n\n".join(lines)


def choices(values: str) -> str:
    """Names of choices for people; a bar would end a cell."""
    return ", ".join(code(value) for value in values.split("|"))


def kind(annotation: Any) -> str:
    """What a value of that type looks like: names of choices, or of the type."""
    if annotation is None or annotation is type(None):
        return ""
    if hasattr(annotation, "__value__"):  # `type X = …`
        return kind(annotation.__value__)
    origin = get_origin(annotation)
    if origin is Literal:
        return "|".join(map(str, get_args(annotation)))
    if origin in (Union, types.UnionType):
        return "|".join(filter(None, map(kind, get_args(annotation))))
    if origin is not None:  # a list or tuple of something, or something annotated
        return kind(get_args(annotation)[0])
    if isinstance(annotation, type) and issubclass(annotation, Enum):
        return "|".join(str(member.value) for member in annotation)
    names = {str: "text", int: "integer", float: "number", bool: "true|false", Path: "path", SecretStr: "text, never shown"}
    names |= {PostgresUrl: "URL"}
    return names.get(annotation, str(annotation))


def shown(value: object) -> str:
    """A default. A path of this machine has no place on a page."""
    if isinstance(value, PurePath) and value.is_absolute():
        raise SystemExit(f"a default is the path {value}; say in COMPUTED what it is")
    if value is None:
        return "not set"
    if isinstance(value, Enum):
        value = value.value
    if isinstance(value, bool):
        value = "true" if value else "false"
    return code(str(value)) if value != "" else "empty"


def page(parts: Iterable[str]) -> str:
    """A whole page: its own sentences wrapped; tables, lists and examples as they are."""
    made = (part if part.startswith(("|", "```", "#", "- ")) else paragraphs(part) for part in parts)
    return "\n\n".join(made) + "\n"
