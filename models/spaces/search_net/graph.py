"""The U of cells as a latency graph.

::

    image ─ stem ─ C1 ───────────────────── C8 ─ head
                     C2 ───────────── C7
                        C3 ────── C6
                           C4 ─ C5

Every node is always computed: a cell concatenates all of its nodes, and its first node takes both inputs. So the relaxed
latency is a sum over edges, each weighted with the probability that its node keeps it.
"""

from __future__ import annotations

from collections.abc import Sequence

from models.networks.graph_plan import GraphChoices
from models.networks.structure import Edge, LatencyGraph, NodeOperator
from models.spaces.search_net.building import Building
from models.spaces.search_net.catalogue import Catalogue
from models.spaces.search_net.genotype import NodeSpec, SearchNetGenotype
from models.spaces.search_net.parameters import INPUTS, TAKEN, Place, Rows, SearchNetParameters, pairs


def latency_graph(parameters: SearchNetParameters, catalogue: Catalogue, rows: Rows) -> LatencyGraph:
    """The graph between the stem and the head.

    Args:
        parameters: of the space.
        catalogue: its operators.
        rows: which rows decide what.
    """
    building = Building(catalogue, catalogue.stem())
    outputs = [building.entry]  # the stem's map, then the cells'
    for cell, place in enumerate(parameters.places):
        width = parameters.channels(place.level) // parameters.nodes
        if place.downwards or place.level == parameters.levels - 1:
            inputs = _last_two(building, outputs)
        else:
            inputs = _after_skip(building, outputs[-1], outputs[place.level + 1])
        scale = building.scale(inputs[-1])
        entering = [_narrowed(building, source, scale, width) for source in inputs]
        outputs.append(_cell(building, cell, place, entering, rows))
    return building.graph()


def _last_two(building: Building, outputs: Sequence[int]) -> Sequence[int]:
    """What a cell on the way down takes, and the bottom's second one: the last two maps, as in DARTS."""
    return outputs[-INPUTS:] if len(outputs) >= INPUTS else (outputs[0],) * INPUTS


def _after_skip(building: Building, last: int, skipped: int) -> Sequence[int]:
    """What a cell on the way up takes: the last map, enlarged to the skipped map's size and brought to its channels; and both,
    concatenated and brought to its channels.
    """
    channels = building.channels(skipped)
    enlarged = building.then(building.resized(last, building.scale(skipped)), "conv_bn_relu", channels, kernel=1)
    return enlarged, building.then(building.joined([enlarged, skipped]), "conv_bn_relu", channels)


def _narrowed(building: Building, source: int, scale: int, width: int) -> int:
    """A map at a cell's entrance: 1×1 to the width of its nodes, with stride 2 where it is twice as large as the other."""
    return building.then(source, "conv_bn_relu", width, stride=scale // building.scale(source), kernel=1)


def _cell(building: Building, cell: int, place: Place, inputs: Sequence[int], rows: Rows) -> int:
    """Its nodes, each the sum of the two edges that it keeps, and their concatenation."""
    catalogue, width, ends = building.catalogue, building.channels(inputs[0]), list(inputs)
    for index in range(rows.nodes):
        add = NodeOperator((catalogue.add(place.scale, width, TAKEN),))
        node = building.node(width, place.scale, operators=(add,))
        row = rows.beta(cell, index)
        for edge, source in enumerate(ends):
            stride = 2 if place.downwards and edge < INPUTS else 1
            kept = tuple(choice for choice, pair in enumerate(pairs(index)) if edge in pair)
            operators = catalogue.choices(building.scale(source), width, stride)
            building.edges.append(
                Edge(
                    source,
                    node,
                    rows.alpha(cell, index, edge),
                    None if row is None else (row, kept),
                    tuple(((operator,),) for operator in operators),
                )
            )
        ends.append(node)
    return building.joined(ends[INPUTS:])


def choices_of(genotype: SearchNetGenotype, parameters: SearchNetParameters) -> GraphChoices:
    """The choice of every row where each cell has rows of its own; of edges that are not kept, the first."""
    alpha: list[int] = []
    beta: list[int] = []
    for nodes in genotype.cells:
        for index, node in enumerate(nodes):
            chosen = dict(zip(node.inputs, map(parameters.names.index, node.operators), strict=True))
            alpha += [chosen.get(edge, 0) for edge in range(INPUTS + index)]
            beta += [pairs(index).index((node.inputs[0], node.inputs[1]))] if index else []
    return GraphChoices(tuple(alpha), tuple(beta))


def genotype_of(alpha: Sequence[int], beta: Sequence[int], parameters: SearchNetParameters, rows: Rows) -> SearchNetGenotype:
    """The cells that a choice of every row leaves.

    Args:
        alpha: the choice of each of its rows.
        beta: the same of β.
        parameters: of the space.
        rows: what they decide.
    """
    cells = []
    for cell in range(len(parameters.places)):
        nodes = []
        for index in range(parameters.nodes):
            row = rows.beta(cell, index)
            kept = pairs(index)[0 if row is None else beta[row]]
            names = tuple(parameters.names[alpha[rows.alpha(cell, index, edge)]] for edge in kept)
            nodes.append(NodeSpec(inputs=kept, operators=names))
        cells.append(tuple(nodes))
    return SearchNetGenotype(cells=tuple(cells))
