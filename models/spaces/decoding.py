"""What may be asked for when a space decodes parameters, and what may not: options and alternatives."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from typing import Any, Literal, TypeVar, get_args, get_origin

from pydantic import ConfigDict

from models.spec.base import Record
from models.spec.errors import InvalidSpecError


class DecodeOptions(Record):
    """What may be asked for when parameters are decoded.

    A space with options of its own names a subclass in `SearchSpace.decode_options`. `nas-client derive` makes a command-line
    option of each of its fields; the string below a field is its help. A field is a flag, a `Literal` of names, a number or a
    string, and has a default.
    """

    model_config = ConfigDict(use_attribute_docstrings=True)

    exact: bool = False
    """Keep every operator that is most probable, also one that does nothing: the architecture's own sum is then the relaxed
    latency of one-hot parameters."""


Options = TypeVar("Options", bound=DecodeOptions)


def listed_values(annotation: Any) -> tuple[Any, ...]:
    """The values of a flag or a `Literal`; none for a field of another type."""
    if annotation is bool:
        return (False, True)
    return get_args(annotation) if get_origin(annotation) is Literal else ()


def every(kind: type[Options]) -> tuple[Options, ...]:
    """The options of that record with all values of its flags and `Literal`s, the defaults first; other fields at their
    defaults.
    """
    choices = {name: listed_values(field.annotation) for name, field in kind.model_fields.items()}
    ordered = {
        name: sorted(values, key=lambda value, name=name: value != kind.model_fields[name].default)  # type: ignore[misc]
        for name, values in choices.items()
        if values
    }
    return tuple(kind(**dict(zip(ordered, values, strict=True))) for values in product(*ordered.values()))


def settled_options(kind: type[Options], given: DecodeOptions | None, space: str) -> Options:
    """The options as a record of that space; those that every space has are taken from the general record.

    Raises:
        InvalidSpecError: they are another space's.
    """
    if given is None:
        return kind()
    if isinstance(given, kind) and type(given) is kind:
        return given
    if type(given) is DecodeOptions:
        return kind(**given.model_dump())
    raise InvalidSpecError(
        f"options: a {type(given).__name__} is not for search space {space!r}", hint=f"Give it a {kind.__name__}."
    )


def listed_alternative(text: str, known: Sequence[str], space: str) -> str:
    """That alternative, which must be one of those.

    Raises:
        InvalidSpecError: it is none; lists them.
    """
    if text in known:
        return text
    if not any(known):
        raise InvalidSpecError(f"alternative {text!r}: search space {space!r} has none to choose", hint="Leave it out.")
    given = f"{text!r} is none" if text else "none given; it must be one"
    raise InvalidSpecError(f"alternative: {given} of those of search space {space!r}", hint=f"Known: {', '.join(known)}.")
