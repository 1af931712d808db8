"""What must hold of the statistics for all samples, and of groups for all jobs."""

from __future__ import annotations

import random
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from profiler_service.measure.groups import GroupLimits, Member, draw_groups
from profiler_service.measure.statistics import median, median_interval, median_stderr, summarise

times_ms = st.floats(min_value=1e-4, max_value=1e4)
samples = st.lists(times_ms, min_size=2, max_size=60)


@given(samples)
def test_location_lies_within_its_interval_within_the_range(values: list[float]) -> None:
    low, high = median_interval(values)
    assert min(values) <= low <= median(values) <= high <= max(values)
    summary = summarise(values)
    tails = [tail for tail in (summary.p95_ms, summary.p99_ms) if tail is not None]
    assert [summary.median_ms, *tails, max(values)] == sorted([summary.median_ms, *tails, max(values)])


@given(samples, st.randoms(use_true_random=False), st.floats(min_value=0.01, max_value=100.0))
def test_stderr_scales_with_the_unit_and_ignores_the_order(values: list[float], rng: random.Random, factor: float) -> None:
    stderr = median_stderr(values)
    scaled = [value * factor for value in values]
    rng.shuffle(scaled)
    assert 0 <= stderr <= max(values) - min(values)
    assert median_stderr(scaled) == pytest.approx(stderr * factor, rel=1e-6, abs=1e-9 * max(scaled))


@given(samples, st.integers(0, 59), st.floats(min_value=1.0, max_value=1e3))
def test_one_wild_sample_moves_the_median_no_further_than_to_its_neighbours(
    values: list[float], index: int, factor: float
) -> None:
    ordered = sorted(values)
    middle = len(values) // 2
    wild = list(values)
    wild[index % len(values)] *= factor
    assert median(values) <= median(wild) <= ordered[min(middle + 1, len(values) - 1)] or len(values) == 2


@st.composite
def jobs(draw: st.DrawFn) -> tuple[list[Member], list[Member], GroupLimits]:
    bases = [Member(f"base{index}", draw(st.integers(0, 50))) for index in range(draw(st.integers(1, 5)))]
    pending = [
        Member(f"pending{index}", draw(st.integers(0, 300)), draw(st.sampled_from([None, *bases])))
        for index in range(draw(st.integers(0, 60)))
    ]
    padding = [Member(f"padding{index}", draw(st.integers(0, 100))) for index in range(draw(st.integers(0, 20)))]
    min_live = draw(st.integers(0, 20))
    limits = GroupLimits(min_live, draw(st.integers(max(min_live, 1), 40)), draw(st.integers(0, 3000)))
    return pending, padding, limits


@given(jobs(), st.integers(0, 2**32))
def test_groups_hold_every_pending_graph_once_and_keep_their_limits(
    job: tuple[list[Member], list[Member], GroupLimits], seed: int
) -> None:
    pending, padding, limits = job
    groups = draw_groups(pending, padding, limits, random.Random(seed))
    assert Counter(member for group in groups for member in group.pending) == Counter(pending)
    for group in groups:
        assert set(group.bases) == {member.base for member in group.pending if member.base is not None}
        assert max(Counter(group.keys).values()) == 1
        live_bytes = sum(member.memory_bytes for member in (*group.pending, *group.bases, *group.padding))
        if len(group.pending) > 1 or group.padding:
            assert live_bytes <= limits.memory_bytes
        if len(group.pending) > 1:
            assert len(group.keys) <= limits.max_live
        if group.padding:
            assert len(group.keys) <= limits.min_live
