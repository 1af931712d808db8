"""Predictions for images that nobody labelled: label files as the data set's owner writes them, and pictures for people."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from models.spec.base import Record
from models.supernets.head import resize
from nas_client.data.base import Labelling, Sample
from nas_client.data.image_files import IMAGE_SUFFIXES, read_image
from nas_client.data.transforms import EvaluationTransform
from nas_client.errors import DatasetError, TrainingError
from nas_client.train.cityscapes_archive import Archive
from nas_client.train.folder import Trained
from nas_client.train.predicted_files import PredictedFiles
from nas_client.train.predictions import Predictor
from nas_client.train.trained_classes import TrainedClasses

_VIDEO_SUFFIXES = (".avi", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".webm")
_READABLE = f"Give an image, or a folder of images, whose names end in {', '.join(IMAGE_SUFFIXES)}."

LABELS, OVERLAYS = Path("labels"), Path("overlays")
"""Folders of the output."""

_OPACITY = 0.5

Progress = Callable[[int, int], None]
"""Called with how many images are predicted, and how many there are."""


@dataclass(frozen=True)
class Found:
    """Images to predict.

    Attributes:
        folder: in which they lie.
        images: below it, in the order of names.
        left_out: how many other files lie there.
    """

    folder: Path
    images: tuple[Path, ...]
    left_out: int = 0


class Predicted(Record):
    """What was written.

    Attributes:
        images: how many were predicted.
        left_out: how many files beside them are no images.
        labels, overlays, archive: where; None for what was not asked for.
    """

    images: int
    left_out: int
    labels: str
    overlays: str | None
    archive: str | None


def find_images(source: Path) -> Found:
    """The image, or all images of a folder and those below, such as the frames of a video.

    Raises:
        DatasetError: there is no image; or two would have files of one name.
    """
    if source.is_dir():
        files = sorted(path for path in source.rglob("*") if path.is_file())
        images = [path for path in files if path.suffix.lower() in IMAGE_SUFFIXES]
        if not images:
            raise DatasetError(f"{source}: no images, among {len(files)} files", hint=_READABLE)
        _require_own_names(images)
        return Found(source, tuple(images), len(files) - len(images))
    if not source.exists():
        raise DatasetError(f"{source}: no such file or folder", hint=_READABLE)
    suffix = source.suffix.lower()
    if suffix in _VIDEO_SUFFIXES:
        raise DatasetError(
            f"{source} is a video, and only its frames can be read, as images",
            hint=f"Write them into a folder, and give that: ffmpeg -i {source.name} frames/%06d.png",
        )
    if suffix not in IMAGE_SUFFIXES:
        raise DatasetError(f"{source} is no image", hint=_READABLE)
    return Found(source.parent, (source,))


def _require_own_names(images: Sequence[Path]) -> None:
    known: dict[Path, Path] = {}
    for path in images:
        other = known.setdefault(path.with_suffix(""), path)
        if other is not path:
            raise DatasetError(f"{other} and {path} would have one label file", hint="Rename one of them.")


def require_labelling(trained: Trained, labelling: Labelling, source: str, recorded: TrainedClasses | None) -> None:
    """Raises TrainingError unless the classes are those that the network was trained on.

    Args:
        trained: the network.
        labelling: of the data set as it is now.
        source: its name.
        recorded: when the training began; where None, only the number of classes is compared.
    """
    predicted, named = trained.architecture.classes, len(labelling.classes)
    if predicted != named:
        raise TrainingError(
            f"classes: the network predicts {predicted}, data set {source} has {named}",
            hint="Name, by --root, the folder with the classes that it was trained on.",
        )
    if recorded is not None:
        recorded.require(labelling, source)


def predict_ids(predictor: Predictor, image: NDArray[np.uint8], *, image_scale: float = 1.0) -> NDArray[np.uint8]:
    """Class ids of an image at its own size.

    Args:
        predictor: of a trained network.
        image: RGB. Shape: (H, W, 3).
        image_scale: by which the training resized images; scores are resized back.

    Returns:
        Shape: (H, W).
    """
    height, width = image.shape[:2]
    unlabelled = np.zeros((height, width), dtype=np.uint8)
    batch = EvaluationTransform(image_scale)(Sample(image, unlabelled), np.random.default_rng(0))
    scores = resize(predictor.scores(batch.images[None]), (height, width))
    ids: NDArray[np.uint8] = scores.argmax(dim=1)[0].cpu().numpy().astype(np.uint8)
    return ids


def overlay(image: NDArray[np.uint8], ids: NDArray[np.uint8], labelling: Labelling) -> NDArray[np.uint8]:
    """The image, half covered with the colours of the classes. Shape: (H, W, 3)."""
    mixed = (1 - _OPACITY) * image + _OPACITY * labelling.classes.paint(ids)
    return np.asarray(mixed.round(), dtype=np.uint8)


def write_predictions(
    predictor: Predictor,
    found: Found,
    labelling: Labelling,
    output: Path,
    *,
    image_scale: float = 1.0,
    overlays: bool = True,
    archive: Path | None = None,
    root: Path | None = None,
    progress: Progress | None = None,
) -> Predicted:
    """Predict every image, and write its files as they are ready, below `output` as the images lie below their folder.

    Args:
        predictor: of a trained network.
        found: the images.
        labelling: of the data set that the network was trained on.
        output: folder; `labels` gets label images in the owner's ids or colours, `overlays` pictures.
        image_scale: as in `predict_ids`.
        overlays: whether to write these.
        archive: zip file for Cityscapes' benchmark, written where all images are predicted.
        root: folder of the training's data set, which is no place for predictions.
        progress: receives the progress.

    Raises:
        DatasetError: an image cannot be read, the output lies among the images, something there would be
            lost, or the images are not the benchmark's.
        OSError: something cannot be written.
    """
    if output.resolve().is_relative_to(found.folder.resolve()) and len(found.images) > 1:
        raise DatasetError(
            f"{output} lies among the images of {found.folder}, and would be predicted, too", hint="Choose another folder."
        )
    files = PredictedFiles(output)
    places = [path.relative_to(found.folder).with_suffix(".png") for path in found.images]
    folders = (LABELS, OVERLAYS) if overlays else (LABELS,)
    files.require_free((folder / place for folder in folders for place in places), found.images, root)
    benchmark = None if archive is None else Archive(archive, found.images, labelling.classes)
    try:
        for done, (path, place) in enumerate(zip(found.images, places, strict=True), start=1):
            image = read_image(path, hint="Remove the file, or write it again.")
            ids = predict_ids(predictor, image, image_scale=image_scale)
            files.save(LABELS / place, labelling.encode(ids))
            if overlays:
                files.save(OVERLAYS / place, overlay(image, ids, labelling))
            if benchmark is not None:
                benchmark.add(path, ids)
            if progress is not None:
                progress(done, len(found.images))
    except BaseException:
        if benchmark is not None:
            benchmark.discard()
        raise
    if benchmark is not None:
        benchmark.finish()
    return Predicted(
        images=len(found.images),
        left_out=found.left_out,
        labels=str(output / LABELS),
        overlays=str(output / OVERLAYS) if overlays else None,
        archive=None if archive is None else str(archive),
    )
