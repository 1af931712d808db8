"""How well a table's sums predict measured networks: raw, calibrated, and beside multiply-adds. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from models.spec.base import Record
from models.spec.measurements import Measurement
from models.spec.verdicts import Reason, TrustLevel, Verdict, entry_reasons
from nas_client.uncertainty import SumBias, validated_interval_ms
from nas_client.validation.calibration import Calibration, Features, Floats
from nas_client.validation.fitting import CrossFit, cross_fit, fit
from nas_client.validation.metrics import MIN_POINTS, Agreement, agreement

MOST_OFF, FAR_OFF = 0.03, 0.10
"""Limits on the difference of plain and scaled latencies, as fractions: beyond the first there is a warning, beyond the second
the validation loses a further level of trust."""

MOST_OFF_WITH_THREADS = 0.05
"""Mean error of sums, as a fraction, up to which engines of several threads count as adding up."""

Interval = tuple[float, float]


class NamedNetwork(Record):
    """A network of the user's own, measured beside the sampled ones; no fit has seen it.

    Attributes:
        architecture: key. label: for people.
        measured_ms, stderr_ms: see `Measurement`.
        sum_ms: of its table entries.
        calibrated_ms, interval_ms: by the calibration fitted on the sampled networks, with its 95 % prediction interval.
        plain_ms: measured, without sentinel normalisation; None where the measurement has no such value.
        sum_interval_ms: 95 % interval of the sum alone (`nas_client.uncertainty`); None where entries do not say.
    """

    architecture: str
    label: str
    measured_ms: float
    stderr_ms: float | None
    sum_ms: float
    calibrated_ms: float
    interval_ms: Interval
    plain_ms: float | None = None
    sum_interval_ms: Interval | None = None


class PlainAgreement(Record):
    """The same networks without sentinel normalisation.

    Attributes:
        networks: those that have a plain latency and a plain sum.
        raw: sums of the entries' plain values against the networks' plain latencies.
        scaled_over_plain: of the networks' measured latencies, median ratio. Below 1 on a busy machine, whose slowness the
            scaled ones are free of; above 1 where the scaled ones are too long.
    """

    networks: int
    raw: Agreement
    scaled_over_plain: float


class Coverage(Record):
    """How often a 95 % interval contains what was measured, as fractions of the networks.

    Attributes:
        statistical: intervals of the sums alone, which know nothing of how far sums are from networks.
        validated: the same, shifted and widened by how the sums of all other networks missed.
    """

    statistical: float
    validated: float


class Validation(Record):
    """The result of a validation (`validation.json`).

    Attributes:
        architectures: how many networks it rests on.
        raw: sums of table entries, as they are.
        calibrated: sums, calibrated on networks other than the one predicted.
        macs: the baseline: multiply-adds, fitted in the same way on the same halves.
        repeatability: the networks' own median relative spread between rounds, as a fraction: what bounds any estimate. None
            where no network was measured in more than one round.
        named: further networks that were asked for by name.
        verdict: whether these numbers can be trusted: the table's reasons, the networks' own repeatability and flags, and
            whether scaled and plain latencies agree. None, as all that follows, in files of earlier releases.
        table_id: of the table that was validated.
        plain: without sentinel normalisation; None where too few networks have plain values.
        sums: how the sums missed, for intervals of later estimates.
        coverage: of the sums' intervals; None where entries do not say how certain they are.
    """

    architectures: int
    raw: Agreement
    calibrated: Agreement
    macs: Agreement
    repeatability: float | None
    named: tuple[NamedNetwork, ...] = ()
    verdict: Verdict | None = None
    table_id: str | None = None
    plain: PlainAgreement | None = None
    sums: SumBias | None = None
    coverage: Coverage | None = None


@dataclass(frozen=True)
class Sum:
    """A network's sum of table entries.

    Attributes:
        ms: scaled. plain_ms: of the entries' plain values; None where one has none.
        interval_ms: 95 % interval of the sum alone; None where entries do not say how certain they are.
        terms: how many were added.
    """

    ms: float
    terms: int
    plain_ms: float | None = None
    interval_ms: Interval | None = None


@dataclass(frozen=True)
class TableScore:
    """A validation with what its figures and files need. Arrays have shape (networks,).

    Attributes:
        measured_ms, sum_ms: of each network.
        sums: the same sums with what else is known of them, in the same order.
        calibrated, macs: predictions of each network by fits that did not see it.
        calibration: fitted on all networks, for estimates to come.
    """

    validation: Validation
    measured_ms: Floats
    sum_ms: Floats
    calibrated: CrossFit
    macs: CrossFit
    calibration: Calibration
    sums: tuple[Sum, ...]


def score_sums(
    sums: Sequence[Sum],
    macs: Sequence[int],
    measurements: Sequence[Measurement],
    *,
    seed: int,
    table: Verdict | None = None,
    table_id: str | None = None,
    threads: int = 1,
) -> TableScore:
    """Score sums against measurements, network by network.

    Args:
        sums: each network's.
        macs: multiply-adds of each.
        measurements: successful ones, of the same networks.
        seed: draws the halves.
        table: verdict of the table itself; its reasons count for the validation too.
        table_id: of the table.
        threads: of each engine on the table's target.

    Raises:
        CalibrationError: too few networks, or values that are not positive.
    """
    measured_ms = np.asarray([measurement.value_ms for measurement in measurements], dtype=np.float64)
    terms = [one.terms for one in sums]
    features, costs = Features.of([one.ms for one in sums], terms), Features.of(macs, terms)
    calibrated, baseline = (cross_fit(given, measured_ms, seed=seed) for given in (features, costs))
    spreads = [m.between_round_spread for m in measurements if m.rounds > 1 and m.between_round_spread is not None]
    plain = _plain(sums, measurements)
    raw = agreement(features.raw, measured_ms)
    reasons = [*(table.reasons if table else ()), *entry_reasons(measurements, what="networks"), *_plain_reasons(plain)]
    reasons += _thread_reasons(threads, raw)
    validation = Validation(
        architectures=measured_ms.size,
        raw=raw,
        calibrated=agreement(calibrated.prediction.ms, measured_ms),
        macs=agreement(baseline.prediction.ms, measured_ms),
        repeatability=float(np.median(spreads)) if spreads else None,
        verdict=Verdict.of(reasons),
        table_id=table_id,
        plain=plain,
        sums=SumBias.of(features.raw, measured_ms),
        coverage=_coverage(sums, measured_ms),
    )
    return TableScore(validation, measured_ms, features.raw, calibrated, baseline, fit(features, measured_ms), tuple(sums))


def _plain(sums: Sequence[Sum], measurements: Sequence[Measurement]) -> PlainAgreement | None:
    """Of the networks that have both plain values; None where they are too few to score."""
    pairs = [
        (one.plain_ms, measurement.plain_ms, measurement.value_ms)
        for one, measurement in zip(sums, measurements, strict=True)
        if one.plain_ms and one.plain_ms > 0 and measurement.plain_ms and measurement.plain_ms > 0 and measurement.value_ms
    ]
    if len(pairs) < MIN_POINTS:
        return None
    summed, plain, scaled = (np.asarray(column, dtype=np.float64) for column in zip(*pairs, strict=True))
    return PlainAgreement(networks=len(pairs), raw=agreement(summed, plain), scaled_over_plain=float(np.median(scaled / plain)))


def _plain_reasons(plain: PlainAgreement | None) -> list[Reason]:
    """What plain latencies say against scaled ones.

    Longer plain ones are what a busy machine gives, or a scale that is too small; the data cannot distinguish the two. Longer
    scaled ones cannot be right: a network was faster than the table's milliseconds allow.
    """
    if plain is None:
        return []
    ratio = plain.scaled_over_plain
    off = max(ratio, 1 / ratio) - 1
    if off <= MOST_OFF:
        return []
    far = off > FAR_OFF
    if ratio > 1:
        level = TrustLevel.UNUSABLE if far else TrustLevel.UNSETTLED
        text = (
            f"networks ran in less time than the table's milliseconds say: scaled is {off:.1%} above plain; the scale is too "
            "large; profile once more on a quiet machine"
        )
    else:
        level = TrustLevel.UNSETTLED if far else TrustLevel.NOISY
        text = (
            f"networks took longer than the table's milliseconds say: plain is {off:.1%} above scaled; the machine was busy, "
            "or the scale is too small; validate again on a quiet machine"
        )
    limit = FAR_OFF if far else MOST_OFF
    return [Reason(name="plain", level=level, text=text, value=off, limit=limit)]


def _thread_reasons(threads: int, raw: Agreement) -> list[Reason]:
    """Where entries of engines with several threads do not add up, the threads are the first thing to look at."""
    if threads == 1 or raw.mape <= MOST_OFF_WITH_THREADS:
        return []
    text = (
        f"sums are off by {raw.mape:.1%} in the mean, and each engine has a pool of {threads} threads: pools of tens of live "
        "engines get in each other's way; measure with one thread, or with fewer live engines (OPCLOCK_LIVE_ENGINES=24)"
    )
    return [Reason(name="threads", level=TrustLevel.NOISY, text=text, value=raw.mape, limit=MOST_OFF_WITH_THREADS)]


def _coverage(sums: Sequence[Sum], measured_ms: Floats) -> Coverage | None:
    """Of the networks' own sums; the validated intervals by the sums of all networks but the one in question."""
    intervals = [one.interval_ms for one in sums if one.interval_ms is not None]
    if len(intervals) < len(sums) or len(sums) <= MIN_POINTS:
        return None
    statistical = [low <= ms <= high for (low, high), ms in zip(intervals, measured_ms, strict=True)]
    sum_ms = np.asarray([one.ms for one in sums])
    validated = []
    for index, ms in enumerate(measured_ms):
        others = np.arange(len(sums)) != index
        low, high = validated_interval_ms(sum_ms[index], SumBias.of(sum_ms[others], measured_ms[others]))
        validated.append(low <= ms <= high)
    return Coverage(statistical=float(np.mean(statistical)), validated=float(np.mean(validated)))
