"""Batches, the same for the same seed: whatever the number of worker processes, and wherever a training was resumed.

An epoch's order follows from (seed, epoch), an example's augmentation from (seed, epoch, index). No generator lives across
examples, so nothing needs to be saved to resume but the epoch and the number of batches done.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch.utils.data import DataLoader, Dataset, default_collate

from nas_client.data.base import SegmentationDataset
from nas_client.data.transforms import Batch, Transform
from nas_client.errors import DatasetError

_ORDER, _AUGMENTATION, _HALVES = range(3)
"""Streams of random numbers that must not meet: an order must not repeat in the augmentations."""

Size = tuple[int, int]
"""Height and width, pixels."""


@dataclass(frozen=True)
class Share:
    """Which part of every batch one of several processes takes."""

    rank: int = 0
    ranks: int = 1


def split_halves(images: int, seed: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Indices of trainA and trainB: disjoint, together everything, sizes equal or one apart (FasterSeg, Appendix F)."""
    order = np.random.default_rng([_HALVES, seed]).permutation(images).tolist()
    half = images // 2
    return tuple(sorted(order[:half])), tuple(sorted(order[half:]))


def training_batches(
    dataset: SegmentationDataset,
    transform: Transform,
    *,
    batch_size: int,
    seed: int,
    epoch: int,
    indices: Sequence[int] | None = None,
    skip: int = 0,
    share: Share | None = None,
    workers: int = 0,
    pin_memory: bool = False,
) -> DataLoader[Batch]:
    """One epoch's batches in random order; what does not fill a batch is left out.

    Args:
        dataset: whose images.
        transform: augmentation, different for each image and epoch.
        batch_size: images in a batch, over all processes.
        seed: order and augmentation follow from it.
        epoch: counted from 0.
        indices: the images to choose from, as of `split_halves`; all where not given.
        skip: batches of this epoch that are done already.
        share: of each batch; all of it where not given.
        workers: processes that read images; 0 reads them here.
        pin_memory: for copies to a GPU.

    Raises:
        DatasetError: there are not enough images for one batch, or a batch cannot be shared evenly.
    """
    chosen = np.arange(len(dataset)) if indices is None else np.asarray(indices)
    share = share or Share()
    if batch_size > len(chosen):
        raise DatasetError(
            f"{len(chosen)} images do not fill a batch of {batch_size}", hint="Take smaller batches or more images."
        )
    if batch_size % share.ranks:
        raise DatasetError(
            f"batches of {batch_size} cannot be shared by {share.ranks} processes", hint=f"Take a multiple of {share.ranks}."
        )
    order = np.random.default_rng([_ORDER, seed, epoch]).permutation(chosen)
    batches = order[: len(order) // batch_size * batch_size].reshape(-1, batch_size)
    mine = np.split(batches[skip:], share.ranks, axis=1)[share.rank]
    examples = _Examples(dataset, transform, mine.ravel().tolist(), (seed, epoch))
    return _Batches(examples, mine.shape[1], num_workers=workers, pin_memory=pin_memory, collate_fn=_batch)


def evaluation_batches(
    dataset: SegmentationDataset,
    transform: Transform,
    *,
    batch_size: int = 1,
    indices: Sequence[int] | None = None,
    share: Share | None = None,
    workers: int = 0,
    pin_memory: bool = False,
) -> DataLoader[Batch]:
    """Every image once, in order; the last batch may be smaller. With a share, every `ranks`-th image from `rank` on.

    Arguments are those of `training_batches`. Images of different sizes need a batch size of 1, see `require_one_size`.
    """
    chosen = range(len(dataset)) if indices is None else indices
    share = share or Share()
    examples = _Examples(dataset, transform, list(chosen)[share.rank :: share.ranks], (0, 0))
    return _Batches(examples, batch_size, num_workers=workers, pin_memory=pin_memory, collate_fn=_batch)


def require_one_size(dataset: SegmentationDataset, batch_size: int, field: str, indices: Sequence[int] | None = None) -> None:
    """Make sure that whole images of the data set fit into batches, as far as their sizes are known before they are read.

    Args:
        dataset: whose images.
        batch_size: 1 fits always.
        field: of the configuration that states the batch size, for the message.
        indices: the images that are evaluated; all where not given.

    Raises:
        DatasetError: images have different sizes; names two, and the field. Or a file cannot be read.
    """
    if batch_size > 1 and (sizes := different_sizes(dataset, indices)) is not None:
        raise DatasetError(
            f"{field}: {batch_size}, but images of {dataset.name} have different sizes, such as {_sizes(sizes)}",
            hint=f"Set {field} to 1.",
        )


def different_sizes(dataset: SegmentationDataset, indices: Sequence[int] | None = None) -> tuple[Size, Size] | None:
    """Two different sizes that images have; None where all have one, or none is known before it is read.

    Raises:
        DatasetError: a file cannot be read.
    """
    first: Size | None = None
    for index in range(len(dataset)) if indices is None else indices:
        size = dataset.stored_size(index)
        first = first or size
        if first and size and size != first:
            return first, size
    return None


def _sizes(sizes: Iterable[Sequence[int]]) -> str:
    return " and ".join(f"{height}×{width}" for height, width in sizes)


def _batch(examples: list[Batch | DatasetError]) -> Batch | DatasetError:
    """The examples in one batch; or an error instead, that of an example or of images that do not fit together."""
    fit: list[Batch] = []
    for example in examples:
        if isinstance(example, DatasetError):
            return example
        fit.append(example)
    sizes = dict.fromkeys(tuple(example.images.shape[1:]) for example in fit)
    if len(sizes) > 1:
        return DatasetError(
            f"images of {_sizes(sizes)} are of different sizes, and do not fit into one batch of {len(fit)}",
            hint="Set validation.batch_size of a training, or evaluation.batch_size of a search, to 1.",
        )
    found: Batch = default_collate(fit)
    return found


class _Batches(DataLoader[Any]):
    """Raises the error that stands in place of a batch. Torch's own way makes one of a worker's traceback, without a hint."""

    def __iter__(self) -> Iterator[Batch]:  # type: ignore[override]
        return _raising(super().__iter__())


def _raising(batches: Iterator[Batch | DatasetError]) -> Iterator[Batch]:
    for batch in batches:
        if isinstance(batch, DatasetError):
            raise batch
        yield batch


class _Examples(Dataset[Any]):
    """The examples of one epoch in their order. Holds no generator: a worker process needs none of its own.

    An error of the data set is an example as well: what a worker process raises comes out as another error.
    """

    def __init__(
        self, dataset: SegmentationDataset, transform: Transform, order: Sequence[int], stream: tuple[int, int]
    ) -> None:
        self._dataset = dataset
        self._transform = transform
        self._order = order
        self._stream = stream

    def __len__(self) -> int:
        return len(self._order)

    def __getitem__(self, position: int) -> Batch | DatasetError:
        index = self._order[position]
        rng = np.random.default_rng([_AUGMENTATION, *self._stream, index])
        try:
            return self._transform(self._dataset.sample(index), rng)
        except DatasetError as error:
            return error
