"""Measures of agreement against their textbook definitions."""

from __future__ import annotations

import math
from itertools import combinations

import numpy as np
import pytest

from nas_client.errors import CalibrationError
from nas_client.validation.metrics import agreement

PREDICTED = np.array([4.0, 5.5, 6.0, 8.0, 9.5, 12.0])
MEASURED = np.array([4.2, 5.0, 6.6, 7.9, 10.0, 11.0])


def test_errors_by_hand() -> None:
    found = agreement(PREDICTED, MEASURED)
    error = PREDICTED - MEASURED
    relative = abs(error) / MEASURED
    assert found.mape == pytest.approx(sum(relative) / 6)
    assert found.worst_error == pytest.approx(0.1)
    assert found.rmse_ms == pytest.approx(math.sqrt(sum(error**2) / 6))
    assert found.bias_ms == pytest.approx(sum(error) / 6)
    assert found.within_5 == pytest.approx(3 / 6)
    assert found.within_10 == pytest.approx(6 / 6)


def test_correlations_by_hand() -> None:
    found = agreement(PREDICTED, MEASURED)
    x, y = PREDICTED - PREDICTED.mean(), MEASURED - MEASURED.mean()
    r = (x @ y) / math.sqrt((x @ x) * (y @ y))
    assert found.pearson == pytest.approx(r)
    spread = 1.959963984540054 / math.sqrt(6 - 3)  # Fisher: atanh r is normal with variance 1/(n − 3)
    assert found.pearson_ci95 == pytest.approx((math.tanh(math.atanh(r) - spread), math.tanh(math.atanh(r) + spread)))
    assert found.slope == pytest.approx((x @ y) / (x @ x))
    assert found.intercept_ms == pytest.approx(MEASURED.mean() - found.slope * PREDICTED.mean())


def test_ranks_by_hand() -> None:
    predicted = np.array([1.0, 2.0, 4.0, 3.0, 5.0])
    measured = np.array([1.0, 3.0, 2.0, 4.0, 5.0])
    found = agreement(predicted, measured)
    concordant = [np.sign((predicted[i] - predicted[j]) * (measured[i] - measured[j])) for i, j in combinations(range(5), 2)]
    assert found.kendall == pytest.approx(sum(concordant) / 10)
    ranks = [1, 2, 4, 3, 5], [1, 3, 2, 4, 5]
    assert found.spearman == pytest.approx(np.corrcoef(*ranks)[0, 1])


def test_a_perfect_prediction() -> None:
    found = agreement(MEASURED, MEASURED)
    assert (found.mape, found.worst_error, found.bias_ms, found.within_5) == (0.0, 0.0, 0.0, 1.0)
    assert found.pearson == pytest.approx(1)
    assert (found.slope, found.intercept_ms) == (pytest.approx(1), pytest.approx(0))


def test_correlation_does_not_see_a_scale_but_the_errors_do() -> None:
    found = agreement(2 * MEASURED, MEASURED)
    assert found.pearson == pytest.approx(1)
    assert found.mape == pytest.approx(1)
    assert found.slope == pytest.approx(0.5)
    assert found.within_10 == 0


@pytest.mark.parametrize(
    ("predicted", "measured", "reason"),
    [
        ([1, 2, 3], [1, 2, 3], "3 networks are too few to judge; 4 are needed"),
        ([], [], "0 networks are too few"),
        ([1, 2, 3, 4], [1, 2, 3], "predicted has shape"),
        ([[1, 2, 3, 4]], [[1, 2, 3, 4]], "must be"),
        ([1, 2, 3, math.nan], [1, 2, 3, 4], "predicted latencies must be finite"),
        ([1, 2, 3, 4], [1, 2, math.inf, 4], "measured latencies must be finite"),
        ([1, 2, 3, 4], [1, 2, 0, 4], "measured latencies must be finite and positive"),
        ([2, 2, 2, 2], [1, 2, 3, 4], "all predicted latencies are alike"),
        ([1, 2, 3, 4], [5, 5, 5, 5], "all measured latencies are alike"),
    ],
)
def test_what_has_no_meaning_is_refused(predicted: list[float], measured: list[float], reason: str) -> None:
    with pytest.raises(CalibrationError, match=reason):
        agreement(predicted, measured)
