"""The stopping rule, fed synthetic rounds."""

from __future__ import annotations

import random

import pytest

from models.spec.errors import InvalidSpecError
from models.spec.measurements import Budget
from profiler_service.measure.stopping import BUDGETS, BudgetSettings, StoppingRule
from profiler_service.measure.values import RoundValue

SETTINGS = BudgetSettings(
    min_rounds=4,
    max_rounds=40,
    passes=10,
    network_passes=5,
    isolated_runs=9,
    warmup_passes=1,
    target_relative_stderr=0.01,
    floor_ms=0.001,
)


def fed(*values_ms: float, settings: BudgetSettings = SETTINGS) -> StoppingRule:
    rule = StoppingRule(settings)
    for value_ms in values_ms:
        rule.add(value_ms)
    return rule


def test_equal_rounds_stop_at_the_minimum() -> None:
    assert not fed(1.0, 1.0, 1.0).done
    rule = fed(1.0, 1.0, 1.0, 1.0)
    assert rule.converged
    assert rule.done
    assert rule.expected_rounds_left() == 0
    assert (rule.value_ms, rule.stderr_ms) == (1.0, 0.0)


def test_noisy_rounds_go_on_until_they_average_out() -> None:
    rng = random.Random(3)
    rule = StoppingRule(SETTINGS)
    while not rule.done:
        rule.add(rng.gauss(1.0, 0.035))
    assert rule.converged
    assert SETTINGS.min_rounds < rule.rounds < SETTINGS.max_rounds
    assert rule.value_ms == pytest.approx(1.0, abs=0.03)


def test_hopeless_rounds_end_unconverged() -> None:
    rng = random.Random(4)
    rule = StoppingRule(SETTINGS)
    while not rule.done:
        rule.add(rng.uniform(0.5, 1.5))
    assert not rule.converged
    assert rule.rounds == SETTINGS.max_rounds


def test_one_slow_round_in_ten_does_not_spoil_the_value() -> None:
    rule = fed(*[1.0, 1.005, 0.995, 1.002, 0.998, 1.003, 0.997, 1.001, 0.999, 1.16])
    assert rule.converged
    assert rule.value_ms == pytest.approx(1.0, abs=0.002)


def test_two_modes_are_not_taken_for_one() -> None:
    """Rounds that sit in either of two modes 20 % apart say nothing to 1 %, however tight each mode is."""
    assert not fed(1.0, 1.2, 1.0, 1.2, 1.2, 1.0, 1.0, 1.2).converged


def test_times_near_zero_stop_at_the_floor() -> None:
    """A relative target is out of reach for a difference that is next to nothing."""
    assert fed(0.0004, -0.0003, 0.0002, -0.0001).converged
    assert not fed(0.004, -0.003, 0.002, -0.001).converged


def test_rounds_that_do_not_count_are_charged_to_the_budget() -> None:
    """Else a host that stays slow would keep a job for ever; and what does not count proves no convergence."""

    def taken(accepted: int, rejected: int) -> StoppingRule:
        kinds = [True] * accepted + [False] * rejected
        rounds = [RoundValue(n, 1.0, 1.0, 0.0, 0.3, accepted=kind) for n, kind in enumerate(kinds)]
        return StoppingRule.of(SETTINGS, rounds)

    assert (taken(3, 5).rounds, taken(3, 5).spent) == (3, 8)
    assert not taken(3, 5).done
    assert taken(3, 5).expected_rounds_left() == 1
    assert taken(4, 5).converged
    assert taken(3, SETTINGS.max_rounds - 3).done
    assert not taken(3, SETTINGS.max_rounds - 3).converged
    assert taken(1, 5).rounds == 6


def test_expected_rounds_follow_the_error() -> None:
    assert fed(1.0).expected_rounds_left() == 21
    assert fed(1.0, 1.0).expected_rounds_left() == 2
    rounds = [1.0, 1.05, 0.96, 1.02]
    wide, narrow = fed(*[1 + 2 * (value - 1) for value in rounds]), fed(*rounds)
    assert 1 <= narrow.expected_rounds_left() < wide.expected_rounds_left() <= SETTINGS.max_rounds - 4


def test_budgets_grow_from_quick_to_thorough() -> None:
    quick, normal, thorough = (BUDGETS[budget] for budget in Budget)
    for name in ("min_rounds", "max_rounds", "passes", "network_passes"):
        assert getattr(quick, name) < getattr(normal, name) < getattr(thorough, name)
    assert quick.target_relative_stderr > normal.target_relative_stderr > thorough.target_relative_stderr


def test_nonsensical_budgets_are_refused() -> None:
    with pytest.raises(InvalidSpecError, match="2 ≤ min ≤ max, not 5 and 4"):
        BudgetSettings(
            min_rounds=5, max_rounds=4, passes=1, network_passes=1, isolated_runs=9, warmup_passes=0, target_relative_stderr=0.1
        )
    with pytest.raises(InvalidSpecError, match="at least one pass"):
        BudgetSettings(
            min_rounds=2, max_rounds=4, passes=0, network_passes=1, isolated_runs=9, warmup_passes=0, target_relative_stderr=0.1
        )
