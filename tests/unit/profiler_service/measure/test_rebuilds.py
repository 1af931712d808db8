"""The parts of a variance, on synthetic builds, and the choice of what is built again."""

from __future__ import annotations

from statistics import median

import numpy as np
import pytest

from models.spec.errors import InvalidSpecError
from profiler_service.measure.rebuilds import chosen_keys, spread_of

KEYS = [f"{index:016x}" for index in range(666)]


def _median_spread(between: float, within: float, *, builds: int = 3, rounds: int = 6) -> tuple[float, float]:
    """Over many synthetic entries of 1 ms."""
    rng = np.random.default_rng(0)
    found = []
    for _ in range(400):
        means = 1 + between * rng.standard_normal((builds, 1))
        found.append(spread_of((means + within * rng.standard_normal((builds, rounds))).tolist()))
    return median(s.between_ms for s in found), median(s.within_ms for s in found)


@pytest.mark.parametrize(("between", "within"), [(0.05, 0.01), (0.05, 0.05), (0.02, 0.005)])
def test_both_parts_are_found(between: float, within: float) -> None:
    """The median of a standard deviation of three lies somewhat below the truth: sqrt(ln 2) is 0.83."""
    found_between, found_within = _median_spread(between, within)
    assert found_within == pytest.approx(within, rel=0.05)
    assert 0.7 * between < found_between < 1.1 * between


def test_builds_that_differ_no_more_than_their_runs_do_not_differ() -> None:
    found_between, found_within = _median_spread(0.0, 0.05)
    assert found_within == pytest.approx(0.05, rel=0.05)
    assert found_between < 0.2 * 0.05


def test_equal_rounds_have_no_spread_within_and_all_of_it_between() -> None:
    spread = spread_of([[1.0] * 4, [1.1] * 4, [1.2] * 4])
    assert (spread.between_ms, spread.within_ms) == (pytest.approx(0.1), 0.0)


@pytest.mark.parametrize("rounds_ms", [[[1.0, 1.0]], [[1.0], [1.0]], [1.0, 2.0]])
def test_one_build_or_one_round_is_no_spread(rounds_ms: list[list[float]]) -> None:
    with pytest.raises(InvalidSpecError, match="2 builds and 2 rounds"):
        spread_of(rounds_ms)


def test_the_choice_is_a_twentieth_and_the_same_for_a_seed() -> None:
    chosen = chosen_keys(KEYS, seed="a table")
    assert len(set(chosen)) == len(chosen) == 33
    assert chosen_keys(KEYS[::-1], seed="a table") == chosen
    assert set(chosen_keys(KEYS, seed="another")) != set(chosen)
    assert (len(chosen_keys(KEYS[:3], seed="")), chosen_keys([], seed="")) == (1, [])


@pytest.mark.parametrize(("keys", "expected"), [(83, 4), (84, 4), (90, 4), (91, 5), (10, 1), (1, 1)])
def test_a_share_of_keys_is_rounded(keys: int, expected: int) -> None:
    assert len(chosen_keys(KEYS[:keys], seed="a table")) == expected


def test_a_few_keys_more_hardly_change_the_choice() -> None:
    chosen = set(chosen_keys(KEYS, seed="a table"))
    assert len(chosen & set(chosen_keys(KEYS[3:], seed="a table"))) >= len(chosen) - 3


def test_some_keys_are_chosen_first_and_others_only_to_fill_up() -> None:
    usual = chosen_keys(KEYS, seed="a table")
    first = KEYS[:10]
    chosen = chosen_keys(KEYS, seed="a table", first=[*first, "of another table"])
    assert set(chosen[:10]) == set(first)
    assert set(chosen[10:]) <= set(usual)
    assert len(chosen) == len(usual)
    assert len(chosen_keys(KEYS[:20], seed="a table", first=first)) == 1
