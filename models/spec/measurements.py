"""Statistics of one workload on one target, with its conditions and flags; failures included."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any, Self

from pydantic import AfterValidator, Discriminator, Field, Tag, model_validator

from models.spec import limits
from models.spec.architectures import ArchitectureSpec
from models.spec.base import Record, UtcTime
from models.spec.errors import InvalidSpecError
from models.spec.operators import OperatorSpec


def _workload_tag(value: Any) -> str:
    if isinstance(value, dict):
        return "architecture" if "space" in value else "operator"
    return "architecture" if isinstance(value, ArchitectureSpec) else "operator"


Workload = Annotated[
    Annotated[OperatorSpec, Tag("operator")] | Annotated[ArchitectureSpec, Tag("architecture")],
    Discriminator(_workload_tag),
]
"""A workload to time: an operator or an architecture."""


class ProtocolName(StrEnum):
    """How times are taken (docs/measurement.md). The name is part of a table's id, so names never change."""

    IN_CONTEXT = "in_context"
    """In context, round-robin, in sentinel units."""
    ISOLATED = "isolated"
    """Isolated, back to back, each run between timing events of its own."""
    ISOLATED_HOT = "isolated_hot"
    """Isolated, back to back, many runs between one pair of timing events: caches are warm, gaps are not timed."""
    ISOLATED_COLD = "isolated_cold"
    """Isolated, each run between timing events of its own, with the last-level cache emptied before each run."""


PROTOCOL_VERSIONS: dict[ProtocolName, int] = dict.fromkeys(ProtocolName, 1)
"""A version is raised when the protocol's numbers change for reasons other than the target."""


class Budget(StrEnum):
    """How much time a job may spend. More time gives smaller standard errors."""

    QUICK = "quick"
    """Few rounds: enough to try things out."""
    NORMAL = "normal"
    """Enough rounds for most uses."""
    THOROUGH = "thorough"
    """Many rounds, for the smallest standard errors."""


class Status(StrEnum):
    """How building and timing a workload ended."""

    OK = "ok"
    """There is a value."""
    BUILD_ERROR = "build_error"
    """The runtime refused the graph."""
    BUILD_TIMEOUT = "build_timeout"
    """Building took longer than the time limit."""
    RUN_ERROR = "run_error"
    """The engine failed while running."""
    RUN_TIMEOUT = "run_timeout"
    """Running took longer than the time limit."""
    CRASHED = "crashed"
    """The process that built or ran it died."""
    OUT_OF_MEMORY = "out_of_memory"
    """Building or running needed more memory than is available."""
    WRONG_OUTPUT = "wrong_output"
    """The engine computes a different result than the torch module."""


class Flag(StrEnum):
    """A limitation of a measurement that is otherwise good."""

    UNCONVERGED = "unconverged"
    """The between-round standard error did not reach the budget's target."""
    CONTAMINATED = "contaminated"
    """A round was used although the machine was slow or busy, because there were too few others."""
    THROTTLED = "throttled"
    """Samples were used although the device's clock was held down or far below normal, because there were too few others."""
    BELOW_RESOLUTION = "below_resolution"
    """The difference to the base graph is not distinguishable from zero. A negative difference is reported as zero."""
    IMPORTED = "imported"
    """The value comes from a table that others measured. Nothing else is known."""


Count = Annotated[int, Field(ge=0, le=limits.MAX_COUNT)]


def _storable(message: str) -> str:
    """The message without NUL, which fixed-width columns lose, and cut to the limit: runtimes may print entire graphs."""
    message = message.replace("\0", "\N{REPLACEMENT CHARACTER}")
    return message if len(message) <= limits.MAX_MESSAGE else message[: limits.MAX_MESSAGE - 1] + "…"


Message = Annotated[str, AfterValidator(_storable)]


class Measurement(Record):
    """The result of one workload. All times are in milliseconds per run of the workload.

    Attributes:
        workload: the operator or architecture that was timed.
        status: `ok`, or the kind of failure. A failed workload has no numbers.
        message: reason of a failure; empty otherwise.
        value_ms: table value: the median over rounds of each round's median, in sentinel units (docs/measurement.md).
        stderr_ms: standard error of `value_ms`, from the spread between rounds.
        plain_ms: value without sentinel normalisation.
        base_ms: time of the base (prefix and suffix) that was subtracted; 0 where nothing was subtracted.
        median_ms, min_ms, mean_ms, p95_ms, p99_ms, ci95_low_ms, ci95_high_ms: statistics of the pooled samples, in sentinel
            units, base subtracted. The interval is that of the median. p95_ms needs 100 samples and p99_ms 500; otherwise
            they are null.
        cv: coefficient of variation of the pooled samples, as a fraction.
        between_round_spread: (largest − smallest round median) / value, as a fraction.
        sentinel_ratio: median of the sentinel in these rounds, divided by its reference.
        samples, rounds: number of samples and of rounds.
        build_s: time to build the engine, in seconds.
        engine_bytes, peak_memory_bytes: size and peak memory of the engine; null where the backend does not report them.
        output_error: relative L2 error of the output against the torch module in float32, as a fraction.
        clock_before_mhz, clock_after_mhz, temperature_before_c, temperature_after_c: clock and temperature of the device at the
            start of the first round and at the end of the last round; null where the device does not report them.
        power_w: median power draw of the device; null where it is not reported.
        other_processes: largest number of other processes that used the device; null where it is not reported.
        samples_set_aside: samples that the throttle filter removed, because the clock was held down or far below normal.
        throttle_reasons: why the clock was low. Also given where those samples were used (flag `throttled`).
        host_load: median over the visits of the number of processes that ran or waited for a core.
        measured_at: start of the first round, in UTC.
        flags: limitations of a measurement that is otherwise good; see `Flag`.
    """

    workload: Workload
    status: Status = Status.OK
    message: Message = ""
    value_ms: float | None = Field(default=None, ge=0)
    stderr_ms: float | None = Field(default=None, ge=0)
    plain_ms: float | None = None
    base_ms: float | None = None
    median_ms: float | None = None
    min_ms: float | None = None
    mean_ms: float | None = None
    p95_ms: float | None = None
    p99_ms: float | None = None
    ci95_low_ms: float | None = None
    ci95_high_ms: float | None = None
    cv: float | None = None
    between_round_spread: float | None = None
    sentinel_ratio: float | None = None
    samples: Count = 0
    rounds: Count = 0
    build_s: float | None = None
    engine_bytes: Count | None = None
    peak_memory_bytes: Count | None = None
    output_error: float | None = None
    clock_before_mhz: float | None = None
    clock_after_mhz: float | None = None
    temperature_before_c: float | None = None
    temperature_after_c: float | None = None
    power_w: float | None = None
    other_processes: Count | None = None
    samples_set_aside: Count | None = None
    throttle_reasons: Annotated[str, Field(min_length=1), AfterValidator(_storable)] | None = None
    host_load: float | None = None
    measured_at: UtcTime | None = None
    flags: tuple[Flag, ...] = ()

    @model_validator(mode="after")
    def _success_or_failure(self) -> Self:
        if (self.status is Status.OK) != (self.value_ms is not None):
            raise InvalidSpecError(
                f"status {self.status} with value_ms {self.value_ms}: success and failure exclude each other"
            )
        if self.status is not Status.OK and not self.message:
            raise InvalidSpecError(f"status {self.status} needs a message")
        return self

    def key(self) -> str:
        """The workload's key."""
        return self.workload.key()
