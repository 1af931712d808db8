"""The options of a search space's own, as the command line takes and lists them: one for each field of its record."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import TYPE_CHECKING

import typer

from models.spaces.decoding import DecodeOptions, Options, listed_values

if TYPE_CHECKING:
    from models.spaces.base import SearchSpace


def parse_options(space: type[SearchSpace], arguments: Sequence[str], *, exact: bool) -> DecodeOptions:
    """The space's decode options as those arguments state them; what they do not state is at its default.

    Args:
        space: whose options.
        arguments: what the command itself does not know.
        exact: the option that every space has.

    Raises:
        BadParameter: an argument is none of the space's options, which the message lists; or has no value.
        InvalidSpecError: a value that the option does not take: names the option, the value and what is allowed.
    """
    kind = space.decode_options
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    for name in own_fields(kind):
        flag = listed_values(kind.model_fields[name].annotation) == (False, True)
        action = argparse.BooleanOptionalAction if flag else "store"
        parser.add_argument(_option(name), dest=name, action=action, default=argparse.SUPPRESS)
    try:
        stated, unknown = parser.parse_known_args(list(arguments))
    except argparse.ArgumentError as error:
        raise typer.BadParameter(str(error)) from error
    if unknown:
        listed = "; ".join(option for option, _ in described_options(kind)) or "none"
        raise typer.BadParameter(f"no such option: {unknown[0]}. Options of search space {space.name!r}: {listed}")
    return kind.parse({"exact": exact, **vars(stated)}, source="options")


def own_fields(kind: type[Options]) -> list[str]:
    """The fields that not every space has."""
    return [name for name in kind.model_fields if name not in DecodeOptions.model_fields]


def described_options(kind: type[Options]) -> list[tuple[str, str]]:
    """Each option of the space's own as it is written, and what it does."""
    return [(_spelling(kind, name), _help(kind, name)) for name in own_fields(kind)]


def _option(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def _spelling(kind: type[Options], name: str) -> str:
    values = listed_values(kind.model_fields[name].annotation)
    if values == (False, True):
        return f"{_option(name)}, {_option('no-' + name)}"
    return f"{_option(name)} {'|'.join(map(str, values)) or name.upper()}"


def _help(kind: type[Options], name: str) -> str:
    field = kind.model_fields[name]
    text = " ".join((field.description or "").split())
    return f"{text} By default {field.default}.".strip()
