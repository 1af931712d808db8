"""From a workload's visits to the measurement that a table stores."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np

from models.spec.measurements import Flag, Measurement, Status, Workload
from profiler_service.measure.statistics import coefficient_of_variation, median, relative_range, summarise
from profiler_service.measure.stopping import BudgetSettings, StoppingRule
from profiler_service.measure.values import RoundValue, counted_rounds, sentinel_scale
from profiler_service.measure.visits import Visit

RESOLUTION_STDERRS = 2.0
"""A difference to the base of fewer standard errors than this is not distinguishable from zero (about 95 %)."""


@dataclass(frozen=True)
class EngineRecord:
    """What is known of a workload's engine and of the host besides its times; see `Measurement`."""

    build_s: float | None = None
    engine_bytes: int | None = None
    peak_memory_bytes: int | None = None
    output_error: float | None = None
    host_load: float | None = None


def measured(
    workload: Workload,
    visits: Sequence[Visit],
    rounds: Sequence[RoundValue],
    *,
    subtracted: bool,
    reference_ms: float | None,
    budget: BudgetSettings,
    engine: EngineRecord,
) -> Measurement:
    """The measurement of a workload whose rounds are over.

    Args:
        workload: what was timed.
        visits: all visits of its graph.
        rounds: what they come to (`measure.values.round_values`).
        subtracted: whether a base was subtracted from them.
        reference_ms: the scale's reference; None for a protocol without normalisation.
        budget: decides whether it converged.
        engine: recorded as it is.
    """
    statistics = statistics_of(visits, rounds, subtracted=subtracted, reference_ms=reference_ms, budget=budget, engine=engine)
    return Measurement(workload=workload, **statistics)


def statistics_of(
    visits: Sequence[Visit],
    rounds: Sequence[RoundValue],
    *,
    subtracted: bool,
    reference_ms: float | None,
    budget: BudgetSettings,
    engine: EngineRecord,
) -> dict[str, Any]:
    """The fields of a `Measurement` besides its workload, for something whose rounds are over.

    Args:
        visits: all visits of its graph.
        rounds: what they come to (`measure.values.round_values`).
        subtracted: whether a base was subtracted from them.
        reference_ms: the scale's reference; None for a protocol without normalisation.
        budget: decides whether it converged.
        engine: recorded as it is.
    """
    rule = StoppingRule.of(budget, rounds)
    rounds = counted_rounds(rounds, budget.least_accepted)
    flags = _flags(rule, rounds, subtracted=subtracted)
    value_ms = max(rule.value_ms, 0.0)
    sentinel_ms = median([round_value.sentinel_ms for round_value in rounds])
    pooled, gross = _pooled(visits, rounds, reference_ms)
    summary = summarise(pooled)
    return dict(
        value_ms=value_ms,
        stderr_ms=rule.stderr_ms,
        plain_ms=median([round_value.plain_ms for round_value in rounds]),
        base_ms=median([round_value.base_ms for round_value in rounds]),
        median_ms=summary.median_ms,
        min_ms=summary.min_ms,
        mean_ms=summary.mean_ms,
        p95_ms=summary.p95_ms,
        p99_ms=summary.p99_ms,
        ci95_low_ms=summary.ci95_low_ms,
        ci95_high_ms=summary.ci95_high_ms,
        cv=coefficient_of_variation(gross),
        between_round_spread=relative_range([round_value.value_ms for round_value in rounds], value_ms),
        sentinel_ratio=None if reference_ms is None else sentinel_ms / reference_ms,
        samples=summary.samples,
        rounds=rule.rounds,
        build_s=engine.build_s,
        engine_bytes=engine.engine_bytes,
        peak_memory_bytes=engine.peak_memory_bytes,
        output_error=engine.output_error,
        host_load=engine.host_load,
        measured_at=min(visit.started_at for visit in visits),
        flags=flags,
        **_device(visits, {round_value.round for round_value in rounds}),
    )


def failed(workload: Workload, status: Status, message: str, *, at: datetime, engine: EngineRecord) -> Measurement:
    """The record of a workload that could not be built or run. `at`: UTC time at which that was found."""
    return Measurement(
        workload=workload,
        status=status,
        message=message,
        build_s=engine.build_s,
        engine_bytes=engine.engine_bytes,
        peak_memory_bytes=engine.peak_memory_bytes,
        output_error=engine.output_error,
        host_load=engine.host_load,
        measured_at=at,
    )


def _flags(rule: StoppingRule, rounds: Sequence[RoundValue], *, subtracted: bool) -> tuple[Flag, ...]:
    found = {
        Flag.UNCONVERGED: not rule.converged,
        Flag.CONTAMINATED: not all(round_value.accepted for round_value in rounds),
        Flag.THROTTLED: any(round_value.throttled for round_value in rounds),
        Flag.BELOW_RESOLUTION: subtracted and rule.value_ms <= RESOLUTION_STDERRS * rule.stderr_ms,
    }
    return tuple(flag for flag, raised in found.items() if raised)


def _device(visits: Sequence[Visit], counted: Collection[int]) -> dict[str, Any]:
    """The fields of a measurement about the device, from the visits in which it reported its state; empty where it never did.

    Samples are set aside within a visit, and with every round that does not count because its device was throttled.
    """
    in_order = sorted(visits, key=lambda visit: visit.started_at)
    reported = [(visit, visit.device) for visit in in_order if visit.device is not None]
    if not reported:
        return {}
    states = [state for _, state in reported]
    in_rounds = sum(len(visit.samples_ms) for visit, state in reported if state.throttled and visit.round not in counted)
    power_w = [state.power_w for state in states if state.power_w is not None]
    others = [state.other_processes for state in states if state.other_processes is not None]
    return {
        "clock_before_mhz": states[0].clock_before_mhz,
        "clock_after_mhz": states[-1].clock_after_mhz,
        "temperature_before_c": states[0].temperature_before_c,
        "temperature_after_c": states[-1].temperature_after_c,
        "power_w": median(power_w) if power_w else None,
        "other_processes": max(others, default=None),
        "samples_set_aside": in_rounds + sum(state.set_aside for state in states),
        "throttle_reasons": ", ".join(sorted({reason for state in states for reason in state.reasons})) or None,
    }


def _pooled(visits: Sequence[Visit], rounds: Sequence[RoundValue], reference_ms: float | None) -> tuple[np.ndarray, np.ndarray]:
    """All samples in sentinel units: with the round's base subtracted, and without (the engine's own times)."""
    base_ms = {round_value.round: round_value.base_ms for round_value in rounds}
    counted = [visit for visit in visits if visit.round in base_ms]
    gross = [np.asarray(visit.samples_ms) * sentinel_scale(visit.sentinel_ms, reference_ms) for visit in counted]
    net = [samples - base_ms[visit.round] for visit, samples in zip(counted, gross, strict=True)]
    return np.concatenate(net), np.concatenate(gross)
