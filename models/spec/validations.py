"""A validation as it is posted to the service that holds the table: its summary, and every network with its estimates."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import Field, JsonValue, model_validator

from models.spec import limits
from models.spec.architectures import ArchitectureSpec
from models.spec.base import Record, UtcTime, canonical_json
from models.spec.errors import InvalidSpecError

MAX_SUMMARY_BYTES = 256 * 1024
"""Of a summary as JSON: 40 named networks take a twentieth of it."""

MAX_POINTS = 10_000

Milliseconds = Annotated[float, Field(ge=0)]


class ValidationPoint(Record):
    """One network. Times are in milliseconds.

    Attributes:
        architecture: the network.
        measured_ms, stderr_ms: its measured latency and the standard error.
        sum_ms: sum of its table entries.
        calibrated_ms: the sum, calibrated on networks other than this one.
        macs_ms: prediction from multiply-adds alone, by a fit that did not see it.
        multiply_adds: of the network.
    """

    architecture: ArchitectureSpec
    measured_ms: Milliseconds
    stderr_ms: Milliseconds | None = None
    sum_ms: Milliseconds
    calibrated_ms: float | None = None
    macs_ms: float | None = None
    multiply_adds: Annotated[int, Field(ge=0, le=limits.MAX_COUNT)]


class ValidationCreate(Record):
    """A validation to be kept beside its table.

    Attributes:
        summary: `validation.json`.
        points: the networks that it rests on.
    """

    summary: dict[str, JsonValue]
    points: Annotated[tuple[ValidationPoint, ...], Field(min_length=1, max_length=MAX_POINTS, fail_fast=True)]

    @model_validator(mode="after")
    def _bounded(self) -> Self:
        if (size := len(canonical_json(self.summary))) > MAX_SUMMARY_BYTES:
            raise InvalidSpecError(f"summary has {size} characters; the limit is {MAX_SUMMARY_BYTES}")
        return self


class ValidationPublic(Record):
    """A validation in a list.

    Attributes:
        id: id of the validation.
        table_id: id of the table that was validated.
        created_at: time in UTC at which it was posted.
        networks: number of networks.
        summary: `validation.json`.
    """

    id: str
    table_id: str
    created_at: UtcTime
    networks: int
    summary: dict[str, JsonValue]
