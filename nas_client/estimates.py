"""The latency of a network: the sum of its operators' entries, calibrated or not, and beside it what a service measures."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from models.spaces.registry import create_space
from models.spec.architectures import ArchitectureSpec
from models.spec.errors import REFUSALS, TableMismatchError
from models.spec.measurements import Budget
from models.spec.wire import JobCreate
from nas_client.errors import ServiceError
from nas_client.service import ServiceClient, Watch, finish_job
from nas_client.table import LookupTable, Term, require_measured_for
from nas_client.uncertainty import SumBias, SumUncertainty, sum_uncertainty
from nas_client.validation.calibration import Calibration, CalibrationFile, Features


@dataclass(frozen=True)
class Estimate:
    """An estimated latency: a sum of table entries, term by term.

    Attributes:
        terms: every operator of the network, in order, repeats included.
        calibrated_ms, interval_ms: calibrated latency and its 95 % prediction interval; None where there is no calibration,
            or where a term is missing.
        uncertainty: how certain the sum is; None where a term is missing, or does not say how certain it is.
    """

    terms: tuple[Term, ...]
    calibrated_ms: float | None = None
    interval_ms: tuple[float, float] | None = None
    uncertainty: SumUncertainty | None = None

    @property
    def sum_ms(self) -> float:
        """The sum of the terms that have a value."""
        return sum(term.ms for term in self.terms if term.ms is not None)

    @property
    def missing(self) -> tuple[Term, ...]:
        """The terms without a value."""
        return tuple(term for term in self.terms if term.ms is None)


def estimate(
    architecture: ArchitectureSpec, table: LookupTable, calibration: Calibration | None = None, bias: SumBias | None = None
) -> Estimate:
    """Estimate the latency of a network as the sum of its operators' entries.

    Args:
        architecture: of the table's search space.
        table: has its operators' entries.
        calibration: gives a calibrated latency beside the sum.
        bias: how the table's sums missed measured networks; shifts and widens the sum's interval.

    Raises:
        TableMismatchError: the architecture is not of the table's search space.
        InvalidSpecError: it is no architecture of that space at all.
        CalibrationError: the network is too far from those that the calibration was fitted on.
    """
    table.require_architecture(architecture)
    operators = create_space(table.info.space).architecture_operators(architecture)
    raw = Estimate(table.collect(operators), uncertainty=sum_uncertainty(operators, table, bias))
    if calibration is None or raw.missing:
        return raw
    prediction = calibration.predict(Features.of([raw.sum_ms], [len(raw.terms)]))
    interval = (float(prediction.low_ms[0]), float(prediction.high_ms[0]))
    return Estimate(raw.terms, float(prediction.ms[0]), interval, raw.uncertainty)


def whole_sum_ms(architecture: ArchitectureSpec, table: LookupTable) -> float:
    """The sum of a network's entries, in milliseconds, all of which the table has.

    Raises:
        TableMismatchError, InvalidSpecError: as of `estimate`.
        MissingEntryError: the table lacks one; names it.
    """
    table.require_architecture(architecture)
    return sum(map(table.lookup, create_space(table.info.space).architecture_operators(architecture)))


def read_calibration(path: Path, table: LookupTable, notice: Callable[[str], None] | None = None) -> Calibration:
    """Read the calibration that `validate` wrote for a table, and bring it to the table's present scale.

    Args:
        path: of the file.
        table: whose sums it is to calibrate.
        notice: receives a sentence where a calibration is used with a reservation.

    Raises:
        InvalidSpecError: the file is no calibration.
        TableMismatchError: it was fitted with another table, or on another scale.
        OSError: the file cannot be opened.
    """
    file = CalibrationFile.parse_json(path.read_bytes(), source=str(path))
    if file.table_id != table.info.id():
        raise TableMismatchError(
            f"{path} was fitted with {file.table}, not with {table.label()}",
            hint="Use the calibration that `nas-client validate` wrote for this table.",
        )
    return file.on(table.info.scale, source=str(path), notice=notice)


def measure(service: ServiceClient, network: ArchitectureSpec, table_id: str, budget: Budget, watch: Watch) -> dict[str, Any]:
    """Measured and summed milliseconds of that network; one that fails, or that this protocol does not measure, says why.

    Raises:
        TableMismatchError: the table is of another target than the service measures on, or of another release.
        ServiceError: the service takes no such job for another reason than that it never would.
        JobFailedError: the job as a whole failed, or somebody cancelled it.
    """
    table = LookupTable(service.columns(table_id))
    table.require_target(service.target().target)
    table.require_architecture(network)
    request = JobCreate(space=table.info.space, workloads=(network,), protocol=table.info.protocol, budget=budget)
    found, refusal = None, ""
    try:
        created = service.create_job(request)
    except ServiceError as error:
        if error.code not in REFUSALS:
            raise
        refusal = error.message
    else:
        job = finish_job(service, created, watch)
        require_measured_for(table, job)
        (found,) = service.lookup(table_id, [network])
        table = LookupTable(service.columns(table_id))  # the job may have moved its scale
    summed = estimate(network, table)
    value = None if found is None else found.value_ms
    return {
        "protocol": table.info.protocol.value,
        "table_id": table_id,
        "measured_ms": value,
        "stderr_ms": None if found is None else found.stderr_ms,
        "frames_per_s": 1e3 / value if value else None,
        "flags": [] if found is None else [flag.value for flag in found.flags],
        "refused": bool(refusal),
        "message": "" if value is not None else refusal or "no measurement" if found is None else found.message,
        "sum_ms": summed.sum_ms,
        "terms": len(summed.terms),
        "missing": [term.operator.label() for term in summed.missing],
        "error": None if not value or summed.missing else (summed.sum_ms - value) / value,
    }
