"""From visits to the value of a workload: base subtracted, in sentinel units, round by round (docs/measurement.md).

A value is a pure function of visits and of the scale's reference. What it needs is stored, but for one thing: the visits that
a settled scale shows to be slow are taken as not accepted (`jobs.tracker`), whatever is stored of them.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from models.spec.scale import Scale
from profiler_service.measure.sentinel import is_slow
from profiler_service.measure.statistics import median
from profiler_service.measure.visits import Visit


@dataclass(frozen=True, slots=True)
class VisitMedian:
    """What the value needs of a visit; small enough to be in memory for every visit of a job."""

    round: int
    visit: int
    median_ms: float
    sentinel_ms: float
    accepted: bool = True
    throttled: bool = False

    @classmethod
    def of(cls, visit: Visit) -> VisitMedian:
        """The visit without its samples."""
        return cls(
            visit.round, visit.visit, median(visit.samples_ms), visit.sentinel_ms, visit.accepted, throttled=visit.throttled
        )

    def on(self, scale: Scale | None) -> VisitMedian:
        """The visit, not accepted where its sentinel was slow by that scale, as far as it is known.

        A job that began in a slow phase took that phase for quiet; only the scale, once it is learned, shows it.
        """
        return replace(self, accepted=False) if is_slow(self.sentinel_ms, scale) else self

    @property
    def good(self) -> bool:
        """Whether neither the sentinel nor the device's clock speaks against it."""
        return self.accepted and not self.throttled


@dataclass(frozen=True)
class RoundValue:
    """One workload in one round. Milliseconds.

    Attributes:
        value_ms: the engine's median less `base_ms`, in sentinel units where the protocol has them; may be negative.
        plain_ms: the same without normalisation.
        base_ms: median over the base's visits in the round, in the units of `value_ms`; 0 where there is no base.
        sentinel_ms: the sentinel's median.
        accepted: whether all the visits behind it are accepted (see `Visit`).
        throttled: whether the device was slow all through one of them.
    """

    round: int
    value_ms: float
    plain_ms: float
    base_ms: float
    sentinel_ms: float
    accepted: bool = True
    throttled: bool = False

    @property
    def good(self) -> bool:
        """Whether neither the sentinel nor the device's clock speaks against any of the visits behind it."""
        return self.accepted and not self.throttled


def sentinel_scale(sentinel_ms: float, reference_ms: float | None) -> float:
    """What to multiply a visit's times with, so that a sentinel that took longer than its reference slows nothing down.

    1 where there is no reference, for a protocol without normalisation.
    """
    return 1.0 if reference_ms is None else reference_ms / sentinel_ms


def round_values(
    engine: Iterable[VisitMedian], base: Iterable[VisitMedian] | None, reference_ms: float | None
) -> list[RoundValue]:
    """The rounds of a workload, in order: those in which the engine and, if it has one, its base were visited.

    Within a round, visits that the sentinel did not accept, or on a throttled device, count only where there are no others.

    Args:
        engine: visits of the workload's graph.
        base: visits of its base graph; None where it has none.
        reference_ms: the scale's reference; None for no normalisation.
    """
    base_rounds = None if base is None else _by_round(base)
    values = []
    for number, visits in sorted(_by_round(engine).items()):
        behind = list(visits)
        normalised, plain = _medians(visits, reference_ms)
        base_ms = plain_base_ms = 0.0
        if base_rounds is not None:
            if number not in base_rounds:
                continue
            base_ms, plain_base_ms = _medians(base_rounds[number], reference_ms)
            behind += base_rounds[number]
        values.append(
            RoundValue(
                round=number,
                value_ms=normalised - base_ms,
                plain_ms=plain - plain_base_ms,
                base_ms=base_ms,
                sentinel_ms=median([visit.sentinel_ms for visit in visits]),
                accepted=all(visit.accepted for visit in behind),
                throttled=any(visit.throttled for visit in behind),
            )
        )
    return values


def counted_rounds(rounds: Sequence[RoundValue], least: int) -> list[RoundValue]:
    """Those that make the value: the good ones if they are at least so many, else all.

    Sentinel units take out most of a slow phase, but not all: what waits for memory is slowed down otherwise than the sentinel.
    """
    good = [round_value for round_value in rounds if round_value.good]
    return good if len(good) >= least else list(rounds)


def _by_round(visits: Iterable[VisitMedian]) -> Mapping[int, Sequence[VisitMedian]]:
    rounds: defaultdict[int, list[VisitMedian]] = defaultdict(list)
    for visit in visits:
        rounds[visit.round].append(visit)
    return {number: [visit for visit in found if visit.good] or found for number, found in rounds.items()}


def _medians(visits: Sequence[VisitMedian], reference_ms: float | None) -> tuple[float, float]:
    """Median over visits of the normalised and of the plain medians."""
    normalised = [visit.median_ms * sentinel_scale(visit.sentinel_ms, reference_ms) for visit in visits]
    return median(normalised), median([visit.median_ms for visit in visits])
