"""What a table's sums are worth on measured networks: raw, calibrated, and beside multiply-adds. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from models.spec.base import Record
from models.spec.measurements import Measurement
from nas_client.validation.calibration import Calibration, CrossFit, Features, Floats, cross_fit, fit
from nas_client.validation.metrics import Agreement, agreement


class NamedNetwork(Record):
    """A network of the user's own, measured beside the sampled ones; no fit has seen it.

    Attributes:
        architecture: key. label: for people.
        measured_ms, stderr_ms: see `Measurement`.
        sum_ms: of its table entries.
        calibrated_ms, interval_ms: by the calibration fitted on the sampled networks, with its 95 % prediction interval.
    """

    architecture: str
    label: str
    measured_ms: float
    stderr_ms: float | None
    sum_ms: float
    calibrated_ms: float
    interval_ms: tuple[float, float]


class Validation(Record):
    """The result of a validation (`validation.json`).

    Attributes:
        architectures: how many networks it rests on.
        raw: plain sums of table entries.
        calibrated: sums, calibrated on networks other than the one predicted.
        macs: the baseline: multiply-adds, fitted in the same way on the same halves.
        repeatability: the networks' own median relative spread between rounds, as a fraction: what bounds any estimate. None
            where no network was measured in more than one round.
        named: further networks that were asked for by name.
    """

    architectures: int
    raw: Agreement
    calibrated: Agreement
    macs: Agreement
    repeatability: float | None
    named: tuple[NamedNetwork, ...] = ()


@dataclass(frozen=True)
class Judgement:
    """A validation with what its figures and files need. Arrays have shape (networks,).

    Attributes:
        measured_ms, sum_ms: of each network.
        calibrated, macs: predictions of each network by fits that did not see it.
        calibration: fitted on all networks, for estimates to come.
    """

    validation: Validation
    measured_ms: Floats
    sum_ms: Floats
    calibrated: CrossFit
    macs: CrossFit
    calibration: Calibration


def judge(
    sum_ms: Sequence[float], macs: Sequence[int], operators: Sequence[int], measurements: Sequence[Measurement], *, seed: int
) -> Judgement:
    """Judge sums against measurements, network by network.

    Args:
        sum_ms: sum of each network's entries.
        macs: multiply-adds of each.
        operators: how many terms each sum has.
        measurements: successful ones, of the same networks.
        seed: draws the halves.

    Raises:
        CalibrationError: too few networks, or values that are not positive.
    """
    measured_ms = np.asarray([measurement.value_ms for measurement in measurements], dtype=np.float64)
    sums, costs = Features.of(sum_ms, operators), Features.of(macs, operators)
    calibrated, baseline = (cross_fit(features, measured_ms, seed=seed) for features in (sums, costs))
    spreads = [m.between_round_spread for m in measurements if m.rounds > 1 and m.between_round_spread is not None]
    validation = Validation(
        architectures=measured_ms.size,
        raw=agreement(sums.raw, measured_ms),
        calibrated=agreement(calibrated.prediction.ms, measured_ms),
        macs=agreement(baseline.prediction.ms, measured_ms),
        repeatability=float(np.median(spreads)) if spreads else None,
    )
    return Judgement(validation, measured_ms, sums.raw, calibrated, baseline, fit(sums, measured_ms))
