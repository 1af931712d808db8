"""What is called significant is chance no more often than promised, with rounds that end as a budget's do."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.spec.architectures import SpaceSpec
from models.spec.measurements import Budget, Measurement
from models.spec.operators import OperatorSpec
from models.spec.scale import Scale
from models.spec.tables import Table, TableInfo
from models.spec.targets import TargetSpec
from profiler_service.comparison import TableComparison, adjusted, compare
from profiler_service.measure.stopping import BUDGETS, BudgetSettings, StoppingRule

INFO = TableInfo(target=TargetSpec(device="CPU", backend="b", threads=1), space=SpaceSpec(name="s", input_size=(64, 64)))
OTHER = TargetSpec(device="CPU", backend="b", versions={"b": "2"}, threads=1)
FDR = 0.05


def operator(index: int) -> OperatorSpec:
    return OperatorSpec(kind="conv3x3", in_channels=1 + index, out_channels=8, height=8, width=8)


def measured(index: int, true_ms: float, noise: float, budget: BudgetSettings, rng: np.random.Generator) -> Measurement:
    """An entry whose rounds scatter normally, and end when the budget's rule says so."""
    rule = StoppingRule(budget)
    while not rule.done:
        rule.add(true_ms * (1 + noise * rng.standard_normal()))
    return Measurement(workload=operator(index), value_ms=rule.value_ms, stderr_ms=rule.stderr_ms, rounds=rule.rounds)


def table(true_ms: np.ndarray, noise: float, budget: BudgetSettings, rng: np.random.Generator, info: TableInfo = INFO) -> Table:
    return Table(info=info, entries=tuple(measured(i, float(ms), noise, budget, rng) for i, ms in enumerate(true_ms)))


@pytest.mark.parametrize("budget", [Budget.QUICK, Budget.NORMAL])
@pytest.mark.parametrize("noise", [0.01, 0.035])
def test_two_tables_of_one_truth_seldom_differ_significantly(budget: Budget, noise: float) -> None:
    """Where nothing differs, every discovery is false: at most 5 % of comparisons may have any (18 of 200: 1 % by chance)."""
    rng = np.random.default_rng(7)
    true_ms = rng.uniform(0.2, 2.0, 40)
    settings = BUDGETS[budget]
    comparisons = [
        compare(table(true_ms, noise, settings, rng), table(true_ms, noise, settings, rng), fdr=FDR) for _ in range(200)
    ]
    assert all(found.tested == 40 for found in comparisons)
    assert sum(bool(found.significant) for found in comparisons) <= 18


def test_of_real_differences_almost_all_are_found_and_few_others() -> None:
    rng = np.random.default_rng(8)
    settings = BUDGETS[Budget.NORMAL]
    before = rng.uniform(0.2, 2.0, 80)
    differing = np.arange(80) % 4 == 0
    after = np.where(differing, before * 1.2, before)
    true = {operator(int(index)).key() for index in np.flatnonzero(differing)}
    found, false_shares = 0, []
    for _ in range(15):
        comparison = compare(table(before, 0.02, settings, rng), table(after, 0.02, settings, rng), fdr=FDR)
        hits = {entry.key for entry in comparison.significant}
        found += len(hits & true)
        false_shares.append(len(hits - true) / max(len(hits), 1))
    assert found >= 0.97 * 15 * differing.sum()
    assert float(np.mean(false_shares)) <= FDR


def scaled(factor: float, stderr: float) -> TableComparison:
    """Two tables of one truth, the second on another target, whose scale is wrong by a factor."""
    rng = np.random.default_rng(9)
    settings = BUDGETS[Budget.NORMAL]
    true_ms = rng.uniform(0.2, 2.0, 40)
    infos = [
        INFO.model_copy(update={"target": target, "scale": Scale(reference_ms=0.3, stderr_ms=0.3 * stderr)})
        for target in (INFO.target, OTHER)
    ]
    return compare(table(true_ms, 0.005, settings, rng, infos[0]), table(true_ms * factor, 0.005, settings, rng, infos[1]))


def test_what_the_uncertainty_of_the_scales_explains_is_not_significant() -> None:
    assert len(scaled(1.03, stderr=0.0).significant) > 30
    explained = scaled(1.03, stderr=0.02)
    assert explained.scale_stderr == pytest.approx(0.02 * 2**0.5)
    assert explained.significant == ()


@given(st.lists(st.floats(0, 1), max_size=30), st.sampled_from([0.01, 0.05, 0.2]))
def test_adjusted_chances_choose_what_the_procedure_chooses(p_values: list[float], fdr: float) -> None:
    """Benjamini and Hochberg: the largest k with p_(k) ≤ k/m · rate; those of rank 1 to k are significant."""
    ordered = sorted(p_values)
    ranks = [k for k, p in enumerate(ordered, start=1) if p <= k / len(ordered) * fdr]
    chosen = [q <= fdr for q in adjusted(p_values)]
    borderline = any(abs(p - k / len(ordered) * fdr) < 1e-12 for k, p in enumerate(ordered, start=1))
    if not borderline:
        assert sum(chosen) == max(ranks, default=0)
        assert all(p <= ordered[max(ranks) - 1] for p, is_chosen in zip(p_values, chosen, strict=True) if is_chosen)
