"""The alternatives of a FasterSeg space: sets of branches, by the scales at which they end. A label is `8,32`."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import combinations

from models.spaces.fasterseg.parameters import SCALES
from models.spec.errors import InvalidSpecError


def choices(branches: int) -> tuple[str, ...]:
    """The labels that are chosen from at the end of a search for networks of so many branches. Any other set of branches may be
    decoded, too.
    """
    return tuple(map(label_of, combinations(SCALES, branches)))


def label_of(ends: Iterable[int]) -> str:
    """The label of branches that end at those scales, whatever their order."""
    return ",".join(map(str, sorted(ends)))


def ends_of(text: str, branches: int = 2) -> tuple[int, ...]:
    """The scales that a label names, ascending; it may have them in any order.

    Args:
        text: the label.
        branches: of the networks that are searched, for the message.

    Raises:
        InvalidSpecError: there are no such branches; lists those that are chosen from.
    """
    ends = [int(part) for part in text.split(",") if part.strip().isdecimal()]
    if len(ends) != len(text.split(",")) or len(set(ends)) < len(ends) or not set(ends) <= set(SCALES):
        scales, known = ", ".join(map(str, SCALES)), " or ".join(choices(branches))
        raise InvalidSpecError(
            f"branches: {text or 'none given'}; one or more of {scales} must be given, each once",
            hint=f"Name the scales at which the branches end: {known}.",
        )
    return tuple(sorted(ends))
