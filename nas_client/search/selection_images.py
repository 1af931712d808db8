"""The images of a selection: training images that no weights are trained on."""

from __future__ import annotations

import numpy as np

from nas_client.data.loading import split_halves
from nas_client.errors import DatasetError
from nas_client.search.config import SearchConfig

_SELECTION = 3
"""Stream of random numbers, apart from those of `nas_client.data.loading`."""


def selection_split(images: int, config: SearchConfig) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Indices of the training images that weights are trained on, and of those that selection looks at.

    Those of selection are a random part of trainB: a gradient search trains weights on trainA alone, so that its supernet has
    not seen them either.

    Raises:
        DatasetError: there are too few images.
    """
    second_half, wanted = split_halves(images, config.seed)[1], config.selection.images
    if wanted > len(second_half):
        raise DatasetError(
            f"selection.images: {wanted}, of {len(second_half)} images in the second half of the training images",
            hint=f"Set selection.images to {len(second_half)} or fewer.",
        )
    order = np.random.default_rng([_SELECTION, config.seed]).permutation(second_half)
    chosen = frozenset(order[:wanted].tolist())
    return tuple(index for index in range(images) if index not in chosen), tuple(sorted(chosen))
