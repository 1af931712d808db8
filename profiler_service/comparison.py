"""Two tables side by side, and which of many differences between measured values are more than noise.

A value's standard error comes from the spread between its rounds, so that the difference of two values over both errors
follows Student's t, with few degrees of freedom. Of many differences some look large by chance: the procedure of
Benjamini and Hochberg (1995) keeps their expected share among those called significant at a stated rate.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf, sqrt
from typing import Self

import numpy as np

from models.spec.base import Record
from models.spec.errors import TableMismatchError
from models.spec.measurements import Measurement, ProtocolName
from models.spec.tables import Table, TableInfo
from models.spec.verdicts import degrees, processes_sd

FALSE_DISCOVERY_RATE = 0.05
"""Default expected share of false positives among significant differences."""

CONFIDENCE = 0.95
"""Of intervals."""


@dataclass(frozen=True)
class UncertainValue:
    """A value and its uncertainty in milliseconds.

    Attributes:
        rounds: number of rounds behind the standard error, at least two.
        processes_ms: standard deviation between processes, beyond what the rounds of one explain.
    """

    value_ms: float
    stderr_ms: float
    rounds: int
    processes_ms: float = 0.0

    @classmethod
    def of(cls, entry: Measurement, info: TableInfo) -> Self | None:
        """That of a table's entry; None without a positive value, a standard error and two rounds."""
        if not entry.value_ms or entry.stderr_ms is None or entry.rounds < 2:
            return None
        return cls(entry.value_ms, entry.stderr_ms, entry.rounds, processes_sd(info) * entry.value_ms)

    @property
    def degrees(self) -> int:
        """Degrees of freedom of the standard error."""
        return degrees(self.rounds)


@dataclass(frozen=True)
class Difference:
    """Between two values. Milliseconds. `degrees`: degrees of freedom of `stderr_ms`."""

    ms: float
    stderr_ms: float
    degrees: float

    @property
    def statistic(self) -> float:
        """The difference in standard errors."""
        return self.ms / self.stderr_ms

    @property
    def margin_ms(self) -> float:
        """Half of the interval that covers the true difference with `CONFIDENCE`."""
        from scipy.special import stdtrit  # here, so that no other command waits for scipy

        return self.stderr_ms * float(stdtrit(self.degrees, (1 + CONFIDENCE) / 2))


def difference(a: UncertainValue, b: UncertainValue, relative_scale_stderr: float = 0.0) -> Difference | None:
    """`b` minus `a`; None where neither has a standard error.

    Args:
        a: the one that is subtracted.
        b: the other, independent of it.
        relative_scale_stderr: of the factor between the milliseconds of one and of the other, as a fraction.
    """
    scale_ms = relative_scale_stderr * (a.value_ms + b.value_ms) / 2
    variance = a.stderr_ms**2 + b.stderr_ms**2 + a.processes_ms**2 + b.processes_ms**2 + scale_ms**2
    if not (a.stderr_ms or b.stderr_ms):
        return None
    # Welch (1947) and Satterthwaite (1946); what processes differ by and the scale are taken as known.
    spent = a.stderr_ms**4 / a.degrees + b.stderr_ms**4 / b.degrees
    return Difference(b.value_ms - a.value_ms, sqrt(variance), variance**2 / spent if spent else inf)


def two_sided(found: Sequence[Difference]) -> list[float]:
    """The probability of a difference at least as large in either direction, if there is none in truth."""
    return [min(2 * p, 1.0) for p in _below([-abs(one.statistic) for one in found], found)]


def falling(found: Sequence[Difference]) -> list[float]:
    """The probability of a fall at least as large, if there is none in truth."""
    return _below([one.statistic for one in found], found)


def _below(statistics: Sequence[float], found: Sequence[Difference]) -> list[float]:
    from scipy.special import stdtr

    return [float(p) for p in stdtr([one.degrees for one in found], statistics)]


def adjusted(p_values: Sequence[float]) -> list[float]:
    """For each p value the smallest false-discovery rate at which it is significant (Benjamini and Hochberg, 1995)."""
    from scipy import stats

    return [float(q) for q in stats.false_discovery_control(p_values)] if p_values else []


def scale_uncertainty(a: TableInfo, b: TableInfo) -> float:
    """Standard error of the factor between the milliseconds of two tables, as a fraction.

    0 where they are on one scale, as tables of one target in one database are, or where the protocol has none.
    """
    scales = [info.scale for info in (a, b) if info.protocol is ProtocolName.IN_CONTEXT and info.scale is not None]
    if len(scales) == 2 and a.target.id() == b.target.id() and scales[0].reference_ms == scales[1].reference_ms:
        return 0.0
    return sqrt(sum(scale.relative_stderr**2 for scale in scales))


WORST = 10
"""Number of largest differences that a comparison lists."""


class EntryDifference(Record):
    """One operator in both tables.

    Attributes:
        label, key: of the operator.
        a_ms, b_ms: its values.
        relative: (b − a) / a, as a fraction.
        low, high: 95 % interval of `relative`; null, like the next fields, where the entry cannot be tested.
        p: probability of a difference at least as large by chance.
        adjusted_p: the smallest false-discovery rate at which it is significant.
        significant: whether the difference is significant at the requested rate.
    """

    label: str
    key: str
    a_ms: float
    b_ms: float
    relative: float
    low: float | None = None
    high: float | None = None
    p: float | None = None
    adjusted_p: float | None = None
    significant: bool | None = None


class TableComparison(Record):
    """Table B against table A.

    Attributes:
        a, b: their ids.
        same_table: whether target, space and protocol are the same, so that the values answer the same question.
        mismatch: the fields in which they differ; empty if the same.
        only_a, only_b: labels of operators with a value in only one table.
        failed: of `only_a`, those that B has tried and could not measure.
        common: operators with a value in both; of these, where both values are positive:
        median_relative: signed, so that it shows a bias; median_absolute, p95_absolute: of the sizes, as fractions.
        fdr: false-discovery rate: expected share of chance among the significant.
        scale_stderr: standard error of the factor between the milliseconds of both, as a fraction; part of each interval.
        tested, untested: number of entries that could be tested for significance, and that could not, those among them whose
            value is 0 in one table alone.
        slower, faster: how many significant ones take more time in B, and less.
        significant: those entries, largest difference first.
        worst: the largest differences, significant or not.
        differences: all, largest first.
    """

    a: str
    b: str
    same_table: bool
    mismatch: str
    only_a: tuple[str, ...]
    only_b: tuple[str, ...]
    failed: tuple[str, ...]
    common: int
    median_relative: float | None
    median_absolute: float | None
    p95_absolute: float | None
    fdr: float
    scale_stderr: float
    tested: int
    untested: int
    slower: int
    faster: int
    significant: tuple[EntryDifference, ...]
    worst: tuple[EntryDifference, ...]
    differences: tuple[EntryDifference, ...]


def compare(a: Table, b: Table, *, fdr: float = FALSE_DISCOVERY_RATE) -> TableComparison:
    """How the values of `b` differ from those of `a`, at that false-discovery rate."""
    ours, theirs = a.values_ms(), b.values_ms()
    labels = {entry.key(): entry.workload.label() for table in (a, b) for entry in table.entries}
    common = [key for key in ours if key in theirs]
    # Nothing is a fraction of an operator that costs nothing.
    pairs = [(a.by_key[key], b.by_key[key]) for key in common if ours[key] > 0 and theirs[key] > 0]
    scale_stderr = scale_uncertainty(a.info, b.info)
    differences = _differences(pairs, (a.info, b.info), scale_stderr, fdr)
    significant = tuple(one for one in differences if one.significant)
    mismatch = _mismatch(a, b)
    sizes = [abs(one.relative) for one in differences]
    tested = sum(one.significant is not None for one in differences)
    return TableComparison(
        a=a.info.id(),
        b=b.info.id(),
        same_table=not mismatch,
        mismatch=mismatch,
        only_a=tuple(labels[key] for key in ours if key not in theirs),
        only_b=tuple(labels[key] for key in theirs if key not in ours),
        failed=tuple(labels[key] for key in ours if key not in theirs and key in b.by_key),
        common=len(common),
        median_relative=_quantile([one.relative for one in differences], 0.5),
        median_absolute=_quantile(sizes, 0.5),
        p95_absolute=_quantile(sizes, 0.95),
        fdr=fdr,
        scale_stderr=scale_stderr,
        tested=tested,
        untested=len(differences) - tested + sum((ours[key] > 0) != (theirs[key] > 0) for key in common),
        slower=sum(one.relative > 0 for one in significant),
        faster=sum(one.relative < 0 for one in significant),
        significant=significant,
        worst=differences[:WORST],
        differences=differences,
    )


def _differences(
    pairs: list[tuple[Measurement, Measurement]], infos: tuple[TableInfo, TableInfo], scale_stderr: float, fdr: float
) -> tuple[EntryDifference, ...]:
    """Largest first."""
    tested: dict[str, Difference] = {}
    for before, after in pairs:
        one, other = UncertainValue.of(before, infos[0]), UncertainValue.of(after, infos[1])
        if one is not None and other is not None and (found := difference(one, other, scale_stderr)) is not None:
            tested[before.key()] = found
    p_values = two_sided(list(tested.values()))
    chances = dict(zip(tested, zip(p_values, adjusted(p_values), strict=True), strict=True))
    entries = []
    for before, after in pairs:
        a_ms, b_ms = before.value_ms or 0.0, after.value_ms or 0.0
        entry = EntryDifference(
            label=before.workload.label(), key=before.key(), a_ms=a_ms, b_ms=b_ms, relative=(b_ms - a_ms) / a_ms
        )
        if entry.key in tested:
            margin = tested[entry.key].margin_ms / a_ms
            p, adjusted_p = chances[entry.key]
            limits = {"low": entry.relative - margin, "high": entry.relative + margin}
            entry = entry.model_copy(update=limits | {"p": p, "adjusted_p": adjusted_p, "significant": adjusted_p <= fdr})
        entries.append(entry)
    return tuple(sorted(entries, key=lambda entry: -abs(entry.relative)))


def _mismatch(a: Table, b: Table) -> str:
    try:
        a.info.require_same(b.info)
    except TableMismatchError as error:
        return error.message
    return ""


def _quantile(values: list[float], q: float) -> float | None:
    return float(np.quantile(values, q)) if values else None
