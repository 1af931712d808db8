"""A calibration: from a network's sum of entries, or its multiply-adds, to the latency that a device takes. Pure.

The calibrated latency is ŷ = a·x (+ b·operators) (+ c), where x is the sum in milliseconds, or the multiply-adds. `fitting`
finds the coefficients. docs/measurement.md.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Literal, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydantic import Field, model_validator
from scipy.special import stdtrit

from models.spec.base import Record
from models.spec.errors import InvalidSpecError, TableMismatchError
from models.spec.scale import Scale
from nas_client.errors import CalibrationError

Floats = NDArray[np.float64]


class Regressor(StrEnum):
    """What a calibration may add up, each times a coefficient."""

    SCALE = "scale"
    """The raw prediction x."""
    OPERATORS = "operators"
    """How many operators the network has: a cost per operator that the table does not see."""
    INTERCEPT = "intercept"
    """1: a cost per network."""


@dataclass(frozen=True)
class Features:
    """What is known of networks before they are measured. Shape of both: (networks,)."""

    raw: Floats
    operators: Floats

    @classmethod
    def of(cls, raw: ArrayLike, operators: ArrayLike) -> Features:
        """From any sequences.

        Raises:
            CalibrationError: they differ in length, or a value is not finite and positive.
        """
        features = cls(np.asarray(raw, dtype=np.float64), np.asarray(operators, dtype=np.float64))
        require_positive("raw predictions", features.raw)
        require_positive("operator counts", features.operators)
        if features.raw.shape != features.operators.shape:
            raise CalibrationError(f"{features.raw.size} raw predictions but {features.operators.size} operator counts")
        return features

    def take(self, indices: NDArray[np.intp]) -> Features:
        """Those networks alone."""
        return Features(self.raw[indices], self.operators[indices])

    def columns(self, terms: Sequence[Regressor]) -> Floats:
        """Shape: (networks, terms)."""
        column = {Regressor.SCALE: self.raw, Regressor.OPERATORS: self.operators, Regressor.INTERCEPT: np.ones_like(self.raw)}
        return np.stack([column[term] for term in terms], axis=1)


@dataclass(frozen=True)
class Prediction:
    """Calibrated latencies with their 95 % prediction intervals. Shapes: (networks,)."""

    ms: Floats
    low_ms: Floats
    high_ms: Floats


class Calibration(Record):
    """A fitted calibration: from sums of table entries to latencies of networks.

    Attributes:
        terms, coefficients: what is added up; milliseconds per unit of each term.
        inverse_normal: (AᵀA)⁻¹ of the fit, A being the terms over the measured latency; what a prediction far from the
            fitted networks adds to its uncertainty.
        residual_sd: standard deviation of the relative residuals, as a fraction.
        networks: how many it was fitted on.

    Raises (from `parse`):
        InvalidSpecError: the fields do not fit together, or no fit has such values.
    """

    terms: tuple[Regressor, ...]
    coefficients: tuple[float, ...]
    inverse_normal: tuple[tuple[float, ...], ...]
    residual_sd: float
    networks: int

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        count = len(self.terms)
        if not count or len(set(self.terms)) != count:
            raise InvalidSpecError(f"terms must be one or several different ones, not {[term.value for term in self.terms]}")
        if len(self.coefficients) != count:
            raise InvalidSpecError(f"{count} terms but {len(self.coefficients)} coefficients")
        if [len(row) for row in self.inverse_normal] != [count] * count:
            raise InvalidSpecError(f"inverse_normal must have {count} rows of {count} numbers, as there are {count} terms")
        if not _is_positive_definite(np.asarray(self.inverse_normal)):
            raise InvalidSpecError("inverse_normal is not the inverse of any fit's AᵀA: it is not positive definite")
        if self.residual_sd < 0:
            raise InvalidSpecError(f"residual_sd {self.residual_sd:g} is negative")
        if self.networks <= count:
            raise InvalidSpecError(f"networks {self.networks} must be more than the {count} terms fitted on them")
        return self

    def predict(self, features: Features) -> Prediction:
        """Compute calibrated latencies. Their interval is ŷ·(1 ± t₀.₉₇₅·s·√(1 + aᵀ(AᵀA)⁻¹a)), a = terms/ŷ.

        Raises:
            CalibrationError: a prediction is not positive: the network is far from those fitted on.
        """
        columns = features.columns(self.terms)
        ms = columns @ np.asarray(self.coefficients)
        if not (ms > 0).all():
            raise CalibrationError(
                f"the calibration gives {ms.min():.3g} ms for a network", hint="Validate on networks more like this one."
            )
        relative = columns / ms[:, None]
        leverage = np.einsum("ni,ij,nj->n", relative, np.asarray(self.inverse_normal), relative)
        quantile = float(stdtrit(self.networks - len(self.terms), 0.975))
        half = quantile * self.residual_sd * np.sqrt(1 + leverage)
        return Prediction(ms, ms * np.maximum(1 - half, 0), ms * (1 + half))

    def rescaled(self, ratio: float) -> Calibration:
        """The calibration for times multiplied by a ratio, those of sums and of networks alike.

        A coefficient of the sum is a pure number and stays; those in milliseconds grow with the scale.
        """
        factors = np.asarray([1.0 if term is Regressor.SCALE else ratio for term in self.terms])
        inverse = np.asarray(self.inverse_normal) * factors[:, None] * factors
        return self.model_copy(
            update={
                "coefficients": tuple((np.asarray(self.coefficients) * factors).tolist()),
                "inverse_normal": tuple(tuple(row) for row in inverse.tolist()),
            }
        )


SCALE_TOLERANCE, SCALE_STDERRS = 0.02, 3.0
"""How far a table's scale may be from the one that a calibration was fitted on: a fraction, and standard errors on top."""


class CalibrationFile(Record):
    """A calibration on disk. It holds for the table it was made with, and for no other.

    Attributes:
        version: 1 in files of earlier releases, which do not have the scale.
        table_id: of that table.
        table: its label, for people.
        reference_ms, reference_stderr_ms: the scale of the table when it was fitted, and its standard error; None where the
            table's protocol has none.
        calibration: what was fitted.
    """

    version: Literal[1, 2] = 2
    table_id: str
    table: str
    reference_ms: float | None = Field(default=None, gt=0)
    reference_stderr_ms: float | None = Field(default=None, ge=0)
    calibration: Calibration

    @classmethod
    def of(cls, table_id: str, table: str, scale: Scale | None, calibration: Calibration) -> Self:
        """That of a table with this id, label and scale."""
        return cls(
            table_id=table_id,
            table=table,
            reference_ms=None if scale is None else scale.reference_ms,
            reference_stderr_ms=None if scale is None else scale.stderr_ms,
            calibration=calibration,
        )

    def on(self, scale: Scale | None, *, source: str, notice: Callable[[str], None] | None = None) -> Calibration:
        """The calibration for a table of that scale now.

        A file of version 1 does not say on which scale it was fitted. It is read, with a notice, for a table that is itself of
        an earlier release: then both have the scale that the table's first job set. A table whose scale was learned since is
        refused: its milliseconds may have moved by tens of percent.

        Args:
            scale: of the table that it was made with.
            source: names the file in errors.
            notice: receives a sentence where a calibration is used with a reservation.

        Raises:
            TableMismatchError: the scale is not the one that it was fitted on, or that is not known.
        """
        again = "Validate again with `nas-client validate`, and use the calibration that it writes."
        if self.version == 1:
            if scale is not None and _learned(scale):
                raise TableMismatchError(
                    f"{source} is of version 1 and does not say on which scale it was fitted; "
                    f"the table's scale was learned since ({scale.reference_ms:.6g} ms)",
                    hint=again,
                )
            if scale is not None and notice is not None:
                notice(f"{source} is of version 1 and does not say on which scale it was fitted; taken to be the table's own")
            return self.calibration
        now_ms = None if scale is None else scale.reference_ms
        if now_ms is None and self.reference_ms is None:
            return self.calibration
        if scale is None or self.reference_ms is None:
            raise TableMismatchError(
                f"{source} was fitted on {_said(self.reference_ms)}, the table has {_said(now_ms)}", hint=again
            )
        ratio = scale.reference_ms / self.reference_ms
        uncertain = math.hypot((self.reference_stderr_ms or 0.0) / self.reference_ms, scale.relative_stderr)
        allowed = SCALE_TOLERANCE + SCALE_STDERRS * uncertain
        if abs(ratio - 1) > allowed:
            raise TableMismatchError(
                f"{source} was fitted on a scale of {self.reference_ms:.6g} ms, the table's is {scale.reference_ms:.6g} ms: "
                f"{ratio - 1:+.1%}, where {allowed:.1%} is allowed",
                hint=again,
            )
        return self.calibration.rescaled(ratio)


def _is_positive_definite(matrix: Floats) -> bool:
    """Whether a symmetric matrix is one, up to rounding; by its correlations, as its terms differ in unit."""
    diagonal = np.diag(matrix)
    if not (diagonal > 0).all():
        return False
    deviations = np.sqrt(diagonal)
    correlations = matrix / deviations[:, None] / deviations
    symmetric = np.allclose(correlations, correlations.T, rtol=0, atol=1e-9)
    return symmetric and bool(np.linalg.eigvalsh(correlations).min() > -1e-9)


def require_positive(what: str, values: Floats) -> None:
    """Raises CalibrationError unless the values are a vector of finite, positive numbers."""
    if values.ndim != 1 or not (np.isfinite(values) & (values > 0)).all():
        raise CalibrationError(f"the {what} must be finite and positive")


def _learned(scale: Scale) -> bool:
    """Whether it was computed from visits; scales of earlier releases were set by a first job, and count none."""
    return scale.visits > 0


def _said(reference_ms: float | None) -> str:
    return "no scale" if reference_ms is None else f"a scale of {reference_ms:.6g} ms"
