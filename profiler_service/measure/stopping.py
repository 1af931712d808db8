"""When a workload has been measured often enough: a small object that is fed one value per round."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil
from typing import Self

from profiler_service.measure.budgets import BudgetSettings
from profiler_service.measure.statistics import median, median_stderr
from profiler_service.measure.values import RoundValue, counted_rounds


class StoppingRule:
    """Stops when the standard error between rounds is within a relative target or an absolute floor, or the budget is spent.

    Rounds that do not count cost as much as others, and are charged to the budget. A burst's own interval is no use here:
    99 % of bursts meet 1 % while rounds differ by 3 to 15 % (docs/measurement.md).
    """

    def __init__(self, settings: BudgetSettings) -> None:
        self._settings = settings
        self._values_ms: list[float] = []
        self._set_aside = 0

    @classmethod
    def of(cls, settings: BudgetSettings, rounds: Sequence[RoundValue]) -> Self:
        """The rule after those rounds, as far as they count."""
        rule = cls(settings)
        counted = counted_rounds(rounds, settings.least_accepted)
        for round_value in counted:
            rule.add(round_value.value_ms)
        rule._set_aside = len(rounds) - len(counted)
        return rule

    def add(self, value_ms: float) -> None:
        """Take the value of one more round; it may be negative where a base was subtracted."""
        self._values_ms.append(value_ms)

    @property
    def rounds(self) -> int:
        """Rounds that count."""
        return len(self._values_ms)

    @property
    def spent(self) -> int:
        """Rounds that the budget has been charged with."""
        return self.rounds + self._set_aside

    @property
    def value_ms(self) -> float:
        """Median of the rounds. At least one round."""
        return median(self._values_ms)

    @property
    def stderr_ms(self) -> float:
        """Standard error of that median. At least two rounds."""
        return median_stderr(self._values_ms)

    @property
    def target_ms(self) -> float:
        """The standard error that is good enough for such a value."""
        return max(self._settings.target_relative_stderr * abs(self.value_ms), self._settings.floor_ms)

    @property
    def converged(self) -> bool:
        """Whether the value is known well enough."""
        return self.rounds >= self._settings.min_rounds and self.stderr_ms <= self.target_ms

    @property
    def done(self) -> bool:
        """Whether no further round is wanted, converged or not."""
        return self.converged or self.spent >= self._settings.max_rounds

    def expected_rounds_left(self) -> int:
        """Rounds still to be expected, for a time estimate: the error falls with the root of their number.

        While there is no error to go by, halfway between the fewest and the most.
        """
        settings = self._settings
        if self.done:
            return 0
        left = settings.max_rounds - self.spent
        if self.rounds < 2:
            return min(max((settings.min_rounds + settings.max_rounds + 1) // 2 - self.spent, 1), left)
        needed = ceil(self.rounds * (self.stderr_ms / self.target_ms) ** 2) if self.target_ms > 0 else settings.max_rounds
        return min(max(needed, settings.min_rounds, self.rounds + 1) - self.rounds, left)
