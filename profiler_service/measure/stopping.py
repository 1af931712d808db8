"""When a workload has been measured often enough: how much time a job may spend, and a rule that is fed one value per round.

A workload is visited once a round, `passes` runs to a visit. Its rounds end when the standard error between rounds is within
the target, never before `min_rounds`, at the latest after `max_rounds`; then it is flagged `unconverged`. On a shared
2-core machine, where rounds of one operator differ by about 3.5 %, that means:

=========  ========  ======  =============  =====================================
budget     rounds    passes  target stderr  typical cost of one entry at 128×256
=========  ========  ======  =============  =====================================
quick      4 to 6    12      2 %            60 to 90 ms
normal     6 to 16   20      1 %            0.1 to 0.3 s
thorough   10 to 40  30      0.5 %          0.3 to 1.5 s
=========  ========  ======  =============  =====================================
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import ceil
from typing import Self

from models.spec.errors import InvalidSpecError
from models.spec.measurements import Budget
from profiler_service.measure.statistics import median, median_stderr
from profiler_service.measure.values import RoundValue, counted_rounds


@dataclass(frozen=True)
class BudgetSettings:
    """The numbers behind a budget.

    Attributes:
        min_rounds: rounds before the spread between them is believed at all; with fewer than four it says little.
        max_rounds: rounds at which a workload is given up as unconverged.
        passes: timed runs of an operator in one visit. The median of a visit is far better known than rounds differ, so
            further rounds are worth more than further passes.
        network_passes: the same for a network, which is tens of operators long.
        isolated_runs: the same for protocol `isolated`, where a visit is one engine back to back.
        warmup_passes: runs of each engine before a visit is timed, besides the one that shows that it runs at all.
        target_relative_stderr: standard error of the value that is good enough, as a fraction of the value.
        floor_ms: standard error that is always good enough. A network has tens of operators, so that 1 µs each is
            about 0.2 % of a network of 10 ms.
        repeat_share: repeats of contaminated visits, as a share of all visits, before the job stops repeating and only
            flags. Without a bound a host that turns slow for good would cost three times the budget.
    """

    min_rounds: int
    max_rounds: int
    passes: int
    network_passes: int
    isolated_runs: int
    warmup_passes: int
    target_relative_stderr: float
    floor_ms: float = 0.001
    repeat_share: float = 0.5

    @property
    def least_accepted(self) -> int:
        """Accepted rounds from which on the others do not count: half of those needed at the least."""
        return (self.min_rounds + 1) // 2

    @property
    def hot_windows(self) -> int:
        """As `isolated_runs`, for protocol `isolated_hot`; each window holds several runs."""
        return ceil(self.isolated_runs / 5)

    @property
    def cold_runs(self) -> int:
        """As `isolated_runs`, for `isolated_cold`: emptying a large cache takes a CPU longer than most operators do."""
        return ceil(self.isolated_runs / 3)

    def __post_init__(self) -> None:
        if not 2 <= self.min_rounds <= self.max_rounds:
            raise InvalidSpecError(f"rounds must satisfy 2 ≤ min ≤ max, not {self.min_rounds} and {self.max_rounds}")
        if min(self.passes, self.network_passes, self.isolated_runs) < 1 or self.warmup_passes < 0:
            raise InvalidSpecError("a visit needs at least one pass, and no negative number of them for warming up")
        if min(self.target_relative_stderr, self.floor_ms, self.repeat_share) < 0:
            raise InvalidSpecError("targets, floors and shares must not be negative")


BUDGETS: Mapping[Budget, BudgetSettings] = {
    Budget.QUICK: BudgetSettings(
        min_rounds=4,
        max_rounds=6,
        passes=12,
        network_passes=8,
        isolated_runs=30,
        warmup_passes=1,
        target_relative_stderr=0.02,
        repeat_share=0.2,
    ),
    Budget.NORMAL: BudgetSettings(
        min_rounds=6,
        max_rounds=16,
        passes=20,
        network_passes=12,
        isolated_runs=50,
        warmup_passes=3,
        target_relative_stderr=0.01,
    ),
    Budget.THOROUGH: BudgetSettings(
        min_rounds=10,
        max_rounds=40,
        passes=30,
        network_passes=20,
        isolated_runs=100,
        warmup_passes=3,
        target_relative_stderr=0.005,
    ),
}
"""The budgets of every protocol."""


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
