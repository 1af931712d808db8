"""Data sets by name."""

from __future__ import annotations

from importlib import import_module

from models.spec.errors import UnknownNameError
from nas_client.data.base import DataSettings, SegmentationDataset, Split

_DATASETS = {
    "bdd100k": "nas_client.data.bdd100k:Bdd100k",
    "camvid": "nas_client.data.camvid:CamVid",
    "cityscapes": "nas_client.data.cityscapes:Cityscapes",
    "synthetic_streets": "nas_client.data.synthetic_streets:SyntheticStreets",
}


def dataset_names() -> list[str]:
    """All known data sets, sorted."""
    return sorted(_DATASETS)


def dataset_class(name: str) -> type[SegmentationDataset]:
    """The class of that data set. Raises UnknownNameError."""
    if name not in _DATASETS:
        raise UnknownNameError.of("data set", name, _DATASETS)
    module, attribute = _DATASETS[name].split(":")
    cls: type[SegmentationDataset] = getattr(import_module(module), attribute)
    return cls


def open_dataset(settings: DataSettings, split: Split) -> SegmentationDataset:
    """That split of the data set the settings describe.

    Raises:
        UnknownNameError: no data set of that name.
        DatasetError: the split has no labels, or the files are not where they should be.
    """
    cls = dataset_class(settings.name)
    cls.require_split(split)
    dataset = cls.open(settings, split)
    if settings.cache:
        dataset.keep_samples()
    return dataset
