"""How much time a job may spend on each workload, and how sure it must be.

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

from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil

from models.spec.errors import InvalidSpecError
from models.spec.measurements import Budget


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
