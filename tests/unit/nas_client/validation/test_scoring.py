"""What a score says of networks whose truth is known."""

from __future__ import annotations

import numpy as np
import pytest

from models.spec.measurements import Measurement
from models.spec.operators import OperatorSpec
from nas_client.errors import CalibrationError
from nas_client.validation.scoring import Sum, TableScore, score_sums

ANY = OperatorSpec(kind="conv3x3", in_channels=8, out_channels=8, height=8, width=8)


def measured(ms: np.ndarray) -> list[Measurement]:
    spreads = np.linspace(0.01, 0.03, len(ms))
    return [
        Measurement(workload=ANY, value_ms=float(one), rounds=3, between_round_spread=float(spread))
        for one, spread in zip(ms, spreads, strict=True)
    ]


def scored(seed: int = 0, count: int = 40, threads: int = 1) -> TableScore:
    rng = np.random.default_rng(5)
    sums = rng.uniform(5, 15, count)
    macs = (1e9 * sums * rng.uniform(0.8, 1.2, count)).astype(int)
    truth = 1.1 * sums * (1 + 0.01 * rng.standard_normal(count))
    return score_sums([Sum(float(ms), 20) for ms in sums], [int(m) for m in macs], measured(truth), seed=seed, threads=threads)


def test_raw_is_as_it_is_and_calibration_takes_the_scale_away() -> None:
    validation = scored().validation
    assert validation.raw.mape == pytest.approx(1 - 1 / 1.1, abs=0.01)
    assert validation.raw.slope == pytest.approx(1.1, abs=0.02)
    assert validation.calibrated.mape < 0.015
    assert validation.macs.mape > 0.05


def test_repeatability_is_the_median_spread() -> None:
    assert scored().validation.repeatability == pytest.approx(0.02)


def test_calibrated_predictions_are_those_of_the_other_half() -> None:
    found = scored()
    first, second = found.calibrated.calibrations
    for index, (ms, in_first) in enumerate(zip(found.calibrated.prediction.ms, found.calibrated.first_half, strict=True)):
        (scale,) = (second if in_first else first).coefficients
        assert ms == pytest.approx(scale * found.sum_ms[index])


def test_the_calibration_for_later_uses_all_networks() -> None:
    assert scored().calibration.networks == 40


def test_the_seed_draws_the_halves() -> None:
    assert scored(seed=1).validation.raw == scored(seed=2).validation.raw
    assert scored(seed=1).validation.calibrated != scored(seed=2).validation.calibrated


def test_both_fits_use_the_same_halves() -> None:
    found = scored()
    np.testing.assert_array_equal(found.calibrated.first_half, found.macs.first_half)


@pytest.mark.parametrize("count", [0, 1, 7])
def test_too_few_networks(count: int) -> None:
    with pytest.raises(CalibrationError, match="too few"):
        scored(count=count)


def test_sums_of_engines_with_several_threads_that_do_not_add_up_are_told() -> None:
    """They are off by 9 %; with one thread that is no matter of pools."""

    def names(threads: int) -> list[str]:
        verdict = scored(threads=threads).validation.verdict
        assert verdict is not None
        return [reason.name for reason in verdict.reasons]

    assert "threads" in names(2)
    assert "threads" not in names(1)
