"""The words that spaces and searches share: granularities, shapes of parameters, and the roles that a search finds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

ParameterShapes = Mapping[str, Mapping[str, tuple[int, int]]]
"""`{"alpha" | "beta" | "gamma": {group: (rows, choices)}}`, as in a parameter file. A granularity that a space does not have
is an empty mapping. Row r of a granularity counts through its groups in order."""


GRANULARITIES = ("alpha", "beta", "gamma")
"""Operators, paths and widths, as files name them."""

LETTERS = {"alpha": "α", "beta": "β", "gamma": "γ"}
"""Granularities as people write them."""


@dataclass(frozen=True)
class Role:
    """One of the networks that a search finds over shared weights.

    Attributes:
        name: as the supernet calls it.
        searches: granularities that are searched for it. Where widths are not, it takes the widest connections.
        sees_latency: whether its latency is part of its loss, and of the choice among its alternatives.
    """

    name: str
    searches: frozenset[str] = frozenset(GRANULARITIES)
    sees_latency: bool = True

    @property
    def widest(self) -> bool:
        """Whether it takes the widest connections everywhere, and has no γ."""
        return "gamma" not in self.searches
