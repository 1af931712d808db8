"""Statistics of paired trials: differences over seeds, and how far trainings of one network differ."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from typing import Literal, Self

from scipy.special import stdtrit

from models.spec.base import Record

Verdict = Literal["above", "below", "undecided"]

CLEAR = 2.0
"""Standard errors of a mean difference beyond which it counts."""

CONFIDENCE = 0.95


class PairedDifference(Record):
    """Differences of pairs, one for each seed.

    Attributes:
        values: by seed.
        mean: of the values.
        stderr: of the mean; None of a single pair.
        interval: that contains the true mean with a probability of 95 %, by Student's t; None of a single pair.
        verdict: `above` 0 by more than twice the standard error, `below` it by as much, or `undecided`.
    """

    values: tuple[float, ...]
    mean: float
    stderr: float | None
    interval: tuple[float, float] | None
    verdict: Verdict

    @classmethod
    def of(cls, values: Sequence[float]) -> Self:
        """Of at least one pair."""
        mean, pairs = statistics.fmean(values), len(values)
        if pairs < 2:
            return cls(values=tuple(values), mean=mean, stderr=None, interval=None, verdict="undecided")
        stderr = statistics.stdev(values) / math.sqrt(pairs)
        reach = float(stdtrit(pairs - 1, (1 + CONFIDENCE) / 2)) * stderr
        verdict: Verdict = "undecided"
        if abs(mean) > CLEAR * stderr:
            verdict = "above" if mean > 0 else "below"
        return cls(values=tuple(values), mean=mean, stderr=stderr, interval=(mean - reach, mean + reach), verdict=verdict)


class TrainingNoise(Record):
    """How far trainings of one network with different seeds differ.

    Attributes:
        values: mIoU, by network and seed.
        deviation: standard deviation within networks, pooled over them.
        freedom: its degrees of freedom.
    """

    values: tuple[tuple[float, ...], ...]
    deviation: float
    freedom: int

    @classmethod
    def of(cls, values: Sequence[Sequence[float]]) -> Self:
        """Of at least one network with at least two trainings; networks may have different numbers of them."""
        freedom = sum(len(several) - 1 for several in values)
        squares = math.fsum((len(several) - 1) * statistics.variance(several) for several in values if len(several) > 1)
        return cls(values=tuple(map(tuple, values)), deviation=math.sqrt(squares / freedom), freedom=freedom)
