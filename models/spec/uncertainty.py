"""The uncertainty of one value of a table: what rounds of one process say of it, and what another process would find."""

from __future__ import annotations

from math import sqrt

from models.spec.measurements import Measurement
from models.spec.tables import TableInfo

PROCESSES_SD = 0.005
"""Standard deviation between processes beyond what the rounds of one explain, as a fraction of the value: another process has
its memory elsewhere, and its engines may differ. Measured on processors by `make coverage` (docs/measurement.md)."""


def value_stderr_ms(entry: Measurement, info: TableInfo) -> float:
    """Standard error of an entry's value, of which a 95 % interval is made with Student's t of `rounds − 1`.

    It joins, independent of each other: the spread between rounds; what processes differ by, or builds where the table has
    compared those and they differ more; and the uncertainty of the scale.

    Raises:
        ValueError: the entry has no value.
    """
    if entry.value_ms is None:
        raise ValueError(f"{entry.workload.label()} has no value")
    builds = 0.0 if info.rebuild_spread is None else info.rebuild_spread.fractions().get("between_builds", 0.0)
    scale = 0.0 if info.scale is None else info.scale.relative_stderr
    relative = sqrt(max(PROCESSES_SD, builds) ** 2 + scale**2)
    return sqrt((entry.stderr_ms or 0.0) ** 2 + (relative * entry.value_ms) ** 2)
