"""What an evolution needs to know of FasterSeg: where networks downsample, and which parts of the head depend on it."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from itertools import combinations

from models.spaces.base import LatencyGraph, Probabilities
from models.spaces.fasterseg.catalogue import Catalogue
from models.spaces.fasterseg.decoding import most_probable, path_odds
from models.spaces.fasterseg.latency import FIRST_LAYER, FROM_FINER
from models.spaces.fasterseg.parameters import SCALES, FasterSegParameters
from models.spaces.variation import HeadTerm
from models.spec.operators import OperatorSpec

_KEPT = 1 - FROM_FINER
_FINEST, _MIDDLE, _COARSEST = SCALES


@lru_cache(maxsize=64)
def paths(layers: int, ends: tuple[int, ...]) -> tuple[tuple[int, ...], ...]:
    """Choices of all rows of β, one for each way in which branches with those ends can downsample.

    Branches share β: the branch that ends at 1/32 enters 1/16 where the other does, or before, if the other enters it once this
    one has left it.

    Args:
        layers: L.
        ends: scales at which the branches end.
    """
    return tuple(_rows(layers, middle, coarsest) for middle, coarsest in _places(layers, ends))


def most_probable_paths(layers: int, probabilities: Probabilities, ends: tuple[int, ...]) -> tuple[int, ...]:
    """Choices of all rows of β under which every branch takes the path that it is decoded with.

    The most probable paths of two branches fit one set of rows: the way into 1/16 that is most probable before one layer is the
    most probable of all, or that one enters later.
    """
    entered = {end: most_probable(path_odds(layers, probabilities, end)) for end in ends}
    middle = tuple(path[0] for path in entered.values() if path)
    return _rows(layers, middle, entered[_COARSEST][1] if _COARSEST in entered else None)


def _places(layers: int, ends: tuple[int, ...]) -> Iterator[tuple[tuple[int, ...], int | None]]:
    """The layers at which 1/16 is entered, and that at which 1/32 is; the first cell is never the first of a coarser scale."""
    if _COARSEST in ends:
        for first, second in combinations(range(1, layers), 2):
            yield (first,), second
            if _MIDDLE in ends:
                yield from (((first, later), second) for later in range(second, layers))
    elif _MIDDLE in ends:
        yield from (((first,), None) for first in range(1, layers))
    else:
        yield (), None


def _rows(layers: int, middle: tuple[int, ...], coarsest: int | None) -> tuple[int, ...]:
    """β has no row for the first layer at which a scale can be entered: a branch enters there where no row says otherwise."""
    found = []
    for scale, entered in ((_MIDDLE, middle), (_COARSEST, (coarsest,))):
        first = FIRST_LAYER["beta"][scale]
        found += [FROM_FINER if layer in entered else _KEPT for layer in range(first, layers)]
    return tuple(found)


def head_terms(
    graph: LatencyGraph, parameters: FasterSegParameters, catalogue: Catalogue, *, joins_charged: bool
) -> tuple[HeadTerm, ...]:
    """What takes a branch's last map at a scale: that of the cell that leaves the scale, at whichever layer it stands."""

    def taking(scale: int, channels: int) -> tuple[OperatorSpec, ...]:
        refinement = catalogue.refinement(scale, parameters.head_width, channels)
        join = (catalogue.skip_join(scale, parameters.head_width, channels),) if joins_charged else ()
        return (*join, refinement)

    terms, scales = [], {0: _FINEST}
    for index, edge in enumerate(graph.edges):
        scale, stride = scales[edge.source], edge.operators[0][0][0].stride
        scales[edge.destination] = scale * stride
        if stride == 1:
            continue
        by_width = tuple(taking(scale, channels) for channels in graph.nodes[edge.source].channels)
        terms += [HeadTerm(output, edge=index, by_width=by_width) for output, end in enumerate(SCALES) if end > scale]
    return tuple(terms)
