"""What holds of decoded architectures whatever the parameters."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from itertools import pairwise
from math import comb

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from models.spaces.base import DecodeOptions, Probabilities, Role
from models.spaces.fasterseg.genotype import BranchSpec
from models.spaces.fasterseg.space import FasterSegSpace
from models.spec.architectures import ArchitectureSpec, SpaceSpec
from models.testing.decoding import EXACT
from models.testing.graph_reference import made_up_ms
from nas_client.latency.coefficients import gather
from nas_client.latency.parameters import ArchitectureParameters
from nas_client.latency.relaxed import RelaxedLatency
from nas_client.search.derivation import probabilities
from tests.support.fasterseg_networks import branches_of, label, with_branches

SPACES = {
    layers: FasterSegSpace.from_spec(SpaceSpec(name="fasterseg", input_size=(32, 64), parameters={"layers": layers}))
    for layers in (3, 4, 5, 7, 12, 16)
}
GRIDS = {layers: {operator.key() for operator in space.operators()} for layers, space in SPACES.items()}
GRAPHS = cache(FasterSegSpace.latency_graph)
KINDS = ("skip", "conv3x3", "zoomed_conv3x3", "conv3x3_x2", "zoomed_conv3x3_x2")
SCALES = (8, 16, 32)
FIRST_LAYERS = {"alpha": {8: 0, 16: 1, 32: 2}, "beta": {16: 2, 32: 3}, "gamma": {8: 1, 16: 1, 32: 2}}

spaces = st.sampled_from(list(SPACES.values()))
ends = st.sets(st.sampled_from(SCALES), min_size=1).map(sorted)


@st.composite
def logits(draw: st.DrawFn, space: FasterSegSpace) -> ArchitectureParameters:
    """Normal, more or less decided, with a liking or dislike for skips."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    spread, liking = draw(st.sampled_from((0.1, 1.0, 10.0))), draw(st.sampled_from((-1.0, 0.0, 1.0, 4.0)))
    found = ArchitectureParameters.zeros(space.parameter_shapes(), dtype=torch.float64)
    for tensor in found.tensors():
        tensor.copy_(torch.from_numpy(rng.normal(scale=spread, size=tuple(tensor.shape))))
    found.alpha[:, 0] += liking * spread
    return found


@settings(max_examples=100, deadline=None)
@given(space=spaces, ends=ends, keep_skips=st.booleans(), widest=st.booleans(), data=st.data())
def test_whatever_is_decoded_is_a_network_of_the_grid(
    space: FasterSegSpace, ends: list[int], keep_skips: bool, widest: bool, data: st.DataObject
) -> None:
    given = probabilities(data.draw(logits(space)))
    role = space.role("teacher" if widest else "student")
    found = space.decode(given, alternative=label(ends), role=role, options=DecodeOptions(exact=keep_skips))
    layers = space.parameters.layers
    assert {operator.key() for operator in space.plan(found).operators()} <= GRIDS[layers]
    whole = space.decode(given, alternative=label(ends), role=role, options=EXACT)
    for branch, kept, end in zip(branches_of(found), branches_of(whole), ends, strict=True):
        j = SCALES.index(end)
        assert branch.scales[-1] == end
        assert len(kept.operators) == layers
        assert min(layers, round(layers / 3) + 2 * j) <= len(branch.operators) <= layers
        if keep_skips:
            assert branch == kept
        else:
            _check_shrunk(branch, kept)
    if not keep_skips:
        _check_layers(space, given, found, whole, role)


def _check_layers(
    space: FasterSegSpace, given: Probabilities, found: ArchitectureSpec, whole: ArchitectureSpec, role: Role
) -> None:
    """Each cell that stayed is the one of that layer, but for a skip that took another operator."""
    layers = space.decoded_layers(given, alternative=space.alternative_of(found), role=role)
    assert layers is not None
    for cells, branch, kept in zip(layers, branches_of(found), branches_of(whole), strict=True):
        assert list(cells) == sorted(set(cells))
        assert branch.scales == tuple(kept.scales[cell] for cell in cells)
        for cell, kind in zip(cells, branch.operators, strict=True):
            assert kept.operators[cell] in (kind, "skip")
        assert {cell for cell, kind in enumerate(kept.operators) if kind != "skip"} <= set(cells)


def _check_shrunk(branch: BranchSpec, kept: BranchSpec) -> None:
    """All that were no skips are there, in order; so are all that change resolution, and a cell in every stretch."""
    assert "skip" not in branch.operators
    changing = [here != after for here, after in pairwise((*kept.scales, kept.scales[-1]))]
    cells = zip(kept.operators, kept.scales, changing, strict=True)
    needed = [(kind if kind != "skip" else None, scale) for kind, scale, changes in cells if kind != "skip" or changes]
    left = iter(zip(branch.operators, branch.scales, strict=True))
    assert all(any(kind in (None, other[0]) and scale == other[1] for other in left) for kind, scale in needed)
    for scale in set(kept.scales) - {SCALES[0]}:
        last = int(scale != kept.scales[-1])  # cell of that scale, which leaves it
        assert branch.scales.count(scale) - last > 0 or kept.scales.count(scale) - last == 0


Entries = tuple[int, ...]
"""Layers at which the coarser scales are entered."""


def _graph_paths(space: FasterSegSpace, beta: Probabilities, end: int) -> dict[Entries, float]:
    """Every path to the end by the latency graph, with the probability that its edges are taken, read backwards."""
    graph, layers = GRAPHS(space), space.parameters.layers
    rows = [row for group in beta["beta"].values() for row in group]
    positions = [(layer, j) for layer in range(layers + 1) for j in range(3) if layer >= j]

    def backwards(node: int) -> Iterator[tuple[Entries, float]]:
        layer, scale = positions[node]
        if layer == 0:
            yield (), 1.0
        for edge in (graph.edges[index] for index in graph.entering(node)):
            taken = 1.0 if edge.selection is None else sum(rows[edge.selection[0]][choice] for choice in edge.selection[1])
            entered = () if positions[edge.source][1] == scale else (layer,)
            for before, odds in backwards(edge.source):
                yield before + entered, odds * taken

    assert graph.outputs is not None
    return dict(backwards(graph.outputs[SCALES.index(end)]))


@settings(max_examples=40, deadline=None)
@given(space=spaces, data=st.data())
def test_a_branch_has_the_path_that_the_latency_graph_takes_most_often(space: FasterSegSpace, data: st.DataObject) -> None:
    given = probabilities(data.draw(logits(space)))
    for end in (16, 32):
        (branch,) = branches_of(space.decode(given, alternative=str(end), options=EXACT))
        odds = _graph_paths(space, given, end)
        assert sum(odds.values()) == pytest.approx(1)
        entered = tuple(branch.scales.index(scale) for scale in SCALES[1:] if scale <= end)
        assert odds[entered] == pytest.approx(max(odds.values()), rel=1e-9)


@pytest.mark.parametrize("space", SPACES.values(), ids=map(str, SPACES))
def test_a_search_starts_with_every_path_to_an_end_equally_probable(space: FasterSegSpace) -> None:
    start = ArchitectureParameters.starting(space.parameter_shapes(), space.initial_logits(), dtype=torch.float64)
    for j, end in enumerate(SCALES):
        odds = _graph_paths(space, probabilities(start), end)
        assert len(odds) == comb(space.parameters.layers - 1, j)
        assert list(odds.values()) == pytest.approx([1 / len(odds)] * len(odds), rel=1e-12)


@settings(max_examples=60, deadline=None)
@given(space=spaces, ends=ends, data=st.data())
def test_certain_parameters_decode_to_what_their_relaxed_latency_charges(
    space: FasterSegSpace, ends: list[int], data: st.DataObject
) -> None:
    """Stem and cells, for any branches, each on its own; skips are kept."""
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    shapes = space.parameter_shapes()
    choices = {
        name: torch.from_numpy(
            np.array([rng.integers(n) for rows, n in shapes[name].values() for _ in range(rows)], dtype=np.int64)
        )
        for name in ("alpha", "beta", "gamma")
    }
    parameters = ArchitectureParameters.one_hot(shapes, choices, dtype=torch.float64)
    graph = GRAPHS(space)
    assert graph.outputs is not None
    graph = replace(graph, outputs=tuple(graph.outputs[SCALES.index(end)] for end in ends))
    relaxed_ms = RelaxedLatency(gather(graph, shapes, made_up_ms), dtype=torch.float64)(parameters).item()
    decoded = space.decode(probabilities(parameters), alternative=label(ends), options=EXACT)
    own_ms = sum(_charged_ms(space, with_branches(decoded, (branch,))) for branch in branches_of(decoded))
    assert relaxed_ms == pytest.approx(own_ms, rel=1e-12)


def _charged_ms(space: FasterSegSpace, architecture: ArchitectureSpec) -> float:
    steps = space.plan(architecture).steps
    return sum(made_up_ms(step.operator) for step in steps if "stem" in step.name or "cell" in step.name)


@pytest.mark.parametrize("layers", [4, 7, 16])
def test_an_architecture_is_decoded_from_its_own_parameters(layers: int) -> None:
    """Random ones, but for skips, which a network that was decoded does not have; the cells up to L that a shorter branch lacks
    are skips. Two branches are possible where they do not ask for different choices of the same cell.
    """
    space = SPACES[layers]
    together = 0
    for seed in range(150):
        sample = space.sample(np.random.default_rng(seed))
        branches = tuple(
            branch.model_copy(update={"operators": tuple(kind.replace("skip", "conv3x3") for kind in branch.operators)})
            for branch in branches_of(sample)
        )
        choices = [_choices(space, branch) for branch in branches]
        for branch, chosen in zip(branches, choices, strict=True):
            assert _decoded(space, chosen, (branch.scales[-1],)) == with_branches(sample, (branch,))
        if all(choices[0].get(row, choice) == choice for row, choice in choices[1].items()):
            together += 1
            both = _decoded(space, choices[0] | choices[1], tuple(branch.scales[-1] for branch in branches))
            assert both == with_branches(sample, branches)
    assert together > 0


Row = tuple[str, int, int]
"""Granularity, layer and scale."""


def _choices(space: FasterSegSpace, branch: BranchSpec) -> dict[Row, int]:
    """The choices that lead to that branch and no other."""
    layers = space.parameters.layers
    depth, end = len(branch.operators), branch.scales[-1]
    scales = [*branch.scales, *[end] * (layers - depth)]
    choices: dict[Row, int] = {}
    for layer, scale in enumerate(scales):
        choices["alpha", layer, scale] = KINDS.index(branch.operators[layer]) if layer < depth else 0
        if 0 < layer < depth:
            choices["gamma", layer, scale] = space.parameters.widths.index(branch.widths[layer - 1])
        if layer >= FIRST_LAYERS["beta"].get(scale, layers):
            choices["beta", layer, scale] = int(scales[layer - 1] == scale)
    return choices


def _decoded(space: FasterSegSpace, choices: dict[Row, int], ends: tuple[int, ...]) -> ArchitectureSpec:
    """From parameters that are certain of these choices, and elsewhere of the last operator, of keeping, and the last width."""
    given = {
        name: {group: np.eye(n)[[n - 1] * rows] for group, (rows, n) in groups.items()}
        for name, groups in space.parameter_shapes().items()
    }
    for (name, layer, scale), choice in choices.items():
        row = given[name][str(scale)][layer - FIRST_LAYERS[name][scale]]
        row[:] = np.eye(len(row))[choice]
    return space.decode(given, alternative=label(ends))
