"""Two foreign tables over their common keys."""

from __future__ import annotations

import numpy as np

from models.spec.base import Record
from models.spec.errors import TableMismatchError
from profiler_service.foreign.foreign_table import ForeignTable

LARGEST = 10
"""Number of keys that a comparison lists."""


class KeyRatio(Record):
    """One key in both tables.

    Attributes:
        key: in both tables.
        a_ms, b_ms: its values.
        ratio: b_ms / a_ms.
    """

    key: str
    a_ms: float
    b_ms: float
    ratio: float


class ForeignComparison(Record):
    """Table B against table A, over the keys of both. A ratio is B's milliseconds over A's.

    Attributes:
        a, b: names of the files.
        common: number of keys in both.
        only_a, only_b: keys of only one table.
        ratio_median, ratio_geometric_mean, ratio_min, ratio_max: of the ratios.
        ratio_p5, ratio_p95: percentiles of the ratios, by linear interpolation.
        spearman, kendall: rank correlation of the values (Kendall's τ-b); null with fewer than three common keys, or where all
            values of one table are the same.
        extremes: the keys whose ratio is farthest from the median ratio, by factor, farthest first.
        ratios: all common keys, in A's order.
    """

    a: str
    b: str
    common: int
    only_a: tuple[str, ...]
    only_b: tuple[str, ...]
    ratio_median: float
    ratio_geometric_mean: float
    ratio_min: float
    ratio_max: float
    ratio_p5: float
    ratio_p95: float
    spearman: float | None
    kendall: float | None
    extremes: tuple[KeyRatio, ...]
    ratios: tuple[KeyRatio, ...]


def compare(a: ForeignTable, b: ForeignTable) -> ForeignComparison:
    """How B's values differ from A's. Raises TableMismatchError if no key is in both."""
    ours, theirs = a.by_key(), b.by_key()
    ratios = tuple(
        KeyRatio(key=key, a_ms=entry.ms, b_ms=theirs[key].ms, ratio=theirs[key].ms / entry.ms)
        for key, entry in ours.items()
        if key in theirs
    )
    if not ratios:
        raise TableMismatchError(
            f"{a.source} and {b.source} have no key in common; the first are {a.entries[0].key!r} and {b.entries[0].key!r}",
            hint="Compare tables of one format, for the same sizes of images.",
        )
    values = np.array([one.ratio for one in ratios])
    median = float(np.median(values))
    p5, p95 = (float(value) for value in np.quantile(values, (0.05, 0.95)))
    spearman, kendall = _rank_correlations(ratios)
    return ForeignComparison(
        a=a.source,
        b=b.source,
        common=len(ratios),
        only_a=tuple(key for key in ours if key not in theirs),
        only_b=tuple(key for key in theirs if key not in ours),
        ratio_median=median,
        ratio_geometric_mean=float(np.exp(np.log(values).mean())),
        ratio_min=float(values.min()),
        ratio_max=float(values.max()),
        ratio_p5=p5,
        ratio_p95=p95,
        spearman=spearman,
        kendall=kendall,
        extremes=tuple(sorted(ratios, key=lambda one: -abs(np.log(one.ratio / median)))[:LARGEST]),
        ratios=ratios,
    )


def _rank_correlations(ratios: tuple[KeyRatio, ...]) -> tuple[float | None, float | None]:
    from scipy import stats

    one, other = [ratio.a_ms for ratio in ratios], [ratio.b_ms for ratio in ratios]
    if len(ratios) < 3 or len(set(one)) == 1 or len(set(other)) == 1:
        return None, None
    return float(stats.spearmanr(one, other).statistic), float(stats.kendalltau(one, other).statistic)
