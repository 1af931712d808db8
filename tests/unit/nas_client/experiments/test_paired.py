"""Paired differences and the noise of training, against scipy and by hand."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from nas_client.experiments.paired import PairedDifference, TrainingNoise


@pytest.mark.parametrize("pairs", [2, 5, 30])
def test_interval_and_error_are_those_of_students_paired_test(pairs: int) -> None:
    rng = np.random.default_rng(pairs)
    one, other = rng.normal(0.3, 0.02, pairs), rng.normal(0.28, 0.02, pairs)
    found = PairedDifference.of((one - other).tolist())
    test = stats.ttest_rel(one, other)
    assert found.interval == pytest.approx(tuple(test.confidence_interval(0.95)))
    assert found.stderr == pytest.approx(stats.sem(one - other))
    assert found.mean / found.stderr == pytest.approx(test.statistic)


@pytest.mark.parametrize(
    ("values", "verdict"),
    [
        ((0.02, 0.03, 0.04), "above"),
        ((-0.02, -0.03, -0.04), "below"),
        ((0.0, 0.02, 0.04), "undecided"),  # 0.02 ± 0.0115
        ((0.0, 0.0), "undecided"),
        ((0.5,), "undecided"),  # one pair tells nothing, however large
    ],
)
def test_a_difference_counts_beyond_twice_its_standard_error(values: tuple[float, ...], verdict: str) -> None:
    assert PairedDifference.of(values).verdict == verdict


def test_one_pair_has_no_error() -> None:
    found = PairedDifference.of([0.01])
    assert (found.mean, found.stderr, found.interval) == (0.01, None, None)


def test_noise_is_pooled_over_networks_and_leaves_their_differences_out() -> None:
    values = [[0.1, 0.2, 0.3], [5.0, 5.2], [0.7]]
    residuals = np.array([-0.1, 0, 0.1, -0.1, 0.1, 0])
    found = TrainingNoise.of(values)
    assert found.freedom == 3
    assert found.deviation == pytest.approx(np.sqrt((residuals**2).sum() / 3))
