"""Training images that no weights are trained on: those of a selection, and trainB in a gradient search."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from nas_client.data.loading import split_halves
from nas_client.errors import CheckpointError, DatasetError
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


def require_unseen(images: int, config: SearchConfig, other: SearchConfig, run: Path) -> None:
    """Make sure that the supernet of another search was pre-trained on no image that this search looks at to judge networks.

    Data sets that are read from files are taken for the same if their names are: a folder may have moved.

    Args:
        images: training images of this search.
        config: of this search.
        other: of the search whose weights it starts from.
        run: the other's folder.

    Raises:
        CheckpointError: it was; says on how many of them.
        DatasetError: there are too few images for a selection.
    """
    generated = other.data.root is None
    if other.data.name != config.data.name or (generated and other.data.seed != config.data.seed):
        return
    theirs = other.data.train_images if generated else images
    trained_on = frozenset(range(theirs)) - _kept_from_weights(theirs, other)
    kept = _kept_from_weights(images, config)
    if seen := kept & trained_on:
        what = "images of selection" if config.method == "evolution" else "images of trainB, by which architectures are found"
        raise CheckpointError(
            f"{run}: its supernet was trained on {len(seen)} of this search's {len(kept)} {what}",
            hint="Take a search of the same method, seed, data and selection.images.",
        )


def _kept_from_weights(images: int, config: SearchConfig) -> frozenset[int]:
    second_half = split_halves(images, config.seed)[1]
    return frozenset(selection_split(images, config)[1] if config.method == "evolution" else second_half)
