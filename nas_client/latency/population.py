"""The latency of many discrete networks at once: how often each operator occurs in each, times the table's values.

The occurrences follow from the latency graph alone, so that another table needs no second count; the values' standard errors
give those of the sums (`nas_client.uncertainty`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from models.networks.chosen import chosen_operators, chosen_part
from models.networks.structure import OperatorMatrix, Selection
from models.spaces.base import SearchSpace
from models.spaces.variation import RowChoices
from models.spec.errors import InvalidSpecError
from models.spec.graphs import ContextBase
from models.spec.measurements import ProtocolName
from models.spec.operators import OperatorSpec
from models.spec.verdicts import processes_sd
from nas_client.uncertainty import BASE_SHARE, VISITS_SHARE

if TYPE_CHECKING:
    from nas_client.table import LookupTable  # which knows HTTP

Counts = NDArray[np.int64]
Flags = NDArray[np.bool_]

_PROBES = 3
"""Networks of each alternative on which the counts are compared with the space's plans."""


@dataclass(frozen=True)
class _Terms:
    """Operators that may occur in a network, one a row of each array.

    Shape: (terms,); of `table` (terms, choices, widths, widths).

    Attributes:
        where: column of the flags that say whether a network has the term.
        operator_row, source_row, destination_row: rows of α and γ that choose it; one beyond the last where nothing does.
        table: index of the operator under each choice; 0 where there is none.
    """

    where: NDArray[np.int64]
    operator_row: NDArray[np.int64]
    source_row: NDArray[np.int64]
    destination_row: NDArray[np.int64]
    table: NDArray[np.int64]


class OperatorCounts:
    """Counts the operators of many networks of one space.

    Attributes:
        operators: those that networks may have, each once.

    Raises:
        InvalidSpecError: the space's graph and head do not add up to the plans of its networks.
    """

    def __init__(self, space: SearchSpace) -> None:
        self._space, self._graph = space, space.graph
        self._rows = {name: len(counts) for name, counts in space.row_counts.items()}
        self._index: dict[str, int] = {}
        self._seen: dict[int, tuple[OperatorSpec, int]] = {}
        self.operators: list[OperatorSpec] = []
        self._alternatives = {label: place for place, label in enumerate(space.alternatives())}
        self._outputs = tuple(self._graph.outputs or ())
        self._always = np.array([self._graph.always(node) for node in range(len(self._graph.nodes))])
        self._ends = np.zeros((len(self._alternatives), len(self._outputs)), dtype=bool)
        for label, row in self._alternatives.items():
            self._ends[row, list(space.alternative_outputs(label)) or slice(None)] = True
        self._heads = space.head_terms()
        self._own = [(node, own) for node, of in enumerate(self._graph.nodes) for own in of.operators]
        self._terms = self._collect()
        fixed = [self._fixed(label) for label in self._alternatives]
        self._always_there = np.zeros((len(fixed), len(self.operators)), dtype=np.int64)
        for row, counts in enumerate(fixed):
            for index, count in counts.items():
                self._always_there[row, index] = count
        self._check()

    def __call__(self, population: Sequence[RowChoices]) -> Counts:
        """How often each operator occurs. Shape: (networks, operators)."""
        alternatives = np.array([self._alternatives[choices.alternative] for choices in population])
        alpha, beta, gamma = (
            np.array([choices.rows(name) for choices in population], dtype=np.int64).reshape(len(population), rows)
            for name, rows in self._rows.items()
        )
        flags = self._flags(beta, self._ends[alternatives])
        zero = np.zeros((len(population), 1), dtype=np.int64)
        alpha, gamma = np.hstack((alpha, zero)), np.hstack((gamma, zero))
        terms = self._terms
        found = terms.table[
            np.arange(len(terms.where)),
            alpha[:, terms.operator_row],
            gamma[:, terms.source_row],
            gamma[:, terms.destination_row],
        ]
        width = len(self.operators)
        places = found + width * np.arange(len(population))[:, None]
        counted = np.bincount(places[flags[:, terms.where]], minlength=len(population) * width)
        counts: Counts = counted.reshape(len(population), width) + self._always_there[alternatives]
        return counts

    def _flags(self, beta: NDArray[np.int64], ends: Flags) -> Flags:
        """Whether networks have each edge, each operator that a node applies itself, and each term of a head.

        Shape: beta (networks, rows), ends (networks, outputs), flags (networks, edges + own operators + head terms).
        """
        graph = self._graph
        reached = np.zeros((len(graph.nodes), len(beta), len(self._outputs) + 1), dtype=bool)  # by output, then: at all times
        reached[self._always, :, -1] = True
        for place, node in enumerate(self._outputs):
            reached[node, :, place] = ends[:, place]
        taken = np.zeros((len(graph.edges), *reached.shape[1:]), dtype=bool)
        for index in sorted(range(len(graph.edges)), key=lambda index: -graph.edges[index].destination):
            edge = graph.edges[index]
            taken[index] = reached[edge.destination]
            if edge.selection is not None:
                taken[index] &= _selected(beta, edge.selection)[:, None]
            if not self._always[edge.source]:
                reached[edge.source] |= taken[index]
        own = [
            reached[node].any(axis=-1) & (True if of.selection is None else _selected(beta, of.selection))
            for node, of in self._own
        ]
        heads = [taken[term.edge, :, term.output] for term in self._heads]
        flags: Flags = np.concatenate([np.any(taken, axis=-1).T, *(of[:, None] for of in (*own, *heads))], axis=1)
        return flags

    def _collect(self) -> _Terms:
        graph, edges = self._graph, len(self._graph.edges)
        none = self._rows["alpha"], self._rows["gamma"]
        rows: list[tuple[int, int, int, int]] = []
        tables: list[NDArray[np.int64]] = []

        def add(
            where: int, row: int | None, source: int | None, destination: int | None, matrices: Sequence[OperatorMatrix]
        ) -> None:
            first, second = (none[1] if width is None else width for width in (source, destination))
            rows.append((where, none[0] if row is None else row, first, second))
            tables.append(np.array([[[self._index_of(o) for o in line] for line in matrix] for matrix in matrices]))

        for index, edge in enumerate(graph.edges):
            ends = graph.nodes[edge.source].width_row, graph.nodes[edge.destination].width_row
            if edge.operators:
                add(index, edge.operator_row, *ends, edge.operators)
            for matrix in edge.after:
                add(index, None, *ends, (matrix,))
        for place, (node, own) in enumerate(self._own):
            add(edges + place, None, graph.nodes[node].width_row, None, (tuple((operator,) for operator in own.by_width),))
        for place, term in enumerate(self._heads):
            row = graph.nodes[graph.edges[term.edge].source].width_row
            for operators in zip(*term.by_width, strict=True):
                add(edges + len(self._own) + place, None, row, None, (tuple((operator,) for operator in operators),))
        shape = tuple(max(table.shape[axis] for table in tables) for axis in range(3))
        table = np.zeros((len(tables), *shape), dtype=np.int64)
        for padded, known in zip(table, tables, strict=True):
            padded[tuple(slice(size) for size in known.shape)] = known
        where, operator_row, source_row, destination_row = np.array(rows, dtype=np.int64).T
        return _Terms(where, operator_row, source_row, destination_row, table)

    def _index_of(self, operator: OperatorSpec) -> int:
        """By identity first: the key of an operator takes far longer, and spaces make equal operators once."""
        if (known := self._seen.get(id(operator))) is not None:
            return known[1]
        index = self._index.setdefault(operator.key(), len(self.operators))
        if index == len(self.operators):
            self.operators.append(operator)
        self._seen[id(operator)] = operator, index  # kept, so that no other object gets its identity
        return index

    def _fixed(self, alternative: str) -> Counter[int]:
        """What every network of that alternative has beside its terms: the plan of one, less its terms."""
        choices = self._space.random_choices(np.random.default_rng(0), alternative=alternative)
        counts = self._planned(choices)
        counts.subtract(self._charged(choices))
        if min(counts.values(), default=0) < 0:
            raise self._contradiction(choices)
        return counts

    def _planned(self, choices: RowChoices) -> Counter[int]:
        return self._counter(self._space.plan(self._space.network_of(choices)).operators())

    def _charged(self, choices: RowChoices) -> Counter[int]:
        """The operators of the network's part of the graph, and of its head's terms, by walking through them."""
        part = self._space.part_of(choices)
        found = Counter(self._counter(chosen_operators(self._graph, choices, part)))
        found.subtract(self._counter(self._graph.fixed))
        for place in self._space.alternative_outputs(choices.alternative) or range(len(self._outputs)):
            alone = chosen_part(self._graph, choices, [self._outputs[place]])
            for term in self._heads:
                if term.output == place and term.edge in alone.edges:
                    found.update(self._counter(term.by_width[choices.width(self._graph, self._graph.edges[term.edge].source)]))
        return found

    def _counter(self, operators: Iterable[OperatorSpec]) -> Counter[int]:
        return Counter(map(self._index_of, operators))

    def _check(self) -> None:
        rng = np.random.default_rng(1)
        for alternative in self._alternatives:
            population = [self._space.random_choices(rng, alternative=alternative) for _ in range(_PROBES)]
            for choices, counts in zip(population, self(population), strict=True):
                planned = self._planned(choices)
                if len(self.operators) > len(counts) or {i: n for i, n in enumerate(counts.tolist()) if n} != +planned:
                    raise self._contradiction(choices)

    def _contradiction(self, choices: RowChoices) -> InvalidSpecError:
        return InvalidSpecError(
            f"search space {self._space.name!r}: the operators of network {choices} are not those of its latency graph and "
            "its head",
            hint="Let head_terms() name what depends on maps within the graph; the rest of a head must be the same for all.",
        )


def _selected(beta: NDArray[np.int64], selection: Selection) -> Flags:
    row, choices = selection
    found: Flags = np.isin(beta[:, row], choices) if len(choices) > 1 else beta[:, row] == choices[0]
    return found


class PopulationLatency:
    """Milliseconds, and their standard errors, of many networks by one table.

    Args:
        counts: of the table's search space.
        table: complete.

    Attributes:
        certain: whether every entry says how certain it is; where one does not, it counts as certain.

    Raises:
        MissingEntryError: the table lacks an operator.
    """

    def __init__(self, counts: OperatorCounts, table: LookupTable) -> None:
        self._counts = counts
        values_ms = np.array([table.lookup(operator) for operator in counts.operators])
        entries = [table.entry(operator.key()) for operator in counts.operators]
        errors = [None if entry is None else entry.stderr_ms for entry in entries]
        self.certain = None not in errors
        stderr_ms = np.array([0.0 if error is None else error for error in errors])
        bases: list[str] = []
        if table.info.protocol is ProtocolName.IN_CONTEXT:
            bases = [ContextBase.of(operator).key() for operator in counts.operators]
        of_base = np.array([[base == known for base in bases] for known in dict.fromkeys(bases)]).reshape(-1, len(values_ms))
        self._scale = 0.0 if table.info.scale is None else table.info.scale.relative_stderr
        # Sums over a network's operators: of values, of errors, and of the errors that have a base in common.
        self._linear = np.stack([values_ms, stderr_ms, *(stderr_ms * of_base)], axis=1)
        own_share = 1 - (BASE_SHARE if bases else 0.0) - VISITS_SHARE
        self._squared = own_share * stderr_ms**2 + (processes_sd(table.info) * values_ms) ** 2

    def __call__(self, population: Sequence[RowChoices]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Sums of the networks' entries and their standard errors, both in ms. Shape of each: (networks,).

        The errors are those of `nas_client.uncertainty.sum_stderr_ms`.
        """
        counts = self._counts(population).astype(np.float64)
        sums = counts @ self._linear
        sums_ms = sums[:, 0]
        variance = counts**2 @ self._squared + VISITS_SHARE * sums[:, 1] ** 2 + (self._scale * sums_ms) ** 2
        variance += BASE_SHARE * (sums[:, 2:] ** 2).sum(axis=1)
        return sums_ms, np.sqrt(variance)
