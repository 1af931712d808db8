"""What every search space must satisfy. A space's own test class derives from `SpaceSuite` and says what is asked for."""

from __future__ import annotations

from collections import defaultdict

import numpy as np
import pytest

from models.networks.graph_checks import check_graph
from models.spaces.base import SearchSpace
from models.spaces.registry import create_space, plan_at, space_names, space_of
from models.spec.architectures import ArchitectureSpec, SpaceSpec
from models.spec.errors import InvalidSpecError
from models.spec.operators import OperatorSpec
from models.testing.decoding import SEEDS, DecodingSuite
from models.testing.plans import map_shapes_of, without_sizes
from models.testing.variation import VariationSuite


class SpaceSuite(DecodingSuite, VariationSuite):
    """The suite.

    Attributes:
        spec: the space under test.
        spread: factor in multiply-adds that the middle nine tenths of the samples must span.
    """

    spec: SpaceSpec
    spread: float = 2.0

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
        assert all(len(of_node) <= 1 for of_node in sizes.values())  # none where maps only pass
        height, width = self.spec.input_size
        scales = {index: node.scale for index, node in enumerate(graph.nodes) if node.scale is not None}
        assert all(sizes[index] <= {(-(-height // scale), -(-width // scale))} for index, scale in scales.items())
        assert all(list(node.channels) == sorted(set(node.channels)) for node in graph.nodes)

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

    def test_an_architecture_that_is_none_of_the_spaces_is_refused(self, space: SearchSpace) -> None:
        architecture = space.sample(np.random.default_rng(0))
        wrong = ({"classes": architecture.classes + 1}, {"batch": architecture.batch + 1}, {"genotype": {"nothing": "known"}})
        for changes in wrong:
            with pytest.raises(InvalidSpecError):
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

    def test_maps_of_seeded_networks_stay_near_one(self, space: SearchSpace) -> None:
        """As those of trained networks do: else float16 overflows, and gates turn the rounding of large maps into errors."""
        torch = pytest.importorskip("torch", reason="networks are torch modules: pip install 'opclock[graphs]'")
        from models.networks.module import Network, build_module
        from models.operators.seeded_weights import random_input
        from models.spec.graphs import GraphRequest

        for seed in SEEDS[:3]:
            architecture = space.sample(np.random.default_rng(seed))
            network = build_module(GraphRequest(subject=architecture), space.plan(architecture))
            assert isinstance(network, Network)
            with torch.inference_mode():
                maps = network.maps(torch.from_numpy(random_input(architecture.input_shape, "maps")))
            largest = {name: float(map_.abs().max()) for name, map_ in maps.items()}
            assert max(largest.values()) < 1000, largest
