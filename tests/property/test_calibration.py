"""What holds of every calibration, and what it does on synthetic networks."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nas_client.errors import CalibrationError
from nas_client.validation.calibration import Calibration, Features, Regressor
from nas_client.validation.fitting import MIN_NETWORKS, cross_fit, fit

seeds = st.integers(0, 2**32 - 1)
factors = st.floats(1e-9, 1e9)


def networks(seed: int, count: int = 40, noise: float = 0.02) -> tuple[Features, np.ndarray]:
    """Sums over a fourfold range, operator counts, and latencies 1.1 times the sum, give or take the noise."""
    rng = np.random.default_rng(seed)
    raw = rng.uniform(3, 12, count)
    features = Features.of(raw, rng.integers(15, 35, count))
    return features, 1.1 * raw * (1 + noise * rng.standard_normal(count))


def plain_fit(features: Features, measured: np.ndarray, terms: tuple[Regressor, ...]) -> np.ndarray:
    """Weighted least squares, as written in a textbook."""
    rows = features.columns(terms) / measured[:, None]
    scale = np.abs(rows).max(axis=0)
    return np.linalg.lstsq(rows / scale, np.ones(len(measured)), rcond=None)[0] / scale


@given(seeds, st.integers(MIN_NETWORKS, 60))
def test_coefficients_are_those_of_weighted_least_squares(seed: int, count: int) -> None:
    features, measured = networks(seed, count)
    calibration = fit(features, measured)
    assert calibration.coefficients == pytest.approx(plain_fit(features, measured, calibration.terms), rel=1e-6)


@given(seeds, factors, factors)
def test_units_do_not_matter(seed: int, raw_unit: float, time_unit: float) -> None:
    features, measured = networks(seed)
    plain = fit(features, measured).predict(features)
    other = Features(features.raw * raw_unit, features.operators)
    scaled = fit(other, measured * time_unit).predict(other)
    for name in ("ms", "low_ms", "high_ms"):
        np.testing.assert_allclose(getattr(scaled, name), getattr(plain, name) * time_unit, rtol=1e-6)


@given(seeds)
def test_the_order_of_networks_does_not_matter(seed: int) -> None:
    features, measured = networks(seed)
    order = np.random.default_rng(seed).permutation(measured.size)
    one, other = fit(features, measured), fit(features.take(order), measured[order])
    assert one.terms == other.terms
    assert one.coefficients == pytest.approx(other.coefficients, rel=1e-6)


@given(seeds)
def test_a_prediction_lies_within_its_interval(seed: int) -> None:
    features, measured = networks(seed, noise=0.1)
    found = fit(features, measured).predict(features)
    assert (found.low_ms >= 0).all()
    assert (found.low_ms <= found.ms).all()
    assert (found.ms <= found.high_ms).all()


@given(seeds)
def test_a_calibration_survives_its_file(seed: int) -> None:
    features, measured = networks(seed)
    calibration = fit(features, measured)
    assert Calibration.parse_json(calibration.model_dump_json()) == calibration


@given(seeds, st.integers(2 * MIN_NETWORKS, 41))
def test_cross_fitting_never_sees_what_it_predicts(seed: int, count: int) -> None:
    """Change a half's measurements: the predictions of that very half stay as they were, to the last bit."""
    features, measured = networks(seed, count)
    before = cross_fit(features, measured, seed=seed)
    half = before.first_half
    assert abs(int(half.sum()) - int((~half).sum())) <= 1
    changed = np.where(half, measured * np.linspace(1.01, 1.1, count), measured)
    after = cross_fit(features, changed, seed=seed)
    np.testing.assert_array_equal(after.first_half, half)
    np.testing.assert_array_equal(after.prediction.ms[half], before.prediction.ms[half])
    assert (after.prediction.ms[~half] != before.prediction.ms[~half]).all()


@given(seeds, seeds)
def test_halves_are_drawn_by_the_seed(data: int, seed: int) -> None:
    features, measured = networks(data)
    one, other = cross_fit(features, measured, seed=seed), cross_fit(features, measured, seed=seed)
    np.testing.assert_array_equal(one.prediction.ms, other.prediction.ms)


def share(decide: list[bool]) -> float:
    return sum(decide) / len(decide)


def test_intervals_hold_what_they_promise() -> None:
    """95 % of new networks, over 300 fits; the tolerance is four standard errors."""
    inside = []
    for seed in range(300):
        features, measured = networks(seed)
        seen, unseen = np.arange(20), np.arange(20, 40)
        found = fit(features.take(seen), measured[seen]).predict(features.take(unseen))
        inside += ((found.low_ms <= measured[unseen]) & (measured[unseen] <= found.high_ms)).tolist()
    assert share(inside) == pytest.approx(0.95, abs=0.02)


def test_without_need_the_scale_stays_alone() -> None:
    assert share([fit(*networks(seed)).terms == (Regressor.SCALE,) for seed in range(200)]) > 0.9


@pytest.mark.parametrize(("term", "cost_ms"), [(Regressor.INTERCEPT, 1.5), (Regressor.OPERATORS, 0.1)])
def test_a_cost_that_the_sum_lacks_earns_its_place(term: Regressor, cost_ms: float) -> None:
    """Enough noise that it is no foregone conclusion; which of the two near-alike terms is taken may differ."""
    found = []
    for seed in range(100):
        features, measured = networks(seed)
        column = features.columns([term])[:, 0]
        found.append(len(fit(features, measured + cost_ms * column).terms) > 1)
    assert share(found) > 0.95


def test_an_exact_relation_is_found_exactly() -> None:
    features, _ = networks(0)
    measured = 1.2 * features.raw + 0.05 * features.operators + 2.0
    calibration = fit(features, measured)
    assert dict(zip(calibration.terms, calibration.coefficients, strict=True)) == pytest.approx(
        {Regressor.SCALE: 1.2, Regressor.OPERATORS: 0.05, Regressor.INTERCEPT: 2.0}
    )
    np.testing.assert_allclose(calibration.predict(features).ms, measured)


def test_a_term_that_repeats_another_is_left_out() -> None:
    """As many operators in every network: the count and an intercept say the same."""
    features, measured = networks(1)
    alike = Features(features.raw, np.full_like(features.raw, 20.0))
    assert len(fit(alike, measured + 3).terms) == 2


@pytest.mark.parametrize(
    ("raw", "operators", "measured", "reason"),
    [
        ([1, 2, 3], [1, 1, 1], [1, 2, 3], "3 measured networks are too few to fit on; 4 are needed"),
        ([1, 2, 3, np.nan], [1] * 4, [1, 2, 3, 4], "raw predictions must be finite"),
        ([1, 2, 3, 0], [1] * 4, [1, 2, 3, 4], "raw predictions must be finite and positive"),
        ([1, 2, 3, 4], [1, 1, 1, -1], [1, 2, 3, 4], "operator counts must be"),
        ([1, 2, 3, 4], [1, 1, 1], [1, 2, 3, 4], "4 raw predictions but 3 operator counts"),
        ([1, 2, 3, 4], [1] * 4, [1, 2, 3, np.inf], "measured latencies must be finite"),
        ([1, 2, 3, 4], [1] * 4, [1, 2, 3], "4 raw predictions but 3 measured"),
    ],
)
def test_what_cannot_be_fitted(raw: list[float], operators: list[float], measured: list[float], reason: str) -> None:
    with pytest.raises(CalibrationError, match=reason):
        fit(Features.of(raw, operators), measured)


def test_a_network_far_from_all_others_is_not_predicted() -> None:
    features, _ = networks(3)
    calibration = fit(features, 1.1 * features.raw - 3)
    with pytest.raises(CalibrationError, match=r"gives .* ms for a network"):
        calibration.predict(Features.of([1.0], [20]))


def test_a_term_that_leaves_another_network_without_a_latency_is_not_taken() -> None:
    """Small networks of the other half, which a negative intercept would make faster than nothing."""
    rng = np.random.default_rng(296)
    raw = np.exp(rng.uniform(np.log(0.2), np.log(20), 40))
    features = Features.of(raw, rng.integers(10, 40, 40))
    measured = np.maximum(0.9 * raw - 0.12, 0.05) * (1 + 0.05 * rng.standard_normal(40))
    found = cross_fit(features, measured, seed=0)
    assert (found.prediction.ms > 0).all()
    refused = 0
    for half in (found.first_half, ~found.first_half):
        seen, unseen = np.flatnonzero(half), np.flatnonzero(~half)
        try:
            fit(features.take(seen), measured[seen]).predict(features.take(unseen))
        except CalibrationError:
            refused += 1
    assert refused == 1
