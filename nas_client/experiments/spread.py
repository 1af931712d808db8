"""Mean and spread of what several seeds gave."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Self

from models.spec.base import Record


class Spread(Record):
    """Several values, summed up.

    Attributes:
        mean: of the values.
        deviation: their sample standard deviation; None of a single value.
        values: all of them, in the order of the seeds.
    """

    mean: float
    deviation: float | None
    values: tuple[float, ...]

    @classmethod
    def of(cls, values: Sequence[float]) -> Self:
        """Of at least one value."""
        return cls(
            mean=statistics.fmean(values),
            deviation=statistics.stdev(values) if len(values) > 1 else None,
            values=tuple(values),
        )

    def text(self, digits: int, *, factor: float = 1.0) -> str:
        """`12.3 ± 0.4`, both multiplied by the factor."""
        mean = f"{factor * self.mean:.{digits}f}"
        return mean if self.deviation is None else f"{mean} ± {factor * self.deviation:.{digits}f}"
