"""From the probabilities of α, β and γ to the branches of a network; `published_rules` has what the authors' code does instead.

Where a branch downsamples is decided by the probability of its whole path. β is read backwards from the branch's end, as the
latency graph reads it: the map that enters a layer came from the finer scale or was kept, and the first map of a scale can only
have come from the finer one, so that downsampling as early as possible has the probability that is left over. The probabilities
of all paths to one end sum to one.

Source: FasterSeg, section 3.4 and its footnote 2. Skips are removed as in its published code, but a skip that must stay is not
among those that may go.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise, product
from typing import TYPE_CHECKING, Literal

from models.spaces.base import DecodeOptions, Probabilities
from models.spaces.fasterseg.architectures import minimum_cells
from models.spaces.fasterseg.genotype import BranchSpec
from models.spaces.fasterseg.latency import FIRST_LAYER, FROM_FINER, KEPT
from models.spaces.fasterseg.parameters import OPERATORS, SCALES, FasterSegParameters

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

SKIP = OPERATORS.index("skip")

EQUAL = 1e-9
"""Relative difference up to which two paths are equally probable: what rounding leaves, with room."""


class FasterSegOptions(DecodeOptions):
    """How a FasterSeg network is decoded."""

    rules: Literal["ours", "published"] = "ours"
    """By whose rules: ours, or those of the authors' code, which reproduce the networks that they published."""


@dataclass(frozen=True)
class DecodedBranch:
    """A branch that was read off the parameters.

    Attributes:
        branch: what it is made of.
        layers: of the supernet, at which its cells stand.
        scales: at the input of each of the L cells, removed ones included.
    """

    branch: BranchSpec
    layers: tuple[int, ...]
    scales: tuple[int, ...]

    def rows(self) -> Iterator[tuple[str, str, int]]:
        """Granularity, group and row of each operator and width that the branch took from α and γ."""
        for layer in self.layers:
            scale = self.scales[layer]
            yield "alpha", str(scale), layer - FIRST_LAYER["alpha"][scale]
        for layer in self.layers[:-1]:
            scale = self.scales[layer + 1]
            yield "gamma", str(scale), layer + 1 - FIRST_LAYER["gamma"][scale]


def decode_branch(
    parameters: FasterSegParameters, probabilities: Probabilities, end: int, *, keep_skips: bool, widest: bool
) -> DecodedBranch:
    """The branch that ends at that scale.

    Args:
        parameters: the space's.
        probabilities: of α, β and, unless `widest`, γ.
        end: one of SCALES.
        keep_skips: whether all cells keep their most probable operator; otherwise none keeps a skip.
        widest: whether connections have the largest width, rather than the most probable.
    """
    scales = cell_scales(parameters.layers, probabilities, end)
    return _branch_on(scales, parameters, probabilities, keep_skips=keep_skips, widest=widest)


def layers_of_branch(
    parameters: FasterSegParameters, probabilities: Probabilities, branch: BranchSpec, *, widest: bool
) -> tuple[int, ...] | None:
    """The layers of a branch's cells in the supernet, where it was decoded on any path; None where on none.

    The path was chosen by other rules, such as those of an earlier release. Of several the most probable is taken.
    """
    odds = path_odds(parameters.layers, probabilities, branch.scales[-1])
    for entered, keep_skips in product(sorted(odds, key=odds.__getitem__, reverse=True), (False, True)):
        scales = scales_of(parameters.layers, entered)
        found = _branch_on(scales, parameters, probabilities, keep_skips=keep_skips, widest=widest)
        if found.branch == branch:
            return found.layers
    return None


def _branch_on(
    scales: list[int], parameters: FasterSegParameters, probabilities: Probabilities, *, keep_skips: bool, widest: bool
) -> DecodedBranch:
    odds = operator_odds(probabilities, scales)
    cells = list(range(parameters.layers))
    if not keep_skips:
        removed = removable_cells(odds, scales)
        cells = [cell for cell in cells if cell not in removed]
        odds[:, SKIP] = -1  # what stays takes its best other operator
    return branch_of(parameters, probabilities, scales, cells, odds, widest=widest)


def branch_of(
    parameters: FasterSegParameters,
    probabilities: Probabilities,
    scales: Sequence[int],
    cells: Sequence[int],
    odds: NDArray[np.float64],
    *,
    widest: bool,
) -> DecodedBranch:
    """The branch of these cells, with the operators of the highest odds.

    A cell that stays keeps the width that was searched for its own output, whether or not the next cell was removed.

    Args:
        parameters: the space's.
        probabilities: of γ, unless `widest`.
        scales: at the input of each of the L cells.
        cells: the layers of those that stay.
        odds: of the operators of each of the L cells. Shape: (layers, operators).
        widest: whether connections have the largest width.
    """
    operators = odds.argmax(axis=1)
    widths = [-1 if widest else int(_row(probabilities, "gamma", cell + 1, scales[cell + 1]).argmax()) for cell in cells[:-1]]
    branch = BranchSpec(
        operators=tuple(OPERATORS[operators[cell]] for cell in cells),
        scales=tuple(scales[cell] for cell in cells),
        widths=tuple(parameters.widths[width] for width in widths),
    )
    return DecodedBranch(branch, tuple(cells), tuple(scales))


def operator_odds(probabilities: Probabilities, scales: Sequence[int]) -> NDArray[np.float64]:
    """Probabilities of the operators along a branch. Shape: (layers, operators)."""
    import numpy as np

    return np.stack([_row(probabilities, "alpha", layer, scale) for layer, scale in enumerate(scales)])


def cell_scales(layers: int, probabilities: Probabilities, end: int) -> list[int]:
    """Scale at the input of each of the L cells of the branch that ends at that scale: those of its most probable path."""
    return scales_of(layers, most_probable(path_odds(layers, probabilities, end)))


def scales_of(layers: int, entered: Sequence[int]) -> list[int]:
    """Scale at the input of each of the L cells, from the layers at which the coarser scales are entered."""
    return [SCALES[sum(layer >= entry for entry in entered)] for layer in range(layers)]


def path_odds(layers: int, probabilities: Probabilities, end: int) -> dict[tuple[int, ...], float]:
    """Probability of every path to that scale, by the layers at which the coarser scales are entered; the latest first."""
    return dict(_paths(probabilities, SCALES.index(end), layers - 1))


def most_probable(odds: Mapping[tuple[int, ...], float]) -> tuple[int, ...]:
    """Of `path_odds` the most probable; of equals the first, which downsamples latest."""
    most = max(odds.values())
    return next(entered for entered, odd in odds.items() if odd >= most * (1 - EQUAL))


def _paths(probabilities: Probabilities, j: int, last: int) -> Iterator[tuple[tuple[int, ...], float]]:
    """Paths to the map that enters layer `last` at SCALES[j], with their probabilities, read backwards."""
    if j == 0:
        yield (), 1.0
        return
    kept_since = 1.0
    for entry in range(last, j - 1, -1):
        from_finer, kept = 1.0, 0.0  # the first map of a scale
        if entry >= FIRST_LAYER["beta"][SCALES[j]]:
            row = _row(probabilities, "beta", entry, SCALES[j])
            from_finer, kept = float(row[FROM_FINER]), float(row[KEPT])
        for entered, before in _paths(probabilities, j - 1, entry - 1):
            yield (*entered, entry), kept_since * from_finer * before
        kept_since *= kept


def even_beta(layers: int) -> dict[str, tuple[tuple[float, float], ...]]:
    """Logits of β under which all paths to an end are equally probable, for every end at once; each row's mean is 0.

    C(l, j) paths lead to the map that enters layer l at SCALES[j], C(l−1, j−1) of them from the finer scale and C(l−1, j)
    from the same: the first have the share j/l.
    """
    rows = {}
    for j, scale in enumerate(SCALES[1:], start=1):
        halves = [math.log(j / (layer - j)) / 2 for layer in range(FIRST_LAYER["beta"][scale], layers)]
        if halves:
            rows[str(scale)] = tuple((half, -half) for half in halves)
    return rows


def removable_cells(odds: NDArray[np.float64], scales: Sequence[int]) -> set[int]:
    """The cells that shrink away: their most probable operator is a skip, and they change no resolution.

    At least round(L/3) + 2·j cells stay, those whose skip is less probable first. So does one of the cells between a
    downsampling and the next, or the end: where all are skips, the one whose skip is least probable. Of equals the later stays.

    Args:
        odds: probability of each operator. Shape: (layers, operators).
        scales: at the input of each cell.
    """
    import numpy as np

    layers = len(scales)
    downsampling = downsampling_cells(scales)
    skips = set(np.flatnonzero(odds.argmax(axis=1) == SKIP).tolist()) - set(downsampling)
    skips -= indispensable_skips(odds, skips, downsampling)
    return most_probable_skips(odds, skips, layers - minimum_cells(layers, len(downsampling)))


def downsampling_cells(scales: Sequence[int]) -> list[int]:
    """The cells after which the scale changes."""
    return [cell for cell, (here, after) in enumerate(pairwise(scales)) if after != here]


def indispensable_skips(odds: NDArray[np.float64], skips: set[int], downsampling: Sequence[int]) -> set[int]:
    """Of each stretch after a downsampling that is all skips, the one that is least probable; the last of equals."""
    found = set()
    for before, after in pairwise([*downsampling, len(odds)]):
        stretch = set(range(before + 1, after))
        if stretch and stretch <= skips:
            found.add(min(stretch, key=lambda cell: (odds[cell, SKIP], -cell)))
    return found


def most_probable_skips(odds: NDArray[np.float64], skips: set[int], count: int) -> set[int]:
    """Up to `count` of these cells, those whose skip is most probable; the first of equals."""
    return set(sorted(skips, key=lambda cell: (-odds[cell, SKIP], cell))[:count])


def _row(probabilities: Probabilities, granularity: str, layer: int, scale: int) -> NDArray[np.float64]:
    """Probabilities of the choices at that position. Shape: (choices,)."""
    row: NDArray[np.float64] = probabilities[granularity][str(scale)][layer - FIRST_LAYER[granularity][scale]]
    return row
