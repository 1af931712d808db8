"""What every search space must satisfy. A space's own test class derives from `SpaceSuite` and says what is asked for."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import defaultdict
from dataclasses import replace
from itertools import product
from typing import Any

import numpy as np
import pytest

from models.networks.graph_checks import check_graph
from models.spaces.base import SearchSpace
from models.spaces.registry import create_space, plan_at, space_names, space_of
from models.spec.architectures import ArchitectureSpec, SpaceSpec
from models.spec.errors import InvalidSpecError
from models.spec.operators import OperatorSpec
from models.testing.graph_reference import (
    Probabilities,
    expected_ms,
    grouped,
    made_up_ms,
    random_choices,
    random_probabilities,
)
from models.testing.plans import map_shapes_of, without_sizes
from models.testing.variation import VariationSuite

SEEDS = range(60)


class SpaceSuite(VariationSuite, ABC):
    """The suite.

    Attributes:
        spec: the space under test.
        spread: factor in multiply-adds that the middle nine tenths of the samples must span.
    """

    spec: SpaceSpec
    spread: float = 2.0

    @abstractmethod
    def architectures(self, space: Any, choices: Probabilities) -> list[ArchitectureSpec]:
        """What the space becomes when every row of α, β, γ has made its choice: one architecture per branch of the graph."""

    def combined(self, architectures: list[ArchitectureSpec]) -> ArchitectureSpec:
        """One architecture with the branches of those; a space without branches has only one."""
        (architecture,) = architectures
        return architecture

    @abstractmethod
    def charged(self, space: Any, architecture: ArchitectureSpec) -> list[OperatorSpec]:
        """Those operators of such an architecture that the latency graph counts (no head)."""

    @pytest.fixture(scope="class")
    @classmethod
    def space(cls) -> SearchSpace:
        return create_space(cls.spec)

    # The grid

    def test_the_grid_names_every_operator_once(self, space: SearchSpace) -> None:
        keys = [operator.key() for operator in space.operators()]
        assert len(keys) == len(set(keys)) > 0

    def test_the_grid_survives_json_and_has_the_spaces_batch_and_dtype(self, space: SearchSpace) -> None:
        for operator in space.operators():
            assert OperatorSpec.parse_json(operator.model_dump_json()) == operator
            assert (operator.batch, operator.dtype) == (self.spec.batch, self.spec.dtype)

    def test_nothing_in_the_grid_is_useless(self, space: SearchSpace) -> None:
        """A grid that no graph and no architecture uses would be measured in vain: at least every kind is used."""
        graph = space.latency_graph()
        used = {operator.kind for operator in graph.operators()}
        used |= {o.kind for seed in SEEDS for o in space.architecture_operators(space.sample(np.random.default_rng(seed)))}
        assert used == {operator.kind for operator in space.operators()}

    # The spec

    def test_the_settled_spec_settles_to_itself(self, space: SearchSpace) -> None:
        again = create_space(SpaceSpec.parse_json(space.spec.model_dump_json()))
        assert again.spec == space.spec
        assert again.spec.digest() == space.spec.digest()
        assert [o.key() for o in again.operators()] == [o.key() for o in space.operators()]

    def test_the_space_is_known_by_its_name(self, space: SearchSpace) -> None:
        assert space.name == space.spec.name == self.spec.name
        assert space.name in space_names()
        assert space.description

    def test_an_unknown_parameter_is_refused_by_name(self) -> None:
        spec = self.spec.model_copy(update={"parameters": {**self.spec.parameters, "no_such_thing": 1}})
        with pytest.raises(InvalidSpecError, match="no_such_thing"):
            create_space(spec)

    def test_the_input_size_counts(self, space: SearchSpace) -> None:
        height, width = self.spec.input_size
        larger = create_space(self.spec.model_copy(update={"input_size": (height, 2 * width)}))
        assert larger.spec.digest() != space.spec.digest()
        assert not {o.key() for o in larger.operators()} & {o.key() for o in space.operators()}

    # The latency graph

    def test_every_operator_of_the_graph_is_in_the_grid(self, space: SearchSpace) -> None:
        grid = {operator.key() for operator in space.operators()}
        graph = space.latency_graph()
        assert {operator.key() for operator in graph.operators()} <= grid

    def test_every_row_of_the_parameters_is_used_with_all_its_choices(self, space: SearchSpace) -> None:
        graph = space.latency_graph()
        shapes = {
            name: dict(enumerate(choices for rows, choices in groups.values() for _ in range(rows)))
            for name, groups in space.parameter_shapes().items()
        }
        chosen = {edge.operator_row: len(edge.operators) for edge in graph.edges if edge.operator_row is not None}
        assert chosen == shapes["alpha"]
        widths = {node.width_row: len(node.channels) for node in graph.nodes if node.width_row is not None}
        assert widths == shapes["gamma"]
        taken: dict[int, set[int]] = defaultdict(set)
        for edge in graph.edges:
            if edge.selection is not None:
                taken[edge.selection[0]].update(edge.selection[1])
        assert taken == {row: set(range(choices)) for row, choices in shapes["beta"].items()}

    def test_granularities_are_the_three_and_have_no_empty_groups(self, space: SearchSpace) -> None:
        shapes = space.parameter_shapes()
        assert set(shapes) == {"alpha", "beta", "gamma"}
        assert all(rows > 0 and choices > 1 for groups in shapes.values() for rows, choices in groups.values())

    def test_edges_are_in_topological_order(self, space: SearchSpace) -> None:
        graph = space.latency_graph()
        left = set()
        for edge in graph.edges:
            assert 0 <= edge.source < edge.destination < len(graph.nodes)
            assert edge.destination not in left, "an edge enters a node that was left before"
            left.add(edge.source)

    def test_the_graph_fits_its_parameters_and_is_charged_exactly(self, space: SearchSpace) -> None:
        """One row of β per node, an edge for each of its choices, and no node twice in one network; see `check_graph`."""
        graph = space.latency_graph()
        check_graph(
            graph,
            {
                name: [choices for rows, choices in groups.values() for _ in range(rows)]
                for name, groups in space.parameter_shapes().items()
            },
        )

    def test_no_edge_leads_nowhere(self, space: SearchSpace) -> None:
        graph = space.latency_graph()
        if graph.outputs is None:
            return
        useful = set(graph.outputs)
        assert len(useful) == len(graph.outputs) == graph.branches
        for edge in reversed(graph.edges):
            assert edge.destination in useful
            useful.add(edge.source)

    def test_operators_of_an_edge_fit_the_maps_at_its_ends(self, space: SearchSpace) -> None:
        graph = space.latency_graph()
        sizes: dict[int, set[tuple[int, int]]] = defaultdict(set)
        for edge in graph.edges:
            ends = graph.nodes[edge.source], graph.nodes[edge.destination]
            for matrix in edge.operators:
                assert [[o.in_channels for o in row] for row in matrix] == [
                    [a for _ in row] for a, row in zip(ends[0].channels, matrix, strict=True)
                ]
                if ends[1].join == "sum" and not edge.after:
                    assert all(tuple(o.out_channels for o in row) == ends[1].channels for row in matrix)
            first, last = (edge.operators or edge.after)[:1], (edge.after or edge.operators)[-1:]
            for matrices, node, shape in ((first, edge.source, "input_shape"), (last, edge.destination, "output_shape")):
                sizes[node].update(getattr(o, shape)[2:] for matrix in matrices for row in matrix for o in row)
        assert all(len(of_node) == 1 for of_node in sizes.values())
        height, width = self.spec.input_size
        scales = {index: node.scale for index, node in enumerate(graph.nodes) if node.scale is not None}
        assert all(sizes[index] <= {(-(-height // scale), -(-width // scale))} for index, scale in scales.items())
        assert all(list(node.channels) == sorted(set(node.channels)) for node in graph.nodes)

    def test_a_choice_everywhere_costs_the_sum_of_its_operators(self, space: SearchSpace) -> None:
        """With one-hot α, β, γ the relaxed latency is that of the architectures themselves, the head apart."""
        graph = space.latency_graph()
        for seed in SEEDS[:20]:
            choices = random_choices(space.parameter_shapes(), np.random.default_rng(seed))
            architectures = self.architectures(space, choices)
            assert len(architectures) == graph.branches
            own = sum(made_up_ms(o) for architecture in architectures for o in self.charged(space, architecture))
            assert expected_ms(graph, choices, made_up_ms) == pytest.approx(own, rel=1e-12)

    # Decoding

    def test_certain_parameters_decode_to_their_architecture(self, space: SearchSpace) -> None:
        """Nothing is left to rules: every row has chosen, and skips stay."""
        for seed in SEEDS:
            choices = random_choices(space.parameter_shapes(), np.random.default_rng(seed))
            of_branches = self.architectures(space, choices)
            for ends in space.branch_choices():
                decoded = space.decode(grouped(space.parameter_shapes(), choices), branches=ends, keep_skips=True)
                expected = [of_branches[space.branch_ends.index(end)] for end in ends] or of_branches
                assert decoded == self.combined(expected)

    def test_relaxed_latency_of_certain_parameters_is_the_sum_of_what_they_decode_to(self, space: SearchSpace) -> None:
        """For every choice of branches; each branch is charged on its own, as in the relaxed latency."""
        graph = space.latency_graph()
        for seed, ends in product(SEEDS[:10], space.branch_choices()):
            choices = random_choices(space.parameter_shapes(), np.random.default_rng(seed))
            if graph.outputs is not None:
                outputs = tuple(graph.outputs[space.branch_ends.index(end)] for end in ends)
                relaxed = expected_ms(replace(graph, outputs=outputs), choices, made_up_ms)
            else:
                relaxed = expected_ms(graph, choices, made_up_ms)
            given = grouped(space.parameter_shapes(), choices)
            alone = [space.decode(given, branches=branches, keep_skips=True) for branches in zip(ends)] or [
                space.decode(given, keep_skips=True)
            ]
            own = sum(made_up_ms(o) for architecture in alone for o in self.charged(space, architecture))
            assert relaxed == pytest.approx(own, rel=1e-12)

    def test_whatever_is_decoded_is_whole_and_within_the_grid(self, space: SearchSpace) -> None:
        grid = {operator.key() for operator in space.operators()}
        options = product(SEEDS[:10], space.branch_choices(), (False, True), (False, True))
        for seed, ends, keep_skips, widest in options:
            given = random_probabilities(space.parameter_shapes(), np.random.default_rng(seed))
            arrays = grouped(space.parameter_shapes(), given)
            decoded = space.decode(arrays, branches=ends, keep_skips=keep_skips, widest=widest)
            assert decoded == space.decode(arrays, branches=ends, keep_skips=keep_skips, widest=widest)
            plan = space.plan(decoded)
            map_shapes_of(plan, (self.spec.batch, 3, *self.spec.input_size))
            assert {operator.key() for operator in plan.operators()} <= grid

    def test_a_teacher_needs_no_gamma(self, space: SearchSpace) -> None:
        arrays = grouped(space.parameter_shapes(), random_probabilities(space.parameter_shapes(), np.random.default_rng(0)))
        ends = space.branch_choices()[0]
        without = {name: groups for name, groups in arrays.items() if name != "gamma"}
        assert space.decode(without, branches=ends, widest=True) == space.decode(arrays, branches=ends, widest=True)

    def test_parameters_that_are_not_the_spaces_are_refused_by_name(self, space: SearchSpace) -> None:
        arrays = grouped(space.parameter_shapes(), random_probabilities(space.parameter_shapes(), np.random.default_rng(0)))
        ends = space.branch_choices()[0]
        group, rows = next(iter(arrays["alpha"].items()))
        wrong = {
            "has shape": rows[1:],
            "row 0": np.log(rows),
            "row 1": np.where(np.arange(len(rows))[:, None] == 1, np.nan, rows),
        }
        for message, given in wrong.items():
            with pytest.raises(InvalidSpecError, match=f"alpha of group '{group}',? {message}"):
                space.decode({**arrays, "alpha": {**arrays["alpha"], group: given}}, branches=ends)
        with pytest.raises(InvalidSpecError, match=f"alpha of group '{group}' is missing"):
            space.decode({}, branches=ends)

    def test_branches_that_the_space_does_not_have_are_refused(self, space: SearchSpace) -> None:
        arrays = grouped(space.parameter_shapes(), random_probabilities(space.parameter_shapes(), np.random.default_rng(0)))
        with pytest.raises(InvalidSpecError, match="branches: 7"):
            space.decode(arrays, branches=(7,))

    # Architectures

    def test_sampling_is_determined_by_its_generator(self, space: SearchSpace) -> None:
        first, again = (space.sample(np.random.default_rng(7)) for _ in range(2))
        assert first == again
        assert len({space.sample(np.random.default_rng(seed)).key() for seed in SEEDS}) > len(SEEDS) / 2

    def test_sampled_architectures_stay_within_the_grid(self, space: SearchSpace) -> None:
        grid = {operator.key() for operator in space.operators()}
        for seed in SEEDS:
            architecture = space.sample(np.random.default_rng(seed))
            assert {operator.key() for operator in space.architecture_operators(architecture)} <= grid

    def test_samples_spread(self, space: SearchSpace) -> None:
        """Uniform draws would cluster, and flatter any estimate that is validated on them (docs/measurement.md)."""
        pytest.importorskip("torch", reason="multiply-adds are counted on torch modules: pip install 'opclock[graphs]'")
        from models.operators.costs import operator_costs

        macs = []
        for seed in SEEDS:
            operators = space.architecture_operators(space.sample(np.random.default_rng(seed)))
            macs.append(sum(operator_costs(operator).macs for operator in operators))
        low, high = np.quantile(macs, (0.05, 0.95))
        assert high > self.spread * low

    def test_an_architecture_leads_back_to_a_space_that_plans_it_alike(self, space: SearchSpace) -> None:
        for seed in SEEDS[:10]:
            architecture = space.sample(np.random.default_rng(seed))
            same = ArchitectureSpec.parse_json(architecture.model_dump_json())
            assert same == architecture == space.completed(same)
            assert same.key() == architecture.key()
            assert space_of(same).plan(same) == space.plan(architecture)

    def test_an_architecture_of_another_space_or_size_is_refused(self, space: SearchSpace) -> None:
        architecture = space.sample(np.random.default_rng(0))
        height, width = architecture.input_size
        for changes in ({"space": "another"}, {"input_size": (height, 2 * width)}):
            with pytest.raises(
                InvalidSpecError, match=str(next(iter(changes.values()))).replace("(", r"\(").replace(")", r"\)")
            ):
                space.plan(architecture.model_copy(update=changes))

    def test_an_architecture_has_a_network_at_other_sizes(self, space: SearchSpace) -> None:
        """For crops and for whole images: the same steps, made of the same operators but for their size."""
        for side in (2, 3):
            size = (side * space.size_multiple, (side + 1) * space.size_multiple)
            for seed in SEEDS[:3]:
                architecture = space.sample(np.random.default_rng(seed))
                here, there = space.plan(architecture), plan_at(architecture, size)
                assert without_sizes(here) == without_sizes(there)
                assert map_shapes_of(there, (self.spec.batch, 3, *size))[there.steps[-1].name][2:] == size

    def test_branches_end_where_the_plan_says(self, space: SearchSpace) -> None:
        for seed in SEEDS[:10]:
            architecture = space.sample(np.random.default_rng(seed))
            plan = space.plan(architecture)
            shapes = map_shapes_of(plan, (self.spec.batch, 3, *self.spec.input_size))
            ends = [self.spec.input_size[0] // shapes[name][2] for name in plan.branch_ends]
            assert ends == list(space.alternative_of(architecture))

    def test_plans_are_whole(self, space: SearchSpace) -> None:
        """Names are unique and usable as attributes, sources come first, shapes fit, and the output is classes at full size."""
        for seed in SEEDS:
            plan = space.plan(space.sample(np.random.default_rng(seed)))
            shapes = map_shapes_of(plan, (self.spec.batch, 3, *self.spec.input_size))
            assert all(name.isidentifier() for name in shapes)
            assert shapes[plan.steps[-1].name] == (self.spec.batch, self.spec.classes, *self.spec.input_size)
            used = {source for step in plan.steps for source in step.sources}
            assert set(shapes) - {plan.steps[-1].name} == used, "a map is computed and not used"

    def test_the_supernet_has_the_spaces_roles(self, space: SearchSpace) -> None:
        pytest.importorskip("torch", reason="supernets are torch modules: pip install 'opclock[graphs]'")
        roles = space.roles()
        assert tuple(role.name for role in roles) == space.supernet().roles
        assert sum(role.sees_latency for role in roles) == 1
        assert all(role.searches <= {"alpha", "beta", "gamma"} and role.searches for role in roles)

    def test_the_network_runs_and_has_the_planned_shape(self, space: SearchSpace) -> None:
        torch = pytest.importorskip("torch", reason="networks are torch modules: pip install 'opclock[graphs]'")
        from models.networks.module import build_network

        plan = space.plan(space.sample(np.random.default_rng(3)))
        network = build_network(plan).eval()
        with torch.inference_mode():
            output = network(torch.zeros(self.spec.batch, 3, *self.spec.input_size))
        assert tuple(output.shape) == (self.spec.batch, self.spec.classes, *self.spec.input_size)
