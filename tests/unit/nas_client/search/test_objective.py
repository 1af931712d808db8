"""The trade of accuracy against latency that chooses among alternatives."""

from __future__ import annotations

import math

import pytest

from nas_client.errors import ParameterError
from nas_client.search.objective import objective


def test_at_the_target_only_accuracy_counts() -> None:
    assert objective(0.73, 8.3) == pytest.approx(0.73)
    assert objective(73.0, 5.0, target_ms=5.0) == pytest.approx(73.0)


@pytest.mark.parametrize("latency_ms", [0.5, 8.2, 8.4, 60.0])
def test_slower_is_worse_on_both_sides_of_the_target(latency_ms: float) -> None:
    """As the paper's equation 6 is printed, it would be better below the target and make no difference above."""
    assert objective(0.7, 1.1 * latency_ms) < objective(0.7, latency_ms)
    assert objective(0.71, latency_ms) > objective(0.7, latency_ms)


def test_a_doubled_latency_costs_about_five_per_cent_of_the_accuracy() -> None:
    """2^−0.07 = 0.953: what MnasNet, which the criterion is from, took the exponent for."""
    assert objective(0.7, 2 * 6.1) / objective(0.7, 6.1) == pytest.approx(2**-0.07)
    assert objective(0.7 / 0.95, 2 * 6.1) > objective(0.7, 6.1) > objective(0.7 / 0.96, 2 * 6.1)


def test_the_target_never_changes_the_order() -> None:
    networks = [(0.705, 6.1), (0.661, 4.2), (0.669, 5.6), (0.695, 8.3)]
    orders = [
        sorted(networks, key=lambda network: objective(*network, target_ms=target_ms)) for target_ms in (1.0, 5.9, 8.3, 100.0)
    ]
    assert orders == [orders[0]] * 4


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"accuracy": -0.1}, "accuracy -0.1"),
        ({"accuracy": math.nan}, "accuracy nan"),
        ({"latency_ms": 0.0}, "latency 0.0 ms"),
        ({"latency_ms": math.inf}, "latency inf ms"),
        ({"target_ms": -1.0}, "target -1.0 ms"),
        ({"exponent": math.nan}, "exponent nan"),
    ],
)
def test_what_is_no_trade_is_refused(arguments: dict[str, float], message: str) -> None:
    with pytest.raises(ParameterError, match=message):
        objective(**{"accuracy": 0.7, "latency_ms": 6.1, **arguments})
