"""Fits of calibrations: one scale, and further terms only where they lower the error. Pure.

Errors are relative: a fit minimises Σ((ŷ − y)/y)² over ŷ = a·x (+ b·operators) (+ c). docs/measurement.md.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nas_client.errors import CalibrationError
from nas_client.validation.calibration import Calibration, Features, Floats, Prediction, Regressor, require_positive

MIN_NETWORKS = 4
"""Fewer measured networks than this on one side of a fit say nothing about its error."""

NETWORKS_PER_TERM = 5
"""A second or third term is only considered with that many networks for each; leave-one-out errors of fewer are luck."""


@dataclass(frozen=True)
class _Fit:
    terms: tuple[Regressor, ...]
    coefficients: Floats
    inverse_normal: Floats
    residuals: Floats
    left_out: Floats
    """Relative errors of each network by the fit on all others. Shape: (networks,)."""


def fit(features: Features, measured_ms: ArrayLike, *, others: Features | None = None) -> Calibration:
    """The scale alone, or with further terms that lower the error.

    Terms are added one by one, the best first. A term is accepted if it lowers the squared leave-one-out error by more
    than that gain's own standard error over the networks, and leaves no network without a positive latency, `others` included.

    Args:
        features: of the networks.
        measured_ms: their latencies.
        others: of networks that are not fitted on, and are to be predicted.

    Raises:
        CalibrationError: fewer than `MIN_NETWORKS`, or a value that is not finite and positive.
    """
    measured = np.asarray(measured_ms, dtype=np.float64)
    require_positive("measured latencies", measured)
    if measured.shape != features.raw.shape:
        raise CalibrationError(f"{features.raw.size} raw predictions but {measured.size} measured latencies")
    if measured.size < MIN_NETWORKS:
        raise CalibrationError(
            f"{measured.size} measured networks are too few to fit on; {MIN_NETWORKS} are needed",
            hint="Measure more architectures.",
        )
    chosen = _least_squares(features, measured, (Regressor.SCALE,))
    if chosen is None:
        raise CalibrationError("one network alone decides the scale of all; their latencies are too far apart")
    while (len(chosen.terms) + 1) * NETWORKS_PER_TERM <= measured.size:
        wider = [_least_squares(features, measured, (*chosen.terms, term)) for term in Regressor if term not in chosen.terms]
        rivals = [rival for rival in wider if rival is not None and _lowers_error(chosen, rival) and _predicts(rival, others)]
        if not rivals:
            break
        chosen = min(rivals, key=lambda rival: float(np.mean(rival.left_out**2)))
    spare = measured.size - len(chosen.terms)
    return Calibration(
        terms=chosen.terms,
        coefficients=tuple(chosen.coefficients.tolist()),
        inverse_normal=tuple(tuple(row) for row in chosen.inverse_normal.tolist()),
        residual_sd=float(np.sqrt(np.sum(chosen.residuals**2) / spare)),
        networks=measured.size,
    )


@dataclass(frozen=True)
class CrossFit:
    """Predictions of networks by a calibration that did not see them.

    Attributes:
        prediction: each network by the calibration of the other half.
        first_half: which networks belong to the first half. Shape: (networks,).
        calibrations: fitted on the first half and on the second.
    """

    prediction: Prediction
    first_half: NDArray[np.bool_]
    calibrations: tuple[Calibration, Calibration]


def cross_fit(features: Features, measured_ms: ArrayLike, *, seed: int) -> CrossFit:
    """Fit on a random half and predict the other, and the reverse.

    Raises:
        CalibrationError: as `fit`, of each half.
    """
    measured = np.asarray(measured_ms, dtype=np.float64)
    first_half = np.zeros(measured.size, dtype=np.bool_)
    first_half[np.random.default_rng(seed).permutation(measured.size)[: measured.size // 2]] = True
    prediction = Prediction(*np.empty((3, measured.size)))
    calibrations = []
    for half in (first_half, ~first_half):
        seen, unseen = np.flatnonzero(half), np.flatnonzero(~half)
        calibration = fit(features.take(seen), measured[seen], others=features.take(unseen))
        part = calibration.predict(features.take(unseen))
        prediction.ms[unseen], prediction.low_ms[unseen], prediction.high_ms[unseen] = part.ms, part.low_ms, part.high_ms
        calibrations.append(calibration)
    return CrossFit(prediction, first_half, (calibrations[0], calibrations[1]))


def _least_squares(features: Features, measured: Floats, terms: tuple[Regressor, ...]) -> _Fit | None:
    """Least squares on relative errors; None where a term is a multiple of others, or a network decides it alone."""
    rows = features.columns(terms) / measured[:, None]
    scale = np.linalg.norm(rows, axis=0)  # multiply-adds are 10⁹ times an intercept
    q, r = np.linalg.qr(rows / scale)
    if np.linalg.cond(r) > 1e8:
        return None
    leverage = np.sum(q**2, axis=1)
    if (leverage > 1 - 1e-9).any():
        return None
    solution = np.linalg.solve(r, q.T @ np.ones(measured.size))
    residuals = 1 - (rows / scale) @ solution
    inverse = np.linalg.inv(r) / scale[:, None]
    return _Fit(terms, solution / scale, inverse @ inverse.T, residuals, residuals / (1 - leverage))


def _predicts(fitted: _Fit, others: Features | None) -> bool:
    return others is None or bool((others.columns(fitted.terms) @ fitted.coefficients > 0).all())


def _lowers_error(simple: _Fit, wider: _Fit) -> bool:
    gain = simple.left_out**2 - wider.left_out**2
    return bool(gain.mean() > gain.std(ddof=1) / np.sqrt(gain.size) and (wider.left_out < 1).all())
