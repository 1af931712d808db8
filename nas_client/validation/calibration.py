"""From what a table predicts to what a device takes: one scale, and more only where it earns its place. Pure.

Errors are relative: the fit minimises Σ((ŷ − y)/y)² over ŷ = a·x (+ b·operators) (+ c), where x is a network's sum of
entries in milliseconds, or its multiply-adds. docs/measurement.md.
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

MIN_NETWORKS = 4
"""Fewer measured networks than this on one side of a fit say nothing about its error."""

NETWORKS_PER_TERM = 5
"""A second or third term is only considered with that many networks for each; leave-one-out errors of fewer are luck."""


class Term(StrEnum):
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
        _check_positive("raw predictions", features.raw)
        _check_positive("operator counts", features.operators)
        if features.raw.shape != features.operators.shape:
            raise CalibrationError(f"{features.raw.size} raw predictions but {features.operators.size} operator counts")
        return features

    def take(self, indices: NDArray[np.intp]) -> Features:
        """Those networks alone."""
        return Features(self.raw[indices], self.operators[indices])

    def columns(self, terms: Sequence[Term]) -> Floats:
        """Shape: (networks, terms)."""
        column = {Term.SCALE: self.raw, Term.OPERATORS: self.operators, Term.INTERCEPT: np.ones_like(self.raw)}
        return np.stack([column[term] for term in terms], axis=1)


@dataclass(frozen=True)
class Prediction:
    """Calibrated latencies with their 95 % prediction intervals. Shapes: (networks,)."""

    ms: Floats
    low_ms: Floats
    high_ms: Floats


class Calibration(Record):
    """A fitted calibration.

    Attributes:
        terms, coefficients: what is added up; milliseconds per unit of each term.
        inverse_normal: (AᵀA)⁻¹ of the fit, A being the terms over the measured latency; what a prediction far from the
            fitted networks adds to its uncertainty.
        residual_sd: standard deviation of the relative residuals, as a fraction.
        networks: how many it was fitted on.

    Raises (from `parse`):
        InvalidSpecError: the fields do not fit together, or no fit has such values.
    """

    terms: tuple[Term, ...]
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
        """Calibrated latencies; the interval is ŷ·(1 ± t₀.₉₇₅·s·√(1 + aᵀ(AᵀA)⁻¹a)), a = terms/ŷ.

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
        """The same where every time, of sums and of networks, has become that many times as many milliseconds.

        A coefficient of the sum is a pure number and stays; those in milliseconds grow with the scale.
        """
        factors = np.asarray([1.0 if term is Term.SCALE else ratio for term in self.terms])
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
        table_id: of that table. table: its label, for people.
        reference_ms, reference_stderr_ms: the scale of the table when it was fitted, and its standard error; None where the
            table's protocol has none.
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
            notice: told, in one sentence, what to know of a calibration that is read all the same.

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


@dataclass(frozen=True)
class _Fit:
    terms: tuple[Term, ...]
    coefficients: Floats
    inverse_normal: Floats
    residuals: Floats
    left_out: Floats
    """Relative errors of each network by the fit on all others. Shape: (networks,)."""


def fit(features: Features, measured_ms: ArrayLike) -> Calibration:
    """The scale alone, or with the terms that earn their place.

    Terms are added one by one, the best first. One earns its place when it lowers the squared leave-one-out error by more
    than that gain's own standard error over the networks, and leaves no network without a positive latency.

    Raises:
        CalibrationError: fewer than `MIN_NETWORKS`, or a value that is not finite and positive.
    """
    measured = np.asarray(measured_ms, dtype=np.float64)
    _check_positive("measured latencies", measured)
    if measured.shape != features.raw.shape:
        raise CalibrationError(f"{features.raw.size} raw predictions but {measured.size} measured latencies")
    if measured.size < MIN_NETWORKS:
        raise CalibrationError(
            f"{measured.size} measured networks are too few to fit on; {MIN_NETWORKS} are needed",
            hint="Measure more architectures.",
        )
    chosen = _least_squares(features, measured, (Term.SCALE,))
    if chosen is None:
        raise CalibrationError("one network alone decides the scale of all; their latencies are too far apart")
    while (len(chosen.terms) + 1) * NETWORKS_PER_TERM <= measured.size:
        wider = [_least_squares(features, measured, (*chosen.terms, term)) for term in Term if term not in chosen.terms]
        rivals = [rival for rival in wider if rival is not None and _earns_its_place(chosen, rival)]
        if not rivals:
            break
        chosen = min(rivals, key=lambda rival: float(np.mean(rival.left_out**2)))
    spare = measured.size - len(chosen.terms)
    return Calibration(
        terms=chosen.terms,
        coefficients=tuple(chosen.coefficients.tolist()),
        inverse_normal=tuple(tuple(row) for row in chosen.inverse_normal.tolist()),
        residual_sd=float(np.sqrt(np.sum(chosen.residuals**2) / spare)),
        networks=measured.size,
    )


@dataclass(frozen=True)
class CrossFit:
    """Predictions of networks by a calibration that did not see them.

    Attributes:
        prediction: each network by the calibration of the other half.
        first_half: which networks belong to the first half. Shape: (networks,).
        calibrations: fitted on the first half and on the second.
    """

    prediction: Prediction
    first_half: NDArray[np.bool_]
    calibrations: tuple[Calibration, Calibration]


def cross_fit(features: Features, measured_ms: ArrayLike, *, seed: int) -> CrossFit:
    """Fit on a random half and judge on the other, and the reverse.

    Raises:
        CalibrationError: as `fit`, of each half.
    """
    measured = np.asarray(measured_ms, dtype=np.float64)
    first_half = np.zeros(measured.size, dtype=np.bool_)
    first_half[np.random.default_rng(seed).permutation(measured.size)[: measured.size // 2]] = True
    prediction = Prediction(*np.empty((3, measured.size)))
    calibrations = []
    for half in (first_half, ~first_half):
        seen, unseen = np.flatnonzero(half), np.flatnonzero(~half)
        calibration = fit(features.take(seen), measured[seen])
        part = calibration.predict(features.take(unseen))
        prediction.ms[unseen], prediction.low_ms[unseen], prediction.high_ms[unseen] = part.ms, part.low_ms, part.high_ms
        calibrations.append(calibration)
    return CrossFit(prediction, first_half, (calibrations[0], calibrations[1]))


def _least_squares(features: Features, measured: Floats, terms: tuple[Term, ...]) -> _Fit | None:
    """Least squares on relative errors; None where a term is a multiple of others, or a network decides it alone."""
    rows = features.columns(terms) / measured[:, None]
    scale = np.linalg.norm(rows, axis=0)  # multiply-adds are 10⁹ times an intercept
    q, r = np.linalg.qr(rows / scale)
    if np.linalg.cond(r) > 1e8:
        return None
    leverage = np.sum(q**2, axis=1)
    if (leverage > 1 - 1e-9).any():
        return None
    solution = np.linalg.solve(r, q.T @ np.ones(measured.size))
    residuals = 1 - (rows / scale) @ solution
    inverse = np.linalg.inv(r) / scale[:, None]
    return _Fit(terms, solution / scale, inverse @ inverse.T, residuals, residuals / (1 - leverage))


def _earns_its_place(simple: _Fit, wider: _Fit) -> bool:
    gain = simple.left_out**2 - wider.left_out**2
    return bool(gain.mean() > gain.std(ddof=1) / np.sqrt(gain.size) and (wider.left_out < 1).all())


def _is_positive_definite(matrix: Floats) -> bool:
    """Whether a symmetric matrix is one, up to rounding; judged on its correlations, as its terms differ in unit."""
    diagonal = np.diag(matrix)
    if not (diagonal > 0).all():
        return False
    deviations = np.sqrt(diagonal)
    correlations = matrix / deviations[:, None] / deviations
    symmetric = np.allclose(correlations, correlations.T, rtol=0, atol=1e-9)
    return symmetric and bool(np.linalg.eigvalsh(correlations).min() > -1e-9)


def _check_positive(what: str, values: Floats) -> None:
    if values.ndim != 1 or not (np.isfinite(values) & (values > 0)).all():
        raise CalibrationError(f"the {what} must be finite and positive")


def _learned(scale: Scale) -> bool:
    """Whether visits have told it; scales of earlier releases were set by a first job, and count none."""
    return scale.visits > 0


def _said(reference_ms: float | None) -> str:
    return "no scale" if reference_ms is None else f"a scale of {reference_ms:.6g} ms"
