"""The scale of a target, which converts sentinel units to milliseconds, its uncertainty, and its check.

A visit's times are stored relative to the time of the sentinel, one fixed engine, in the same visit. Milliseconds come from the
sentinel's time on a quiet target, which is learned from all visits ever made there (docs/measurement.md).
"""

from __future__ import annotations

from enum import StrEnum

from pydantic import Field

from models.spec.base import Record, UtcTime


class ScalePoint(Record):
    """The scale after one job.

    Attributes:
        at: time in UTC.
        reference_ms, stderr_ms: estimate of one sentinel unit at that time, and its standard error.
        visits, quiet: number of visits until then, and how many of them were quiet.
    """

    at: UtcTime
    reference_ms: float = Field(gt=0)
    stderr_ms: float = Field(ge=0)
    visits: int = Field(ge=0)
    quiet: int = Field(ge=0)


class Scale(Record):
    """The scale of one target. All tables of the target share it.

    Attributes:
        reference_ms: one sentinel unit: the sentinel's time on the undisturbed target.
        stderr_ms: standard error of `reference_ms`.
        visits, quiet: number of visits that the estimate uses, and how many of them were quiet.
        unsettled: why the scale is not reliable yet; empty where it is.
        history: earlier estimates, oldest first.
    """

    reference_ms: float = Field(gt=0)
    stderr_ms: float = Field(default=0.0, ge=0)
    visits: int = Field(default=0, ge=0)
    quiet: int = Field(default=0, ge=0)
    unsettled: str = ""
    history: tuple[ScalePoint, ...] = ()

    @property
    def settled(self) -> bool:
        """Whether milliseconds on this scale are reliable."""
        return not self.unsettled

    @property
    def relative_stderr(self) -> float:
        """`stderr_ms` as a fraction of the reference."""
        return self.stderr_ms / self.reference_ms


class CheckOutcome(StrEnum):
    """Result of a plain check."""

    AGREES = "agrees"
    """Plain and scaled times agree within their uncertainty."""
    DISAGREES = "disagrees"
    """Plain and scaled times differ by more than their uncertainty."""
    NOT_QUIET = "not_quiet"
    """The machine was never quiet enough during the check, so there is no result."""


class CheckedWorkload(Record):
    """One engine of a check. Times are in milliseconds per run.

    Attributes:
        label, key: label and key of the workload.
        plain_ms: time by the wall clock, without normalisation or correction.
        scaled_ms: time of the same engine by the table's method.
        stderr_ms: standard error of `scaled_ms`.
    """

    label: str
    key: str
    plain_ms: float
    scaled_ms: float
    stderr_ms: float = 0.0


class ScaleCheck(Record):
    """A check at the end of a job: plain times of some engines against the times by the table's method.

    Attributes:
        at: time in UTC.
        outcome: result of the check; see `CheckOutcome`.
        ratio: plain time over scaled time, median over the workloads; null where nothing could be compared.
        uncertainty: standard error of the ratio, as a fraction.
        workloads: the engines that were compared.
        message: the result in one sentence.
    """

    at: UtcTime
    outcome: CheckOutcome
    ratio: float | None = None
    uncertainty: float | None = None
    workloads: tuple[CheckedWorkload, ...] = ()
    message: str = ""
