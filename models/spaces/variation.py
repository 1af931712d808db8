"""What an evolution asks of a search space: random networks, mutation and crossover, and what their latency consists of.

A network is an alternative and one choice of every row of α, β and γ. The defaults treat all rows alike; a space in which
uniform rows are not uniform networks states its own.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, ClassVar

from models.networks.chosen import ChosenPart, chosen_part, used_rows
from models.networks.graph_plan import GraphChoices
from models.networks.structure import LatencyGraph
from models.spaces.decoding import DecodeOptions
from models.spaces.roles import GRANULARITIES, Role
from models.spec.operators import OperatorSpec

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from models.spaces.probabilities import Probabilities
    from models.spec.architectures import ArchitectureSpec

RowCounts = Mapping[str, tuple[int, ...]]
"""By granularity, how many choices each row has."""

MUTATION_RATE = 0.1
"""Probability with which a mutation changes a row."""


@dataclass(frozen=True)
class RowChoices(GraphChoices):
    """One network of a space. Rows that it does not look at have a choice too, which counts once a mutation leads there.

    Attributes:
        alternative: which of the space's alternatives; empty where there is nothing to choose.
    """

    alternative: str = ""

    def rows(self, granularity: str) -> tuple[int, ...]:
        """The choices of that granularity's rows."""
        found: tuple[int, ...] = getattr(self, granularity)
        return found


@dataclass(frozen=True)
class HeadTerm:
    """Operators after the latency graph whose shape is that of a map within it, such as a convolution over a branch's last map
    at some scale.

    Attributes:
        output: place among the graph's outputs of the branch that has them.
        edge: of the graph. They are there where the branch takes this edge.
        by_width: the operators for each width of the edge's source.
    """

    output: int
    edge: int
    by_width: tuple[tuple[OperatorSpec, ...], ...]


class Variation(ABC):
    """The half of a search space that an evolution needs."""

    paths_together: ClassVar[bool] = False
    """Whether all rows of β are one choice, such as where a network downsamples: drawn, and inherited, as a whole."""

    @abstractmethod
    def parameter_shapes(self) -> Mapping[str, Mapping[str, tuple[int, int]]]:
        """See `SearchSpace`."""

    @abstractmethod
    def latency_graph(self) -> LatencyGraph:
        """See `SearchSpace`."""

    @abstractmethod
    def alternatives(self) -> tuple[str, ...]:
        """See `SearchSpace`."""

    @abstractmethod
    def alternative_outputs(self, alternative: str) -> tuple[int, ...]:
        """See `SearchSpace`."""

    @abstractmethod
    def decode(
        self,
        probabilities: Probabilities,
        *,
        alternative: str = "",
        role: Role | None = None,
        options: DecodeOptions | None = None,
    ) -> ArchitectureSpec:
        """See `SearchSpace`."""

    def head_terms(self) -> tuple[HeadTerm, ...]:
        """The operators of heads that depend on more than the alternative. By default none do."""
        return ()

    # Networks as choices

    @cached_property
    def graph(self) -> LatencyGraph:
        """`latency_graph`, made once."""
        return self.latency_graph()

    @cached_property
    def row_counts(self) -> RowCounts:
        """How many choices each row has, rows counted through the groups."""
        shapes = self.parameter_shapes()
        return {
            granularity: tuple(n for rows, n in shapes.get(granularity, {}).values() for _ in range(rows))
            for granularity in GRANULARITIES
        }

    def outputs_of(self, alternative: str) -> tuple[int, ...]:
        """The nodes of the graph at which the alternative's network ends; none where the graph has no outputs."""
        outputs = self.graph.outputs or ()
        places = self.alternative_outputs(alternative)
        return tuple(outputs[place] for place in places) if places else outputs

    def part_of(self, choices: RowChoices) -> ChosenPart:
        """What the network consists of within the graph."""
        return chosen_part(self.graph, choices, self.outputs_of(choices.alternative))

    def settled(self, choices: RowChoices) -> RowChoices:
        """The same network with choice 0 in every row that it does not look at: equal networks become equal."""
        used = used_rows(self.graph, self.part_of(choices))
        alpha, beta, gamma = (
            tuple(choice if row in looked_at else 0 for row, choice in enumerate(choices.rows(granularity)))
            for granularity, looked_at in ((name, set(found)) for name, found in used.items())
        )
        return RowChoices(alpha, beta, gamma, choices.alternative)

    def network_of(self, choices: RowChoices) -> ArchitectureSpec:
        """The architecture of these choices, every operator as it was chosen.

        Raises:
            InvalidSpecError: there is no such alternative, or choices are not of this space's rows.
        """
        given = one_hot(self.parameter_shapes(), choices)
        return self.decode(given, alternative=choices.alternative, options=DecodeOptions(exact=True))

    def most_probable_choices(self, probabilities: Probabilities, alternative: str) -> RowChoices:
        """The network that probabilities stand for, every operator as it is most probable: that of an exact `decode`.

        Args:
            probabilities: of every row, as `decode` takes them; widths without a γ are the widest.
            alternative: one of `alternatives`.
        """

        def chosen(granularity: str) -> tuple[int, ...]:
            return _highest(probabilities[granularity], self.parameter_shapes().get(granularity, {}))

        widths = chosen("gamma") if probabilities.get("gamma") else tuple(count - 1 for count in self.row_counts["gamma"])
        return RowChoices(chosen("alpha"), self.most_probable_paths(probabilities, alternative), widths, alternative)

    def most_probable_paths(self, probabilities: Probabilities, alternative: str) -> tuple[int, ...]:
        """Choices of all rows of β for that network. By default the most probable one of every row; a space that decodes whole
        paths gives the rows of its most probable ones.
        """
        return _highest(probabilities["beta"], self.parameter_shapes().get("beta", {}))

    # Drawing them

    def random_paths(self, alternative: str, rng: np.random.Generator) -> tuple[int, ...]:
        """Choices of all rows of β for a network of that alternative. By default every row is drawn uniformly."""
        return _uniform(self.row_counts["beta"], rng)

    def earliest_paths(self, alternative: str) -> tuple[int, ...] | None:
        """Choices of all rows of β for the network of that alternative that downsamples as early as any can. None, the default,
        where paths do not decide where a network downsamples.
        """
        return None

    def random_choices(self, rng: np.random.Generator, *, alternative: str | None = None) -> RowChoices:
        """A random network: an alternative, its paths, and operators and widths, each uniform.

        Args:
            rng: draws it.
            alternative: that of the network; drawn too where None.
        """
        if alternative is None:
            known = self.alternatives()
            alternative = known[int(rng.integers(len(known)))]
        return RowChoices(
            alpha=_uniform(self.row_counts["alpha"], rng),
            beta=self.random_paths(alternative, rng),
            gamma=_uniform(self.row_counts["gamma"], rng),
            alternative=alternative,
        )

    def mutate(
        self,
        choices: RowChoices,
        rng: np.random.Generator,
        *,
        rate: float = MUTATION_RATE,
        alternatives: Sequence[str] | None = None,
    ) -> RowChoices:
        """A network that differs in at least one choice that it looks at, where there is any.

        Every row changes to another choice with probability `rate`; so does the alternative, with new paths, and, where paths
        are together, all of them as one.

        Args:
            choices: the network.
            rng: decides.
            rate: see above.
            alternatives: those that it may become; all where None.
        """
        possible = self.alternatives() if alternatives is None else alternatives
        others = [known for known in possible if known != choices.alternative]
        found = choices
        if others and rng.random() < rate:
            alternative = others[int(rng.integers(len(others)))]
            found = replace(found, alternative=alternative, beta=self.random_paths(alternative, rng))
        elif self.paths_together and rng.random() < rate:
            found = replace(found, beta=self.random_paths(choices.alternative, rng))
        used = used_rows(self.graph, self.part_of(found))
        free = [
            (granularity, row)
            for granularity, rows in used.items()
            for row in rows
            if self.row_counts[granularity][row] > 1 and not (granularity == "beta" and self.paths_together)
        ]
        changed = [place for place in free if rng.random() < rate]
        if not changed and free and self.settled(found) == self.settled(choices):
            changed = [free[int(rng.integers(len(free)))]]
        rows = {granularity: list(found.rows(granularity)) for granularity in used}
        for granularity, row in changed:
            step = 1 + int(rng.integers(self.row_counts[granularity][row] - 1))
            rows[granularity][row] = (rows[granularity][row] + step) % self.row_counts[granularity][row]
        alpha, beta, gamma = (tuple(rows[granularity]) for granularity in GRANULARITIES)
        return RowChoices(alpha, beta, gamma, found.alternative)

    def crossover(self, first: RowChoices, second: RowChoices, rng: np.random.Generator) -> RowChoices:
        """A network that has every choice from one of two. The alternative is one parent's, and so are all paths where they are
        together.
        """
        one, other = (first, second) if rng.random() < 0.5 else (second, first)
        return RowChoices(
            alpha=_mixed(one.alpha, other.alpha, rng),
            beta=one.beta if self.paths_together else _mixed(one.beta, other.beta, rng),
            gamma=_mixed(one.gamma, other.gamma, rng),
            alternative=one.alternative,
        )


def one_hot(shapes: Mapping[str, Mapping[str, tuple[int, int]]], choices: GraphChoices) -> Probabilities:
    """The choices as probabilities of 0 and 1, by granularity and group, as `SearchSpace.decode` takes them."""
    import numpy as np

    found: dict[str, dict[str, NDArray[np.float64]]] = {}
    for granularity, groups in shapes.items():
        rows = np.asarray(getattr(choices, granularity), dtype=np.int64)
        found[granularity], first = {}, 0
        for group, (count, options) in groups.items():
            found[granularity][group] = np.eye(options)[rows[first : first + count]]
            first += count
    return found


def _highest(rows: Mapping[str, NDArray[np.float64]], groups: Iterable[str]) -> tuple[int, ...]:
    return tuple(choice for group in groups for choice in rows[group].argmax(axis=1).tolist())


def _uniform(counts: Sequence[int], rng: np.random.Generator) -> tuple[int, ...]:
    return tuple(rng.integers(counts).tolist()) if counts else ()


def _mixed(one: Sequence[int], other: Sequence[int], rng: np.random.Generator) -> tuple[int, ...]:
    first = rng.random(len(one)) < 0.5
    return tuple(mine if own else theirs for mine, theirs, own in zip(one, other, first.tolist(), strict=True))
