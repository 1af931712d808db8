"""Who is live with whom."""

from __future__ import annotations

import random
from collections import Counter

import pytest

from models.spec.errors import InvalidSpecError
from profiler_service.measure.groups import Group, GroupLimits, Member, draw_groups

PLENTY = 10**12
BASES = [Member(f"base{index}", 10) for index in range(20)]
GRID = [Member(f"entry{index}", 100, BASES[index % 20]) for index in range(666)]
LIMITS = GroupLimits(min_live=24, max_live=96, memory_bytes=PLENTY)


def draw(pending: list[Member], *, limits: GroupLimits = LIMITS, seed: int = 0) -> tuple[Group, ...]:
    return draw_groups(pending, GRID, limits, random.Random(seed))


def test_every_pending_graph_is_in_exactly_one_group() -> None:
    groups = draw(GRID)
    assert Counter(member for group in groups for member in group.pending) == Counter(GRID)


def test_groups_are_large_and_of_about_equal_size() -> None:
    sizes = [len(group.keys) for group in draw(GRID)]
    assert max(sizes) <= LIMITS.max_live
    assert min(sizes) >= LIMITS.max_live - 10
    assert all(not group.padding for group in draw(GRID))


def test_each_group_has_the_bases_of_its_members_once() -> None:
    for group in draw(GRID):
        assert set(group.bases) == {member.base for member in group.pending}
        assert len(group.keys) == len(set(group.keys))


def test_neighbours_change_from_round_to_round() -> None:
    rng = random.Random(5)
    first, second = (draw_groups(GRID, [], LIMITS, rng) for _ in range(2))
    together = [set(group.pending) for group in second]
    assert all(set(group.pending) not in together for group in first)


def test_equal_seeds_draw_equal_groups() -> None:
    assert draw(GRID, seed=7) == draw(GRID, seed=7)


def test_small_jobs_are_filled_up_from_the_grid() -> None:
    (group,) = draw(GRID[:3])
    assert len(group.pending) == 3
    assert len(group.bases) == 3
    assert len(group.keys) == LIMITS.min_live
    assert not set(group.padding) & (set(group.pending) | set(group.bases))


def test_memory_bounds_what_is_live() -> None:
    limits = GroupLimits(min_live=4, max_live=96, memory_bytes=1000)
    groups = draw(GRID[:50], limits=limits)
    for group in groups:
        assert sum(member.memory_bytes for member in (*group.pending, *group.bases, *group.padding)) <= 1000
    assert len(groups) < 50


def test_a_graph_beyond_the_memory_limit_is_measured_by_itself() -> None:
    giant = Member("giant", 5000, BASES[0])
    groups = draw([giant, *GRID[:5]], limits=GroupLimits(min_live=4, max_live=96, memory_bytes=1000))
    (alone,) = (group for group in groups if giant in group.pending)
    assert (alone.pending, alone.padding) == ((giant,), ())


def test_a_part_of_a_group_has_only_the_bases_it_needs() -> None:
    group = Group(pending=tuple(GRID[:6]), padding=tuple(GRID[100:103]))
    part = group.only(lambda member: member in GRID[:2])
    assert part == Group(pending=tuple(GRID[:2]))
    assert part.bases == (BASES[0], BASES[1])
    assert part.keys == ("entry0", "entry1", "base0", "base1")


def test_nothing_pending_needs_no_group() -> None:
    assert draw([]) == ()


def test_impossible_limits_are_refused() -> None:
    with pytest.raises(InvalidSpecError, match="0 ≤ min ≤ max, not 9 and 8"):
        GroupLimits(min_live=9, max_live=8, memory_bytes=1)
