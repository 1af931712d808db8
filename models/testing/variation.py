"""What evolution needs of a search space: random networks, mutation, crossover, and a latency that is the sum of its parts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import numpy as np

from models.networks.chosen import chosen_operators, chosen_part, used_rows
from models.spaces.base import DecodeOptions, SearchSpace
from models.spaces.variation import RowChoices
from models.spec.operators import OperatorSpec
from models.testing.graph_reference import grouped, random_probabilities

NETWORKS = 12
"""Of each alternative."""


class VariationSuite:
    """A part of `SpaceSuite`."""

    def test_a_network_is_its_part_of_the_graph_and_a_head_that_its_terms_explain(self, space: SearchSpace) -> None:
        """Every operator as chosen, shared cells once; beside the terms of heads, networks of an alternative have the same."""
        for alternative in space.alternatives():
            rests = []
            for choices in drawn(space, alternative):
                rest = Counter(o.key() for o in space.plan(space.network_of(choices)).operators())
                rest.subtract(o.key() for o in chosen_operators(space.graph, choices, space.part_of(choices)))
                rest.subtract(o.key() for o in head_operators(space, choices))
                assert min(rest.values()) >= 0
                rests.append(+rest)
            assert all(rest == rests[0] for rest in rests)

    def test_rows_that_a_network_does_not_look_at_make_no_difference(self, space: SearchSpace) -> None:
        for alternative in space.alternatives():
            for choices in drawn(space, alternative):
                settled = space.settled(choices)
                assert space.settled(settled) == settled
                plans = [space.plan(space.network_of(of)) for of in (settled, choices)]
                assert plans[0] == plans[1], "an architecture may name what its network leaves out"

    def test_the_most_probable_choices_are_what_is_decoded(self, space: SearchSpace) -> None:
        """Evolution from a gradient search begins with the networks that the search stands for."""
        shapes = space.parameter_shapes()
        for seed in range(NETWORKS):
            given = grouped(shapes, random_probabilities(shapes, np.random.default_rng(seed)))
            for alternative in space.alternatives():
                network = space.network_of(space.most_probable_choices(given, alternative))
                decoded = space.decode(given, alternative=alternative, options=DecodeOptions(exact=True))
                assert space.plan(network) == space.plan(decoded)

    def test_mutation_changes_a_network_within_the_space(self, space: SearchSpace) -> None:
        for alternative in space.alternatives():
            for seed, choices in enumerate(drawn(space, alternative)):
                mutants = [space.mutate(choices, np.random.default_rng(seed), rate=rate) for rate in (0.0, 0.1, 1.0)]
                assert all(space.settled(mutant) != space.settled(choices) for mutant in mutants)
                assert mutants[1] == space.mutate(choices, np.random.default_rng(seed), rate=0.1)
                for mutant in mutants:
                    space.plan(space.network_of(mutant))
                differing = sum(a != b for a, b in zip(rows_of(mutants[0]), rows_of(choices), strict=True))
                assert differing == 1, "at the least rate a single row changes"

    def test_a_child_has_every_choice_from_a_parent(self, space: SearchSpace) -> None:
        rng = np.random.default_rng(0)
        for first, second in zip(*(all_drawn(space, seed) for seed in (0, 1)), strict=True):
            child = space.crossover(first, second, rng)
            space.plan(space.network_of(child))
            rows = zip(rows_of(child), rows_of(first), rows_of(second), strict=True)
            assert all(mine in (one, other) for mine, one, other in rows)
            if space.paths_together:
                assert (child.alternative, child.beta) in [(parent.alternative, parent.beta) for parent in (first, second)]
            assert space.settled(space.crossover(first, first, rng)) == space.settled(first)

    def test_every_choice_is_drawn(self, space: SearchSpace) -> None:
        """Of every row that some network looks at; what none is ever drawn with, no evolution finds."""
        rng = np.random.default_rng(0)
        possible = {
            (name, row, k) for name, counts in space.row_counts.items() for row, n in enumerate(counts) for k in range(n)
        }
        for _ in range(400):
            for alternative in space.alternatives():
                for _ in range(10):
                    choices = space.random_choices(rng, alternative=alternative)
                    used = used_rows(space.graph, space.part_of(choices))
                    possible -= {(name, row, choices.rows(name)[row]) for name, rows in used.items() for row in rows}
            if not possible:
                return
        raise AssertionError(f"never drawn: {sorted(possible)[:5]}")


def rows_of(choices: RowChoices) -> tuple[int, ...]:
    """All rows after each other."""
    return (*choices.alpha, *choices.beta, *choices.gamma)


def drawn(space: SearchSpace, alternative: str, seed: int = 0) -> Iterator[RowChoices]:
    """Random networks of one alternative."""
    rng = np.random.default_rng(seed)
    return (space.random_choices(rng, alternative=alternative) for _ in range(NETWORKS))


def all_drawn(space: SearchSpace, seed: int) -> list[RowChoices]:
    """Random networks of any alternative."""
    rng = np.random.default_rng(seed)
    return [space.random_choices(rng) for _ in range(NETWORKS)]


def head_operators(space: SearchSpace, choices: RowChoices) -> Iterator[OperatorSpec]:
    """The terms of the network's head."""
    graph = space.graph
    outputs = tuple(graph.outputs or ())
    for place in space.alternative_outputs(choices.alternative) or range(len(outputs)):
        edges = chosen_part(graph, choices, [outputs[place]]).edges
        for term in space.head_terms():
            if term.output == place and term.edge in edges:
                yield from term.by_width[choices.width(graph, graph.edges[term.edge].source)]
