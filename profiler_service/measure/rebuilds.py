"""How much engines differ from build to build: which entries are rebuilt, and the two parts of their variance. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from math import sqrt

import numpy as np

from models.spec.base import digest
from models.spec.errors import InvalidSpecError
from models.spec.measurements import Flag, Measurement
from models.spec.operators import OperatorSpec
from models.spec.rebuilds import RebuildSpread
from profiler_service.measure.statistics import median

SHARE = 0.05
"""Of the entries asked for. Builds of one space's operators differ by similar amounts, so that a few tens are enough."""

BUILDS = 3
"""Of each chosen entry: with two, one unlucky build could not be distinguished from the other."""


_UNFIT = {Flag.BELOW_RESOLUTION, Flag.IMPORTED}


@dataclass(frozen=True)
class VarianceComponents:
    """Of the time of one entry, as standard deviations in milliseconds: between builds, and within a build."""

    between_ms: float
    within_ms: float


def chosen_keys(keys: Collection[str], *, seed: str, share: float = SHARE, first: Collection[str] = ()) -> list[str]:
    """That share of the keys, one at the least where there is any: the same for the same keys and seed, in any order.

    Each key has its own place in the order, so that a few keys more or less hardly change what is chosen.

    Args:
        keys: to choose from, each once.
        seed: of the order.
        share: a fraction, rounded to an integer.
        first: keys that are chosen before all others.
    """
    preferred = frozenset(first)
    ordered = sorted(keys, key=lambda key: (key not in preferred, digest(seed, key)))
    return ordered[: max(round(share * len(keys)), 1)]


def entries_to_rebuild(
    entries: Iterable[Measurement], known: RebuildSpread | None = None, *, seed: str, since: datetime | None = None
) -> list[Measurement]:
    """What is still to be rebuilt of a seeded choice: 5 % of the operators whose values are distinguishable from zero.

    Those of them that were rebuilt before count towards the 5 %.

    Args:
        entries: of the workloads that the job is about.
        known: what the table says of builds.
        seed: of the choice.
        since: what was found before that instant is to be found again; None for nothing.
    """
    fit = {
        entry.key(): entry
        for entry in entries
        if isinstance(entry.workload, OperatorSpec) and entry.value_ms and not {*entry.flags} & _UNFIT
    }
    rebuilt = frozenset[str]() if known is None else known.known_keys(since)
    return [fit[key] for key in chosen_keys(fit, seed=seed, first=rebuilt) if key not in rebuilt]


def spread_in_sentinel_units(
    samples_ms: Sequence[Sequence[Sequence[float]]], sentinel_ms: Sequence[Sequence[float]]
) -> VarianceComponents:
    """The spread of one entry's builds, with slow rounds scaled by the sentinel.

    Args:
        samples_ms: of each build, by round. Shape: (builds, rounds, samples); builds and rounds two at the least.
        sentinel_ms: the sentinel's runs, by round. Shape: (rounds, runs).
    """
    sentinels = [median(round_ms) for round_ms in sentinel_ms]
    usual_ms = median(sentinels)
    return spread_of(
        [
            [median(round_ms) * usual_ms / sentinel for round_ms, sentinel in zip(build, sentinels, strict=True)]
            for build in samples_ms
        ]
    )


def spread_of(rounds_ms: Sequence[Sequence[float]]) -> VarianceComponents:
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
    return VarianceComponents(between_ms=sqrt(max(between, 0.0)), within_ms=sqrt(within))
