"""What a training is configured by. Defaults are the papers' where they state one, and ours elsewhere.

The papers say how a network is searched (FasterSeg, Appendix F), and that its training gives equal weights to the segmentation
loss and to distillation (section 3.3). FasterSeg's published code trains with SGD (learning rate 0.01, momentum 0.9, weight
decay 5e-4), batches of 12 crops of 512×1024, 600 epochs, auxiliary losses weighted 0.2, gradients clipped at 5.
"""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from models.spaces.search_defaults import OHEM_MIN_SHARE as OHEM_MIN_SHARE
from models.spaces.search_defaults import OHEM_THRESHOLD as OHEM_THRESHOLD
from models.spaces.search_defaults import Batch, Positive, TrainedEpochs
from models.spaces.search_defaults import Direction as Direction
from models.spaces.search_defaults import HardPixels as HardPixels
from models.spaces.search_defaults import LossConfig as LossConfig
from models.spaces.search_defaults import LossKind as LossKind
from models.spaces.search_defaults import OptimizerConfig as OptimizerConfig
from models.spec.base import Record
from nas_client.data.base import DataSettings, EvaluationBatch, Side, Workers

PUBLISHED_CROP = (512, 1024)


class ValidationConfig(Record):
    """How weights are validated on the validation split.

    Attributes:
        every: epochs between two validations; the last epoch always has one.
        batch_size: images predicted at once; images of different sizes need 1.
        statistics_batches: training batches over which the statistics of batch normalisation are taken anew for the weights
            that are validated and saved; 0 takes the moving averages of the training.
    """

    every: Annotated[int, Field(ge=1, le=100_000)] = 1
    batch_size: EvaluationBatch = 1
    statistics_batches: Annotated[int, Field(ge=0, le=100_000)] = 0


class TrainConfig(Record):
    """One training.

    Attributes:
        data: which images.
        held_out: training images, drawn by the seed, that are not trained on, and on which weights are validated in place of
            the validation split: to choose among networks. None trains on all, and validates on that split.
        check_data: look at every image and label before the first step.
        workers: processes that read images; 0 reads them in the training's own.
        image_scale: by which every image is resized, in training and validation alike.
        crop: height and width of the crops trained on, see `crop_size`.
        scales, flip: further augmentation, see `TrainTransform`.
        label_stride: of how many pixels in each direction one gives the label of the loss. 1 compares at full resolution; 8
            leaves out the upsampling, for networks so small that losses at full resolution take a large part of a step.
        batch_size: images of a step, over all processes.
        epochs: passes over the training images.
        seed: weights, order and augmentation follow from it.
        optimizer, losses: see there.
        averaging: decay per step of an exponential moving average of the weights, which is then what is validated and saved;
            None takes the weights themselves.
        validation: see there.
        precision: `bfloat16` computes passes in mixed precision; weights stay in float32.
    """

    data: DataSettings = DataSettings()
    held_out: Annotated[int, Field(ge=1, le=1_000_000)] | None = None
    check_data: bool = True
    workers: Workers = 0
    image_scale: Annotated[float, Field(gt=0, le=4)] = 1.0
    crop: tuple[Side, Side] | None = None
    scales: Annotated[tuple[Positive, ...], Field(min_length=1)] = (0.75, 1.0, 1.25)
    flip: bool = True
    label_stride: Literal[1, 2, 4, 8] = 1
    batch_size: Batch = 12
    epochs: TrainedEpochs = 600
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    optimizer: OptimizerConfig = OptimizerConfig()
    losses: LossConfig = LossConfig()
    averaging: Annotated[float, Field(gt=0, lt=1)] | None = None
    validation: ValidationConfig = ValidationConfig()
    precision: Literal["float32", "bfloat16"] = "float32"

    @model_validator(mode="after")
    def _cache_in_this_process(self) -> Self:
        self.data.require_workers(self.workers)
        return self

    @property
    def crop_size(self) -> tuple[int, int]:
        """`crop`; where that is None, the published code's 512×1024 for images from files, and the size of generated ones."""
        if self.crop is not None:
            return self.crop
        return self.data.image_size if self.data.root is None else PUBLISHED_CROP
