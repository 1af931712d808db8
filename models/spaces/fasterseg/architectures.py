"""Architectures of a FasterSeg space: decoded from the probabilities of α, β and γ, or drawn at random for validation.

Source of decoding: FasterSeg, section 3.4 and its footnote 2. Skips are removed as in its published code, with three
differences. There, a skip that must stay counts among those that may go; a branch that ends at 1/16 downsamples one cell before
the position that β names; and two downsamplings are always at least three cells apart.

β has no row for the first layer at which a scale can be entered: there a map comes from the finer scale or not at all. A
branch downsamples there only where β rules out every other position. Of equally probable positions the latest is taken. The
latency graph reads β in the same way, backwards from the branch's end: both agree wherever the parameters are certain.
"""

from __future__ import annotations

import math
from itertools import combinations, pairwise
from typing import TYPE_CHECKING

from models.spaces.base import Probabilities
from models.spaces.fasterseg.ends import BRANCHES
from models.spaces.fasterseg.genotype import BranchSpec, architecture_of
from models.spaces.fasterseg.latency import FIRST_LAYER, FROM_FINER
from models.spaces.fasterseg.parameters import OPERATORS, SCALES, FasterSegParameters
from models.spec.architectures import ArchitectureSpec, SpaceSpec

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

SKIP = OPERATORS.index("skip")


def decode_branch(
    parameters: FasterSegParameters, probabilities: Probabilities, end: int, *, keep_skips: bool, widest: bool
) -> BranchSpec:
    """The branch that ends at that scale.

    A cell that stays keeps the width that was searched for its own output, whether or not the next cell was removed.

    Args:
        parameters: the space's.
        probabilities: of α, β and, unless `widest`, γ.
        end: one of SCALES.
        keep_skips: whether all cells keep their most probable operator; otherwise none keeps a skip.
        widest: whether connections have the largest width, rather than the most probable.
    """
    scales = cell_scales(parameters.layers, probabilities, end)
    odds = _operator_odds(probabilities, scales)
    cells = range(parameters.layers) if keep_skips else remaining_cells(parameters, probabilities, end)
    if not keep_skips:
        odds[:, SKIP] = -1  # what stays takes its best other operator
    operators = odds.argmax(axis=1)
    widths = []
    for cell in cells[:-1]:
        width = -1 if widest else int(_row(probabilities, "gamma", cell + 1, scales[cell + 1]).argmax())
        widths.append(parameters.widths[width])
    return BranchSpec(
        operators=tuple(OPERATORS[operators[cell]] for cell in cells),
        scales=tuple(scales[cell] for cell in cells),
        widths=tuple(widths),
    )


def remaining_cells(parameters: FasterSegParameters, probabilities: Probabilities, end: int) -> tuple[int, ...]:
    """The layers of the cells that stay in the branch that ends at that scale, where skips are removed."""
    scales = cell_scales(parameters.layers, probabilities, end)
    removed = removable_cells(_operator_odds(probabilities, scales), scales)
    return tuple(cell for cell in range(parameters.layers) if cell not in removed)


def _operator_odds(probabilities: Probabilities, scales: list[int]) -> NDArray[np.float64]:
    """Probabilities of the operators along a branch. Shape: (layers, operators)."""
    import numpy as np

    return np.stack([_row(probabilities, "alpha", layer, scale) for layer, scale in enumerate(scales)])


def cell_scales(layers: int, probabilities: Probabilities, end: int) -> list[int]:
    """Scale at the input of each of the L cells of the branch that ends at that scale.

    For one downsampling the argmax of β0, the probability that a map comes from the finer scale; for two, of the joint
    probability β0·β0', the second after the first. For positions without a β see the top of this module.
    """
    coarser = SCALES[1 : SCALES.index(end) + 1]

    def rank(entered: tuple[int, ...]) -> tuple[int, float, tuple[int, ...]]:
        """Of the layers at which the coarser scales are entered; those of the highest rank are taken."""
        chosen = [(layer, scale) for layer, scale in zip(entered, coarser, strict=True) if layer >= FIRST_LAYER["beta"][scale]]
        joint = math.prod(float(_row(probabilities, "beta", layer, scale)[FROM_FINER]) for layer, scale in chosen)
        return (len(chosen) if joint > 0 else -1, joint, entered[::-1])

    entered = max(combinations(range(1, layers), len(coarser)), key=rank)
    return [SCALES[sum(layer >= entry for entry in entered)] for layer in range(layers)]


def removable_cells(odds: NDArray[np.float64], scales: list[int]) -> set[int]:
    """The cells that shrink away: their most probable operator is a skip, and they change no resolution.

    At least round(L/3) + 2·j cells stay, those whose skip is less probable first. So does one of the cells between a
    downsampling and the next, or the end: where all are skips, the one whose skip is least probable. Of equals the later stays.

    Args:
        odds: probability of each operator. Shape: (layers, operators).
        scales: at the input of each cell.
    """
    import numpy as np

    layers = len(scales)
    downsampling = [cell for cell, (here, after) in enumerate(pairwise(scales)) if after != here]
    skips = set(np.flatnonzero(odds.argmax(axis=1) == SKIP).tolist()) - set(downsampling)
    for before, after in pairwise([*downsampling, layers]):
        stretch = set(range(before + 1, after))
        if stretch and stretch <= skips:
            skips.remove(min(stretch, key=lambda cell: (odds[cell, SKIP], -cell)))
    most_probable_first = sorted(skips, key=lambda cell: (-odds[cell, SKIP], cell))
    return set(most_probable_first[: layers - minimum_cells(layers, len(downsampling))])


def _row(probabilities: Probabilities, granularity: str, layer: int, scale: int) -> NDArray[np.float64]:
    """Probabilities of the choices at that position. Shape: (choices,)."""
    row: NDArray[np.float64] = probabilities[granularity][str(scale)][layer - FIRST_LAYER[granularity][scale]]
    return row


CONCENTRATION = 0.5
"""Of the Dirichlet distributions that odds are drawn from. At 1 the middle nine tenths of 200 samples span a factor of 1.7 in
the published table's latency, here 2.3 and from the fastest to the slowest 3.4; docs/measurement.md asks for two to four."""


def minimum_cells(layers: int, coarseness: int) -> int:
    """Fewest cells of a branch that ends at SCALES[coarseness]: round(L / 3) + 2·j, but never more than L."""
    return min(layers, round(layers / 3) + 2 * coarseness)


def sample_architecture(spec: SpaceSpec, parameters: FasterSegParameters, rng: np.random.Generator) -> ArchitectureSpec:
    """A random architecture of two branches that end at different scales.

    The probabilities of operators and of widths are drawn first, so that some samples are mostly light and others mostly heavy.
    Then every cell (layer, scale) draws its operator and every map its width, once for both branches: they share cells until
    they part, as decoded architectures do. Depths and downsampling positions are uniform.
    """
    import numpy as np

    operators = _draws(rng, len(OPERATORS), parameters.layers)
    widths = _draws(rng, len(parameters.widths), parameters.layers)
    branches = []
    for coarseness in sorted(rng.choice(len(SCALES), size=BRANCHES, replace=False).tolist()):
        depth = int(rng.integers(minimum_cells(parameters.layers, coarseness), parameters.layers, endpoint=True))
        positions = rng.choice(depth - 1, size=coarseness, replace=False) if coarseness else np.empty(0, int)
        levels = [int((positions < cell).sum()) for cell in range(depth)]
        branches.append(
            BranchSpec(
                operators=tuple(OPERATORS[operators[cell, level]] for cell, level in enumerate(levels)),
                scales=tuple(SCALES[level] for level in levels),
                widths=tuple(parameters.widths[widths[cell, level]] for cell, level in enumerate(levels) if cell),
            )
        )
    return architecture_of(spec, parameters, branches)


def _draws(rng: np.random.Generator, choices: int, layers: int) -> np.ndarray[tuple[int, int], np.dtype[np.int64]]:
    """Indices of choices, one per layer and scale, whose odds are drawn first. Shape: (layers, scales)."""
    import numpy as np

    odds = rng.dirichlet(np.full(choices, CONCENTRATION))
    return rng.choice(choices, size=(layers, len(SCALES)), p=odds)
