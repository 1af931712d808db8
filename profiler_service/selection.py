"""Parts of a search space's grid: a random sample, or one of several shares that together make up the grid."""

from __future__ import annotations

import random
from collections import defaultdict

from models.spaces.base import SearchSpace
from models.spec.errors import InvalidSpecError
from models.spec.graphs import ContextBase
from models.spec.operators import OperatorSpec

Operators = tuple[OperatorSpec, ...]


def draw(space: SearchSpace, count: int, seed: int) -> Operators:
    """That number of different operators; equal seeds give equal operators. Raises InvalidSpecError if there are too few."""
    operators = space.operators()
    if not 1 <= count <= len(operators):
        raise InvalidSpecError(
            f"sample: {count} operators of {len(operators)} that {space.spec.label()} has",
            hint="Ask for fewer, or for all by leaving --sample out.",
        )
    return tuple(random.Random(seed).sample(operators, count))  # noqa: S311 - repeatable, not secret


def most_shares(space: SearchSpace) -> int:
    """Into how many shares the space can be divided: as many as its operators have bases, since none may be empty."""
    return len(_by_base(space))


def share(space: SearchSpace, number: int, of: int) -> Operators:
    """The operators of one share; every operator is in one share, and the shares are about equal.

    Those that need the same base are together, so that hardly any base is built and timed for two shares; beyond that, large
    and small operators mix.

    Args:
        space: the search space.
        number: 1 to `of`.
        of: how many shares there are.

    Raises:
        InvalidSpecError: there is no such share, or there are more shares than bases, so that some would be empty.
    """
    by_base = _by_base(space)
    if not 1 <= number <= of <= len(by_base):
        raise InvalidSpecError(
            f"share {number}/{of}: {space.spec.label()} can be measured in 1 to {len(by_base)} shares, from 1/N to N/N",
            hint="Write the second of four as 2/4.",
        )
    shares: list[list[OperatorSpec]] = [[] for _ in range(of)]
    for _, operators in sorted(by_base.items(), key=lambda item: (-len(item[1]), item[0])):
        min(shares, key=len).extend(operators)
    return tuple(shares[number - 1])


def _by_base(space: SearchSpace) -> dict[str, list[OperatorSpec]]:
    """The space's operators by the base that they need in context."""
    by_base: dict[str, list[OperatorSpec]] = defaultdict(list)
    for operator in space.operators():
        by_base[ContextBase.of(operator).key()].append(operator)
    return by_base
