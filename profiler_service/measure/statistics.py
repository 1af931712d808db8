"""Statistics of repeated times. Pure functions of samples in milliseconds; nothing here knows where they come from.

Times are skewed, have outliers and come in phases, so location is always a median and never a mean or a minimum
(docs/measurement.md).
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from math import sqrt

import numpy as np
from numpy.typing import NDArray

Samples = Sequence[float] | NDArray[np.float64]

TAIL_SAMPLES = 5
"""Samples that must lie beyond a percentile before it is reported: with fewer it is one outlier's time, or none's."""

_QUADRATURE_STEPS = 64
"""Midpoints per interval in which the weights of order statistics are integrated; exact to about 1e-5."""


@dataclass(frozen=True)
class Summary:
    """What is reported about pooled samples. Milliseconds, except `samples`, a count. A percentile that too few samples lie
    beyond is None.
    """

    samples: int
    median_ms: float
    ci95_low_ms: float
    ci95_high_ms: float
    min_ms: float
    mean_ms: float
    p95_ms: float | None
    p99_ms: float | None


def median(samples: Samples) -> float:
    """The median. Needs at least one sample."""
    return float(statistics.median(samples))  # ten times faster than numpy for the few values of a visit or a workload


def median_interval(samples: Samples, confidence: float = 0.95) -> tuple[float, float]:
    """A distribution-free confidence interval of the median, between two order statistics of the samples.

    With fewer samples than such an interval needs (six for 95 %) it is the whole range, which then covers less.
    """
    ordered = np.sort(samples)
    lower = _interval_rank(len(ordered), confidence)
    return float(ordered[lower]), float(ordered[-1 - lower])


@lru_cache(maxsize=512)
def _interval_rank(count: int, confidence: float) -> int:
    """The largest rank k (from 0) for which [x_k, x_(count−1−k)] covers the median with that confidence.

    The number of samples below the median is binomial (count, ½).
    """
    allowed = int(Fraction((1 - confidence) / 2) * 2**count)  # an integer: from 1024 samples no float holds it
    tail, rank, outcomes = 0, -1, 1  # outcomes: how many of the 2^count put rank + 1 samples below the median
    while tail + outcomes <= allowed:
        tail, rank = tail + outcomes, rank + 1
        outcomes = outcomes * (count - rank) // (rank + 1)
    return max(rank, 0)


def median_stderr(values: Samples) -> float:
    """Standard error of the median of independent values, from their own spread. At least two values.

    The values' order statistics are weighted by how likely each is to be the median of a resample. For 3 to 40 normal
    values the estimate is on average 0.95 to 1.16 times the true error, for two 0.84 times; a few outliers hardly move it.

    Source: Maritz and Jarrett (1978), with the symmetric beta weights of Harrell and Davis (1982) for even counts.
    """
    ordered = np.sort(values)
    weights = _median_weights(len(ordered))
    deviations = ordered - ordered[len(ordered) // 2]  # near zero, so that squares of large times lose no digits
    variance = float(weights @ deviations**2 - (weights @ deviations) ** 2)
    return sqrt(max(variance, 0.0))


@lru_cache(maxsize=512)
def _median_weights(count: int) -> NDArray[np.float64]:
    """Probability that each order statistic is a resample's median: Beta((n+1)/2, (n+1)/2) over n equal intervals."""
    steps = count * _QUADRATURE_STEPS
    t = (np.arange(steps) + 0.5) / steps
    density = (4 * t * (1 - t)) ** ((count - 1) / 2)
    weights: NDArray[np.float64] = density.reshape(count, _QUADRATURE_STEPS).sum(axis=1)
    weights /= weights.sum()
    return weights


def coefficient_of_variation(samples: Samples) -> float | None:
    """Standard deviation over mean, a fraction; None for a single sample, or where the mean is not positive."""
    mean = float(np.mean(samples))
    return float(np.std(samples, ddof=1)) / mean if len(samples) > 1 and mean > 0 else None


def relative_range(values: Samples, scale: float) -> float | None:
    """(largest − smallest) / scale, a fraction; None where the scale is not positive."""
    return float(np.ptp(values)) / scale if scale > 0 else None


def summarise(samples: Samples) -> Summary:
    """Location, interval and tails of pooled samples. Needs at least one."""
    low, high = median_interval(samples)
    return Summary(
        samples=len(samples),
        median_ms=median(samples),
        ci95_low_ms=low,
        ci95_high_ms=high,
        min_ms=float(np.min(samples)),
        mean_ms=float(np.mean(samples)),
        p95_ms=percentile(samples, 95),
        p99_ms=percentile(samples, 99),
    )


def percentile(samples: Samples, percent: int) -> float | None:
    """That percentile; None where fewer than `TAIL_SAMPLES` of the samples are expected beyond it."""
    if len(samples) * (100 - percent) < 100 * TAIL_SAMPLES:
        return None
    return float(np.percentile(samples, percent))
