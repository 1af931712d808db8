"""What turns sentinel units into milliseconds: the scale of a target, how well it is known, and what confirms it.

A visit's times are kept relative to what the sentinel, one fixed engine, took in the same visit. Milliseconds come from the
sentinel's time on a quiet target, which is learned from all visits ever made there (docs/measurement.md).
"""

from __future__ import annotations

from enum import StrEnum

from pydantic import Field

from models.spec.base import Record, UtcTime


class ScalePoint(Record):
    """What the scale was after one job.

    Attributes:
        at: UTC.
        reference_ms, stderr_ms: one sentinel unit as it was known then, and its standard error.
        visits, quiet: all visits until then, and those of them that were quiet.
    """

    at: UtcTime
    reference_ms: float = Field(gt=0)
    stderr_ms: float = Field(ge=0)
    visits: int = Field(ge=0)
    quiet: int = Field(ge=0)


class Scale(Record):
    """The scale of one target, the same for all of its tables.

    Attributes:
        reference_ms: what the sentinel takes on the target when nothing disturbs it: one sentinel unit.
        stderr_ms: standard error of that.
        visits, quiet: visits that it was learned from, and those of them that were quiet.
        unsettled: why it is not established yet, one sentence for people; empty where it is.
        history: how it was learned, oldest first.
    """

    reference_ms: float = Field(gt=0)
    stderr_ms: float = Field(default=0.0, ge=0)
    visits: int = Field(default=0, ge=0)
    quiet: int = Field(default=0, ge=0)
    unsettled: str = ""
    history: tuple[ScalePoint, ...] = ()

    @property
    def settled(self) -> bool:
        """Whether milliseconds of this scale can be relied on."""
        return not self.unsettled

    @property
    def relative_stderr(self) -> float:
        """`stderr_ms` as a fraction of the reference."""
        return self.stderr_ms / self.reference_ms


class CheckOutcome(StrEnum):
    """How a plain check came out."""

    AGREES = "agrees"
    """Both are the same, as far as their uncertainty tells."""
    DISAGREES = "disagrees"
    """They differ by more than their uncertainty."""
    NOT_QUIET = "not_quiet"
    """The machine was never quiet enough meanwhile, so that the check says nothing."""


class CheckedWorkload(Record):
    """One engine of a check. Milliseconds per run.

    Attributes:
        label, key: of the workload.
        plain_ms: by the wall clock, neither normalised nor corrected.
        scaled_ms: what the table's method gives for the same engine.
        stderr_ms: standard error of that.
    """

    label: str
    key: str
    plain_ms: float
    scaled_ms: float
    stderr_ms: float = 0.0


class ScaleCheck(Record):
    """Some engines timed plainly at the end of a job, against what the table says of them.

    Attributes:
        at: UTC.
        outcome: see `CheckOutcome`.
        ratio: plain over scaled, median over the workloads; None where nothing could be compared.
        uncertainty: of that ratio, one standard error, as a fraction.
        workloads: what was compared.
        message: what came out, one sentence for people.
    """

    at: UtcTime
    outcome: CheckOutcome
    ratio: float | None = None
    uncertainty: float | None = None
    workloads: tuple[CheckedWorkload, ...] = ()
    message: str = ""
