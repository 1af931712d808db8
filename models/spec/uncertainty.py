"""The uncertainty of one value of a table: what rounds of one process say of it, and what another process would find."""

from __future__ import annotations

from math import sqrt

from models.spec.measurements import Measurement
from models.spec.tables import TableInfo

PROCESSES_SD = 0.005
"""Standard deviation between processes beyond what the rounds of one explain, as a fraction of the value: another process has
its memory elsewhere, and its engines may differ. Measured on processors by `make coverage` (docs/measurement.md)."""

MOST_DEGREES = 5
"""Degrees of freedom of one standard error, however many rounds it comes from.

The error of a median is itself known less well than a standard deviation: its relative variance over 4, 6, 10, 16 and 40
normal rounds is that of 2.8, 3.6, 4.2, 4.9 and 7.0 degrees of freedom. And rounds end when the error happens to be small. With
rounds − 1, at most 5, no budget calls more than 1.01 times as much significant as it should at p ≤ 0.05, for noise of 0.5 to
15 % between rounds; with rounds − 1 alone it is 1.4 times at p ≤ 0.05 and 8 times at p ≤ 0.0001 (thorough budget).
"""


def degrees(rounds: int) -> int:
    """Degrees of freedom of a standard error that comes from so many rounds, two at the least."""
    return max(min(rounds - 1, MOST_DEGREES), 1)


def processes_sd(info: TableInfo) -> float:
    """What values differ by from process to process, as a fraction: the usual, or what builds do where the table has compared
    those and they differ more.
    """
    builds = 0.0 if info.rebuild_spread is None else info.rebuild_spread.fractions().get("between_builds", 0.0)
    return max(PROCESSES_SD, builds)


def value_stderr_ms(entry: Measurement, info: TableInfo) -> float:
    """Standard error of an entry's value as another process would find it, on any scale of the target.

    It joins, independent of each other: the spread between rounds, of which a 95 % interval is made with Student's t of
    `degrees`; what processes differ by; and the uncertainty of the scale.

    Raises:
        ValueError: the entry has no value.
    """
    if entry.value_ms is None:
        raise ValueError(f"{entry.workload.label()} has no value")
    scale = 0.0 if info.scale is None else info.scale.relative_stderr
    relative = sqrt(processes_sd(info) ** 2 + scale**2)
    return sqrt((entry.stderr_ms or 0.0) ** 2 + (relative * entry.value_ms) ** 2)
