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
"""What can be timed: an operator or an architecture."""


class ProtocolName(StrEnum):
    """How times are taken (docs/measurement.md). A value is part of every table's id, so that none is ever renamed."""

    IN_CONTEXT = "in_context"
    """In context, round-robin, in sentinel units."""
    ISOLATED = "isolated"
    """Isolated, back to back, each run between timing events of its own."""
    ISOLATED_HOT = "isolated_hot"
    """Isolated, back to back, many runs between one pair of timing events: caches as warm as they get, no gap is timed."""
    ISOLATED_COLD = "isolated_cold"
    """Isolated, each run between timing events of its own, the last-level cache emptied before each."""


PROTOCOL_VERSIONS: dict[ProtocolName, int] = dict.fromkeys(ProtocolName, 1)
"""Raised whenever a protocol's numbers would change for other reasons than the target's."""


class Budget(StrEnum):
    """How much time a job may spend; see `profiler_service.measure.stopping`."""

    QUICK = "quick"
    NORMAL = "normal"
    THOROUGH = "thorough"


class Status(StrEnum):
    """How building and timing a workload ended."""

    OK = "ok"
    """There is a value."""
    BUILD_ERROR = "build_error"
    """The runtime refused the graph."""
    BUILD_TIMEOUT = "build_timeout"
    """Building took longer than it may."""
    RUN_ERROR = "run_error"
    """The engine failed while running."""
    RUN_TIMEOUT = "run_timeout"
    """Running took longer than it may."""
    CRASHED = "crashed"
    """The process that built or ran it died."""
    OUT_OF_MEMORY = "out_of_memory"
    """Building or running needed more memory than there is."""
    WRONG_OUTPUT = "wrong_output"
    """The engine computes something else than the torch module does."""


class Flag(StrEnum):
    """What a reader should know of a measurement that is otherwise good."""

    UNCONVERGED = "unconverged"
    """The between-round standard error did not reach the budget's target."""
    CONTAMINATED = "contaminated"
    """A round was kept although the sentinel said that the host was slow."""
    THROTTLED = "throttled"
    """The device's clock was held down, or far below the usual, in samples that count since there were too few others."""
    BELOW_RESOLUTION = "below_resolution"
    """The difference to the base graph is not distinguishable from zero; a negative one is reported as zero."""
    IMPORTED = "imported"
    """Taken over from somebody else's table; only the value is known."""


Count = Annotated[int, Field(ge=0, le=limits.MAX_COUNT)]


def _storable(message: str) -> str:
    """Runtimes' messages may hold NUL, which fixed-width columns lose, and whole graphs, which nobody reads."""
    message = message.replace("\0", "\N{REPLACEMENT CHARACTER}")
    return message if len(message) <= limits.MAX_MESSAGE else message[: limits.MAX_MESSAGE - 1] + "…"


Message = Annotated[str, AfterValidator(_storable)]


class Measurement(Record):
    """One workload's result. All times in milliseconds, per run of the workload.

    Attributes:
        workload: what was timed.
        status: `ok`, or how it failed; then there are no numbers.
        message: why it failed, for people; empty otherwise.
        value_ms: the table value (docs/measurement.md): median over rounds of the round's median, in sentinel units.
        stderr_ms: standard error of `value_ms`, from the spread between rounds.
        plain_ms: the value without sentinel normalisation.
        base_ms: what was subtracted for the context (prefix and suffix); 0 where nothing was.
        median_ms, min_ms, mean_ms, p95_ms, p99_ms, ci95_low_ms, ci95_high_ms: of the pooled samples, in sentinel units,
            base subtracted; the interval is that of the median. p95_ms and p99_ms are None where fewer than five samples are
            expected beyond them: below 100 and 500 samples.
        cv: coefficient of variation of the pooled samples, as a fraction.
        between_round_spread: (largest − smallest round median) / value, as a fraction.
        sentinel_ratio: the sentinel's median in these rounds over its reference.
        samples, rounds: how many.
        build_s: seconds to build the engine.
        engine_bytes, peak_memory_bytes: of the engine, where the backend tells.
        output_error: relative L2 error against the torch module in float32, as a fraction.
        clock_before_mhz, clock_after_mhz, temperature_before_c, temperature_after_c: of the device, at the start of the first
            round and at the end of the last one. None, as what follows, where nobody tells.
        power_w: median of what the device drew.
        other_processes: how many computed on the device besides, at the most.
        samples_set_aside: samples that do not count, since the clock was held down or far below the usual.
        throttle_reasons: why it was, also where the samples count all the same (flag `throttled`).
        host_load: processes that ran or waited for a core, median over the visits.
        measured_at: UTC start time of the first round.
        flags: what a reader should know of a measurement that is otherwise good; see `Flag`.
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
    throttle_reasons: Annotated[str, Field(min_length=1, max_length=limits.MAX_MESSAGE)] | None = None
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
