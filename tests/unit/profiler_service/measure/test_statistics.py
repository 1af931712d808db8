"""Medians, their intervals and standard errors, against values known from elsewhere and against simulation."""

from __future__ import annotations

import numpy as np
import pytest

from profiler_service.measure.statistics import (
    coefficient_of_variation,
    median,
    median_interval,
    median_stderr,
    relative_range,
    summarise,
)


@pytest.mark.parametrize(
    ("count", "ranks"),
    [(6, (1, 6)), (10, (2, 9)), (15, (4, 12)), (20, (6, 15)), (50, (18, 33))],
)
def test_median_interval_uses_the_tabulated_order_statistics(count: int, ranks: tuple[int, int]) -> None:
    """The ranks of the usual statistical tables for a 95 % interval."""
    assert median_interval(np.arange(1.0, count + 1)) == ranks


def test_median_interval_of_few_samples_is_their_range() -> None:
    assert median_interval([3.0, 1.0, 2.0]) == (1.0, 3.0)
    assert median_interval([1.5]) == (1.5, 1.5)


@pytest.mark.parametrize("count", [1023, 1024, 4000])
def test_median_interval_of_many_samples_is_that_of_the_normal_approximation(count: int) -> None:
    low, high = median_interval(np.arange(1.0, count + 1))
    assert low == pytest.approx(count / 2 - 1.96 * np.sqrt(count) / 2, abs=1.5)
    assert low + high == count + 1
    assert summarise(np.arange(1.0, count + 1)).ci95_low_ms == low


@pytest.mark.parametrize("count", [8, 25])
def test_median_interval_covers_the_median_as_often_as_it_says(count: int) -> None:
    rng = np.random.default_rng(1)
    intervals = [median_interval(rng.lognormal(size=count)) for _ in range(4000)]
    covered = np.mean([low <= 1.0 <= high for low, high in intervals])
    assert 0.94 <= covered <= 0.995


@pytest.mark.parametrize("count", [3, 4, 5, 6, 12, 40])
@pytest.mark.parametrize("tail", ["normal", "outliers"])
def test_median_stderr_is_the_spread_of_medians(count: int, tail: str) -> None:
    """Never much too small, also where one value in ten is far off; that would stop rounds too early."""
    rng = np.random.default_rng(2)
    values = rng.normal(10.0, 1.0, size=(4000, count))
    if tail == "outliers":
        values += np.where(rng.random(values.shape) < 0.1, 4.0, 0.0)
    true = np.std(np.median(values, axis=1))
    estimated = np.sqrt(np.mean([median_stderr(row) ** 2 for row in values]))
    assert 0.93 <= estimated / true <= 1.75


def test_median_stderr_notices_a_wild_round_far_less_than_the_standard_deviation_does() -> None:
    calm = [1.00, 1.01, 0.99, 1.02, 0.98, 1.01, 0.99, 1.00, 1.02, 0.98]
    wild = [*calm[:-1], 2.0]
    deviation = 1.2533 * np.std(wild, ddof=1) / np.sqrt(len(wild))
    assert median_stderr(wild) < 0.25 * deviation


def test_median_stderr_keeps_its_digits_for_large_times() -> None:
    small = [0.0, 1.0, 2.0, 3.0, 4.0]
    assert median_stderr([1e9 + value for value in small]) == pytest.approx(median_stderr(small), rel=1e-6)


def test_variation_and_range() -> None:
    assert coefficient_of_variation([1.0, 1.0, 1.0]) == 0.0
    assert coefficient_of_variation([1.0, 3.0]) == pytest.approx(np.sqrt(2) / 2)
    assert coefficient_of_variation([1.0]) is None
    assert coefficient_of_variation([-1.0, 1.0]) is None
    assert relative_range([2.0, 2.5, 3.0], 2.5) == pytest.approx(0.4)
    assert relative_range([0.0, 0.1], 0.0) is None


def test_summary_tells_location_and_tails() -> None:
    summary = summarise([float(value) for value in range(1, 101)])
    assert summary.samples == 100
    assert summary.median_ms == median(range(1, 101)) == 50.5
    assert (summary.ci95_low_ms, summary.ci95_high_ms) == (40.0, 61.0)
    assert (summary.min_ms, summary.mean_ms) == (1.0, 50.5)
    assert summary.p95_ms == pytest.approx(95.05)
    assert summary.p99_ms is None


def test_a_percentile_needs_samples_beyond_it() -> None:
    def told(count: int) -> tuple[bool, bool]:
        summary = summarise(range(count))
        return summary.p95_ms is not None, summary.p99_ms is not None

    assert [told(count) for count in (99, 100, 499, 500)] == [(False, False), (True, False), (True, False), (True, True)]
    assert summarise(range(1, 501)).p99_ms == pytest.approx(495.01)
