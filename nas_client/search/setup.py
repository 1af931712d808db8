"""The inputs of a search, checked before anything is trained: the space, the data, and what identifies both."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch.utils.data import DataLoader

from models.spaces.base import DecodeOptions, SearchSpace
from models.spaces.registry import create_space
from models.spec.base import Record
from models.spec.errors import InvalidSpecError
from models.spec.table_files.table_io import table_etag
from nas_client.data.base import CheckProgress, SegmentationDataset
from nas_client.data.datasets import open_dataset
from nas_client.data.loading import evaluation_batches, require_one_size, split_halves, training_batches
from nas_client.data.transforms import Batch, EvaluationTransform, TrainTransform
from nas_client.errors import ShapeError
from nas_client.runs.processes import Processes
from nas_client.search.config import Crop, SearchConfig, SearchSettings
from nas_client.search.progress import PHASES, SEARCHING
from nas_client.search.selection_images import selection_split
from nas_client.table import LookupTable, require_complete


class SearchIdentity(Record):
    """Configuration and table of a search. A checkpoint is only continued with the same.

    Attributes:
        table: id of the table.
        etag: of its contents.
    """

    config: SearchConfig
    table: str
    etag: str

    @classmethod
    def of(cls, config: SearchConfig, table: LookupTable) -> SearchIdentity:
        """The identity of a search with that table."""
        return cls(config=config, table=table.info.id(), etag=table_etag(table.table))


def open_space(config: SearchConfig, table: LookupTable) -> SearchSpace:
    """The table's search space.

    Raises:
        TableMismatchError: the configuration states another: names what differs.
        InvalidSpecError: a phase searches only granularities that the space lacks.
        MissingEntryError: the table lacks operators of the space: names the first, and the command that measures them.
    """
    if config.space is not None:
        table.require_space(config.space)
    space = create_space(table.info.space)
    _require_something_to_search(config, space)
    require_complete(table, space)
    return space


def _require_something_to_search(config: SearchConfig, space: SearchSpace) -> None:
    known = [name for name, groups in space.parameter_shapes().items() if groups]
    for name in SEARCHING:
        settings: SearchSettings = getattr(config, name)
        if settings.epochs and not set(settings.searches) & set(known):
            raise InvalidSpecError(
                f"{name}.searches: {', '.join(settings.searches)}; search space {space.name!r} has only {', '.join(known)}",
                hint=f"Name one of them, or set {name}.epochs to 0.",
            )


def decode_options(config: SearchConfig, space: SearchSpace) -> DecodeOptions:
    """The options that the configuration states for the space's decoding. Raises InvalidSpecError: names the option."""
    return space.decode_options.parse(dict(config.decode), source="decode")


@dataclass(frozen=True)
class SearchData:
    """Batches of trainA, trainB and the validation split.

    Attributes:
        train, validation: the two splits.
        config: sizes, augmentation and seed.
        processes: among which every batch is shared.
    """

    train: SegmentationDataset
    validation: SegmentationDataset
    config: SearchConfig
    processes: Processes

    @classmethod
    def open(
        cls, config: SearchConfig, space: SearchSpace, processes: Processes, progress: CheckProgress | None = None
    ) -> SearchData:
        """Open the data set, and check it unless the configuration says not to.

        Raises:
            DatasetError: names the file, folder or field at fault, and what to do.
            InvalidSpecError: the data set has another number of classes than the table's space.
            ShapeError: a crop is of no size that the supernet takes.
        """
        train, validation = (open_dataset(config.data, split) for split in ("train", "val"))
        if len(train.classes) != space.spec.classes:
            raise InvalidSpecError(
                f"data.name: {config.data.name} has {len(train.classes)} classes, the table's search space "
                f"{space.spec.classes}",
                hint=f"Measure a table with --classes {len(train.classes)}, or take another data set.",
            )
        for name in PHASES:
            settings = getattr(config, name)
            if settings.epochs or name != "second":
                _require_multiple(f"{name}.crop", settings.crop, space.size_multiple)
        data = cls(train, validation, config, processes)
        judging, indices = data._evaluated()
        require_one_size(judging, config.evaluation.batch_size, "evaluation.batch_size", indices)
        if config.check_data and processes.is_main:
            train.check(progress)
            validation.check(progress)
        processes.wait()
        return data

    def halves(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Images of trainA and of trainB."""
        return split_halves(len(self.train), self.config.seed)

    def parts(self, *, searching: bool) -> Sequence[Sequence[int]]:
        """The images of each batch of a step: trainA, and while architectures are searched trainB; or, for an evolution, all
        but those of selection.

        Raises:
            DatasetError: there are too few images for a selection.
        """
        if self.config.method == "evolution":
            return (selection_split(len(self.train), self.config)[0],)
        return self.halves()[: 2 if searching else 1]

    def training(
        self, indices: Sequence[int] | None, *, epoch: int, batch_size: int, crop: Crop, skip: int = 0
    ) -> DataLoader[Batch]:
        """This process's part of one epoch's batches. Raises DatasetError where there is not one batch, or none to share."""
        config = self.config
        transform = TrainTransform(crop, image_scale=config.image_scale, scales=config.scales, label_stride=config.label_stride)
        return training_batches(
            self.train,
            transform,
            batch_size=batch_size,
            seed=config.seed,
            epoch=epoch,
            indices=indices,
            skip=skip,
            share=self.processes.share,
            workers=config.workers,
            pin_memory=self.processes.device.type == "cuda",
        )

    def validating(self) -> DataLoader[Batch]:
        """This process's part of the images on which the supernet is evaluated. Raises DatasetError where they are too few."""
        dataset, indices = self._evaluated()
        return evaluation_batches(
            dataset,
            EvaluationTransform(image_scale=self.config.image_scale),
            batch_size=self.config.evaluation.batch_size,
            indices=indices,
            share=self.processes.share,
            workers=self.config.workers,
        )

    def _evaluated(self) -> tuple[SegmentationDataset, Sequence[int]]:
        """The images on which the supernet is evaluated; in an evolution, those on which its networks are."""
        evaluation = self.config.evaluation
        if self.config.method == "evolution":
            return self.train, selection_split(len(self.train), self.config)[1]
        if evaluation.split == "selection":
            return self.train, selection_split(len(self.train), self.config)[1][: evaluation.images]
        return self.validation, range(len(self.validation))[: evaluation.images]


def _require_multiple(name: str, crop: Crop, multiple: int) -> None:
    if any(side % multiple for side in crop):
        raise ShapeError(
            f"{name}: {crop[0]}×{crop[1]} is not divisible by {multiple}, as images of the search space must be",
            hint=f"Take multiples of {multiple}.",
        )
