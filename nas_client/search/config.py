"""The configuration of a co-search. Defaults are the paper's, or, where it says nothing, its published code's.

Source: FasterSeg, Appendix F.
"""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator

from models.spec.architectures import SpaceSpec
from models.spec.base import Record
from models.spec.errors import InvalidSpecError
from nas_client.data.base import DataSettings, Side
from nas_client.latency.sensitivity import PUBLISHED_WEIGHTS
from nas_client.search.branches import EXPONENT, TARGET_MS
from nas_client.train.config import HardPixels

Positive = Annotated[float, Field(gt=0)]
NotNegative = Annotated[float, Field(ge=0)]
Count = Annotated[int, Field(ge=1, le=1_000_000)]
Epochs = Annotated[int, Field(ge=0, le=100_000)]
Crop = tuple[Side, Side]


class WeightOptimizer(Record):
    """SGD on the supernet's weights.

    Attributes:
        lr: at the start.
        momentum, weight_decay: of SGD.
        clip_norm: largest norm of all gradients together.
        schedule: `poly` lets the rate fall to 0 over the phase, `constant` keeps it.
        power: of the poly schedule.
    """

    lr: Positive
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9
    weight_decay: NotNegative = 5e-4
    clip_norm: Positive = 5.0
    schedule: Literal["poly", "constant"] = "poly"
    power: Positive = 0.9


class PretrainOptimizer(WeightOptimizer):
    """SGD of pre-training."""

    lr: Positive = 0.02


class SearchOptimizer(WeightOptimizer):
    """SGD of the search."""

    lr: Positive = 0.01


class ArchitectureOptimizer(Record):
    """Adam on the logits of α, β and γ.

    Attributes:
        lr, weight_decay: of Adam.
        betas: its two decay rates.
        deviation: of the normal distribution that the first logits are drawn from.
    """

    lr: Positive = 3e-4
    betas: tuple[Annotated[float, Field(ge=0, lt=1)], Annotated[float, Field(ge=0, lt=1)]] = (0.5, 0.999)
    weight_decay: NotNegative = 0.0
    deviation: NotNegative = 1e-3


class PretrainSettings(Record):
    """The phase that trains weights alone.

    Attributes:
        epochs: over trainA; 0 leaves the phase out.
        batch_size: images in a batch, over all processes.
        crop: height and width of what is cut from an image, pixels.
        random_widths: further passes of random widths, beside the narrowest and the widest.
        optimizer: of the weights.
    """

    epochs: Epochs = 20
    batch_size: Count = 3
    crop: Crop = (256, 512)
    random_widths: Annotated[int, Field(ge=0, le=16)] = 2
    optimizer: PretrainOptimizer = PretrainOptimizer()


class SearchSettings(Record):
    """The phase that trains weights on trainA and architecture parameters on trainB.

    Attributes:
        epochs: over trainA; 0 leaves the phase out.
        batch_size: images in a batch, over all processes.
        crop: height and width of what is cut from an image, pixels.
        temperature: τ of the Gumbel-softmax that samples widths.
        optimizer: of the weights.
        architecture: the optimiser of α, β, γ.
    """

    epochs: Epochs = 30
    batch_size: Count = 2
    crop: Crop = (224, 448)
    temperature: Positive = 1.0
    optimizer: SearchOptimizer = SearchOptimizer()
    architecture: ArchitectureOptimizer = ArchitectureOptimizer()


class LatencySettings(Record):
    """The student's latency loss.

    Attributes:
        mode: `decoupled`, the three weighted terms; `naive`, the relaxed latency as one term; `none`.
        factor: λ, by which the latency in ms enters the student's loss.
        weights: w1, w2, w3 of the decoupled terms, or `solved`: those that balance the table's sensitivities.
        widths: γ in expectation, or as one Gumbel sample a step.
    """

    mode: Literal["decoupled", "naive", "none"] = "decoupled"
    factor: NotNegative = 0.01
    weights: Literal["solved"] | tuple[NotNegative, NotNegative, NotNegative] = (*PUBLISHED_WEIGHTS,)
    widths: Literal["expected", "gumbel"] = "expected"

    @field_validator("weights")
    @classmethod
    def _not_nothing(cls, weights: str | tuple[float, float, float]) -> str | tuple[float, float, float]:
        if weights != "solved" and not any(weights):
            raise InvalidSpecError("weights are all 0, so that there is no latency loss", hint="Take mode none for that.")
        return weights


class EvaluationSettings(Record):
    """How the supernet's mIoU on the validation split is taken.

    Attributes:
        every: epochs of search between two evaluations; the last epoch is always evaluated.
        batch_size: images in a batch.
        images: of the split, from the first on; all where null.
        statistics_batches: training batches over which batch normalisation's statistics are taken anew for the evaluated
            mixture: the training's own are of other widths and earlier weights.
    """

    every: Count = 1
    batch_size: Count = 1
    images: Count | None = None
    statistics_batches: Count = 16


class SearchConfig(Record):
    """A co-search of teacher and student.

    Attributes:
        seed: everything random follows from it.
        space: the search space that the table must be of; the table's own where null.
        data: which data set.
        check_data: look at every image and label before the first step.
        image_scale: by which every image is resized; 0.5 as in the paper.
        scales: one of which, at random, is a further factor in training.
        label_stride: of how many pixels in each direction one gives the label of the losses. 1 compares at full resolution; 8
            leaves out the upsampling of the scores, which takes a large part of a step where the supernet is small.
        workers: processes that read images.
        precision: `bfloat16` computes passes in mixed precision; weights stay in float32.
        compile: whether the supernet's operators are compiled: minutes at the start, for faster steps on a GPU.
        checkpoint_steps: steps after which the state is saved within an epoch, too; at the end of epochs alone where null.
        target_ms, exponent: T and w of the choice of branches, ACC·(LAT/T)^w.
    """

    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    space: SpaceSpec | None = None
    data: DataSettings = DataSettings()
    check_data: bool = True
    image_scale: Annotated[float, Field(gt=0, le=4)] = 0.5
    scales: Annotated[tuple[Positive, ...], Field(min_length=1)] = (0.75, 1.0, 1.25)
    label_stride: Literal[1, 2, 4, 8] = 1
    workers: Annotated[int, Field(ge=0, le=256)] = 0
    precision: Literal["float32", "bfloat16"] = "float32"
    compile: bool = False
    checkpoint_steps: Count | None = None
    pretrain: PretrainSettings = PretrainSettings()
    search: SearchSettings = SearchSettings()
    latency: LatencySettings = LatencySettings()
    hard_pixels: HardPixels = HardPixels()
    evaluation: EvaluationSettings = EvaluationSettings()
    target_ms: Positive = TARGET_MS
    exponent: float = EXPONENT

    @field_validator("space")
    @classmethod
    def _with_defaults(cls, space: SpaceSpec | None) -> SpaceSpec | None:
        from models.spaces.registry import create_space

        return None if space is None else create_space(space).spec

    @model_validator(mode="after")
    def _something_to_do(self) -> Self:
        if not self.pretrain.epochs + self.search.epochs:
            raise InvalidSpecError("pretrain.epochs and search.epochs are both 0: nothing is left to do")
        return self
