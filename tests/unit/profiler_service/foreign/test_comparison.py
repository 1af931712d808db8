"""Two foreign tables side by side."""

from __future__ import annotations

import pytest

from models.spec.errors import TableMismatchError
from profiler_service.foreign.comparison import compare
from profiler_service.foreign.foreign_table import ForeignEntry, ForeignFormat, ForeignTable


def table(name: str, **values: float) -> ForeignTable:
    entries = (
        ForeignEntry(key=key, type="t", ms=ms, row=row, statistics={}) for row, (key, ms) in enumerate(values.items(), start=1)
    )
    return ForeignTable(
        source=name, sha256="0", format=ForeignFormat.OFA_YAML, value="mean", device="", entries=tuple(entries), repeats=()
    )


def test_ratios_and_ranks_over_the_common_keys() -> None:
    found = compare(table("a", p=1, q=2, r=3, s=4, only=9), table("b", s=2, r=6, q=4, p=2, other=1))
    assert (found.common, found.only_a, found.only_b) == (4, ("only",), ("other",))
    assert [one.ratio for one in found.ratios] == [2, 2, 2, 0.5]
    assert (found.ratio_median, found.ratio_min, found.ratio_max) == (2, 0.5, 2)
    assert found.ratio_geometric_mean == pytest.approx((2 * 2 * 2 * 0.5) ** 0.25)
    assert found.ratio_p5 == pytest.approx(0.5 + 0.15 * 1.5)
    assert found.extremes[0].key == "s"
    # B's values in A's order are 2, 4, 6, 2: their ranks are 1.5, 3, 4, 1.5, which correlate by 0.5 / √(5 · 4.5).
    assert found.spearman == pytest.approx(0.5 / (5 * 4.5) ** 0.5)
    # Three pairs are ordered alike, two the other way round, and one is tied in B.
    assert found.kendall == pytest.approx(1 / (6 * 5) ** 0.5)


def test_a_table_against_itself() -> None:
    found = compare(table("a", p=1, q=2, r=3), table("a", p=1, q=2, r=3))
    assert (found.ratio_min, found.ratio_max, found.spearman, found.kendall) == (1, 1, pytest.approx(1), pytest.approx(1))


def test_too_little_for_a_rank_correlation() -> None:
    assert compare(table("a", p=1, q=2), table("b", p=1, q=2)).spearman is None
    assert compare(table("a", p=1, q=2, r=3), table("b", p=1, q=1, r=1)).kendall is None


def test_tables_without_a_common_key() -> None:
    with pytest.raises(TableMismatchError, match="no key in common; the first are 'p' and 'q'"):
        compare(table("a", p=1), table("b", q=1))
