"""The latency terms against enumeration of all architectures, and what must hold of them whatever the table."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from models.spec.operators import OperatorSpec
from models.testing.graph_reference import Probabilities, contained, enumerated_ms, expected_ms, made_up_ms
from nas_client.latency.coefficients import gather
from nas_client.latency.decoupled import DecoupledLatency, Terms
from nas_client.latency.parameters import GRANULARITIES, ArchitectureParameters, choice_counts
from nas_client.latency.relaxation import Gumbel, Relaxation, expected
from nas_client.latency.relaxed import RelaxedLatency
from nas_client.latency.sensitivity import Weights
from tests.property.latency_graphs import Case, cases, probabilities

Lookup = Callable[[OperatorSpec], float]
EXACT = 1e-12

few = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.filter_too_much, HealthCheck.too_slow])
many = settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.filter_too_much, HealthCheck.too_slow])


def relaxed_ms(
    case: Case,
    lookup: Lookup = made_up_ms,
    parameters: ArchitectureParameters | None = None,
    widths: Relaxation = expected,
) -> float:
    latency = RelaxedLatency(gather(case.graph, case.shapes, lookup), widths=widths, dtype=torch.float64)
    return latency(parameters or case.parameters).item()


def terms(case: Case, lookup: Lookup = made_up_ms, parameters: ArchitectureParameters | None = None) -> list[float]:
    latency = DecoupledLatency(gather(case.graph, case.shapes, lookup), weights=Weights(0.2, 0.3, 0.5), dtype=torch.float64)
    return _values(latency(parameters or case.parameters))


def _values(found: Terms) -> list[float]:
    return [getattr(found, field.name).item() for field in dataclasses.fields(found)]


@few
@given(case=cases())
def test_relaxed_latency_is_the_mean_over_all_architectures(case: Case) -> None:
    mean_ms = enumerated_ms(case.graph, case.probabilities, made_up_ms)
    assert relaxed_ms(case) == pytest.approx(mean_ms, rel=EXACT)
    assert expected_ms(case.graph, case.probabilities, made_up_ms) == pytest.approx(mean_ms, rel=EXACT)


@few
@given(case=cases())
def test_each_term_is_the_mean_with_the_others_fixed(case: Case) -> None:
    """Operators and downsampling uniform, widths at the maximum."""
    free = case.probabilities
    uniform = probabilities(ArchitectureParameters.zeros(case.shapes, dtype=torch.float64))
    widest = [[0.0] * (count - 1) + [1.0] for count in choice_counts(case.shapes["gamma"])]
    operator_ms, downsample_ms, expansion_ms = (
        enumerated_ms(case.graph, fixed, made_up_ms)
        for fixed in (
            Probabilities(free.alpha, uniform.beta, widest),
            Probabilities(uniform.alpha, free.beta, widest),
            Probabilities(uniform.alpha, uniform.beta, free.gamma),
        )
    )
    weighted_ms = 0.2 * operator_ms + 0.3 * downsample_ms + 0.5 * expansion_ms
    assert terms(case) == pytest.approx([operator_ms, downsample_ms, expansion_ms, weighted_ms], rel=EXACT)


@many
@given(case=cases(), data=st.data())
def test_one_hot_parameters_give_the_sum_of_their_architecture(case: Case, data: st.DataObject) -> None:
    """The sum is found by following the choices backwards from each output, without any probability."""
    graph = case.graph
    choices = {
        name: [data.draw(st.integers(0, count - 1)) for count in choice_counts(case.shapes[name])] for name in GRANULARITIES
    }

    def choice(granularity: str, row: int | None) -> int:
        return 0 if row is None else choices[granularity][row]

    used = [part.operator(graph, choice) for parts in contained(graph, choices["beta"]) for part in parts]
    own_ms = sum(made_up_ms(operator) for operator in used)
    own_ms += graph.branches * sum(made_up_ms(fixed) for fixed in graph.fixed)
    chosen = {name: torch.tensor(rows, dtype=torch.int64) for name, rows in choices.items()}
    parameters = ArchitectureParameters.one_hot(case.shapes, chosen, dtype=torch.float64)
    assert relaxed_ms(case, parameters=parameters) == pytest.approx(own_ms, rel=EXACT)
    assert relaxed_ms(case, parameters=parameters, widths=Gumbel()) == pytest.approx(own_ms, rel=EXACT)


@many
@given(case=cases(), shift=st.floats(-50, 50), row=st.integers(0, 100))
def test_adding_a_constant_to_a_row_of_logits_changes_nothing(case: Case, shift: float, row: int) -> None:
    shifted = {}
    for name in GRANULARITIES:
        shifted[name] = case.parameters.stacked(name).clone()
        if len(shifted[name]):
            shifted[name][row % len(shifted[name])] += shift
    parameters = ArchitectureParameters(case.parameters.shapes, **shifted)
    assert relaxed_ms(case, parameters=parameters) == pytest.approx(relaxed_ms(case), rel=1e-10)
    assert terms(case, parameters=parameters) == pytest.approx(terms(case), rel=1e-10)


@many
@given(case=cases(), factor=st.floats(1e-3, 1e3))
def test_scaling_the_table_scales_every_term(case: Case, factor: float) -> None:
    def scaled(operator: OperatorSpec) -> float:
        return factor * made_up_ms(operator)

    assert relaxed_ms(case, scaled) == pytest.approx(factor * relaxed_ms(case), rel=EXACT)
    assert terms(case, scaled) == pytest.approx([factor * value for value in terms(case)], rel=EXACT)


@many
@given(case=cases(), data=st.data())
def test_a_slower_operator_never_makes_anything_faster(case: Case, data: st.DataObject) -> None:
    """And the relaxed latency grows, as far as the operator is in reach, where every probability is positive."""
    slower = data.draw(st.sampled_from(list(case.graph.operators()))).key()

    def slowed(operator: OperatorSpec) -> float:
        return made_up_ms(operator) + (operator.key() == slower)

    assert relaxed_ms(case, slowed) >= relaxed_ms(case) - EXACT
    assert all(after >= before - EXACT for after, before in zip(terms(case, slowed), terms(case), strict=True))


@many
@given(case=cases(), seed=st.integers(0, 2**32))
def test_gumbel_widths_are_those_of_one_draw_and_the_seed_decides_which(case: Case, seed: int) -> None:
    def sampled_ms() -> float:
        return relaxed_ms(case, widths=Gumbel(generator=torch.Generator().manual_seed(seed)))

    assert sampled_ms() == sampled_ms()
    counts = choice_counts(case.shapes["gamma"])
    logits = case.parameters.gamma.clone()
    for row, count in enumerate(counts):
        logits[row, count:] = -torch.inf
    drawn = Gumbel(generator=torch.Generator().manual_seed(seed))(logits).tolist()
    free = case.probabilities
    same = Probabilities(free.alpha, free.beta, [row[:count] for row, count in zip(drawn, counts, strict=True)])
    assert all(sorted(row) == [0.0] * (len(row) - 1) + [1.0] for row in same.gamma)
    assert sampled_ms() == pytest.approx(enumerated_ms(case.graph, same, made_up_ms), rel=EXACT)
