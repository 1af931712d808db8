"""Samples as a histogram that a template draws: bars in SVG, without a script."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite

BARS = 32
WIDTH, HEIGHT = 320, 70
TAIL = 0.01
"""Share of the samples at the upper end that share the last bar, so that one interruption does not flatten the rest."""


@dataclass(frozen=True)
class Bar:
    """One bar, in units of the drawing."""

    x: float
    y: float
    width: float
    height: float


@dataclass(frozen=True)
class Histogram:
    """Of samples in milliseconds.

    Attributes:
        low_ms, high_ms: of the axis. The last bar also holds what is above.
        above: how many are above.
    """

    bars: tuple[Bar, ...]
    low_ms: float
    high_ms: float
    samples: int
    above: int

    @classmethod
    def of(cls, samples: Sequence[float]) -> Histogram | None:
        """That of those samples, of which none need be a number; None without any that is."""
        ordered = sorted(sample for sample in samples if isfinite(sample))
        if not ordered:
            return None
        low, high = ordered[0], ordered[int((1 - TAIL) * (len(ordered) - 1))]
        width = (high - low) / BARS or 1.0
        counts = Counter(min(int((sample - low) / width), BARS - 1) for sample in ordered)
        most = max(counts.values())
        each = WIDTH / BARS
        bars = tuple(
            Bar(round(index * each, 2), round(HEIGHT * (1 - number / most), 2), each - 1, round(HEIGHT * number / most, 2))
            for index, number in sorted(counts.items())
        )
        return cls(bars, low, high, len(ordered), sum(sample > high for sample in ordered))
