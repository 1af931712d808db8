"""What every search space must satisfy where it decodes parameters; the first part of `SpaceSuite`, which says the rest."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import replace
from itertools import product
from typing import Any

import numpy as np
import pytest

from models.spaces.base import DecodeOptions, Role, SearchSpace
from models.spaces.registry import create_space
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
from models.testing.plans import map_shapes_of

SEEDS = range(60)
EXACT = DecodeOptions(exact=True)


class DecodingSuite(ABC):
    """What is asked of a space, and the tests of its decoding.

    Attributes:
        spec: the space under test.
    """

    spec: SpaceSpec

    @abstractmethod
    def architectures(self, space: Any, choices: Probabilities) -> list[ArchitectureSpec]:
        """What the space becomes when every row of α, β, γ has made its choice: one architecture for each output."""

    def combined(self, architectures: list[ArchitectureSpec]) -> ArchitectureSpec:
        """One architecture with the outputs of those; a space of one output has only one."""
        (architecture,) = architectures
        return architecture

    def parts(self, alternative: str) -> Sequence[str]:
        """The alternatives, one for each of its outputs, that together are charged as that one; by default itself."""
        return (alternative,)

    @abstractmethod
    def charged(self, space: Any, architecture: ArchitectureSpec) -> list[OperatorSpec]:
        """Those operators of such an architecture that the latency graph counts (no head)."""

    @pytest.fixture(scope="class")
    @classmethod
    def space(cls) -> SearchSpace:
        return create_space(cls.spec)

    def test_a_choice_everywhere_costs_the_sum_of_its_operators(self, space: SearchSpace) -> None:
        """With one-hot α, β, γ the relaxed latency is that of the architectures themselves, the head apart."""
        graph = space.latency_graph()
        for seed in SEEDS[:20]:
            choices = random_choices(space.parameter_shapes(), np.random.default_rng(seed))
            architectures = self.architectures(space, choices)
            assert len(architectures) == graph.branches
            own = sum(made_up_ms(o) for architecture in architectures for o in self.charged(space, architecture))
            assert expected_ms(graph, choices, made_up_ms) == pytest.approx(own, rel=1e-12)

    def test_certain_parameters_decode_to_their_architecture(self, space: SearchSpace) -> None:
        """Nothing is left to rules: every row has chosen, and skips stay."""
        for seed in SEEDS:
            choices = random_choices(space.parameter_shapes(), np.random.default_rng(seed))
            of_outputs = self.architectures(space, choices)
            for alternative in space.alternatives():
                given = grouped(space.parameter_shapes(), choices)
                decoded = space.decode(given, alternative=alternative, options=EXACT)
                expected = [of_outputs[place] for place in space.alternative_outputs(alternative)] or of_outputs
                assert decoded == self.combined(expected)

    def test_relaxed_latency_of_certain_parameters_is_the_sum_of_what_they_decode_to(self, space: SearchSpace) -> None:
        """For every alternative; each output is charged on its own, as in the relaxed latency."""
        graph = space.latency_graph()
        for seed, alternative in product(SEEDS[:10], space.alternatives()):
            choices = random_choices(space.parameter_shapes(), np.random.default_rng(seed))
            outputs = tuple(graph.outputs[place] for place in space.alternative_outputs(alternative) if graph.outputs)
            relaxed = expected_ms(replace(graph, outputs=outputs or graph.outputs), choices, made_up_ms)
            given = grouped(space.parameter_shapes(), choices)
            alone = [space.decode(given, alternative=part, options=EXACT) for part in self.parts(alternative)]
            own = sum(made_up_ms(o) for architecture in alone for o in self.charged(space, architecture))
            assert relaxed == pytest.approx(own, rel=1e-12)

    def test_whatever_is_decoded_is_whole_and_within_the_grid(self, space: SearchSpace) -> None:
        grid = {operator.key() for operator in space.operators()}
        ways = product(SEEDS[:10], space.alternatives(), space.roles(), space.possible_options())
        for seed, alternative, role, options in ways:
            given = random_probabilities(space.parameter_shapes(), np.random.default_rng(seed))
            arrays = grouped(space.parameter_shapes(), given)
            decoded = space.decode(arrays, alternative=alternative, role=role, options=options)
            assert decoded == space.decode(arrays, alternative=alternative, role=role, options=options)
            assert space.alternative_of(decoded) == alternative
            plan = space.plan(decoded)
            map_shapes_of(plan, (self.spec.batch, 3, *self.spec.input_size))
            assert {operator.key() for operator in plan.operators()} <= grid

    def test_what_is_said_of_parameters_and_networks_fits_them(self, space: SearchSpace) -> None:
        """Names, first logits, the rows that decide and the choices that they make together; and the network in words."""
        shapes = space.parameter_shapes()
        for granularity, groups in space.initial_logits().items():
            for group, rows in groups.items():
                assert np.isfinite(np.asarray(rows)).all()
                assert np.shape(rows) == shapes[granularity][group]
        for granularity, names in space.choice_names().items():
            assert all(len(names) == choices for _, choices in shapes[granularity].values())
        given = grouped(shapes, random_probabilities(shapes, np.random.default_rng(0)))
        for alternative, role, options in product(space.alternatives(), space.roles(), space.possible_options()):
            deciding = space.deciding_rows(given, alternative=alternative, role=role, options=options)
            for granularity, used in deciding.items():
                assert all(set(rows) <= set(range(shapes[granularity][group][0])) for group, rows in used.items())
            for choice in space.joint_choices(given, options):
                assert 0 <= choice.second_probability <= choice.probability <= 1
            decoded = space.decode(given, alternative=alternative, role=role, options=options)
            assert all(space.describe(decoded))
            layers = space.decoded_layers(given, alternative=alternative, role=role, options=options)
            found = space.layers_of(given, decoded, role=role)
            assert found is None or layers is None or [len(one) for one in found] == [len(one) for one in layers]

    def test_a_role_whose_widths_are_not_searched_needs_no_gamma(self, space: SearchSpace) -> None:
        """A teacher: its widths are the widest, whatever γ says."""
        arrays = grouped(space.parameter_shapes(), random_probabilities(space.parameter_shapes(), np.random.default_rng(0)))
        without = {name: groups for name, groups in arrays.items() if name != "gamma"}
        role = Role("teacher", searches=frozenset({"alpha", "beta"}))
        for alternative in space.alternatives():
            decoded = space.decode(without, alternative=alternative, role=role)
            assert decoded == space.decode(arrays, alternative=alternative, role=role)

    def test_parameters_that_are_not_the_spaces_are_refused_by_name(self, space: SearchSpace) -> None:
        arrays = grouped(space.parameter_shapes(), random_probabilities(space.parameter_shapes(), np.random.default_rng(0)))
        alternative = space.alternatives()[0]
        group, rows = next(iter(arrays["alpha"].items()))
        wrong = {
            "has shape": rows[1:],
            "row 0": np.log(rows),
            "row 1": np.where(np.arange(len(rows))[:, None] == 1, np.nan, rows),
            "is not rows of numbers": [["certainly"]],
        }
        for message, given in wrong.items():
            with pytest.raises(InvalidSpecError, match=f"alpha of group '{group}',? {message}"):
                space.decode({**arrays, "alpha": {**arrays["alpha"], group: given}}, alternative=alternative)
        with pytest.raises(InvalidSpecError, match=f"alpha of group '{group}' is missing"):
            space.decode({}, alternative=alternative)

    def test_an_alternative_that_the_space_does_not_have_is_refused_by_name(self, space: SearchSpace) -> None:
        """And those that it has are listed, or it says that there are none."""
        arrays = grouped(space.parameter_shapes(), random_probabilities(space.parameter_shapes(), np.random.default_rng(0)))
        with pytest.raises(InvalidSpecError, match="no such one") as caught:
            space.decode(arrays, alternative="no such one")
        assert all(alternative in caught.value.hint for alternative in space.alternatives())

    def test_alternatives_are_known_by_their_labels(self, space: SearchSpace) -> None:
        labels, outputs = space.alternatives(), space.latency_graph().outputs or ()
        assert len(set(labels)) == len(labels) > 0
        assert all(space.resolve_alternative(label) == label for label in labels)
        for label in labels:
            places = space.alternative_outputs(label)
            assert len(set(places)) == len(places)
            assert set(places) <= set(range(len(outputs)))

    def test_options_of_another_space_are_refused(self, space: SearchSpace) -> None:
        class Others(DecodeOptions):
            pass

        arrays = grouped(space.parameter_shapes(), random_probabilities(space.parameter_shapes(), np.random.default_rng(0)))
        with pytest.raises(InvalidSpecError, match="Others"):
            space.decode(arrays, alternative=space.alternatives()[0], options=Others())
