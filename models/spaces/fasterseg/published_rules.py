"""Decoding as FasterSeg's authors do it (`train/model_seg.py` of their repository), to reproduce the networks they published.

It differs from ours in where networks downsample, and in which cells stay:

- A branch that ends at 1/16 downsamples one cell earlier than the row with the largest β0 says; the first row of β and the last
  are left out.
- For a branch that ends at 1/32 the largest product β0·β0' decides, whatever β says between. At least two cells lie between its
  two downsamplings; the first row of the first β and the last of the second are left out.
- The code decodes all three branches, from 1/8 to 1/32, and changes its parameters on the way: before each branch β passes a
  softmax (the branch at 1/32 sees the third), and a skip that had to give way in one branch has given way in the next as well.
- A skip that must stay counts among those that may go.
- A teacher never takes a skip: all of its cells stay.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from models.spaces.base import Probabilities
from models.spaces.fasterseg.architectures import minimum_cells
from models.spaces.fasterseg.decoding import (
    SKIP,
    DecodedBranch,
    branch_of,
    downsampling_cells,
    indispensable_skips,
    most_probable_skips,
    operator_odds,
    scales_of,
)
from models.spaces.fasterseg.latency import FIRST_LAYER, FROM_FINER
from models.spaces.fasterseg.parameters import SCALES, FasterSegParameters
from models.spec.errors import InvalidSpecError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

MIN_LAYERS = 8
"""Fewer layers leave no place for two downsamplings, by these rules."""


def decode_as_published(
    parameters: FasterSegParameters, probabilities: Probabilities, *, keep_skips: bool, widest: bool
) -> dict[int, DecodedBranch]:
    """The branches by the scale at which they end; see `decode_branch` for the arguments.

    Raises:
        InvalidSpecError: the space has too few layers.
    """
    if parameters.layers < MIN_LAYERS:
        raise InvalidSpecError(
            f"rules: published; they need {MIN_LAYERS} layers or more, and this search space has {parameters.layers}",
            hint="Decode by our rules: leave the option out.",
        )
    alpha = {group: rows.copy() for group, rows in probabilities["alpha"].items()}
    beta = dict(probabilities["beta"])
    if widest:
        for rows in alpha.values():
            rows[:, SKIP] = -1
    decoded = {}
    for end in SCALES:
        scales = scales_of(parameters.layers, _entered(parameters.layers, beta, end))
        given = {**probabilities, "alpha": alpha}
        odds = operator_odds(given, scales)
        cells = list(range(parameters.layers))
        if not keep_skips:
            removed, replaced = _skips(odds, scales)
            cells = [cell for cell in cells if cell not in removed]
            for cell in replaced:
                alpha[str(scales[cell])][cell - FIRST_LAYER["alpha"][scales[cell]], SKIP] = -1
            odds = operator_odds(given, scales)
        decoded[end] = branch_of(parameters, probabilities, scales, cells, odds, widest=widest)
        beta = {group: _softmax(rows) for group, rows in beta.items()}
    return decoded


def _entered(layers: int, beta: dict[str, NDArray[np.float64]], end: int) -> tuple[int, ...]:
    """The layers at which the coarser scales are entered; the first of equals."""
    import numpy as np

    if end == SCALES[0]:
        return ()
    first, *more = [beta[str(scale)][:, FROM_FINER] for scale in SCALES[1 : SCALES.index(end) + 1]]
    if not more:
        return (int(np.argmax(first[1:-1])) + FIRST_LAYER["beta"][SCALES[1]],)
    joint = {(row, later): first[row] * more[0][later] for later in range(layers - 4) for row in range(1, later - 1)}
    row, later = max(joint, key=joint.__getitem__)
    return row + FIRST_LAYER["beta"][SCALES[1]], later + FIRST_LAYER["beta"][SCALES[2]]


def _skips(odds: NDArray[np.float64], scales: list[int]) -> tuple[set[int], set[int]]:
    """The cells that are removed, and those that take their best other operator instead of a skip."""
    import numpy as np

    favoured = set(np.flatnonzero(odds.argmax(axis=1) == SKIP).tolist())
    downsampling = downsampling_cells(scales)
    skips = favoured - set(downsampling)
    may_go = most_probable_skips(odds, skips, len(scales) - minimum_cells(len(scales), len(downsampling)))
    removed = may_go - indispensable_skips(odds, skips, downsampling)
    return removed, favoured - removed


def _softmax(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    import numpy as np

    exponentials = np.exp(rows)
    softened: NDArray[np.float64] = exponentials / exponentials.sum(axis=1, keepdims=True)
    return softened
