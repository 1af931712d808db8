"""Values of JSON whose meaning is a search space's, bounded before anything else looks at them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

from models.spec import limits
from models.spec.errors import InvalidSpecError


def bounded_object(value: Any) -> Any:
    """The object with tuples in place of lists, so that equal ones compare equal however they were made.

    Raises:
        InvalidSpecError: it is no object of JSON; or it is nested too deeply, or has too many items, too long a text or too
            large a number. Names the place and the limit.
    """
    if not isinstance(value, Mapping):
        return value  # refused by the field's type
    return _Bounded().value(value, "", 1)


class _Bounded:
    """Walks one object and counts its items."""

    def __init__(self) -> None:
        self._left = limits.MAX_GENOTYPE_ITEMS

    def value(self, value: Any, where: str, depth: int) -> Any:
        """The value at that place."""
        if isinstance(value, Mapping | list | tuple):
            if depth > limits.MAX_GENOTYPE_DEPTH:
                raise InvalidSpecError(f"{_at(where)}nested deeper than {limits.MAX_GENOTYPE_DEPTH} levels")
            self._count(len(value), where)
            if isinstance(value, Mapping):
                return {
                    self._name(name, where): self.value(item, _below(where, name), depth + 1) for name, item in value.items()
                }
            return tuple(self._items(value, where, depth))
        if isinstance(value, str):
            return self._text(value, where)
        if isinstance(value, bool):
            return value
        if isinstance(value, int):
            if abs(value) > limits.MAX_COUNT:
                raise InvalidSpecError(f"{_at(where)}a number beyond ±{limits.MAX_COUNT}")
            return value
        if isinstance(value, float) and math.isfinite(value):
            return value
        raise InvalidSpecError(f"{_at(where)}{value!r:.60} is no value of JSON")

    def _items(self, values: Iterable[Any], where: str, depth: int) -> Iterable[Any]:
        return (self.value(item, _below(where, index), depth + 1) for index, item in enumerate(values))

    def _count(self, items: int, where: str) -> None:
        self._left -= items
        if self._left < 0:
            raise InvalidSpecError(f"{_at(where)}more than {limits.MAX_GENOTYPE_ITEMS} items in all")

    def _name(self, name: Any, where: str) -> str:
        if not isinstance(name, str):
            raise InvalidSpecError(f"{_at(where)}name {name!r:.60} is no text")
        return self._text(name, where)

    def _text(self, text: str, where: str) -> str:
        if len(text) > limits.MAX_GENOTYPE_TEXT:
            raise InvalidSpecError(
                f"{_at(where)}a text of {len(text)} characters; at most {limits.MAX_GENOTYPE_TEXT} are possible"
            )
        return text


def _at(where: str) -> str:
    return f"{where}: " if where else ""


def _below(where: str, part: object) -> str:
    return f"{where}.{part}" if where else f"{part!s:.64}"
