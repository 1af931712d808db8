"""Sensitivities by enumeration, and the weights that balance them."""

from __future__ import annotations

import math
from itertools import product

import pytest
import torch

from models.spaces.base import SearchSpace
from models.spec.operators import OperatorSpec
from models.testing.graph_reference import made_up_ms
from nas_client.errors import ParameterError, SensitivityError
from nas_client.latency.coefficients import gather
from nas_client.latency.parameters import ArchitectureParameters, Granularity, choice_counts
from nas_client.latency.relaxed import RelaxedLatency
from nas_client.latency.sensitivity import PUBLISHED_WEIGHTS, Sensitivity, Weights, sensitivity, solve_weights
from tests.support.toy_space import ToySpace

CONVOLUTIONS = {"skip": 0.2, "conv3x3": 1.0, "zoomed_conv3x3": 0.5, "conv3x3_x2": 2.0, "zoomed_conv3x3_x2": 0.9}


def by_size(operator: OperatorSpec) -> float:
    """More convolutions and more channels are slower, so that the slowest choice is so whatever the others are."""
    return 1e-4 * CONVOLUTIONS.get(operator.kind, 1.0) * operator.in_channels * operator.out_channels


def gap_ms(space: SearchSpace, granularity: Granularity, choices: list[tuple[int, ...]]) -> float:
    """Between the slowest and the fastest of these choices, the other granularities uniform."""
    shapes = space.parameter_shapes()
    latency = RelaxedLatency(gather(space.latency_graph(), shapes, by_size), dtype=torch.float64)
    found = [
        latency(ArchitectureParameters.one_hot(shapes, {granularity: torch.tensor(choice)}, dtype=torch.float64)).item()
        for choice in choices
    ]
    return max(found) - min(found)


def test_gaps_are_those_between_the_extremes_of_all_choices(small_space: SearchSpace) -> None:
    """Widths and downsampling: of all ways to choose in every row, none is slower than the slowest nor faster than the fastest.
    Operators: the same one everywhere, since there are too many ways."""
    shapes = small_space.parameter_shapes()
    cells = len(choice_counts(shapes["alpha"]))
    everywhere = {
        "alpha": [(choice,) * cells for choice in range(5)],
        "beta": list(product(*map(range, choice_counts(shapes["beta"])))),
        "gamma": list(product(*map(range, choice_counts(shapes["gamma"])))),
    }
    gaps = sensitivity(gather(small_space.latency_graph(), shapes, by_size))
    assert gaps.operator_ms == pytest.approx(gap_ms(small_space, "alpha", everywhere["alpha"]), rel=1e-12)
    assert gaps.downsample_ms == pytest.approx(gap_ms(small_space, "beta", everywhere["beta"]), rel=1e-12)
    assert gaps.expansion_ms == pytest.approx(gap_ms(small_space, "gamma", everywhere["gamma"]), rel=1e-12)


def test_a_granularity_that_a_space_lacks_has_no_gap_and_no_weight() -> None:
    space = ToySpace.defaults()
    gaps = sensitivity(gather(space.latency_graph(), space.parameter_shapes(), made_up_ms))
    assert gaps.downsample_ms is None
    assert gaps.expansion_ms is None
    assert solve_weights(gaps) == Weights(1.0, 0.0, 0.0)


def test_the_papers_gaps_give_the_papers_weights() -> None:
    weights = solve_weights(Sensitivity(operator_ms=10.42, downsample_ms=0.01, expansion_ms=5.54))
    assert weights == pytest.approx(PUBLISHED_WEIGHTS, abs=5e-4)


@pytest.mark.parametrize("gaps", [(1.0, 2.0, 3.0), (10.42, 0.01, 5.54), (1e-9, 1e9, 1.0), (5.0, None, 2.0), (None, 0.0, 4.0)])
def test_weighted_gaps_are_equal_and_weights_sum_to_one(gaps: tuple[float | None, ...]) -> None:
    weights = solve_weights(Sensitivity(*gaps))
    weighted = [weight * gap for weight, gap in zip(weights, gaps, strict=True) if gap]
    assert weighted == pytest.approx([weighted[0]] * len(weighted), rel=1e-12)
    assert math.fsum(weights) == pytest.approx(1, rel=1e-12)
    assert [weight == 0 for weight in weights] == [not gap for gap in gaps]


@pytest.mark.parametrize(
    ("gaps", "message"),
    [
        ((1.0, -0.5, 2.0), "downsample choices differ by -0.5 ms"),
        ((0.0, 0.0, 0.0), "nothing to weight"),
        ((None, None, None), "nothing to weight"),
    ],
)
def test_gaps_that_no_weights_balance_are_refused(gaps: tuple[float | None, ...], message: str) -> None:
    with pytest.raises(SensitivityError, match=message):
        solve_weights(Sensitivity(*gaps))


def test_a_table_of_equal_entries_has_no_balanced_weights(small_space: SearchSpace) -> None:
    """Every path has as many cells as any other, and every operator takes as long: there is nothing to decide."""
    gaps = sensitivity(gather(small_space.latency_graph(), small_space.parameter_shapes(), lambda _: 0.1))
    assert gaps == Sensitivity(0.0, 0.0, 0.0)
    with pytest.raises(SensitivityError, match="nothing to weight"):
        solve_weights(gaps)


@pytest.mark.parametrize("values", [(1.0, 2.0), (1.0, 2.0, -0.1), (1.0, 2.0, math.nan), (math.inf, 0.0, 0.0)])
def test_weights_that_are_none_are_refused(values: tuple[float, ...]) -> None:
    with pytest.raises(ParameterError, match="not three numbers"):
        Weights.of(values)
