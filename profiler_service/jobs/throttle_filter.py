"""Samples without those that a slow device spoiled: set aside and counted, or all kept and flagged (docs/measurement.md)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from profiler_service.measure.throttling import ClockWatch, device_state
from profiler_service.worker.protocol import GroupTimes, IsolatedTimes


def filtered_group(times: GroupTimes, watch: ClockWatch) -> GroupTimes:
    """The passes that count, of the engines and of the sentinel, and the state of the device; as it is where nobody tells."""
    if not times.windows:
        return times
    sifted = watch.judge(times.windows)
    count = len(times.windows)
    return replace(
        times,
        samples_ms={key: _kept(samples, sifted.kept, count) for key, samples in times.samples_ms.items()},
        sentinel_ms=_kept(times.sentinel_ms, sifted.kept, count),
        device=device_state(times.windows, sifted, samples_per_window=1),
    )


def filtered_isolated(times: IsolatedTimes, watch: ClockWatch) -> IsolatedTimes:
    """The runs that count, and the state of the device; as it is where nobody tells."""
    if not times.windows:
        return times
    sifted = watch.judge(times.windows)
    count = len(times.windows)
    return replace(
        times,
        samples_ms=_kept(times.samples_ms, sifted.kept, count),
        device=device_state(times.windows, sifted, samples_per_window=len(times.samples_ms) // count),
    )


def _kept(samples: Sequence[float], kept: Sequence[int], windows: int) -> tuple[float, ...]:
    """The samples of those windows, of which each has as many."""
    each = len(samples) // windows
    return tuple(sample for index in kept for sample in samples[index * each : (index + 1) * each])
