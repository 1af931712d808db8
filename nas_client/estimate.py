"""The latency of a network as the sum of its operators' entries, and, where calibrated, with an interval."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from models.spaces.registry import create_space
from models.spec.architectures import ArchitectureSpec
from models.spec.errors import TableMismatchError
from nas_client.table import LookupTable, Term
from nas_client.validation.calibration import Calibration, CalibrationFile, Features


@dataclass(frozen=True)
class Estimate:
    """A sum of table entries, term by term.

    Attributes:
        terms: every operator of the network, in order, repeats included.
        calibrated_ms, interval_ms: calibrated latency and its 95 % prediction interval; None where there is no calibration,
            or where a term is missing.
    """

    terms: tuple[Term, ...]
    calibrated_ms: float | None = None
    interval_ms: tuple[float, float] | None = None

    @property
    def sum_ms(self) -> float:
        """The sum of the terms that have a value."""
        return sum(term.ms for term in self.terms if term.ms is not None)

    @property
    def missing(self) -> tuple[Term, ...]:
        """The terms without a value."""
        return tuple(term for term in self.terms if term.ms is None)


def estimate(architecture: ArchitectureSpec, table: LookupTable, calibration: Calibration | None = None) -> Estimate:
    """The estimated latency of a network.

    Raises:
        TableMismatchError: the architecture is not of the table's search space.
        InvalidSpecError: it is no architecture of that space at all.
        CalibrationError: the network is too far from those that the calibration was fitted on.
    """
    table.require_architecture(architecture)
    raw = Estimate(table.collect(create_space(table.info.space).architecture_operators(architecture)))
    if calibration is None or raw.missing:
        return raw
    prediction = calibration.predict(Features.of([raw.sum_ms], [len(raw.terms)]))
    interval = (float(prediction.low_ms[0]), float(prediction.high_ms[0]))
    return Estimate(raw.terms, float(prediction.ms[0]), interval)


def read_calibration(path: Path, table: LookupTable) -> Calibration:
    """The calibration that `validate` wrote for that table.

    Raises:
        InvalidSpecError: the file is no calibration.
        TableMismatchError: it was fitted with another table.
        OSError: the file cannot be opened.
    """
    file = CalibrationFile.parse_json(path.read_bytes(), source=str(path))
    if file.table_id != table.info.id():
        raise TableMismatchError(
            f"{path} was fitted with {file.table}, not with {table.label()}",
            hint="Use the calibration that `nas-client validate` wrote for this table.",
        )
    return file.calibration
