"""Two tables side by side: what only one of them has, and how far apart their values are."""

from __future__ import annotations

import numpy as np

from models.spec.base import Record
from models.spec.errors import TableMismatchError
from models.spec.tables import Table

WORST = 10
"""Entries that are listed one by one."""


class EntryDifference(Record):
    """One operator in both tables. `relative` = (b − a) / a, as a fraction."""

    label: str
    key: str
    a_ms: float
    b_ms: float
    relative: float


class TableComparison(Record):
    """Table B against table A.

    Attributes:
        a, b: their ids.
        same_table: whether target, space and protocol are the same, so that the values answer the same question.
        mismatch: the fields in which they differ; empty if the same.
        only_a, only_b: labels of operators with a value in one table alone.
        common: operators with a value in both; of these, where both values are positive:
        median_relative: signed, so that it shows a bias; median_absolute, p95_absolute: of the sizes, as fractions.
        worst: the largest differences, largest first.
    """

    a: str
    b: str
    same_table: bool
    mismatch: str
    only_a: tuple[str, ...]
    only_b: tuple[str, ...]
    common: int
    median_relative: float | None
    median_absolute: float | None
    p95_absolute: float | None
    worst: tuple[EntryDifference, ...]


def compare(a: Table, b: Table) -> TableComparison:
    """How the values of `b` differ from those of `a`."""
    ours, theirs = a.values_ms(), b.values_ms()
    labels = {entry.key(): entry.workload.label() for table in (a, b) for entry in table.entries}
    common = [key for key in ours if key in theirs]
    differences = [
        EntryDifference(
            label=labels[key], key=key, a_ms=ours[key], b_ms=theirs[key], relative=(theirs[key] - ours[key]) / ours[key]
        )
        for key in common
        if ours[key] > 0 and theirs[key] > 0  # nothing is a fraction of an operator that costs nothing
    ]
    mismatch = _mismatch(a, b)
    sizes = [abs(difference.relative) for difference in differences]
    return TableComparison(
        a=a.info.id(),
        b=b.info.id(),
        same_table=not mismatch,
        mismatch=mismatch,
        only_a=tuple(labels[key] for key in ours if key not in theirs),
        only_b=tuple(labels[key] for key in theirs if key not in ours),
        common=len(common),
        median_relative=_quantile([difference.relative for difference in differences], 0.5),
        median_absolute=_quantile(sizes, 0.5),
        p95_absolute=_quantile(sizes, 0.95),
        worst=tuple(sorted(differences, key=lambda difference: -abs(difference.relative))[:WORST]),
    )


def _mismatch(a: Table, b: Table) -> str:
    try:
        a.info.require_same(b.info)
    except TableMismatchError as error:
        return error.message
    return ""


def _quantile(values: list[float], q: float) -> float | None:
    return float(np.quantile(values, q)) if values else None
