"""What all networks of a space take, and networks drawn between two latencies."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from models.spec.architectures import SpaceSpec
from nas_client.errors import ExperimentError
from nas_client.estimates import estimate
from nas_client.experiments.latency_budget import LatencyBudget, targets
from nas_client.table import LookupTable
from tests.support import choosy_space  # noqa: F401 - makes its space known
from tests.support.fake_service import make_table
from tests.support.fasterseg_networks import branches_of
from tests.support.searches import small_table


@pytest.fixture(scope="module")
def table() -> LookupTable:
    return small_table()


@pytest.fixture(scope="module")
def budget(table: LookupTable) -> LatencyBudget:
    return LatencyBudget(table)


def test_what_is_fixed_are_the_operators_that_every_network_has(budget: LatencyBudget, table: LookupTable) -> None:
    plans = [
        Counter(operator.key() for operator in budget.space.architecture_operators(budget.space.network_of(choices)))
        for choices in budget.pool[:150]
    ]
    common = plans[0]
    for plan in plans:
        common &= plan
    priced = {operator.key(): table.lookup(operator) for operator in budget.space.operators()}
    assert budget.fixed_ms == pytest.approx(sum(n * priced[key] for key, n in common.items()))
    assert 0 < budget.fixed_ms < budget.pool_ms.min()
    assert budget.share == pytest.approx(1 - budget.fixed_ms / np.median(budget.pool_ms))


def test_networks_are_within_the_range_all_different_and_follow_from_the_seed(
    budget: LatencyBudget, table: LookupTable
) -> None:
    target_ms = budget.quantile_ms(0.5)
    range_ms = (target_ms, target_ms + budget.width_ms(target_ms, 0.2))
    found = budget.draw(range_ms, 8, np.random.default_rng(1))
    assert len({network.key() for network in found}) == 8
    assert all(range_ms[0] - 1e-9 <= estimate(network, table).sum_ms <= range_ms[1] + 1e-9 for network in found)
    assert budget.draw(range_ms, 8, np.random.default_rng(1)) == found
    assert budget.draw(range_ms, 8, np.random.default_rng(2)) != found


def test_the_earliest_networks_downsample_before_all_others_of_their_alternative(budget: LatencyBudget) -> None:
    def places(scales: tuple[int, ...]) -> list[int]:
        return [scales.index(scale) for scale in sorted(set(scales))]

    range_ms = (0.0, budget.pool_ms.max())
    earliest: dict[str, list[list[int]]] = {}
    for network in budget.draw(range_ms, 12, np.random.default_rng(0), earliest=True):
        earliest[budget.space.alternative_of(network)] = [places(branch.scales) for branch in branches_of(network)]
    assert set(earliest) == set(budget.space.alternatives())
    for choices in budget.pool[:300]:
        network = budget.space.network_of(choices)
        for mine, other in zip(earliest[choices.alternative], branches_of(network), strict=True):
            assert all(one <= two for one, two in zip(mine, places(other.scales), strict=True))


def test_a_space_whose_paths_say_nothing_has_no_earliest_networks() -> None:
    budget = LatencyBudget(LookupTable(make_table(SpaceSpec(name="choosy", input_size=(16, 24)))))
    with pytest.raises(ExperimentError, match="does not say which networks downsample earliest"):
        budget.draw((0.0, 1e9), 1, np.random.default_rng(0), earliest=True)


def test_what_cannot_be_drawn_is_said(budget: LatencyBudget) -> None:
    with pytest.raises(ExperimentError, match=r"of 40000 random networks 0 are estimated at .* ms; 1 are needed"):
        budget.draw((0.0, budget.fixed_ms), 1, np.random.default_rng(0))
    with pytest.raises(ExperimentError, match="every network takes"):
        budget.width_ms(budget.fixed_ms, 0.1)


def test_stated_targets_come_before_quantiles(budget: LatencyBudget) -> None:
    assert targets(budget, (3.0, 2.0), (0.5,)) == (3.0, 2.0)
    low, high = targets(budget, (), (0.9, 0.1))
    assert np.mean(budget.pool_ms <= low) == pytest.approx(0.1, abs=0.02)
    assert np.mean(budget.pool_ms <= high) == pytest.approx(0.9, abs=0.02)
