"""How well predicted latencies agree with measured ones. Pure."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from models.spec.base import Record
from nas_client.errors import CalibrationError

MIN_POINTS = 4
"""Fisher's z needs more than three points."""


class Agreement(Record):
    """Predicted against measured. Relative errors, as fractions, are (predicted − measured)/measured.

    Attributes:
        pearson, pearson_ci95: linear correlation with its 95 % interval by Fisher's z.
        spearman, kendall: rank correlations (τ-b).
        mape: mean absolute relative error. worst_error: the largest absolute relative error.
        rmse_ms: root mean squared error. bias_ms: mean of predicted − measured.
        slope, intercept_ms: of the least-squares line measured = slope · predicted + intercept.
        within_5, within_10: share of networks within ±5 % and ±10 %.
    """

    pearson: float
    pearson_ci95: tuple[float, float]
    spearman: float
    kendall: float
    mape: float
    rmse_ms: float
    bias_ms: float
    worst_error: float
    slope: float
    intercept_ms: float
    within_5: float
    within_10: float


def agreement(predicted_ms: ArrayLike, measured_ms: ArrayLike) -> Agreement:
    """All measures of agreement. Shape of both arguments: (networks,).

    Raises:
        CalibrationError: fewer than `MIN_POINTS`, other lengths, values that are not finite and positive, or all alike.
    """
    predicted, measured = np.asarray(predicted_ms, dtype=np.float64), np.asarray(measured_ms, dtype=np.float64)
    if predicted.shape != measured.shape or predicted.ndim != 1:
        raise CalibrationError(f"predicted has shape {predicted.shape}, measured {measured.shape}; both must be (networks,)")
    if predicted.size < MIN_POINTS:
        raise CalibrationError(
            f"{predicted.size} networks are too few to judge; {MIN_POINTS} are needed", hint="Measure more architectures."
        )
    for name, values in (("predicted", predicted), ("measured", measured)):
        if not (np.isfinite(values) & (values > 0)).all():
            raise CalibrationError(f"the {name} latencies must be finite and positive")
        if np.ptp(values) <= 1e-12 * values.max():
            raise CalibrationError(f"all {name} latencies are alike: their correlation has no meaning")
    error = predicted - measured
    relative = np.abs(error) / measured
    pearson = stats.pearsonr(predicted, measured)
    interval = pearson.confidence_interval(0.95)
    line = stats.linregress(predicted, measured)
    return Agreement(
        pearson=float(pearson.statistic),
        pearson_ci95=(float(interval.low), float(interval.high)),
        spearman=float(stats.spearmanr(predicted, measured).statistic),
        kendall=float(stats.kendalltau(predicted, measured).statistic),
        mape=float(relative.mean()),
        rmse_ms=float(np.sqrt(np.mean(error**2))),
        bias_ms=float(error.mean()),
        worst_error=float(relative.max()),
        slope=float(line.slope),
        intercept_ms=float(line.intercept),
        within_5=float(np.mean(relative <= 0.05)),
        within_10=float(np.mean(relative <= 0.10)),
    )
