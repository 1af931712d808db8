"""Selections small enough for unit tests."""

from __future__ import annotations

from typing import Any

from nas_client.search.config import SearchConfig
from tests.support.searches import small

TINY: dict[str, Any] = {
    "images": 2,
    "population": 6,
    "generations": 2,
    "parents": 3,
    "shortlist": 2,
    "check": 2,
    "training": {"epochs": 1},
}


def evolving(**changes: Any) -> SearchConfig:
    """A search by evolution; two steps of three passes train its supernet."""
    return small(method="evolution", selection=TINY | changes.pop("selection", {}), **changes)


def brief() -> SearchConfig:
    """One generation, and one short training."""
    return evolving(selection={"generations": 0, "population": 4, "shortlist": 1, "check": 0})
