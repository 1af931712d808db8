"""How much engines differ from build to build: a choice of entries, and the two parts of their variance. Pure."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from math import sqrt

import numpy as np

from models.spec.base import digest
from models.spec.errors import InvalidSpecError

SHARE = 0.05
"""Of the entries asked for. Builds of one space's operators differ much alike, so that a few tens tell."""

BUILDS = 3
"""Of each chosen entry: with two, one unlucky build could not be told from the other."""


@dataclass(frozen=True)
class Spread:
    """Standard deviations in milliseconds: between builds, and within a build."""

    between_ms: float
    within_ms: float


def chosen_keys(keys: Collection[str], *, seed: str, share: float = SHARE, first: Collection[str] = ()) -> list[str]:
    """That share of the keys, one at the least where there is any: the same for the same keys and seed, in any order.

    Each key has its place in the line by itself, so that a few keys more or less hardly change what is chosen.

    Args:
        keys: to choose from, each once.
        seed: of the line.
        share: a fraction, rounded to whole keys.
        first: keys that are chosen before all others.
    """
    preferred = frozenset(first)
    line = sorted(keys, key=lambda key: (key not in preferred, digest(seed, key)))
    return line[: max(round(share * len(keys)), 1)]


def spread_of(rounds_ms: Sequence[Sequence[float]]) -> Spread:
    """Both parts of the variance (one-way analysis of variance, builds as a random effect).

    The mean of a build's rounds differs between builds by what builds differ, and by what is left of the rounds' own spread;
    the latter is subtracted, and what is negative then is zero: builds that differ by no more than their runs do.

    Args:
        rounds_ms: one row per build, one time per round. Shape: (builds, rounds), both two at the least.

    Source: Searle, Casella, McCulloch, Variance Components (1992), section 3.4.
    """
    times = np.asarray(rounds_ms, dtype=np.float64)
    if times.ndim != 2 or min(times.shape) < 2:
        raise InvalidSpecError(f"a spread needs 2 builds and 2 rounds at the least, not an array of shape {times.shape}")
    within = float(times.var(axis=1, ddof=1).mean())
    between = float(times.mean(axis=1).var(ddof=1)) - within / times.shape[1]
    return Spread(between_ms=sqrt(max(between, 0.0)), within_ms=sqrt(within))
