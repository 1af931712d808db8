"""Which of many differences between measured values are more than noise.

A value's standard error comes from the spread between its rounds, so that the difference of two values over both errors
follows Student's t, with few degrees of freedom. Of many differences some look large by chance alone: the procedure of
Benjamini and Hochberg (1995) keeps their expected share among those called significant at a stated rate.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf, sqrt
from typing import Self

from models.spec.measurements import Measurement, ProtocolName
from models.spec.tables import TableInfo
from models.spec.verdicts import degrees, processes_sd

FALSE_DISCOVERY_RATE = 0.05
"""Expected share of chance among what is called significant, where nobody says otherwise."""

CONFIDENCE = 0.95
"""Of intervals."""


@dataclass(frozen=True)
class Estimate:
    """A value and how well it is known. Milliseconds.

    Attributes:
        rounds: that the error comes from, two at the least.
        processes_ms: standard deviation between processes, beyond what the rounds of one explain.
    """

    value_ms: float
    stderr_ms: float
    rounds: int
    processes_ms: float = 0.0

    @classmethod
    def of(cls, entry: Measurement, info: TableInfo) -> Self | None:
        """Of a table's entry; None where it has no positive value, or does not say how well that is known."""
        if not entry.value_ms or entry.stderr_ms is None or entry.rounds < 2:
            return None
        return cls(entry.value_ms, entry.stderr_ms, entry.rounds, processes_sd(info) * entry.value_ms)

    @property
    def degrees(self) -> int:
        """Degrees of freedom of the standard error."""
        return degrees(self.rounds)


@dataclass(frozen=True)
class Difference:
    """Between two estimates. Milliseconds. `degrees`: degrees of freedom of `stderr_ms`."""

    ms: float
    stderr_ms: float
    degrees: float

    @property
    def statistic(self) -> float:
        """The difference in standard errors."""
        return self.ms / self.stderr_ms

    @property
    def margin_ms(self) -> float:
        """Half of the interval that covers the true difference with `CONFIDENCE`."""
        from scipy.special import stdtrit  # here, so that no other command waits for scipy

        return self.stderr_ms * float(stdtrit(self.degrees, (1 + CONFIDENCE) / 2))


def difference(a: Estimate, b: Estimate, relative_scale_stderr: float = 0.0) -> Difference | None:
    """`b` less `a`; None where neither has any error, so that nothing says what noise is.

    Args:
        a: the one that is subtracted.
        b: the other, independent of it.
        relative_scale_stderr: of the factor between the milliseconds of one and of the other, as a fraction.
    """
    scale_ms = relative_scale_stderr * (a.value_ms + b.value_ms) / 2
    variance = a.stderr_ms**2 + b.stderr_ms**2 + a.processes_ms**2 + b.processes_ms**2 + scale_ms**2
    if not (a.stderr_ms or b.stderr_ms):
        return None
    # Welch (1947) and Satterthwaite (1946); what processes differ by and the scale are taken as known.
    spent = a.stderr_ms**4 / a.degrees + b.stderr_ms**4 / b.degrees
    return Difference(b.value_ms - a.value_ms, sqrt(variance), variance**2 / spent if spent else inf)


def two_sided(found: Sequence[Difference]) -> list[float]:
    """The probability of a difference at least as large, in either direction, where there is none in truth."""
    return [min(2 * p, 1.0) for p in _below([-abs(one.statistic) for one in found], found)]


def falling(found: Sequence[Difference]) -> list[float]:
    """The probability of a fall at least as deep, where nothing falls in truth."""
    return _below([one.statistic for one in found], found)


def _below(statistics: Sequence[float], found: Sequence[Difference]) -> list[float]:
    from scipy.special import stdtr

    return [float(p) for p in stdtr([one.degrees for one in found], statistics)]


def adjusted(p_values: Sequence[float]) -> list[float]:
    """For each p value the smallest false-discovery rate at which it is significant (Benjamini and Hochberg, 1995)."""
    from scipy import stats

    return [float(q) for q in stats.false_discovery_control(p_values)] if p_values else []


def scale_uncertainty(a: TableInfo, b: TableInfo) -> float:
    """Standard error of the factor between the milliseconds of two tables, as a fraction.

    0 where they are on one scale, as tables of one target in one database are, or where the protocol has none.
    """
    scales = [info.scale for info in (a, b) if info.protocol is ProtocolName.IN_CONTEXT and info.scale is not None]
    if len(scales) == 2 and a.target == b.target and scales[0].reference_ms == scales[1].reference_ms:
        return 0.0
    return sqrt(sum(scale.relative_stderr**2 for scale in scales))
