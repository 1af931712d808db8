"""Architectures of a FasterSeg space drawn at random, for validation."""

from __future__ import annotations

from typing import TYPE_CHECKING

from models.spaces.fasterseg.genotype import BranchSpec, architecture_of
from models.spaces.fasterseg.parameters import OPERATORS, SCALES, FasterSegParameters
from models.spec.architectures import ArchitectureSpec, SpaceSpec

if TYPE_CHECKING:
    import numpy as np

CONCENTRATION = 0.5
"""Of the Dirichlet distributions that odds are drawn from. At 1 the middle nine tenths of 200 samples span a factor of 1.7 in
the published table's latency, here 2.3 and from the fastest to the slowest 3.4; docs/measurement.md asks for two to four."""


def minimum_cells(layers: int, coarseness: int) -> int:
    """Fewest cells of a branch that ends at SCALES[coarseness]: round(L / 3) + 2·j, but never more than L."""
    return min(layers, round(layers / 3) + 2 * coarseness)


def sample_architecture(spec: SpaceSpec, parameters: FasterSegParameters, rng: np.random.Generator) -> ArchitectureSpec:
    """A random architecture; its branches end at different scales.

    The probabilities of operators and of widths are drawn first, so that some samples are mostly light and others mostly heavy.
    Then every cell (layer, scale) draws its operator and every map its width, once for all branches: they share cells until
    they part, as decoded architectures do. Depths and downsampling positions are uniform.
    """
    import numpy as np

    operators = _draws(rng, len(OPERATORS), parameters.layers)
    widths = _draws(rng, len(parameters.widths), parameters.layers)
    branches = []
    for coarseness in sorted(rng.choice(len(SCALES), size=parameters.branches, replace=False).tolist()):
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
